//! Matrix products: many rows through faer's blocked kernel, few rows through the streaming one.

use std::ops::Range;

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

use crate::buffer::{Shared, filled};
use crate::matrix::MatrixRef;
use crate::{gemv, instruction_set};

/// Below this many rows the product streams the weights instead of blocking them.
pub(crate) const FEW_ROWS: usize = 8;

/// Products with fewer multiplications than this run on the calling thread.
pub(crate) const SMALL_PRODUCT: usize = 1 << 18;

/// A dense linear map: weight `(rows, cols)` and a bias of `rows` values.
#[derive(Debug, Clone, Copy)]
pub struct Linear<'a> {
    /// The weight matrix, row-major `(rows, cols)`.
    pub weight: MatrixRef<'a>,
    /// Added to every output row.
    pub bias: Option<&'a [f32]>,
    /// Output dimension.
    pub rows: usize,
    /// Input dimension.
    pub cols: usize,
}

/// Rows and columns of the output tiles that tasks compute, each on one thread.
///
/// The choice depends on the shape alone, so a result does not depend on the number of threads; tiles shrink until
/// there are enough to share out. Tiles of 512 by 256 keep the packed operands in the second-level cache.
fn tile_shape(m: usize, n: usize) -> (usize, usize) {
    const ENOUGH: usize = 12;
    let (mut rows, mut cols) = (512, 256);
    let few = |rows: usize, cols: usize| m.div_ceil(rows) * n.div_ceil(cols) < ENOUGH;
    for (least_rows, least_cols) in [(512, 64), (128, 64), (128, 32), (32, 32)] {
        while cols > least_cols && few(rows, cols) {
            cols /= 2;
        }
        while rows > least_rows && few(rows, cols) {
            rows /= 2;
        }
    }
    (rows, cols)
}

/// Blocks of sixteen weight rows (from `least` on) and rows of activations that a task multiplies; neither changes a result.
///
/// As many rows as leave enough tasks, and for a matrix with many blocks, such as a head over a vocabulary, as many blocks: rows of
/// its output lie far apart, and pieces of a few lines each are written at half the speed of whole pages, or worse.
pub(crate) fn panel(blocks: usize, m: usize, least: usize) -> (usize, usize) {
    let threads = rayon::current_num_threads();
    let (mut wide, mut tall) = (least, 512);
    while wide < 32 && blocks.div_ceil(2 * wide) >= 16 * threads {
        wide *= 2;
    }
    while tall > 64 && blocks.div_ceil(wide) * m.div_ceil(tall) < 4 * threads {
        tall /= 2;
    }
    (wide, tall)
}

