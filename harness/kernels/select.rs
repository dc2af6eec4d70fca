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
mod tests {
    use super::*;
    use crate::vector::{InstructionSet, available};

    fn row(count: usize, phase: f64) -> Vec<f32> {
        (0..count).map(|i| ((i as f64 * 12.9898 + phase).sin() * 6.0) as f32).collect()
    }

    const COUNTS: [usize; 8] = [1, 15, 16, 63, 64, 513, 4999, 49_152];

    fn close(found: f64, wanted: f64) {
        assert!((found - wanted).abs() <= 4e-7 * wanted.abs().max(1e-3), "{found} for {wanted}");
    }

    #[test]
    fn sums_match_double_precision_on_every_instruction_set() {
        for count in COUNTS {
            let values = row(count, 0.5);
            let max = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let terms = || values.iter().map(|v| f64::from(*v) - f64::from(max));
            let mut out = vec![0.0; count];
            for set in available() {
                let mut totals = Vec::new();
                exponentials_on(set, &values, max, &mut out, &mut totals);
                assert_eq!(totals.len(), count.div_ceil(BLOCK));
                close(totals[totals.len() - 1], terms().map(f64::exp).sum());
                close(totals[0], terms().take(BLOCK).map(f64::exp).sum());
                for (found, wanted) in out.iter().zip(terms()) {
                    assert!((f64::from(*found) - wanted.exp()).abs() < 2e-7);
                }
                let (weight, moment) = moments_on(set, &values, max);
                close(weight, terms().map(f64::exp).sum());
                close(moment, terms().map(|d| d * d.exp()).sum());
                close(squares_on(set, &values, max), terms().map(|d| (2.0 * d).exp()).sum());
                assert_eq!(moments_on(set, &values, max), moments_on(InstructionSet::Scalar, &values, max));
            }
            let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / count as f64;
            let variance = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / count as f64;
            let (found_mean, found) = spread(&values);
            assert!((found_mean - mean).abs() < 1e-6 && (found - variance.sqrt()).abs() < 1e-6);
        }
    }

    #[test]
    fn what_is_not_finite_shows_wherever_it_stands() {
        for count in COUNTS {
            let values = row(count, 0.1);
            assert!(all_finite(&values));
            for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for at in [0, count / 2, count - 1] {
                    let mut values = values.clone();
                    values[at] = wrong;
                    assert!(!all_finite(&values), "{wrong} at {at} of {count}");
                }
            }
        }
    }

    #[test]
    fn masses_and_collected_elements_are_those_of_a_plain_loop() {
        for count in COUNTS {
            let (scores, weights) = (row(count, 0.2), row(count, 0.9).iter().map(|v| v.abs()).collect::<Vec<_>>());
            let bounds = [-7.0, -5.5, -2.0, 0.0, 0.5, 3.0, 5.99, 7.0];
            for set in available() {
                for (bound, found) in bounds.iter().zip(masses_on(set, &scores, &weights, &bounds)) {
                    let kept = scores.iter().zip(&weights).filter(|(score, _)| *score >= bound);
                    close(found, kept.map(|(_, weight)| f64::from(*weight)).sum());
                }
            }
            let bounds_of = |f: fn(f32, f32) -> f32| scores.iter().copied().reduce(f).unwrap_or(0.0);
            for set in available() {
                assert_eq!(extremes_on(set, &scores), (bounds_of(f32::min), bounds_of(f32::max)));
            }
            let mut maxima = Vec::new();
            block_maxima(&scores, &mut maxima);
            for (block, max) in maxima.iter().enumerate() {
                let part = &scores[block * MAXIMA_BLOCK..((block + 1) * MAXIMA_BLOCK).min(count)];
                assert_eq!(*max, part.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            }
            for bound in bounds {
                let (mut indices, mut values) = (Vec::new(), Vec::new());
                between(&scores, &maxima, bound, 4.5, &mut indices, &mut values);
                let inside = |at: &u32| scores[*at as usize] >= bound && scores[*at as usize] < 4.5;
                let wanted: Vec<u32> = (0..count as u32).filter(inside).collect();
                assert_eq!(indices, wanted);
                for set in available() {
                    let (mut again, mut same) = (Vec::new(), Vec::new());
                    collect(set, &scores, &maxima, bound, 4.5, &mut again, &mut same);
                    assert_eq!((again, same), (indices.clone(), values.clone()), "{set:?}");
                }
                assert!(indices.iter().zip(&values).all(|(at, value)| scores[*at as usize] == *value));
            }
        }
    }

    #[test]
    fn changed_rows_are_those_of_a_plain_loop() {
        for count in COUNTS {
            let values = row(count, 0.3);
            for set in available() {
                let mut scaled = values.clone();
                rescale_on(set, &mut scaled, 1.5, 0.25, -2.0);
                let mut near = vec![0.0; count];
                nearness_on(set, &values, 0.7, &mut near);
                for at in 0..count {
                    assert_eq!(scaled[at], (values[at] - 1.5).mul_add(0.25, -2.0));
                    assert_eq!(near[at], -(values[at] - 0.7).abs());
                }
            }
        }
    }

    #[test]
    fn wide_exponentials_are_those_of_the_library() {
        let values: Vec<f32> = (0..60_000).map(|at| at as f32 * -0.0131).collect();
        for set in available() {
            let mut out = vec![0.0; values.len()];
            wide_on(set, &values, 0.0, &mut out);
            for (value, found) in values.iter().zip(&out) {
                let wanted = f64::from(*value).exp();
                assert!((found - wanted).abs() <= 1e-15 * wanted || *value < -700.0, "{value}: {found} for {wanted}");
            }
            assert_eq!(out[0], 1.0);
        }
    }
}
