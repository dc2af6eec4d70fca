//! Root-mean-square and layer normalisation of rows, forwards and backwards.

use std::ops::Range;

use rayon::prelude::*;

use crate::buffer::filled;
use crate::instruction_set;
use crate::vector::{Vector, WIDTH, exp, vectorised};

/// Rows one task handles; also the block of rows whose weight gradients are summed together, so it is fixed.
const BLOCK: usize = 32;

/// `out = x / sqrt(mean(x²) + epsilon) · weight` for every row of `x (rows, cols)`; `weight` has `cols` values.
pub fn rms_norm(x: &[f32], weight: &[f32], epsilon: f32) -> Vec<f32> {
    norm(x, weight, None, epsilon, false, 0..weight.len())
}

/// The columns `part` of [`rms_norm`], `(rows, part)`, to the bit: the mean square is that of all columns.
pub fn rms_norm_part(x: &[f32], weight: &[f32], epsilon: f32, part: Range<usize>) -> Vec<f32> {
    norm(x, weight, None, epsilon, false, part)
}

/// `out = (x − mean) / sqrt(variance + epsilon) · weight + bias` for every row of `x (rows, cols)`.
pub fn layer_norm(x: &[f32], weight: &[f32], bias: Option<&[f32]>, epsilon: f32) -> Vec<f32> {
    norm(x, weight, bias, epsilon, true, 0..weight.len())
}

/// The columns `part` of [`layer_norm`], `(rows, part)`, to the bit: mean and variance are those of all columns.
pub fn layer_norm_part(x: &[f32], weight: &[f32], bias: Option<&[f32]>, epsilon: f32, part: Range<usize>) -> Vec<f32> {
    norm(x, weight, bias, epsilon, true, part)
}

fn norm(x: &[f32], weight: &[f32], bias: Option<&[f32]>, epsilon: f32, centred: bool, part: Range<usize>) -> Vec<f32> {
    let (cols, left) = (weight.len(), part.len());
    assert!(x.len().is_multiple_of(cols) && bias.is_none_or(|bias| bias.len() == cols), "norm over {cols} columns");
    let set = instruction_set();
    let (start, weight, bias) = (part.start, &weight[part.clone()], bias.map(|bias| &bias[part]));
    filled(x.len() / cols * left, |out| {
        let work = |(out, x): (&mut [f32], &[f32])| forward(set, x, cols, start, weight, bias, epsilon, centred, out);
        if x.len() <= cols * BLOCK {
            work((out, x));
        } else {
            out.par_chunks_mut(left * BLOCK).zip(x.par_chunks(cols * BLOCK)).for_each(work);
        }
    })
}

/// Gradients of a normalisation: of the input `(rows, cols)`, the weight `(cols)` and the bias `(cols)`.
#[derive(Debug, Clone)]
pub struct NormGradient {
    /// Gradient of the input.
    pub input: Vec<f32>,
    /// Gradient of the weight.
    pub weight: Vec<f32>,
    /// Gradient of the bias (the column sums of the output gradient).
    pub bias: Vec<f32>,
}

/// Gradients of [`rms_norm`] given the gradient of its output `(rows, cols)`.
pub fn rms_norm_gradient(x: &[f32], weight: &[f32], epsilon: f32, gradient: &[f32]) -> NormGradient {
    norm_gradient(x, weight, epsilon, gradient, false)
}

/// Gradients of [`layer_norm`] given the gradient of its output `(rows, cols)`.
pub fn layer_norm_gradient(x: &[f32], weight: &[f32], epsilon: f32, gradient: &[f32]) -> NormGradient {
    norm_gradient(x, weight, epsilon, gradient, true)
}

fn norm_gradient(x: &[f32], weight: &[f32], epsilon: f32, gradient: &[f32], centred: bool) -> NormGradient {
    let cols = weight.len();
    assert!(x.len() == gradient.len() && x.len().is_multiple_of(cols), "norm gradient over {cols} columns");
    let set = instruction_set();
    let mut sums = Vec::new();
    let input = filled(x.len(), |out| {
        sums = out
            .par_chunks_mut(cols * BLOCK)
            .zip(x.par_chunks(cols * BLOCK).zip(gradient.par_chunks(cols * BLOCK)))
            .map(|(out, (x, gradient))| {
                let mut sums = vec![0.0; 2 * cols];
                backward(set, x, weight, epsilon, centred, gradient, out, &mut sums);
                sums
            })
            .collect::<Vec<_>>();
    });
    let mut total = vec![0.0; 2 * cols];
    for part in sums {
        for (total, value) in total.iter_mut().zip(part) {
            *total += value;
        }
    }
    let bias = total.split_off(cols);
    NormGradient { input, weight: total, bias }
}

