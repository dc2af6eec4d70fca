//! Products of a few rows with a weight matrix: every weight is read once, so memory bandwidth is the ceiling.

use half::{bf16, f16};

use crate::buffer::Shared;
use crate::matrix::{Element, MatrixRef};
use crate::vector::{InstructionSet, Vector, WIDTH, vectorised};

/// Multiplies the weight rows `first .. first + count` with all `m` rows of `x` and writes their columns of `out`
/// `(m, n)`. `weight` is `(n, k)`, `x` is `(m, k)`.
pub(crate) fn rows(
    set: InstructionSet,
    x: &[f32],
    m: usize,
    k: usize,
    weight: MatrixRef<'_>,
    bias: Option<&[f32]>,
    span: std::ops::Range<usize>,
    out: Shared,
    n: usize,
) {
    match weight {
        MatrixRef::F32(values) => rows_f32(set, x, m, k, values, bias, span, out, n),
        MatrixRef::F16(values) => rows_f16(set, x, m, k, values, bias, span, out, n),
        MatrixRef::Bf16(values) => rows_bf16(set, x, m, k, values, bias, span, out, n),
    }
}

vectorised! {
    fn rows_f32<V>(
        x: &[f32], m: usize, k: usize, weight: &[f32], bias: Option<&[f32]>, span: std::ops::Range<usize>, out: Shared, n: usize,
    ) {
        generic_rows::<V, f32>(x, m, k, weight, bias, span, out, n);
    }
}
vectorised! {
    fn rows_f16<V>(
        x: &[f32], m: usize, k: usize, weight: &[f16], bias: Option<&[f32]>, span: std::ops::Range<usize>, out: Shared, n: usize,
    ) {
        generic_rows::<V, f16>(x, m, k, weight, bias, span, out, n);
    }
}
vectorised! {
    fn rows_bf16<V>(
        x: &[f32], m: usize, k: usize, weight: &[bf16], bias: Option<&[f32]>, span: std::ops::Range<usize>, out: Shared, n: usize,
    ) {
        generic_rows::<V, bf16>(x, m, k, weight, bias, span, out, n);
    }
}

#[inline(always)]
unsafe fn generic_rows<V: Vector, E: Element>(
    x: &[f32],
    m: usize,
    k: usize,
    weight: &[E],
    bias: Option<&[f32]>,
    span: std::ops::Range<usize>,
    out: Shared,
    n: usize,
) {
    assert!(x.len() >= m * k && span.end <= n && weight.len() >= span.end * k);
    assert!(bias.is_none_or(|bias| bias.len() == n));
    unsafe {
        let mut row = span.start;
        while row < span.end {
            let count = (span.end - row).min(4);
            let mut i = 0;
            while i < m {
                let wide = (m - i).min(4);
                let sums = match (count, wide) {
                    (4, 1) => dots::<V, E, 4, 1>(x, i, k, weight, row),
                    (4, 2) => dots::<V, E, 4, 2>(x, i, k, weight, row),
                    (4, 3) => dots::<V, E, 4, 3>(x, i, k, weight, row),
                    (4, _) => dots::<V, E, 4, 4>(x, i, k, weight, row),
                    _ => {
                        let mut sums = [[0.0; 4]; 4];
                        for r in 0..count {
                            for c in 0..wide {
                                sums[r][c] = dots::<V, E, 1, 1>(x, i + c, k, weight, row + r)[0][0];
                            }
                        }
                        sums
                    }
                };
                for c in 0..wide {
                    let target = out.slice((i + c) * n + row, count);
                    for r in 0..count {
                        target[r] = sums[r][c] + bias.map_or(0.0, |bias| bias[row + r]);
                    }
                }
                i += wide;
            }
            row += count;
        }
    }
}

/// Dot products of `R` weight rows with `C` rows of `x`, sixteen partial sums each, added in a fixed order.
#[inline(always)]
unsafe fn dots<V: Vector, E: Element, const R: usize, const C: usize>(
    x: &[f32],
    i: usize,
    k: usize,
    weight: &[E],
    row: usize,
) -> [[f32; 4]; 4] {
    unsafe {
        let x = x.as_ptr().add(i * k);
        let w = weight.as_ptr().add(row * k);
        let mut sums = [[V::splat(0.0); C]; R];
        let whole = k / WIDTH * WIDTH;
        let mut at = 0;
        while at < whole {
            let mut inputs = [V::splat(0.0); C];
            for c in 0..C {
                inputs[c] = V::load(x.add(c * k + at));
            }
            for r in 0..R {
                let weights = E::load::<V>(w.add(r * k + at));
                for c in 0..C {
                    sums[r][c] = weights.fma(inputs[c], sums[r][c]);
                }
            }
            at += WIDTH;
        }
        let mut result = [[0.0; 4]; 4];
        for r in 0..R {
            for c in 0..C {
                let mut sum = sums[r][c].sum();
                for j in whole..k {
                    sum = (*w.add(r * k + j)).single().mul_add(*x.add(c * k + j), sum);
                }
                result[r][c] = sum;
            }
        }
        result
    }
}
