//! The shortest prefix of a weighted set that holds a share of its weight, without sorting the set.

use harness_kernels::order::{BOUNDS, Order, masses_above, split};
use harness_kernels::select::{block_maxima, extremes};

/// Weight below the wanted one that still counts as reached, against the whole: that of rounding in f32 logits.
const ROUNDING: f64 = 1e-7;

/// Elements that are sorted rather than narrowed further.
const FEW: usize = 512;

/// Elements of which a guess looks at one.
const STRIDE: usize = 61;

/// How often a guess cuts its interval.
const ROUNDS: usize = 3;

/// Scores this far below the highest have no weight that f32 can tell from zero, however much nearer than the most
/// probable token the first one is.
const REACH: f32 = 120.0;

/// Where a prefix ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cut {
    /// Everything with a higher score is inside.
    pub score: f32,
    /// How many with this very score are, the first ones.
    pub ties: usize,
}

/// A set whose prefix is looked for.
#[derive(Clone, Copy)]
pub struct Weighted<'a> {
    /// What the scores are of.
    pub elements: &'a [f32],
    /// Their [`block_maxima`].
    pub maxima: &'a [f32],
    /// Their weights.
    pub weights: &'a [f32],
    /// The sum of all weights.
    pub total: f64,
    /// What the elements are ordered by.
    pub order: Order,
}

/// Buffers that outlive a call.
#[derive(Debug, Clone, Default)]
pub struct Buffers {
    /// Scores and weights of what is left, and those of the step before.
    left: (Vec<f32>, Vec<f32>),
    spare: (Vec<f32>, Vec<f32>),
    maxima: Vec<f32>,
}

/// By sorting, with weights in f64; `None` when nothing is outside.
pub fn sorted(scores: &[f32], weights: &[f64], wanted: f64) -> Option<Cut> {
    let total: f64 = weights.iter().sum();
    let mut order: Vec<(f32, f64)> = scores.iter().copied().zip(weights.iter().copied()).collect();
    // Equal scores keep the order of their places.
    order.sort_by(|a, b| b.0.total_cmp(&a.0));
    end(&order, 0.0, wanted - ROUNDING * total, true)
}

/// By narrowing the interval of the last score: a guess from a sample, then cuts into nine parts of which the one that
/// holds it is gathered; `None` when nothing is outside.
pub fn narrowed(set: Weighted, wanted: f64, buffers: &mut Buffers) -> Option<Cut> {
    let wanted = wanted - ROUNDING * set.total;
    let (mut low, mut high) = guess(set, wanted, buffers).unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
    // Weight at or above `high`.
    let mut above = gather(set, (low, high), buffers);
    if above >= wanted {
        (low, high) = (high, f32::INFINITY);
        above = gather(set, (low, high), buffers);
    } else if low > f32::NEG_INFINITY && above + sum(&buffers.left) < wanted {
        (low, high) = (f32::NEG_INFINITY, low);
        above = gather(set, (low, high), buffers);
    }
    if buffers.left.0.is_empty() {
        // Sums in another order differ by a hair: all at once.
        (low, high) = (f32::NEG_INFINITY, f32::INFINITY);
        above = gather(set, (low, high), buffers);
    }
    let Buffers { left, spare, maxima } = buffers;
    let (lowest, highest) = extremes(&left.0);
    // Whether nothing lies below what is gathered.
    let mut whole = low == f32::NEG_INFINITY;
    (low, high) = (lowest.max(highest - REACH), f32::INFINITY);
    while left.0.len() > FEW {
        let Some(bounds) = cuts(low, high.min(highest)) else { break };
        let masses = masses_above(&left.0, &left.1, &bounds);
        let base = above;
        let at = masses.iter().position(|mass| base + mass >= wanted).unwrap_or(BOUNDS);
        if at > 0 {
            (high, above) = (bounds[at - 1], base + masses[at - 1]);
        }
        if at < BOUNDS {
            low = bounds[at];
        }
        spare.0.clear();
        spare.1.clear();
        block_maxima(&left.0, maxima);
        split(&left.0, maxima, &left.1, Order::Largest, (low, high), (&mut spare.0, &mut spare.1));
        if spare.0.is_empty() {
            break;
        }
        whole &= lowest >= low;
        std::mem::swap(left, spare);
    }
    let pairs = left.0.iter().copied().zip(left.1.iter().map(|weight| f64::from(*weight)));
    let mut order: Vec<(f32, f64)> = pairs.collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0));
    end(&order, above, wanted, whole)
}

/// Gathers what is in an interval; returns the weight above it.
fn gather(set: Weighted, bounds: (f32, f32), buffers: &mut Buffers) -> f64 {
    let (scores, weights) = &mut buffers.left;
    scores.clear();
    weights.clear();
    split(set.elements, set.maxima, set.weights, set.order, bounds, (scores, weights))
}

/// All weight of gathered elements.
fn sum((scores, weights): &(Vec<f32>, Vec<f32>)) -> f64 {
    masses_above(scores, weights, &[f32::NEG_INFINITY; BOUNDS])[0]
}