/// Computes `out (m, n)` tile by tile; `compute` is given the rows, the columns and the target of each.
pub(crate) fn tiled(
    out: &mut [f32],
    (m, k, n): (usize, usize, usize),
    compute: impl Fn(Range<usize>, Range<usize>, MatMut<'_, f32>) + Sync,
) {
    assert_eq!(out.len(), m * n);
    let (rows, cols) = tile_shape(m, n);
    let across = n.div_ceil(cols);
    let shared = Shared::new(out);
    let run = |index: usize| {
        let (i, j) = (index / across * rows, index % across * cols);
        let (end_i, end_j) = ((i + rows).min(m), (j + cols).min(n));
        // SAFETY: tiles do not overlap and lie inside `out`, which outlives the parallel region.
        let target = unsafe { MatMut::from_raw_parts_mut(shared.at(i * n + j), end_i - i, end_j - j, n as isize, 1) };
        compute(i..end_i, j..end_j, target);
    };
    let count = m.div_ceil(rows) * across;
    if m * k * n < SMALL_PRODUCT {
        (0..count).for_each(run);
    } else {
        (0..count).into_par_iter().with_max_len(1).for_each(run);
    }
}

/// `out (m, n) = x (m, k) · wᵀ`, with `w` stored as `(n, k)`.
///
/// # Panics
/// When a slice does not have the length its shape needs.
pub fn matmul_nt(x: &[f32], w: MatrixRef<'_>, out: &mut [f32], m: usize, k: usize, n: usize) {
    assert_eq!((x.len(), w.len(), out.len()), (m * k, n * k, m * n), "matmul_nt: m={m} k={k} n={n}");
    if m < FEW_ROWS {
        linear_few(x, m, &[Linear { weight: w, bias: None, rows: n, cols: k }], &mut [out]);
        return;
    }
    let x = MatRef::from_row_major_slice(x, m, k);
    tiled(out, (m, k, n), |rows, cols, target| {
        let x = x.subrows(rows.start, rows.len());
        let panel = w.range(cols.start * k, cols.end * k);
        let multiply = |panel: &[f32]| {
            let panel = MatRef::from_row_major_slice(panel, cols.len(), k);
            matmul(target, Accum::Replace, x, panel.transpose(), 1.0, Par::Seq);
        };
        match panel {
            MatrixRef::F32(panel) => multiply(panel),
            // Sixteen-bit weights are widened tile by tile, never as a whole.
            _ => multiply(&filled(panel.len(), |out| panel.widen(out))),
        }
    });
}

/// `out (m, n) = x (m, k) · w (k, n)`; added to `out` when `accumulate`.
///
/// # Panics
/// When a slice does not have the length its shape needs.
pub fn matmul_nn(x: &[f32], w: &[f32], out: &mut [f32], m: usize, k: usize, n: usize, accumulate: bool) {
    assert_eq!((x.len(), w.len(), out.len()), (m * k, n * k, m * n), "matmul_nn: m={m} k={k} n={n}");
    let x = MatRef::from_row_major_slice(x, m, k);
    product(x, MatRef::from_row_major_slice(w, k, n), out, accumulate);
}

/// `out (m, n) = xᵀ · w`, with `x` stored as `(k, m)` and `w` as `(k, n)`; added to `out` when `accumulate`.
///
/// # Panics
/// When a slice does not have the length its shape needs.
pub fn matmul_tn(x: &[f32], w: &[f32], out: &mut [f32], m: usize, k: usize, n: usize, accumulate: bool) {
    assert_eq!((x.len(), w.len(), out.len()), (m * k, n * k, m * n), "matmul_tn: m={m} k={k} n={n}");
    let x = MatRef::from_row_major_slice(x, k, m);
    product(x.transpose(), MatRef::from_row_major_slice(w, k, n), out, accumulate);
}

fn product(x: MatRef<'_, f32>, w: MatRef<'_, f32>, out: &mut [f32], accumulate: bool) {
    let accumulate = if accumulate { Accum::Add } else { Accum::Replace };
    tiled(out, (x.nrows(), x.ncols(), w.ncols()), |rows, cols, target| {
        let (x, w) = (x.subrows(rows.start, rows.len()), w.subcols(cols.start, cols.len()));
        matmul(target, accumulate, x, w, 1.0, Par::Seq);
    });
}

/// Several linear maps of the same few rows `x (m, cols)` in one parallel region; `outs[i]` is `(m, parts[i].rows)`.
///
/// # Panics
/// When a slice does not have the length its shape needs.
pub fn linear_few(x: &[f32], m: usize, parts: &[Linear<'_>], outs: &mut [&mut [f32]]) {
    assert_eq!(parts.len(), outs.len(), "one output for each map");
    let set = instruction_set();
    let threads = rayon::current_num_threads();
    let total: usize = parts.iter().map(|part| part.rows).sum();
    // One task a thread: each streams one stretch of the weights, and more tasks cost hand-overs (two a thread decoded
    // a 135M-parameter model 6 % slower).
    let span = total.div_ceil(threads).max(4);
    let mut tasks = Vec::new();
    for (index, (part, out)) in parts.iter().zip(outs.iter_mut()).enumerate() {
        assert_eq!((x.len(), out.len()), (m * part.cols, m * part.rows), "linear map {index} of {m} rows");
        assert_eq!(part.weight.len(), part.rows * part.cols, "weight of linear map {index}");
        let shared = Shared::new(out);
        let mut start = 0;
        while start < part.rows {
            let end = (start + span).min(part.rows);
            tasks.push((*part, start..end, shared));
            start = end;
        }
    }
    let run = |(part, rows, shared): (Linear<'_>, Range<usize>, Shared)| {
        gemv::rows(set, x, m, part.cols, part.weight, part.bias, rows, shared, part.rows);
    };
    if parts.first().is_none_or(|part| total * part.cols * m < SMALL_PRODUCT / 4) {
        tasks.into_iter().for_each(run);
    } else {
        tasks.into_par_iter().with_max_len(1).for_each(run);
    }
}

/// Adds `bias (cols)` to every row of `values (rows, cols)`.
pub fn add_bias(values: &mut [f32], bias: &[f32]) {
    values.par_chunks_mut(bias.len() * 32).for_each(|rows| {
        for row in rows.chunks_exact_mut(bias.len()) {
            for (value, bias) in row.iter_mut().zip(bias) {
                *value += bias;
            }
        }
    });
}

/// Column sums of `values (rows, cols)`, in a fixed order.
pub fn sum_rows(values: &[f32], cols: usize) -> Vec<f32> {
    const BLOCK: usize = 64;
    let partial: Vec<Vec<f32>> = values
        .par_chunks(cols * BLOCK)
        .map(|rows| {
            let mut sums = vec![0.0; cols];
            for row in rows.chunks_exact(cols) {
                for (sum, value) in sums.iter_mut().zip(row) {
                    *sum += value;
                }
            }
            sums
        })
        .collect();
    let mut sums = vec![0.0; cols];
    for part in partial {
        for (sum, value) in sums.iter_mut().zip(part) {
            *sum += value;
        }
    }
    sums
}

/// `a + b`, elementwise.
pub fn add(a: &[f32], b: &[f32]) -> Vec<f32> {
    const CHUNK: usize = 1 << 14;
    assert_eq!(a.len(), b.len(), "sum of slices of different length");
    filled(a.len(), |out| {
        let one = |(out, (a, b)): (&mut [f32], (&[f32], &[f32]))| {
            for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
                *out = a + b;
            }
        };
        if a.len() <= CHUNK * 2 {
            one((out, (a, b)));
        } else {
            out.par_chunks_mut(CHUNK).zip(a.par_chunks(CHUNK).zip(b.par_chunks(CHUNK))).for_each(one);
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use half::{bf16, f16};

    use super::*;
    use crate::vector::available;

    fn values(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(747_796_405).wrapping_add(1);
        (0..count)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect()
    }

    fn oracle(m: usize, n: usize, k: usize, term: impl Fn(usize, usize, usize) -> (f32, f32)) -> Vec<f64> {
        let mut out = vec![0.0; m * n];
        for i in 0..m {
            for j in 0..n {
                out[i * n + j] = (0..k)
                    .map(|l| {
                        let (a, b) = term(i, j, l);
                        f64::from(a) * f64::from(b)
                    })
                    .sum();
            }
        }
        out
    }

    fn assert_close(found: &[f32], exact: &[f64], what: &str) {
        for (i, (a, b)) in found.iter().zip(exact).enumerate() {
            assert!((f64::from(*a) - b).abs() < 2e-5 * (1.0 + b.abs()), "{what}[{i}]: {a} for {b}");
        }
    }

    #[test]
    fn products_match_double_precision() {
        for (m, k, n) in [(1, 16, 5), (3, 35, 9), (7, 64, 33), (8, 20, 7), (33, 96, 700), (65, 130, 1030)] {
            let x = values(m * k, 1);
            let w = values(n * k, 2);
            let exact = oracle(m, n, k, |i, j, l| (x[i * k + l], w[j * k + l]));
            let mut out = vec![f32::NAN; m * n];
            matmul_nt(&x, MatrixRef::F32(&w), &mut out, m, k, n);
            assert_close(&out, &exact, "f32");

            let half: Vec<f16> = w.iter().map(|&v| f16::from_f32(v)).collect();
            let exact = oracle(m, n, k, |i, j, l| (x[i * k + l], half[j * k + l].to_f32()));
            matmul_nt(&x, MatrixRef::F16(&half), &mut out, m, k, n);
            assert_close(&out, &exact, "f16");

            let brain: Vec<bf16> = w.iter().map(|&v| bf16::from_f32(v)).collect();
            let exact = oracle(m, n, k, |i, j, l| (x[i * k + l], brain[j * k + l].to_f32()));
            matmul_nt(&x, MatrixRef::Bf16(&brain), &mut out, m, k, n);
            assert_close(&out, &exact, "bf16");

            let t = values(k * n, 3);
            let exact = oracle(m, n, k, |i, j, l| (x[i * k + l], t[l * n + j]));
            matmul_nn(&x, &t, &mut out, m, k, n, false);
            assert_close(&out, &exact, "nn");
            let doubled: Vec<f64> = exact.iter().map(|v| v * 2.0).collect();
            matmul_nn(&x, &t, &mut out, m, k, n, true);
            assert_close(&out, &doubled, "nn accumulated");

            let xt = values(k * m, 4);
            let exact = oracle(m, n, k, |i, j, l| (xt[l * m + i], t[l * n + j]));
            matmul_tn(&xt, &t, &mut out, m, k, n, false);
            assert_close(&out, &exact, "tn");
        }
    }

    #[test]
    fn streaming_product_is_the_same_on_every_instruction_set() {
        let (m, k, n) = (5, 83, 14);
        let x = values(m * k, 5);
        let w = values(n * k, 6);
        let bias = values(n, 7);
        let mut first: Option<Vec<u32>> = None;
        for set in available() {
            let mut out = vec![f32::NAN; m * n];
            gemv::rows(set, &x, m, k, MatrixRef::F32(&w), Some(&bias), 0..n, Shared::new(&mut out), n);
            let bits: Vec<u32> = out.iter().map(|v| v.to_bits()).collect();
            assert_eq!(first.get_or_insert_with(|| bits.clone()), &bits, "{set:?}");
            let exact = oracle(m, n, k, |i, j, l| (x[i * k + l], w[j * k + l]));
            let exact: Vec<f64> = exact.iter().enumerate().map(|(i, v)| v + f64::from(bias[i % n])).collect();
            assert_close(&out, &exact, "streaming");
        }
    }

    #[test]
    fn results_do_not_depend_on_the_number_of_threads() {
        let (m, k, n) = (130, 192, 520);
        let x = values(m * k, 8);
        let w = values(n * k, 9);
        let half: Vec<f16> = w.iter().map(|&v| f16::from_f32(v)).collect();
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let mut all = Vec::new();
                for rows in [1, 4, m] {
                    let mut out = vec![0.0; rows * n];
                    matmul_nt(&x[..rows * k], MatrixRef::F32(&w), &mut out, rows, k, n);
                    all.extend(out.iter().map(|v| v.to_bits()));
                    matmul_nt(&x[..rows * k], MatrixRef::F16(&half), &mut out, rows, k, n);
                    all.extend(out.iter().map(|v| v.to_bits()));
                }
                let mut out = vec![0.0; k * n];
                matmul_tn(&x, &values(m * n, 10), &mut out, k, m, n, false);
                all.extend(out.iter().map(|v| v.to_bits()));
                all.extend(sum_rows(&x, k).iter().map(|v| v.to_bits()));
                all
            })
        };
        let one = run(1);
        assert_eq!(one, run(2));
        assert_eq!(one, run(5));
    }

    #[test]
    fn maps_in_one_region_equal_separate_ones() {
        let (m, k) = (2, 40);
        let x = values(m * k, 11);
        let (a, b) = (values(30 * k, 12), values(7 * k, 13));
        let bias = values(7, 14);
        let (mut left, mut right) = (vec![0.0; m * 30], vec![0.0; m * 7]);
        let parts = [
            Linear { weight: MatrixRef::F32(&a), bias: None, rows: 30, cols: k },
            Linear { weight: MatrixRef::F32(&b), bias: Some(&bias), rows: 7, cols: k },
        ];
        linear_few(&x, m, &parts, &mut [&mut left, &mut right]);
        let mut alone = vec![0.0; m * 30];
        matmul_nt(&x, MatrixRef::F32(&a), &mut alone, m, k, 30);
        assert_eq!(left, alone);
        let mut alone = vec![0.0; m * 7];
        matmul_nt(&x, MatrixRef::F32(&b), &mut alone, m, k, 7);
        add_bias(&mut alone, &bias);
        assert_eq!(right, alone);
        assert_eq!(add(&alone, &bias.repeat(2))[8], alone[8] + bias[1]);
        assert_eq!(sum_rows(&[1.0, 2.0, 3.0, 4.0], 2), [4.0, 6.0]);
    }
}
