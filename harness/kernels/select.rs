//! Passes with which tokens are chosen from a row of logits without sorting it. Natural logarithms; sums of a row are
//! carried in f64.

use crate::instruction_set;
use crate::vector::{WIDTH, exp, vectorised};

/// Elements summed in f32 lanes before their sum goes to f64; also those between two totals of [`exponentials`].
pub const BLOCK: usize = 512;

/// Elements of which [`block_maxima`] keeps the largest.
pub const MAXIMA_BLOCK: usize = 64;

/// Copies a row and finds the largest element of every [`MAXIMA_BLOCK`] elements, as [`block_maxima`] does. Whether every
/// element is a finite number; where one is not, the maxima mean nothing.
pub fn copy(row: &[f32], out: &mut Vec<f32>, maxima: &mut Vec<f32>) -> bool {
    // Zero times an infinity or a NaN is a NaN, and a sum never loses one.
    copy_on(instruction_set(), row, out, maxima) == 0.0
}

/// The smallest and the largest element. NaNs are not told apart.
///
/// # Panics
/// When the row is empty.
pub fn extremes(row: &[f32]) -> (f32, f32) {
    assert!(!row.is_empty(), "extremes of an empty row");
    extremes_on(instruction_set(), row)
}

/// The largest element of every [`MAXIMA_BLOCK`] elements, the last block being shorter. NaNs are not told apart.
pub fn block_maxima(row: &[f32], maxima: &mut Vec<f32>) {
    maxima.clear();
    maxima.resize(row.len().div_ceil(MAXIMA_BLOCK), f32::NEG_INFINITY);
    maxima_of(instruction_set(), row, maxima);
}

/// Writes `e^(z − max)` of every element, and the total up to the end of every [`BLOCK`] elements; returns
/// `Σ e^(z − max) · (z − max)`.
pub fn exponentials(row: &[f32], max: f32, out: &mut Vec<f32>, totals: &mut Vec<f64>) -> f64 {
    totals.clear();
    exponentials_on(instruction_set(), row, max, out, totals)
}

/// `Σ e^(z − max)` and `Σ e^(z − max) · (z − max)`, from which the entropy follows.
pub fn moments(row: &[f32], max: f32) -> (f64, f64) {
    moments_on(instruction_set(), row, max)
}

/// `Σ e^(2 (z − max))`, from which the probability that two draws agree follows.
pub fn squares(row: &[f32], max: f32) -> f64 {
    squares_on(instruction_set(), row, max)
}

/// Mean and population standard deviation.
///
/// # Panics
/// When the row is empty.
pub fn spread(row: &[f32]) -> (f64, f64) {
    assert!(!row.is_empty(), "spread of an empty row");
    let set = instruction_set();
    let count = row.len() as f64;
    let mean = total(set, row) / count;
    // Deviations from the mean rounded to f32, and what the rounding did to their sum of squares.
    let center = mean as f32;
    let squares = deviations(set, row, center) / count - (mean - f64::from(center)).powi(2);
    (mean, squares.max(0.0).sqrt())
}

/// `(z − from) · factor + to` in place of every element.
pub fn rescale(row: &mut [f32], from: f32, factor: f32, to: f32) {
    rescale_on(instruction_set(), row, from, factor, to);
}