/// About where the prefix ends, from every [`STRIDE`]th element: a guess that only saves work.
fn guess(set: Weighted, wanted: f64, buffers: &mut Buffers) -> Option<(f32, f32)> {
    if set.elements.len() < 128 * STRIDE {
        return None;
    }
    let sample = &mut buffers.spare;
    sample.0.clear();
    sample.0.extend(set.elements.iter().step_by(STRIDE).map(|element| set.order.score(*element)));
    sample.1.clear();
    sample.1.extend(set.weights.iter().step_by(STRIDE));
    // A sample misses the few heavy elements, so the part with more of the many light ones is estimated.
    let beyond = (set.total - wanted) / STRIDE as f64;
    let sought = if 2.0 * wanted > set.total { sum(sample) - beyond } else { wanted / STRIDE as f64 };
    let (lowest, highest) = extremes(&sample.0);
    let (mut from, mut to) = (lowest.max(highest - REACH), highest);
    for _ in 0..ROUNDS {
        let bounds = cuts(from, to)?;
        let at = masses_above(&sample.0, &sample.1, &bounds).iter().position(|mass| *mass >= sought).unwrap_or(BOUNDS);
        // One part more on either side, for a sample errs.
        to = if at < 2 { to } else { bounds[at - 2] };
        from = if at + 1 < BOUNDS { bounds[at + 1] } else { from };
    }
    // What no element of the sample reaches may well be reached by others.
    Some((if from > lowest { from } else { f32::NEG_INFINITY }, if to < highest { to } else { f32::INFINITY }))
}

/// Bounds that cut an interval, falling; `None` when it is too short for them.
fn cuts(low: f32, high: f32) -> Option<[f32; BOUNDS]> {
    let step = (high - low) / (BOUNDS + 1) as f32;
    let bounds: [f32; BOUNDS] = std::array::from_fn(|at| high - step * (at + 1) as f32);
    let falling = bounds[0] < high && bounds.windows(2).all(|pair| pair[1] < pair[0]) && bounds[BOUNDS - 1] > low;
    falling.then_some(bounds)
}

/// Walks sorted elements from a weight on; `whole` when no other elements follow them.
fn end(order: &[(f32, f64)], above: f64, wanted: f64, whole: bool) -> Option<Cut> {
    let mut sum = above;
    // Where rounding keeps the sum below the wanted one, the last element of several ends the prefix.
    let reached = order.iter().position(|(_, weight)| {
        sum += weight;
        sum >= wanted
    });
    let at = reached.or((!whole).then_some(order.len().checked_sub(1)?))?;
    let score = order[at].0;
    let ties = order[..=at].iter().rev().take_while(|(other, _)| *other == score).count();
    (at + 1 < order.len() || !whole).then_some(Cut { score, ties })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Scores and weights as samplers have them: `e^score`, with ties.
    fn set(count: usize, levels: u32, spread: f32) -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
        prop::collection::vec(0..levels, count).prop_map(move |at| {
            let scores: Vec<f32> = at.iter().map(|at| -(*at as f32) / levels as f32 * spread).collect();
            let weights = scores.iter().map(|score| score.exp()).collect();
            (scores, weights)
        })
    }

    fn of_largest(elements: &[f32], weights: &[f32], total: f64, wanted: f64) -> Option<Cut> {
        let mut maxima = Vec::new();
        block_maxima(elements, &mut maxima);
        let set = Weighted { elements, maxima: &maxima, weights, total, order: Order::Largest };
        narrowed(set, wanted, &mut Buffers::default())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn narrowing_finds_what_sorting_finds(
            (scores, weights) in (prop_oneof![1usize..3000, 8000usize..20_000], prop_oneof![Just(1u32), Just(7), Just(1 << 20)], prop_oneof![Just(0.5f32), Just(30.0)])
                .prop_flat_map(|(count, levels, spread)| set(count, levels, spread)),
            share in 0.001f64..1.0,
        ) {
            let exact: Vec<f64> = weights.iter().map(|weight| f64::from(*weight)).collect();
            let total: f64 = exact.iter().sum();
            let found = of_largest(&scores, &weights, total, share * total);
            let wanted = sorted(&scores, &exact, share * total);
            if found != wanted {
                // Sums in another order may end one element apart where an element's end meets the share.
                let mass = |cut: Option<Cut>| {
                    let mut ties = cut.map_or(0, |cut| cut.ties);
                    scores.iter().zip(&exact).filter(|(score, _)| cut.is_none_or(|cut| {
                        let tied = **score == cut.score && ties > 0;
                        ties -= usize::from(tied);
                        **score > cut.score || tied
                    })).map(|(_, weight)| weight).sum::<f64>() / total
                };
                let (a, b) = (mass(found), mass(wanted));
                let edge = (a.min(b) - share).abs();
                prop_assert!(edge < 1e-6, "{found:?} for {wanted:?}: {a} and {b} of {share}");
            }
        }
    }

    #[test]
    fn equal_scores_are_taken_in_their_order() {
        let scores = [1.0, 1.0, 1.0, 1.0];
        assert_eq!(sorted(&scores, &[1.0; 4], 2.0), Some(Cut { score: 1.0, ties: 2 }));
        assert_eq!(
            of_largest(&vec![1.0; 5000], &vec![1.0; 5000], 5000.0, 2500.0),
            Some(Cut { score: 1.0, ties: 2500 })
        );
        assert_eq!(sorted(&scores, &[1.0; 4], 4.0), None);
    }
}
