//! Sorting floats by two passes over the digits of whole numbers that stand for them.

use crate::instruction_set;
use crate::select::extremes;
use crate::vector::{WIDTH, vectorised};

/// Bits of a digit. More would need fewer repairs, but their counters and the places they point at leave the nearest
/// caches.
const BITS: u32 = 11;
const DIGITS: usize = 1 << BITS;

/// Up to so many are sorted by comparison.
const FEW: usize = 1024;

/// Elements whose digits are found at a time.
const CHUNK: usize = 64;

/// Sorts finite numbers so that they fall. `spare` is a buffer.
pub fn sort_falling(values: &mut Vec<f32>, spare: &mut Vec<f32>) {
    if values.len() <= FEW {
        compare(values);
        return;
    }
    let (lowest, highest) = extremes(values);
    // Whole numbers that rise as the values fall, evenly over their range; the largest is rounded up to less than the
    // last of two digits.
    let scale = (DIGITS * DIGITS - 2) as f32 / (highest - lowest);
    if !scale.is_normal() {
        compare(values);
        return;
    }
    by_digits(instruction_set(), values, spare, Key { highest, scale });
}

fn compare(values: &mut [f32]) {
    values.sort_unstable_by(|a, b| b.total_cmp(a));
}

#[derive(Clone, Copy)]
struct Key {
    highest: f32,
    scale: f32,
}

impl Key {
    /// The number of a value in its low bits: adding 2^23 leaves no bits for a fraction.
    #[inline(always)]
    fn of(self, value: f32) -> usize {
        ((self.highest - value) * self.scale + 8_388_608.0).to_bits() as usize % (DIGITS * DIGITS)
    }

    #[inline(always)]
    fn digit(self, value: f32, pass: u32) -> u32 {
        (self.of(value) >> (BITS * pass)) as u32 % DIGITS as u32
    }
}

vectorised! {
    fn by_digits<V>(values: &mut Vec<f32>, spare: &mut Vec<f32>, key: Key) -> () {
        let count = values.len();
        let mut places = [[0u32; DIGITS]; 2];
        let mut digits = [[0u32; CHUNK]; 2];
        for chunk in values.chunks(CHUNK) {
            for (pass, digits) in digits.iter_mut().enumerate() {
                digits.iter_mut().zip(chunk).for_each(|(digit, value)| *digit = key.digit(*value, pass as u32));
            }
            for at in 0..chunk.len() {
                places[0][digits[0][at] as usize % DIGITS] += 1;
                places[1][digits[1][at] as usize % DIGITS] += 1;
            }
        }
        spare.clear();
        spare.reserve(count);
        for (pass, places) in places.iter_mut().enumerate() {
            let mut start = 0;
            for place in places.iter_mut() {
                start += std::mem::replace(place, start);
            }
            for chunk in values.chunks(CHUNK) {
                let digits = &mut digits[0];
                digits.iter_mut().zip(chunk).for_each(|(digit, value)| *digit = key.digit(*value, pass as u32));
                for (digit, value) in digits.iter().zip(chunk) {
                    let place = &mut places[*digit as usize % DIGITS];
                    // Digits were counted above, so no place passes the end of its own.
                    *spare.as_mut_ptr().add(*place as usize) = *value;
                    *place += 1;
                }
            }
            // The places of all digits together are those from 0 to `count`.
            spare.set_len(count);
            std::mem::swap(values, spare);
        }
        // What is left in disorder has equal numbers.
        let mut at = 1;
        while at < count {
            if at + WIDTH <= count {
                let before = V::load(values.as_ptr().add(at - 1));
                let fall = before.at_least(V::load(values.as_ptr().add(at)));
                at += (!fall).trailing_zeros().min(WIDTH as u32) as usize;
                if fall == 0xffff {
                    continue;
                }
            } else if values[at - 1] >= values[at] {
                at += 1;
                continue;
            }
            let number = key.of(values[at]);
            let alike = |value: &&f32| key.of(**value) == number;
            let start = at - values[..at].iter().rev().take_while(alike).count();
            at += values[at..].iter().take_while(alike).count();
            compare(&mut values[start..at]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::vector::available;

    fn check(values: &[f32]) {
        let mut wanted = values.to_vec();
        compare(&mut wanted);
        let mut found = values.to_vec();
        sort_falling(&mut found, &mut Vec::new());
        // Both zeros are equal.
        assert_eq!(found, wanted);
        if values.len() > 1 {
            let (lowest, highest) = extremes(values);
            let key = Key { highest, scale: (DIGITS * DIGITS - 2) as f32 / (highest - lowest) };
            for set in available().into_iter().filter(|_| key.scale.is_normal()) {
                let mut found = values.to_vec();
                by_digits(set, &mut found, &mut Vec::new(), key);
                assert_eq!(found, wanted, "{set:?}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn sorted_as_by_comparison(
            values in prop::collection::vec(prop_oneof![-3e38f32..3e38, -1f32..1.0, 0.99f32..1.0, Just(0.0), Just(-0.0)], 0..3000),
            scale in prop_oneof![Just(1f32), Just(1e-30), Just(0.0)],
        ) {
            check(&values.iter().map(|value| value * scale).collect::<Vec<_>>());
        }
    }

    #[test]
    fn every_number_of_a_range_is_reached() {
        // Numbers near the ends, where rounding might leave the digits.
        for (low, high) in [(-1.0f32, 1.0f32), (0.1, 0.3), (-27.3, 13.1), (1.0, 1.000_001), (-3e38, -1e-3)] {
            let between = (0..5000).map(|at| low + (high - low) * (at as f32 / 4999.0));
            let mut values: Vec<f32> = between.collect();
            values.extend([high, low, high.next_down(), low.next_up()]);
            check(&values);
        }
    }
}
