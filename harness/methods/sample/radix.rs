//! Sorting numbers by their digits: four passes of eight bits, whose counters stay in the nearest cache.

const BITS: u32 = 8;
const DIGITS: usize = 1 << BITS;
const PASSES: usize = 4;

/// Sorts numbers so that they fall. There must be no NaN.
pub fn sort_falling(values: &mut Vec<f32>) {
    let mut counts = [[0u32; DIGITS]; PASSES];
    let mut from: Vec<u32> = values.iter().map(|value| rank(*value)).collect();
    for rank in &from {
        for (pass, counts) in counts.iter_mut().enumerate() {
            counts[digit(*rank, pass)] += 1;
        }
    }
    let mut to = vec![0u32; from.len()];
    for (pass, counts) in counts.iter_mut().enumerate() {
        let mut start = 0;
        for count in counts.iter_mut() {
            start += std::mem::replace(count, start);
        }
        for rank in &from {
            let place = &mut counts[digit(*rank, pass)];
            to[*place as usize] = *rank;
            *place += 1;
        }
        std::mem::swap(&mut from, &mut to);
    }
    values.clear();
    values.extend(from.into_iter().map(value));
}

fn digit(rank: u32, pass: usize) -> usize {
    (rank >> (BITS * pass as u32)) as usize % DIGITS
}

/// A whole number that falls where the value rises: the order of the bits of a float is that of its size, and reversed
/// below zero.
fn rank(value: f32) -> u32 {
    let bits = value.to_bits();
    if bits >> 31 == 1 { bits } else { !bits ^ (1 << 31) }
}

fn value(rank: u32) -> f32 {
    f32::from_bits(if rank >> 31 == 1 { rank } else { !(rank ^ (1 << 31)) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sorted_as_by_comparison(mut values in prop::collection::vec(prop_oneof![any::<f32>(), Just(0.0), Just(-0.0), Just(1.5)], 0..400)) {
            values.retain(|value| !value.is_nan());
            let mut wanted = values.clone();
            wanted.sort_by(|a, b| b.total_cmp(a));
            sort_falling(&mut values);
            let bits = |all: &[f32]| all.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&values), bits(&wanted));
        }
    }
}