#[inline(always)]
unsafe fn statistics<V: Vector>(row: &[f32], epsilon: f32, centred: bool) -> (f32, f32) {
    unsafe {
        let cols = row.len();
        let mut mean = 0.0;
        if centred {
            let mut sum = V::splat(0.0);
            for at in (0..cols).step_by(WIDTH) {
                sum = sum.add(V::load_partial(row.as_ptr().add(at), (cols - at).min(WIDTH), 0.0));
            }
            mean = sum.sum() / cols as f32;
        }
        let mut squares = V::splat(0.0);
        for at in (0..cols).step_by(WIDTH) {
            let x = V::load_partial(row.as_ptr().add(at), (cols - at).min(WIDTH), mean).sub(V::splat(mean));
            squares = x.fma(x, squares);
        }
        (mean, 1.0 / (squares.sum() / cols as f32 + epsilon).sqrt())
    }
}

vectorised! {
    fn forward<V>(
        x: &[f32], cols: usize, start: usize, weight: &[f32], bias: Option<&[f32]>, epsilon: f32, centred: bool, out: &mut [f32],
    ) {
        let left = weight.len();
        assert!(x.len() / cols * left == out.len() && start + left <= cols && bias.is_none_or(|bias| bias.len() == left));
        for (row, out) in x.chunks_exact(cols).zip(out.chunks_exact_mut(left)) {
            let (mean, scale) = statistics::<V>(row, epsilon, centred);
            let row = &row[start..start + left];
            for at in (0..left).step_by(WIDTH) {
                let count = (left - at).min(WIDTH);
                let normal = V::load_partial(row.as_ptr().add(at), count, 0.0).sub(V::splat(mean)).mul(V::splat(scale));
                let mut y = normal.mul(V::load_partial(weight.as_ptr().add(at), count, 0.0));
                if let Some(bias) = bias {
                    y = y.add(V::load_partial(bias.as_ptr().add(at), count, 0.0));
                }
                y.store_partial(out.as_mut_ptr().add(at), count);
            }
        }
    }
}

vectorised! {
    fn backward<V>(
        x: &[f32], weight: &[f32], epsilon: f32, centred: bool, gradient: &[f32], out: &mut [f32], sums: &mut [f32],
    ) {
        let cols = weight.len();
        assert!(x.len() == out.len() && x.len() == gradient.len() && sums.len() == 2 * cols);
        for ((row, gradient), out) in x.chunks_exact(cols).zip(gradient.chunks_exact(cols)).zip(out.chunks_exact_mut(cols)) {
            let (mean, scale) = statistics::<V>(row, epsilon, centred);
            // With n = (x − mean)·scale and h = gradient·weight: dx = scale·(h − mean(h) − n·mean(h·n)).
            let (mut along, mut level) = (V::splat(0.0), V::splat(0.0));
            for at in (0..cols).step_by(WIDTH) {
                let count = (cols - at).min(WIDTH);
                let n = V::load_partial(row.as_ptr().add(at), count, mean).sub(V::splat(mean)).mul(V::splat(scale));
                let g = V::load_partial(gradient.as_ptr().add(at), count, 0.0);
                let h = g.mul(V::load_partial(weight.as_ptr().add(at), count, 0.0));
                along = h.fma(n, along);
                level = level.add(h);
                let weight_sum = sums.as_mut_ptr().add(at);
                g.fma(n, V::load_partial(weight_sum, count, 0.0)).store_partial(weight_sum, count);
                let bias_sum = sums.as_mut_ptr().add(cols + at);
                g.add(V::load_partial(bias_sum, count, 0.0)).store_partial(bias_sum, count);
            }
            let along = V::splat(along.sum() / cols as f32);
            let level = V::splat(if centred { level.sum() / cols as f32 } else { 0.0 });
            for at in (0..cols).step_by(WIDTH) {
                let count = (cols - at).min(WIDTH);
                let n = V::load_partial(row.as_ptr().add(at), count, mean).sub(V::splat(mean)).mul(V::splat(scale));
                let g = V::load_partial(gradient.as_ptr().add(at), count, 0.0);
                let h = g.mul(V::load_partial(weight.as_ptr().add(at), count, 0.0));
                h.sub(level).sub(n.mul(along)).mul(V::splat(scale)).store_partial(out.as_mut_ptr().add(at), count);
            }
        }
    }
}

/// Turns every row of `values (rows, cols)` into its softmax, in place.
pub fn softmax(values: &mut [f32], cols: usize) {
    let set = instruction_set();
    values
        .par_chunks_mut(cols * BLOCK)
        .for_each(|rows| rows.chunks_exact_mut(cols).for_each(|row| softmax_row(set, row)));
}

