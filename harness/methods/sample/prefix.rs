//! The shortest prefix of a weighted set that holds a share of its weight, without sorting the set.

use harness_kernels::select::{BOUNDS, between, block_maxima, extremes, masses_above};

/// Weight below the wanted one that still counts as reached, against the whole: that of rounding in f32 logits.
const ROUNDING: f64 = 1e-7;

/// Elements that are sorted rather than narrowed further.
const FEW: usize = 512;

/// Elements of which a guess looks at one.
const STRIDE: usize = 61;

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

/// Buffers that outlive a call.
#[derive(Debug, Clone, Default)]
pub struct Buffers {
    /// Scores and weights of what is left, and those of the step before.
    left: (Vec<f32>, Vec<f32>),
    spare: (Vec<f32>, Vec<f32>),
    places: Vec<u32>,
    maxima: Vec<f32>,
}

/// By sorting, with weights in f64; `None` when nothing is outside.
pub fn sorted(scores: &[f32], weights: &[f64], wanted: f64) -> Option<Cut> {
    let total: f64 = weights.iter().sum();
    let mut order: Vec<(f32, f64)> = scores.iter().copied().zip(weights.iter().copied()).collect();
    // Equal scores keep the order of their places.
    order.sort_by(|a, b| b.0.total_cmp(&a.0));
    end(&order, 0.0, wanted - ROUNDING * total, order.len())
}

/// By narrowing the interval of the last score: each pass cuts it into nine and gathers the part that holds it; `None`
/// when nothing is outside. `total` is the sum of all weights.
pub fn narrowed(scores: &[f32], weights: &[f32], total: f64, wanted: f64, buffers: &mut Buffers) -> Option<Cut> {
    let (lowest, highest) = extremes(scores);
    let (mut low, mut high) = (lowest.max(highest - REACH), f32::INFINITY);
    let wanted = wanted - ROUNDING * total;
    // Weight at or above `high`.
    let mut above = 0.0;
    let mut gathered = false;
    let guess = guess(scores, weights, low, highest, wanted / total, buffers);
    let Buffers { left, spare, places, maxima } = buffers;
    loop {
        let (scores, weights) = if gathered { (left.0.as_slice(), left.1.as_slice()) } else { (scores, weights) };
        let bounds = match guess {
            Some((from, to)) if !gathered => cuts(from, to),
            _ if gathered && scores.len() <= FEW => None,
            _ => cuts(low, high.min(highest)),
        };
        if let Some(bounds) = bounds {
            let masses = masses_above(scores, weights, &bounds);
            let base = above;
            let at = masses.iter().position(|mass| base + mass >= wanted).unwrap_or(BOUNDS);
            if at > 0 {
                (high, above) = (bounds[at - 1], base + masses[at - 1]);
            }
            if at < BOUNDS {
                low = bounds[at];
            }
        } else if gathered {
            break;
        }
        places.clear();
        spare.0.clear();
        block_maxima(scores, maxima);
        between(scores, maxima, low, high, places, &mut spare.0);
        spare.1.clear();
        spare.1.extend(places.iter().map(|at| weights[*at as usize]));
        std::mem::swap(left, spare);
        gathered = true;
    }
    let pairs = left.0.iter().copied().zip(left.1.iter().map(|weight| f64::from(*weight)));
    let mut order: Vec<(f32, f64)> = pairs.collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0));
    end(&order, above, wanted, if lowest >= low { order.len() } else { usize::MAX })
}

/// About where the prefix ends, from every [`STRIDE`]th element: a guess that only saves work.
fn guess(
    scores: &[f32],
    weights: &[f32],
    low: f32,
    high: f32,
    share: f64,
    buffers: &mut Buffers,
) -> Option<(f32, f32)> {
    if scores.len() < 128 * STRIDE {
        return None;
    }
    let (few, some) = &mut buffers.spare;
    few.clear();
    few.extend(scores.iter().step_by(STRIDE));
    some.clear();
    some.extend(weights.iter().step_by(STRIDE));
    let wanted = share * masses_above(few, some, &[f32::NEG_INFINITY; BOUNDS])[0];
    let (mut from, mut to) = (low, high);
    for _ in 0..2 {
        let bounds = cuts(from, to)?;
        let at = masses_above(few, some, &bounds).iter().position(|mass| *mass >= wanted).unwrap_or(BOUNDS);
        // One part more on either side, for a sample errs.
        let step = bounds[0] - bounds[1];
        to = if at < 2 { to } else { bounds[at - 2] };
        from = if at + 1 < BOUNDS { bounds[at + 1] } else { from };
        if to - from > 4.0 * step {
            return None;
        }
    }
    Some((from, to))
}

/// Bounds that cut an interval, falling; `None` when it is too short for them.
fn cuts(low: f32, high: f32) -> Option<[f32; BOUNDS]> {
    let step = (high - low) / (BOUNDS + 1) as f32;
    let bounds: [f32; BOUNDS] = std::array::from_fn(|at| high - step * (at + 1) as f32);
    let falling = bounds[0] < high && bounds.windows(2).all(|pair| pair[1] < pair[0]) && bounds[BOUNDS - 1] > low;
    falling.then_some(bounds)
}

/// Walks sorted elements from a weight on; `last` is the number of elements after which nothing is left outside.
fn end(order: &[(f32, f64)], above: f64, wanted: f64, last: usize) -> Option<Cut> {
    let mut sum = above;
    for (at, (score, weight)) in order.iter().enumerate() {
        sum += weight;
        if sum >= wanted {
            let ties = order[..=at].iter().rev().take_while(|(other, _)| other == score).count();
            return (at + 1 < last).then_some(Cut { score: *score, ties });
        }
    }
    None
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

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn narrowing_finds_what_sorting_finds(
            (scores, weights) in (1usize..3000, prop_oneof![Just(1u32), Just(7), Just(1 << 20)], prop_oneof![Just(0.5f32), Just(30.0)])
                .prop_flat_map(|(count, levels, spread)| set(count, levels, spread)),
            share in 0.001f64..1.0,
        ) {
            let exact: Vec<f64> = weights.iter().map(|weight| f64::from(*weight)).collect();
            let total: f64 = exact.iter().sum();
            let found = narrowed(&scores, &weights, total, share * total, &mut Buffers::default());
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
            narrowed(&vec![1.0; 5000], &vec![1.0; 5000], 5000.0, 2500.0, &mut Buffers::default()),
            Some(Cut { score: 1.0, ties: 2500 })
        );
        assert_eq!(sorted(&scores, &[1.0; 4], 4.0), None);
    }
}