vectorised! {
    fn copy_on<V>(row: &[f32], out: &mut Vec<f32>, maxima: &mut Vec<f32>) -> f32 {
        let blocks = row.len().div_ceil(MAXIMA_BLOCK);
        for (buffer, count) in [(&mut *out, row.len()), (&mut *maxima, blocks)] {
            buffer.clear();
            buffer.reserve(count);
        }
        let (to, to_maxima) = (out.as_mut_ptr(), maxima.as_mut_ptr());
        let zero = V::splat(0.0);
        let mut zeros = [zero; 4];
        for block in 0..blocks {
            let start = block * MAXIMA_BLOCK;
            let mut largest = V::splat(f32::NEG_INFINITY);
            if start + MAXIMA_BLOCK <= row.len() {
                for (i, lanes) in zeros.iter_mut().enumerate() {
                    let x = V::load(row.as_ptr().add(start + i * WIDTH));
                    x.store(to.add(start + i * WIDTH));
                    *lanes = x.fma(zero, *lanes);
                    largest = largest.max(x);
                }
            } else {
                for at in (start..row.len()).step_by(WIDTH) {
                    let count = (row.len() - at).min(WIDTH);
                    let x = V::load_partial(row.as_ptr().add(at), count, row[at]);
                    x.store_partial(to.add(at), count);
                    zeros[0] = x.fma(zero, zeros[0]);
                    largest = largest.max(x);
                }
            }
            *to_maxima.add(block) = largest.maximum();
        }
        // Every element of both has been written above.
        out.set_len(row.len());
        maxima.set_len(blocks);
        zeros[0].add(zeros[1]).add(zeros[2].add(zeros[3])).sum()
    }
}

vectorised! {
    fn extremes_on<V>(row: &[f32]) -> (f32, f32) {
        let first = row[0];
        let mut low = [V::splat(first); 2];
        let mut high = [V::splat(first); 2];
        let mut at = 0;
        while at < row.len() {
            for i in 0..2 {
                let start = (at + i * WIDTH).min(row.len());
                let x = V::load_partial(row.as_ptr().add(start), (row.len() - start).min(WIDTH), first);
                low[i] = low[i].min(x);
                high[i] = high[i].max(x);
            }
            at += 2 * WIDTH;
        }
        let smallest = low[0].min(low[1]).to_array().into_iter().fold(first, f32::min);
        (smallest, high[0].max(high[1]).maximum())
    }
}

vectorised! {
    fn maxima_of<V>(row: &[f32], maxima: &mut [f32]) -> () {
        assert!(maxima.len() == row.len().div_ceil(MAXIMA_BLOCK));
        for (block, max) in maxima.iter_mut().enumerate() {
            let mut at = block * MAXIMA_BLOCK;
            let end = (at + MAXIMA_BLOCK).min(row.len());
            let mut lanes = V::splat(f32::NEG_INFINITY);
            while at < end {
                let count = (end - at).min(WIDTH);
                let x = if count == WIDTH {
                    V::load(row.as_ptr().add(at))
                } else {
                    V::load_partial(row.as_ptr().add(at), count, f32::NEG_INFINITY)
                };
                lanes = lanes.max(x);
                at += WIDTH;
            }
            *max = lanes.maximum();
        }
    }
}

vectorised! {
    fn exponentials_on<V>(row: &[f32], max: f32, out: &mut Vec<f32>, totals: &mut Vec<f64>) -> f64 {
        out.clear();
        out.reserve(row.len());
        let to = out.as_mut_ptr();
        // A finite difference, so that a weight of zero makes its product zero.
        let (shift, lowest) = (V::splat(max), V::splat(-1e30));
        let (mut total, mut moment) = (0.0, 0.0);
        for start in (0..row.len()).step_by(BLOCK) {
            let end = (start + BLOCK).min(row.len());
            let mut lanes = [V::splat(0.0); 4];
            let mut moments = [V::splat(0.0); 4];
            let mut at = start;
            while at + 4 * WIDTH <= end {
                for i in 0..4 {
                    let d = lowest.max(V::load(row.as_ptr().add(at + i * WIDTH)).sub(shift));
                    let e = exp(d);
                    e.store(to.add(at + i * WIDTH));
                    lanes[i] = lanes[i].add(e);
                    moments[i] = e.fma(d, moments[i]);
                }
                at += 4 * WIDTH;
            }
            while at < end {
                let count = (end - at).min(WIDTH);
                let d = lowest.max(V::load_partial(row.as_ptr().add(at), count, f32::NEG_INFINITY).sub(shift));
                let e = exp(d);
                e.store_partial(to.add(at), count);
                lanes[0] = lanes[0].add(e);
                moments[0] = e.fma(d, moments[0]);
                at += WIDTH;
            }
            total += f64::from(lanes[0].add(lanes[1]).add(lanes[2].add(lanes[3])).sum());
            moment += f64::from(moments[0].add(moments[1]).add(moments[2].add(moments[3])).sum());
            totals.push(total);
        }
        // Every element has been written above.
        out.set_len(row.len());
        moment
    }
}

