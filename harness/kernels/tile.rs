//! A small register-blocked matrix product for the blocks of attention.

use crate::vector::{Vector, WIDTH};

/// A matrix by its start and the distances between rows and between columns.
#[derive(Clone, Copy)]
pub(crate) struct Strided {
    pub start: *const f32,
    pub row: usize,
    pub column: usize,
}

/// `c (m, n) = [c +] a (m, k) · b (k, n)`; columns of `b` and `c` are contiguous, their rows `b_row` and `c_row` apart.
///
/// # Safety
/// All pointers are valid for their shapes and `c` overlaps neither input.
#[inline(always)]
pub(crate) unsafe fn multiply<V: Vector>(
    (m, n, k): (usize, usize, usize),
    a: Strided,
    b: *const f32,
    b_row: usize,
    c: *mut f32,
    c_row: usize,
    accumulate: bool,
) {
    unsafe {
        let mut j = 0;
        while j < n {
            let left = n - j;
            let (b, c) = (b.add(j), c.add(j));
            if left >= 4 * WIDTH {
                columns::<V, 4>(m, k, a, b, b_row, c, c_row, WIDTH, accumulate);
                j += 4 * WIDTH;
            } else if left >= 2 * WIDTH {
                columns::<V, 2>(m, k, a, b, b_row, c, c_row, WIDTH, accumulate);
                j += 2 * WIDTH;
            } else {
                columns::<V, 1>(m, k, a, b, b_row, c, c_row, left.min(WIDTH), accumulate);
                j += WIDTH;
            }
        }
    }
}

#[inline(always)]
unsafe fn columns<V: Vector, const N: usize>(
    m: usize,
    k: usize,
    a: Strided,
    b: *const f32,
    b_row: usize,
    c: *mut f32,
    c_row: usize,
    last: usize,
    accumulate: bool,
) {
    unsafe {
        let mut i = 0;
        while i + 6 <= m {
            block::<V, 6, N>(k, a, i, b, b_row, c, c_row, last, accumulate);
            i += 6;
        }
        if i + 4 <= m {
            block::<V, 4, N>(k, a, i, b, b_row, c, c_row, last, accumulate);
            i += 4;
        }
        if i + 2 <= m {
            block::<V, 2, N>(k, a, i, b, b_row, c, c_row, last, accumulate);
            i += 2;
        }
        if i < m {
            block::<V, 1, N>(k, a, i, b, b_row, c, c_row, last, accumulate);
        }
    }
}

/// `last` is the number of lanes used of the last vector of columns.
#[inline(always)]
unsafe fn block<V: Vector, const M: usize, const N: usize>(
    k: usize,
    a: Strided,
    i: usize,
    b: *const f32,
    b_row: usize,
    c: *mut f32,
    c_row: usize,
    last: usize,
    accumulate: bool,
) {
    unsafe {
        let c = c.add(i * c_row);
        let lanes = |column: usize| if column + 1 == N { last } else { WIDTH };
        let mut sums = [[V::splat(0.0); N]; M];
        if accumulate {
            for r in 0..M {
                for v in 0..N {
                    sums[r][v] = V::load_partial(c.add(r * c_row + v * WIDTH), lanes(v), 0.0);
                }
            }
        }
        let a_start = a.start.add(i * a.row);
        for l in 0..k {
            let mut right = [V::splat(0.0); N];
            for v in 0..N {
                let from = b.add(l * b_row + v * WIDTH);
                right[v] = if N == 1 { V::load_partial(from, last, 0.0) } else { V::load(from) };
            }
            for r in 0..M {
                let left = V::splat(*a_start.add(r * a.row + l * a.column));
                for v in 0..N {
                    sums[r][v] = left.fma(right[v], sums[r][v]);
                }
            }
        }
        for r in 0..M {
            for v in 0..N {
                sums[r][v].store_partial(c.add(r * c_row + v * WIDTH), lanes(v));
            }
        }
    }
}
