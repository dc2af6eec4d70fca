#![allow(clippy::unwrap_used, clippy::float_cmp)]

use proptest::prelude::*;

use super::attention::attention_on;
use super::quantize::{pack, unpack};
use super::*;
use crate::attention as ordinary;
use crate::vector::available;

fn grid(bits: usize, group: usize) -> Grid {
    Grid { bits: CodeBits::of(bits).unwrap(), group }
}

fn sample(count: usize, phase: f32) -> Vec<f32> {
    (0..count).map(|i| (i as f32 * 0.731 + phase).sin() * (1.0 + (i % 7) as f32)).collect()
}

/// Bits, group and channels that fill vectors, leave some over, and are smaller than one.
const SHAPES: [(usize, usize, usize); 9] =
    [(2, 32, 32), (2, 32, 64), (2, 16, 48), (2, 4, 8), (4, 32, 64), (4, 24, 48), (4, 2, 6), (8, 64, 64), (8, 1, 5)];

#[test]
fn the_worked_example_is_exact() {
    let mut cache = HeadCache::new(grid(2, 4), 4);
    // Four channels, of which the example has two.
    let keys = [[0.0, 10.0, 5.0, -1.0], [1.0, 20.0, 5.0, -1.0], [3.0, 40.0, 5.0, -1.0], [2.0, 30.0, 5.0, 2.0]].concat();
    cache.push_keys(&keys, 4, 4).unwrap();
    let (codes, scales, minima) = cache.key_parts();
    assert_eq!(codes, [[0, 1, 3, 2], [0, 1, 3, 2], [0, 0, 0, 0], [0, 0, 0, 3]].concat());
    assert_eq!(scales.iter().map(|scale| scale.to_f32()).collect::<Vec<_>>(), [1.0, 10.0, 0.0, 1.0]);
    assert_eq!(minima.iter().map(|minimum| minimum.to_f32()).collect::<Vec<_>>(), [0.0, 10.0, 5.0, -1.0]);
    assert_eq!(cache.key_codes, [0b1011_0100, 0b1011_0100, 0, 0b1100_0000]);
    let mut back = vec![0.0; 16];
    cache.keys_into(&mut back, 4);
    assert_eq!(back, keys);
}

#[test]
fn codes_and_attention_are_the_same_on_every_instruction_set_and_near_what_the_codes_stand_for() {
    for (bits, group, d) in SHAPES {
        for (kv_heads, sharing, biased) in [(1, 1, false), (2, 3, true), (1, 6, false)] {
            let (batch, keys, values) = (2, 2 * group.max(40).next_multiple_of(group), 71);
            let total = keys + 9;
            let width = kv_heads * d;
            let (k, v) = (sample(batch * total * width, 0.2), sample(batch * total * width, 0.9));
            let build = |set| -> Vec<HeadCache> {
                let heads = (0..batch * kv_heads).map(|place| {
                    let start = place / kv_heads * total * width + place % kv_heads * d;
                    let mut cache = HeadCache::new(grid(bits, group), d);
                    cache.push_keys_on(set, &k[start..], width, keys).unwrap();
                    cache.push_values_on(set, &v[start..], width, values).unwrap();
                    cache
                });
                heads.collect()
            };
            let heads = build(crate::InstructionSet::Scalar);
            let slopes: Vec<f32> = (0..kv_heads * sharing).map(|head| 0.1 / (head + 1) as f32).collect();
            let q = sample(batch * slopes.len() * d, 0.4);
            let scale = 0.3 / (d as f32).sqrt();
            let shape =
                Shape { heads: slopes.len(), kv_heads, head_dim: d, scale, slopes: biased.then_some(&slopes[..]) };
            let window = Window {
                keys: &k[keys * width..],
                values: &v[values * width..],
                key_count: total - keys,
                value_count: total - values,
                batch_stride: total * width,
            };
            let scalar = attention_on(crate::InstructionSet::Scalar, &q, &heads, &window, &shape);
            for set in available() {
                assert_eq!(build(set), heads, "{set:?} {bits} {group} {d}");
                let found = attention_on(set, &q, &heads, &window, &shape);
                assert!(
                    found.iter().zip(&scalar).all(|(a, b)| a.to_bits() == b.to_bits()),
                    "{set:?} {bits} {group} {d}"
                );
            }
            // The same by writing all codes out.
            let (mut whole_k, mut whole_v) = (k.clone(), v.clone());
            for (place, head) in heads.iter().enumerate() {
                let start = place / kv_heads * total * width + place % kv_heads * d;
                head.keys_into(&mut whole_k[start..], width);
                head.values_into(&mut whole_v[start..], width);
            }
            assert!(whole_k != k && whole_k[keys * width..total * width] == k[keys * width..total * width]);
            let shape = ordinary::Shape {
                batch,
                queries: 1,
                keys: total,
                heads: slopes.len(),
                kv_heads,
                head_dim: d,
                scale,
                slopes: biased.then_some(&slopes[..]),
                biases: None,
                key_batch_stride: total * width,
            };
            let fake = ordinary::attention(&q, &whole_k, &whole_v, &shape).0;
            let largest = fake.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
            for (a, b) in scalar.iter().zip(&fake) {
                assert!((a - b).abs() <= 1e-5 * largest, "{bits} {group} {d}: {a} for {b}, largest {largest}");
            }
        }
    }
}

