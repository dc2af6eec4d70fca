//! Passes with which tokens are chosen from a row of logits without sorting it. Natural logarithms; sums of a row are
//! carried in f64.

use crate::instruction_set;
use crate::vector::{WIDTH, exp, vectorised};

/// Elements summed in f32 lanes before their sum goes to f64; also those between two totals of [`exponentials`].
pub const BLOCK: usize = 512;

/// Elements of which [`block_maxima`] keeps the largest.
pub const MAXIMA_BLOCK: usize = 64;

/// Bounds compared in one pass of [`masses_above`].
pub const BOUNDS: usize = 8;

/// Whether every element is a finite number.
pub fn all_finite(row: &[f32]) -> bool {
    // Zero times an infinity or a NaN is a NaN, and a sum never loses one.
    zeros(instruction_set(), row) == 0.0
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

/// Writes `e^(z − max)` of every element, and the total up to the end of every [`BLOCK`] elements.
pub fn exponentials(row: &[f32], max: f32, out: &mut Vec<f32>, totals: &mut Vec<f64>) {
    out.resize(row.len(), 0.0);
    totals.clear();
    exponentials_on(instruction_set(), row, max, out, totals);
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

/// Sums of the weights whose score is at least each bound.
///
/// # Panics
/// When the slices differ in length.
pub fn masses_above(scores: &[f32], weights: &[f32], bounds: &[f32; BOUNDS]) -> [f64; BOUNDS] {
    masses_on(instruction_set(), scores, weights, bounds)
}

/// `(z − from) · factor + to` in place of every element.
pub fn rescale(row: &mut [f32], from: f32, factor: f32, to: f32) {
    rescale_on(instruction_set(), row, from, factor, to);
}

/// Writes `−|z − from|` of every element.
pub fn nearness(row: &[f32], from: f32, out: &mut Vec<f32>) {
    out.resize(row.len(), 0.0);
    nearness_on(instruction_set(), row, from, out);
}

/// Writes `e^(z − max)` of every element in f64, within 1e-15 of it.
pub fn wide_exponentials(row: &[f32], max: f32, out: &mut Vec<f64>) {
    out.resize(row.len(), 0.0);
    wide_on(instruction_set(), row, max, out);
}

/// Appends index and value of every element from `low` up to but not `high`; blocks whose largest element is below `low`
/// are passed over. `maxima` are the [`block_maxima`] of the row.
///
/// # Panics
/// When `maxima` belongs to a row of another length.
pub fn between(row: &[f32], maxima: &[f32], low: f32, high: f32, indices: &mut Vec<u32>, values: &mut Vec<f32>) {
    assert_eq!(maxima.len(), row.len().div_ceil(MAXIMA_BLOCK), "block maxima of another row");
    collect(instruction_set(), row, maxima, low, high, indices, values);
}

vectorised! {
    fn zeros<V>(row: &[f32]) -> f32 {
        let zero = V::splat(0.0);
        let mut lanes = [zero; 4];
        let mut at = 0;
        while at + 4 * WIDTH <= row.len() {
            for (i, lane) in lanes.iter_mut().enumerate() {
                *lane = V::load(row.as_ptr().add(at + i * WIDTH)).fma(zero, *lane);
            }
            at += 4 * WIDTH;
        }
        while at < row.len() {
            let x = V::load_partial(row.as_ptr().add(at), (row.len() - at).min(WIDTH), 0.0);
            lanes[0] = x.fma(zero, lanes[0]);
            at += WIDTH;
        }
        lanes[0].add(lanes[1]).add(lanes[2].add(lanes[3])).sum()
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
    fn exponentials_on<V>(row: &[f32], max: f32, out: &mut [f32], totals: &mut Vec<f64>) -> () {
        assert!(row.len() == out.len());
        let shift = V::splat(max);
        let mut total = 0.0;
        for start in (0..row.len()).step_by(BLOCK) {
            let end = (start + BLOCK).min(row.len());
            let mut lanes = [V::splat(0.0); 4];
            let mut at = start;
            while at + 4 * WIDTH <= end {
                for (i, lane) in lanes.iter_mut().enumerate() {
                    let e = exp(V::load(row.as_ptr().add(at + i * WIDTH)).sub(shift));
                    e.store(out.as_mut_ptr().add(at + i * WIDTH));
                    *lane = lane.add(e);
                }
                at += 4 * WIDTH;
            }
            while at < end {
                let count = (end - at).min(WIDTH);
                let e = exp(V::load_partial(row.as_ptr().add(at), count, f32::NEG_INFINITY).sub(shift));
                e.store_partial(out.as_mut_ptr().add(at), count);
                lanes[0] = lanes[0].add(e);
                at += WIDTH;
            }
            total += f64::from(lanes[0].add(lanes[1]).add(lanes[2].add(lanes[3])).sum());
            totals.push(total);
        }
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
    fn masses_on<V>(scores: &[f32], weights: &[f32], bounds: &[f32; BOUNDS]) -> [f64; BOUNDS] {
        assert!(scores.len() == weights.len());
        let zero = V::splat(0.0);
        let mut totals = [0.0; BOUNDS];
        for start in (0..scores.len()).step_by(BLOCK) {
            let end = (start + BLOCK).min(scores.len());
            let mut lanes = [zero; BOUNDS];
            let mut at = start;
            while at < end {
                let count = (end - at).min(WIDTH);
                let score = V::load_partial(scores.as_ptr().add(at), count, f32::NEG_INFINITY);
                let weight = V::load_partial(weights.as_ptr().add(at), count, 0.0);
                for (lane, bound) in lanes.iter_mut().zip(bounds) {
                    *lane = lane.add(score.select_less(V::splat(*bound), zero, weight));
                }
                at += WIDTH;
            }
            for (total, lane) in totals.iter_mut().zip(lanes) {
                *total += f64::from(lane.sum());
            }
        }
        totals
    }
}

vectorised! {
    fn collect<V>(row: &[f32], maxima: &[f32], low: f32, high: f32, indices: &mut Vec<u32>, values: &mut Vec<f32>) -> () {
        assert!(maxima.len() == row.len().div_ceil(MAXIMA_BLOCK));
        let (bound, limit) = (V::splat(low), V::splat(high));
        let blocks = || maxima.iter().enumerate().filter(|(_, max)| **max >= low);
        // Room for all that may be found, and for what a store writes past it.
        let room = blocks().count() * MAXIMA_BLOCK + WIDTH;
        indices.reserve(room);
        values.reserve(room);
        let (mut to_index, mut to_value) = (indices.as_mut_ptr().add(indices.len()), values.as_mut_ptr().add(values.len()));
        let mut found = 0;
        for (block, _) in blocks() {
            let start = block * MAXIMA_BLOCK;
            let end = (start + MAXIMA_BLOCK).min(row.len());
            for at in (start..end).step_by(WIDTH) {
                let count = (end - at).min(WIDTH);
                let lanes = V::load_partial(row.as_ptr().add(at), count, f32::NEG_INFINITY);
                let kept = lanes.at_least(bound) & !lanes.at_least(limit) & ((1 << count) - 1);
                lanes.compress(kept, to_value);
                V::compress_places(at as u32, kept, to_index);
                let more = kept.count_ones() as usize;
                (to_index, to_value, found) = (to_index.add(more), to_value.add(more), found + more);
            }
        }
        indices.set_len(indices.len() + found);
        values.set_len(values.len() + found);
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

vectorised! {
    fn nearness_on<V>(row: &[f32], from: f32, out: &mut [f32]) -> () {
        assert!(row.len() == out.len());
        let from = V::splat(from);
        for at in (0..row.len()).step_by(WIDTH) {
            let count = (row.len() - at).min(WIDTH);
            let x = V::load_partial(row.as_ptr().add(at), count, 0.0);
            x.sub(from).min(from.sub(x)).store_partial(out.as_mut_ptr().add(at), count);
        }
    }
}

vectorised! {
    fn wide_on<V>(row: &[f32], max: f32, out: &mut [f64]) -> () {
        assert!(row.len() == out.len());
        for (z, out) in row.iter().zip(out.iter_mut()) {
            *out = wide_exp(f64::from(*z) - f64::from(max));
        }
    }
}

/// `e^x` for `x <= 0` by a polynomial, without a table or a branch, so that loops over it become vectors. Zero below -708.
#[inline(always)]
fn wide_exp(x: f64) -> f64 {
    // Adding and taking away 1.5 · 2^52 rounds to the nearest integer, which then stands in the low bits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    let clamped = if x < -708.0 { -708.0 } else { x };
    let shifted = clamped * std::f64::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    // ln 2 in two parts, the first with trailing zeros so that n times it is exact.
    let r = (clamped - n * 0.693_147_180_369_123_8) - n * 1.908_214_929_270_587_7e-10;
    let mut p = 1.0 / 6_227_020_800.0;
    for coefficient in [
        1.0 / 479_001_600.0,
        1.0 / 39_916_800.0,
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5_040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ] {
        p = p * r + coefficient;
    }
    let power = f64::from_bits((shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(1023)) << 52);
    if x < -708.0 { 0.0 } else { p * power }
}

#[cfg(test)]
#[path = "select_tests.rs"]
mod tests;
