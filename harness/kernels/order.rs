//! Cutting a row where its elements, ordered by size or by nearness to a value, pass a bound.

use crate::instruction_set;
use crate::select::{BLOCK, MAXIMA_BLOCK};
use crate::vector::{Vector, WIDTH, vectorised};

/// Bounds compared in one pass of [`masses_above`].
pub const BOUNDS: usize = 8;

/// What elements are ordered by: those of higher score come first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Order {
    /// The score is the element.
    Largest,
    /// The score is minus the distance from this number.
    Nearest(f32),
}

impl Order {
    /// The score of an element.
    pub fn score(self, element: f32) -> f32 {
        match self {
            Self::Largest => element,
            Self::Nearest(center) => {
                let (above, below) = (element - center, center - element);
                if above < below { above } else { below }
            }
        }
    }

    /// No element up to `max` has a higher score.
    fn highest(self, max: f32) -> f32 {
        match self {
            Self::Largest => max,
            Self::Nearest(center) => max - center,
        }
    }

    fn center(self) -> Option<f32> {
        match self {
            Self::Largest => None,
            Self::Nearest(center) => Some(center),
        }
    }
}

/// Sums of the weights whose score is at least each bound.
///
/// # Panics
/// When the slices differ in length.
pub fn masses_above(scores: &[f32], weights: &[f32], bounds: &[f32; BOUNDS]) -> [f64; BOUNDS] {
    masses_on(instruction_set(), scores, weights, bounds)
}

/// Sums the weights of the elements whose score is at least `high`, and appends score and weight of those from `low` up to
/// but not `high`. `maxima` are the [`block_maxima`](crate::select::block_maxima) of the row.
///
/// # Panics
/// When the slices belong to rows of different lengths.
pub fn split(
    row: &[f32],
    maxima: &[f32],
    weights: &[f32],
    order: Order,
    (low, high): (f32, f32),
    (scores, left): (&mut Vec<f32>, &mut Vec<f32>),
) -> f64 {
    split_on(instruction_set(), row, maxima, weights, order, low, high, scores, left)
}

/// Appends place and value of every element whose score is at least `low` and below `high`; blocks whose largest element
/// rules that out are passed over. `maxima` are the [`block_maxima`](crate::select::block_maxima) of the row.
///
/// # Panics
/// When `maxima` belongs to a row of another length.
pub fn between(
    row: &[f32],
    maxima: &[f32],
    order: Order,
    (low, high): (f32, f32),
    places: &mut Vec<u32>,
    values: &mut Vec<f32>,
) {
    between_on(instruction_set(), row, maxima, order, low, high, places, values);
}

/// How many elements have a score from `low` up to but not `high`.
pub fn count(row: &[f32], order: Order, (low, high): (f32, f32)) -> usize {
    count_on(instruction_set(), row, order, low, high)
}

/// Vectors of the elements that share a maximum.
const VECTORS: usize = MAXIMA_BLOCK / WIDTH;

/// Up to sixteen elements from `at` on and before `end`, the rest `fill`, and how many they are.
#[inline(always)]
unsafe fn lanes<V: Vector>(row: &[f32], at: usize, end: usize, fill: f32) -> (V, usize) {
    unsafe {
        if at + WIDTH <= end {
            return (V::load(row.as_ptr().add(at)), WIDTH);
        }
        let count = end.saturating_sub(at);
        (V::load_partial(row.as_ptr().add(end - count), count, fill), count)
    }
}

/// [`Order::score`] of sixteen elements.
#[inline(always)]
unsafe fn score<V: Vector>(x: V, near: bool, center: V) -> V {
    unsafe { if near { x.sub(center).min(center.sub(x)) } else { x } }
}

vectorised! {
    fn masses_on<V>(scores: &[f32], weights: &[f32], bounds: &[f32; BOUNDS]) -> [f64; BOUNDS] {
        assert!(scores.len() == weights.len());
        let zero = V::splat(0.0);
        let mut totals = [0.0; BOUNDS];
        for start in (0..scores.len()).step_by(BLOCK) {
            let end = (start + BLOCK).min(scores.len());
            let mut sums = [zero; BOUNDS];
            let mut at = start;
            while at < end {
                let score = lanes::<V>(scores, at, end, f32::NEG_INFINITY).0;
                let weight = lanes::<V>(weights, at, end, 0.0).0;
                for (sum, bound) in sums.iter_mut().zip(bounds) {
                    *sum = sum.add(score.select_less(V::splat(*bound), zero, weight));
                }
                at += WIDTH;
            }
            for (total, sum) in totals.iter_mut().zip(sums) {
                *total += f64::from(sum.sum());
            }
        }
        totals
    }
}