#[test]
fn what_half_precision_cannot_hold_is_refused_and_leaves_nothing() {
    for (bad, at) in [(f32::NAN, 3), (f32::INFINITY, 40), (-1e6, 17), (1e6, 63)] {
        let mut cache = HeadCache::new(grid(2, 4), 8);
        let good = sample(64, 0.1);
        cache.push_keys(&good[..32], 8, 4).unwrap();
        cache.push_values(&good[..16], 8, 2).unwrap();
        let before = cache.clone();
        let mut rows = good;
        rows[at] = bad;
        assert!(cache.push_keys(&rows, 8, 8).is_err(), "{bad}");
        assert!(cache.push_values(&rows, 8, 8).is_err(), "{bad}");
        assert_eq!(cache, before);
    }
}

#[test]
fn a_cache_takes_what_the_formula_says() {
    for (bits, group, d) in SHAPES {
        let mut cache = HeadCache::new(grid(bits, group), d);
        let rows = sample(6 * group * d, 0.5);
        cache.push_keys(&rows, d, 6 * group).unwrap();
        cache.push_values(&rows, d, 5 * group).unwrap();
        // Codes, and two halves for each group.
        let bytes = |tokens: usize| tokens * d * bits / 8 + tokens * d / group * 4;
        assert_eq!(cache.bytes(), bytes(6 * group) + bytes(5 * group));
        assert_eq!((cache.keys(), cache.values()), (6 * group, 5 * group));
        cache.truncate(2 * group, 3);
        assert_eq!((cache.keys(), cache.values(), cache.bytes()), (2 * group, 3, bytes(2 * group) + bytes(3)));
    }
    // Two bits in groups of 32 are three bits a number.
    let mut cache = HeadCache::new(grid(2, 32), 128);
    cache.push_keys(&sample(64 * 128, 0.0), 128, 64).unwrap();
    assert_eq!(cache.bytes() * 8, 3 * 64 * 128);
}

proptest! {
    #[test]
    fn packing_keeps_every_code(bits in prop::sample::select(vec![2_usize, 4, 8]), raw in prop::collection::vec(any::<u8>(), 0..40)) {
        let width = CodeBits::of(bits).unwrap();
        let codes: Vec<u8> = raw.iter().map(|code| code & width.last() as u8).collect();
        let mut bytes = vec![7];
        pack(width, &codes, &mut bytes);
        prop_assert_eq!(bytes.len(), 1 + (codes.len() * bits).div_ceil(8));
        prop_assert_eq!(&unpack(width, &bytes[1..])[..codes.len()], &codes[..]);
    }

    #[test]
    fn numbers_come_back_within_half_a_step_and_codes_stay_when_they_are_made_again(
        bits in prop::sample::select(vec![2_usize, 4, 8]),
        rows in prop::collection::vec(-60.0_f32..60.0, 64),
    ) {
        let mut cache = HeadCache::new(grid(bits, 8), 8);
        cache.push_keys(&rows, 8, 8).unwrap();
        cache.push_values(&rows, 8, 8).unwrap();
        for keys in [true, false] {
            let mut back = vec![0.0; 64];
            let (codes, scales, minima) = if keys { cache.key_parts() } else { cache.value_parts() };
            if keys { cache.keys_into(&mut back, 8) } else { cache.values_into(&mut back, 8) }
            for (at, (x, y)) in rows.iter().zip(&back).enumerate() {
                let place = if keys { at % 8 } else { at / 8 };
                let (scale, minimum) = (scales[place].to_f32(), minima[place].to_f32());
                // Half a step, and what half precision takes from the minimum and, over all steps, from the scale.
                let lost = minimum.abs() / 2048.0 + scale * cache.grid.bits.last() / 1024.0;
                prop_assert!((x - y).abs() <= scale / 2.0 + lost + 1e-5, "{} for {}, scale {}", y, x, scale);
            }
            let mut again = HeadCache::new(cache.grid, 8);
            if keys { again.push_keys(&back, 8, 8).unwrap() } else { again.push_values(&back, 8, 8).unwrap() }
            let made_again = if keys { again.key_parts() } else { again.value_parts() };
            prop_assert_eq!(made_again, (codes, scales, minima));
        }
    }
}