vectorised! {
    fn softmax_row<V>(row: &mut [f32]) {
        let cols = row.len();
        let mut largest = V::splat(f32::NEG_INFINITY);
        for at in (0..cols).step_by(WIDTH) {
            largest = largest.max(V::load_partial(row.as_ptr().add(at), (cols - at).min(WIDTH), f32::NEG_INFINITY));
        }
        let largest = V::splat(largest.maximum());
        let mut sum = V::splat(0.0);
        for at in (0..cols).step_by(WIDTH) {
            let count = (cols - at).min(WIDTH);
            let e = exp(V::load_partial(row.as_ptr().add(at), count, f32::NEG_INFINITY).sub(largest));
            sum = sum.add(e);
            e.store_partial(row.as_mut_ptr().add(at), count);
        }
        let scale = V::splat(1.0 / sum.sum());
        for at in (0..cols).step_by(WIDTH) {
            let count = (cols - at).min(WIDTH);
            let at = row.as_mut_ptr().add(at);
            V::load_partial(at, count, 0.0).mul(scale).store_partial(at, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(count: usize, phase: f32) -> Vec<f32> {
        (0..count).map(|i| (i as f32 * 1.7 + phase).sin() + 0.3).collect()
    }

    fn exact(x: &[f32], w: &[f32], b: &[f32], centred: bool) -> Vec<f64> {
        let cols = w.len();
        let mut out = Vec::new();
        for row in x.chunks(cols) {
            let mean = if centred { row.iter().map(|&v| f64::from(v)).sum::<f64>() / cols as f64 } else { 0.0 };
            let square = row.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / cols as f64;
            for (i, &v) in row.iter().enumerate() {
                out.push((f64::from(v) - mean) / (square + 1e-5).sqrt() * f64::from(w[i]) + f64::from(b[i]));
            }
        }
        out
    }

    #[test]
    fn norms_and_their_gradients_match_double_precision() {
        let (rows, cols) = (70, 37);
        let (x, w, b, g) = (sample(rows * cols, 0.1), sample(cols, 1.0), sample(cols, 2.0), sample(rows * cols, 3.0));
        let zero = vec![0.0; cols];
        for centred in [false, true] {
            let bias = if centred { &b } else { &zero };
            let found = norm(&x, &w, Some(bias), 1e-5, centred, 0..cols);
            for (a, e) in found.iter().zip(exact(&x, &w, bias, centred)) {
                assert!((f64::from(*a) - e).abs() < 1e-5, "{a} for {e}");
            }
            let gradient = norm_gradient(&x, &w, 1e-5, &g, centred);
            let objective = |x: &[f32], w: &[f32], b: &[f32]| -> f64 {
                exact(x, w, b, centred).iter().zip(&g).map(|(y, g)| y * f64::from(*g)).sum()
            };
            let difference = |values: &[f32], at: usize, f: &dyn Fn(&[f32]) -> f64| {
                let (mut up, mut down) = (values.to_vec(), values.to_vec());
                up[at] += 1e-2;
                down[at] -= 1e-2;
                (f(&up) - f(&down)) / (f64::from(up[at]) - f64::from(down[at]))
            };
            for at in [0, 5, 36, 37, 1000, rows * cols - 1] {
                let expected = difference(&x, at, &|x| objective(x, &w, bias));
                assert!((f64::from(gradient.input[at]) - expected).abs() < 2e-3, "{at}: {expected}");
            }
            for at in [0, 17, 36] {
                let expected = difference(&w, at, &|w| objective(&x, w, bias));
                assert!((f64::from(gradient.weight[at]) - expected).abs() < 2e-3, "{expected}");
                let expected = difference(bias, at, &|b| objective(&x, &w, b));
                assert!((f64::from(gradient.bias[at]) - expected).abs() < 2e-3, "{expected}");
            }
        }
    }

    #[test]
    fn a_part_of_a_norm_is_that_part_of_the_whole_to_the_bit() {
        let (rows, cols) = (70, 37);
        let (x, w, b) = (sample(rows * cols, 0.1), sample(cols, 1.0), sample(cols, 2.0));
        for part in [0..37, 0..1, 3..36, 36..37] {
            let of = |whole: &[f32]| -> Vec<f32> {
                whole.chunks_exact(cols).flat_map(|row| row[part.clone()].iter().copied()).collect()
            };
            assert_eq!(rms_norm_part(&x, &w, 1e-5, part.clone()), of(&rms_norm(&x, &w, 1e-5)));
            let found = layer_norm_part(&x, &w, Some(&b), 1e-5, part.clone());
            assert_eq!(found, of(&layer_norm(&x, &w, Some(&b), 1e-5)));
        }
    }

    #[test]
    fn softmax_rows_sum_to_one() {
        let mut values = sample(3 * 50, 0.0);
        let exact: f64 = values[50..100].iter().map(|&v| f64::from(v).exp()).sum();
        let expected = f64::from(values[57]).exp() / exact;
        softmax(&mut values, 50);
        assert!((f64::from(values[57]) - expected).abs() < 1e-7);
        assert!((values[100..].iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }
}