vectorised! {
    fn split_on<V>(
        row: &[f32],
        maxima: &[f32],
        weights: &[f32],
        order: Order,
        low: f32,
        high: f32,
        scores: &mut Vec<f32>,
        left: &mut Vec<f32>,
    ) -> f64 {
        assert!(row.len() == weights.len() && maxima.len() == row.len().div_ceil(MAXIMA_BLOCK));
        let (bound, limit, zero) = (V::splat(low), V::splat(high), V::splat(0.0));
        let (near, center) = (order.center().is_some(), V::splat(order.center().unwrap_or(0.0)));
        // Room for all, and for what a store writes past the last.
        scores.reserve(row.len() + WIDTH);
        left.reserve(row.len() + WIDTH);
        let (mut to_score, mut to_weight) = (scores.as_mut_ptr().add(scores.len()), left.as_mut_ptr().add(left.len()));
        let (mut total, mut found) = (0.0, 0);
        for part in (0..maxima.len()).step_by(BLOCK / MAXIMA_BLOCK) {
            let mut sums = [zero; VECTORS];
            for block in part..(part + BLOCK / MAXIMA_BLOCK).min(maxima.len()) {
                if order.highest(maxima[block]) < low {
                    continue;
                }
                let start = block * MAXIMA_BLOCK;
                let end = (start + MAXIMA_BLOCK).min(row.len());
                let (mut some, mut weighed, mut kept) = ([zero; VECTORS], [zero; VECTORS], [0; VECTORS]);
                for i in 0..VECTORS {
                    let (x, count) = lanes::<V>(row, start + i * WIDTH, end, f32::NEG_INFINITY);
                    some[i] = score(x, near, center);
                    weighed[i] = lanes::<V>(weights, start + i * WIDTH, end, 0.0).0;
                    sums[i] = sums[i].add(some[i].select_less(limit, zero, weighed[i]));
                    kept[i] = some[i].at_least(bound) & !some[i].at_least(limit) & ((1 << count) - 1);
                }
                if kept == [0; VECTORS] {
                    continue;
                }
                for i in 0..VECTORS {
                    some[i].compress(kept[i], to_score);
                    weighed[i].compress(kept[i], to_weight);
                    let more = kept[i].count_ones() as usize;
                    (to_score, to_weight, found) = (to_score.add(more), to_weight.add(more), found + more);
                }
            }
            total += f64::from(sums[0].add(sums[1]).add(sums[2].add(sums[3])).sum());
        }
        scores.set_len(scores.len() + found);
        left.set_len(left.len() + found);
        total
    }
}

vectorised! {
    fn between_on<V>(
        row: &[f32],
        maxima: &[f32],
        order: Order,
        low: f32,
        high: f32,
        places: &mut Vec<u32>,
        values: &mut Vec<f32>,
    ) -> () {
        assert!(maxima.len() == row.len().div_ceil(MAXIMA_BLOCK));
        let (bound, limit) = (V::splat(low), V::splat(high));
        let (near, center) = (order.center().is_some(), V::splat(order.center().unwrap_or(0.0)));
        let blocks = || maxima.iter().enumerate().filter(|(_, max)| order.highest(**max) >= low);
        // Room for all that may be found, and for what a store writes past it.
        let room = blocks().count() * MAXIMA_BLOCK + WIDTH;
        places.reserve(room);
        values.reserve(room);
        let (mut to_place, mut to_value) = (places.as_mut_ptr().add(places.len()), values.as_mut_ptr().add(values.len()));
        let mut found = 0;
        for (block, _) in blocks() {
            let start = block * MAXIMA_BLOCK;
            let end = (start + MAXIMA_BLOCK).min(row.len());
            let (mut all, mut kept) = ([V::splat(0.0); VECTORS], [0; VECTORS]);
            for i in 0..VECTORS {
                let (x, count) = lanes::<V>(row, start + i * WIDTH, end, f32::NEG_INFINITY);
                let score = score(x, near, center);
                all[i] = x;
                kept[i] = score.at_least(bound) & !score.at_least(limit) & ((1 << count) - 1);
            }
            if kept == [0; VECTORS] {
                continue;
            }
            for i in 0..VECTORS {
                all[i].compress(kept[i], to_value);
                V::compress_places((start + i * WIDTH) as u32, kept[i], to_place);
                let more = kept[i].count_ones() as usize;
                (to_place, to_value, found) = (to_place.add(more), to_value.add(more), found + more);
            }
        }
        places.set_len(places.len() + found);
        values.set_len(values.len() + found);
    }
}

vectorised! {
    fn count_on<V>(row: &[f32], order: Order, low: f32, high: f32) -> usize {
        let (bound, limit) = (V::splat(low), V::splat(high));
        let (near, center) = (order.center().is_some(), V::splat(order.center().unwrap_or(0.0)));
        let mut found = 0;
        for at in (0..row.len()).step_by(WIDTH) {
            let (x, count) = lanes::<V>(row, at, row.len(), f32::NEG_INFINITY);
            let score = score(x, near, center);
            let kept = score.at_least(bound) & !score.at_least(limit) & ((1 << count) - 1);
            found += kept.count_ones() as usize;
        }
        found
    }
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;
