//! The shortest prefix of a weighted set that holds a share of its weight, without sorting the set.

use harness_kernels::select::{BOUNDS, extremes, masses_below};

/// Weight below the wanted one that still counts as reached, against the whole: that of rounding in f32 logits.
const ROUNDING: f64 = 1e-7;

/// Elements that are sorted rather than narrowed further.
const FEW: usize = 512;

/// Passes over everything before what is left is gathered.
const WHOLE_PASSES: usize = 2;

/// Keys this far above the lowest have no weight that f32 can tell from zero.
const REACH: f32 = 120.0;

/// Where a prefix ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cut {
    /// Everything with a lower key is inside.
    pub key: f32,
    /// How many with this very key are, the first ones.
    pub ties: usize,
}

/// Buffers that outlive a call.
#[derive(Debug, Clone, Default)]
pub struct Buffers {
    keys: Vec<f32>,
    weights: Vec<f32>,
    spare_keys: Vec<f32>,
    spare_weights: Vec<f32>,
}

/// By sorting, with weights in f64; `None` when nothing is outside.
pub fn sorted(keys: &[f32], weights: &[f64], wanted: f64) -> Option<Cut> {
    let total: f64 = weights.iter().sum();
    let mut order: Vec<(f32, f64)> = keys.iter().copied().zip(weights.iter().copied()).collect();
    // Equal keys keep the order of their places.
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    end(&order, 0.0, wanted - ROUNDING * total, order.len())
}

/// By narrowing the interval of the last key: each pass cuts it into nine; `None` when nothing is outside.
pub fn narrowed(keys: &[f32], weights: &[f32], wanted: f64, buffers: &mut Buffers) -> Option<Cut> {
    let (lowest, highest) = extremes(keys);
    let mut low = lowest;
    let mut high = highest.min(lowest + REACH);
    let total = masses_below(keys, weights, &[f32::INFINITY; BOUNDS])[0];
    let wanted = wanted - ROUNDING * total;
    let mut below = 0.0;
    let mut gathered = false;
    let mut passes = 0;
    loop {
        let count = if gathered { buffers.keys.len() } else { keys.len() };
        let step = (high - low) / (BOUNDS + 1) as f32;
        let bounds: [f32; BOUNDS] = std::array::from_fn(|at| low + step * (at + 1) as f32);
        let narrow = !(bounds[0] > low && bounds.windows(2).all(|pair| pair[1] > pair[0]) && bounds[BOUNDS - 1] < high);
        if narrow || (gathered && count <= FEW) {
            break;
        }
        let masses = if gathered {
            masses_below(&buffers.keys, &buffers.weights, &bounds)
        } else {
            masses_below(keys, weights, &bounds)
        };
        // Gathered elements all lie at or above `low`, so their masses count from there.
        let base = if gathered { below } else { 0.0 };
        let at = masses.iter().position(|mass| base + mass >= wanted).unwrap_or(BOUNDS);
        if at > 0 {
            low = bounds[at - 1];
            below = base + masses[at - 1];
        }
        if at < BOUNDS {
            high = bounds[at];
        }
        passes += 1;
        if passes >= WHOLE_PASSES {
            let Buffers { keys: from_keys, weights: from_weights, spare_keys, spare_weights } = buffers;
            if gathered {
                gather(from_keys, from_weights, low, high, spare_keys, spare_weights);
                std::mem::swap(from_keys, spare_keys);
                std::mem::swap(from_weights, spare_weights);
            } else {
                gather(keys, weights, low, high, from_keys, from_weights);
                gathered = true;
            }
        }
    }
    if !gathered {
        gather(keys, weights, low, high, &mut buffers.keys, &mut buffers.weights);
    }
    let pairs = buffers.keys.iter().copied().zip(buffers.weights.iter().map(|weight| f64::from(*weight)));
    let mut order: Vec<(f32, f64)> = pairs.collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    end(&order, below, wanted, if highest <= high { order.len() } else { usize::MAX })
}

/// The elements with `low <= key <= high`, in their order.
fn gather(keys: &[f32], weights: &[f32], low: f32, high: f32, to_keys: &mut Vec<f32>, to_weights: &mut Vec<f32>) {
    to_keys.clear();
    to_weights.clear();
    for (keys, weights) in keys.chunks(64).zip(weights.chunks(64)) {
        let mut kept = ([0f32; 64], [0f32; 64], 0);
        for (key, weight) in keys.iter().zip(weights) {
            kept.0[kept.2] = *key;
            kept.1[kept.2] = *weight;
            kept.2 += usize::from(*key >= low && *key <= high);
        }
        to_keys.extend_from_slice(&kept.0[..kept.2]);
        to_weights.extend_from_slice(&kept.1[..kept.2]);
    }
}

/// Walks sorted elements from a weight on; `last` is the number of elements after which nothing is left outside.
fn end(order: &[(f32, f64)], below: f64, wanted: f64, last: usize) -> Option<Cut> {
    let mut sum = below;
    for (at, (key, weight)) in order.iter().enumerate() {
        sum += weight;
        if sum >= wanted {
            let ties = order[..=at].iter().rev().take_while(|(other, _)| other == key).count();
            return (at + 1 < last).then_some(Cut { key: *key, ties });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Keys and weights as samplers have them: `e^-key`, with ties.
    fn set(count: usize, levels: u32, spread: f32) -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
        prop::collection::vec(0..levels, count).prop_map(move |at| {
            let keys: Vec<f32> = at.iter().map(|at| *at as f32 / levels as f32 * spread).collect();
            let weights = keys.iter().map(|key| (-key).exp()).collect();
            (keys, weights)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn narrowing_finds_what_sorting_finds(
            (keys, weights) in (1usize..3000, prop_oneof![Just(1u32), Just(7), Just(1 << 20)], prop_oneof![Just(0.5f32), Just(30.0)])
                .prop_flat_map(|(count, levels, spread)| set(count, levels, spread)),
            share in 0.001f64..1.0,
        ) {
            let exact: Vec<f64> = weights.iter().map(|weight| f64::from(*weight)).collect();
            let total: f64 = exact.iter().sum();
            let found = narrowed(&keys, &weights, share * total, &mut Buffers::default());
            let wanted = sorted(&keys, &exact, share * total);
            if found != wanted {
                // Sums in another order may end one element apart where an element's end meets the share.
                let mass = |cut: Option<Cut>| {
                    let mut ties = cut.map_or(0, |cut| cut.ties);
                    keys.iter().zip(&exact).filter(|(key, _)| cut.is_none_or(|cut| {
                        let tied = **key == cut.key && ties > 0;
                        ties -= usize::from(tied);
                        **key < cut.key || tied
                    })).map(|(_, weight)| weight).sum::<f64>() / total
                };
                let (a, b) = (mass(found), mass(wanted));
                let edge = (a.min(b) - share).abs();
                prop_assert!(edge < 1e-6, "{found:?} for {wanted:?}: {a} and {b} of {share}");
            }
        }
    }

    #[test]
    fn equal_keys_are_taken_in_their_order() {
        let keys = [1.0, 1.0, 1.0, 1.0];
        assert_eq!(sorted(&keys, &[1.0; 4], 2.0), Some(Cut { key: 1.0, ties: 2 }));
        assert_eq!(narrowed(&[1.0; 5000], &[1.0; 5000], 2500.0, &mut Buffers::default()), Some(Cut { key: 1.0, ties: 2500 }));
        assert_eq!(sorted(&keys, &[1.0; 4], 4.0), None);
    }
}