vectorised! {
    fn moments_on<V>(row: &[f32], max: f32) -> (f64, f64) {
        let shift = V::splat(max);
        let (mut weight, mut moment) = (0.0, 0.0);
        for start in (0..row.len()).step_by(BLOCK) {
            let end = (start + BLOCK).min(row.len());
            let mut sums = [V::splat(0.0); 2];
            let mut moments = [V::splat(0.0); 2];
            let mut at = start;
            while at + 2 * WIDTH <= end {
                for i in 0..2 {
                    let d = V::load(row.as_ptr().add(at + i * WIDTH)).sub(shift);
                    let e = exp(d);
                    sums[i] = sums[i].add(e);
                    moments[i] = e.fma(d, moments[i]);
                }
                at += 2 * WIDTH;
            }
            while at < end {
                // Lanes past the end get weight zero and a finite difference.
                let d = V::load_partial(row.as_ptr().add(at), (end - at).min(WIDTH), -1e30).sub(shift);
                let e = exp(d);
                sums[0] = sums[0].add(e);
                moments[0] = e.fma(d, moments[0]);
                at += WIDTH;
            }
            weight += f64::from(sums[0].add(sums[1]).sum());
            moment += f64::from(moments[0].add(moments[1]).sum());
        }
        (weight, moment)
    }
}

vectorised! {
    fn squares_on<V>(row: &[f32], max: f32) -> f64 {
        let shift = V::splat(max);
        let mut total = 0.0;
        for start in (0..row.len()).step_by(BLOCK) {
            let end = (start + BLOCK).min(row.len());
            let mut lanes = V::splat(0.0);
            let mut at = start;
            while at < end {
                let e = exp(V::load_partial(row.as_ptr().add(at), (end - at).min(WIDTH), f32::NEG_INFINITY).sub(shift));
                lanes = e.fma(e, lanes);
                at += WIDTH;
            }
            total += f64::from(lanes.sum());
        }
        total
    }
}

vectorised! {
    fn total<V>(row: &[f32]) -> f64 {
        let mut total = 0.0;
        for start in (0..row.len()).step_by(BLOCK) {
            let end = (start + BLOCK).min(row.len());
            let mut lanes = V::splat(0.0);
            let mut at = start;
            while at < end {
                lanes = lanes.add(V::load_partial(row.as_ptr().add(at), (end - at).min(WIDTH), 0.0));
                at += WIDTH;
            }
            total += f64::from(lanes.sum());
        }
        total
    }
}

vectorised! {
    /// `Σ (z − center)²`.
    fn deviations<V>(row: &[f32], center: f32) -> f64 {
        let shift = V::splat(center);
        let mut total = 0.0;
        for start in (0..row.len()).step_by(BLOCK) {
            let end = (start + BLOCK).min(row.len());
            let mut lanes = V::splat(0.0);
            let mut at = start;
            while at < end {
                let d = V::load_partial(row.as_ptr().add(at), (end - at).min(WIDTH), center).sub(shift);
                lanes = d.fma(d, lanes);
                at += WIDTH;
            }
            total += f64::from(lanes.sum());
        }
        total
    }
}

vectorised! {
    fn rescale_on<V>(row: &mut [f32], from: f32, factor: f32, to: f32) -> () {
        let (from, factor, to) = (V::splat(from), V::splat(factor), V::splat(to));
        for at in (0..row.len()).step_by(WIDTH) {
            let count = (row.len() - at).min(WIDTH);
            let x = V::load_partial(row.as_ptr().add(at), count, 0.0);
            x.sub(from).fma(factor, to).store_partial(row.as_mut_ptr().add(at), count);
        }
    }
}

#[cfg(test)]
#[path = "select_tests.rs"]
mod tests;
