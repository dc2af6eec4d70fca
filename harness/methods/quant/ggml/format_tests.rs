//! What holds of block formats: sizes, worked examples, zeros, bounds, and what is refused.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::{BlockError, Format};

/// Values of one block, the rest of it zero.
fn block(format: Format, values: &[f32]) -> Vec<f32> {
    let mut block = vec![0.0; format.block_values()];
    block[..values.len()].copy_from_slice(values);
    block
}

fn round_trip(format: Format, values: &[f32]) -> Vec<f32> {
    format.decode(&format.encode(values).unwrap()).unwrap().values
}

/// Something like normal numbers, the same each time.
fn weights(count: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut uniform = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 16_777_216.0 - 0.5
    };
    (0..count).map(|_| 0.05 * (uniform() + uniform() + uniform() + uniform())).collect()
}

#[test]
fn blocks_have_the_sizes_of_the_format() {
    let sizes: Vec<usize> = Format::ALL.iter().map(|format| format.block_bytes()).collect();
    assert_eq!(sizes, [18, 20, 22, 24, 34, 84, 110, 144, 176, 210, 17, 36]);
    let per_weight: Vec<f64> =
        Format::ALL.iter().map(|format| format.block_bits().total() as f64 / format.block_values() as f64).collect();
    assert_eq!(per_weight, [4.5, 5.0, 5.5, 6.0, 8.5, 2.625, 3.4375, 4.5, 5.5, 6.5625, 4.25, 4.5]);
    for format in Format::ALL {
        let name = format.name();
        assert_eq!(format.block_bits().total(), 8 * format.block_bytes() as u64, "{name}");
        let values = weights(3 * format.block_values());
        let bytes = format.encode(&values).unwrap();
        assert_eq!(bytes.len(), 3 * format.block_bytes(), "{name}");
        let decoded = format.decode(&bytes).unwrap();
        let groups = values.len() / format.group();
        assert_eq!((decoded.values.len(), decoded.codes.len()), (values.len(), values.len()), "{name}");
        assert_eq!(decoded.scales.len(), groups, "{name}");
        assert_eq!(decoded.zeros.len(), if format.block_bits().zeros == 0 { 0 } else { groups }, "{name}");
    }
}

#[test]
fn worked_examples_come_out() {
    let decoded =
        |format: Format, values: &[f32]| format.decode(&format.encode(&block(format, values)).unwrap()).unwrap();
    let below = decoded(Format::Q4_0, &[0.5, -1.6, 0.8, 1.0]);
    assert_eq!(below.codes[..4], [11, 0, 12, 13]);
    assert!((below.scales[0] - 0.2).abs() < 1e-4);
    let above = decoded(Format::Q4_0, &[0.5, 1.6, 0.8, 1.0]);
    assert_eq!(above.codes[..4], [6, 0, 4, 3]);
    assert!((above.scales[0] + 0.2).abs() < 1e-4);
    // With a scale of exactly one, ties are seen: away from zero in Q8_0, up in Q4_1.
    assert_eq!(decoded(Format::Q8_0, &[127.0, 2.5, -2.5, 3.5]).codes[..4], [127, 3, -3, 4]);
    assert_eq!(decoded(Format::Q4_1, &[15.0, 2.5, 3.5, 0.0]).codes[..4], [15, 3, 4, 0]);
    let four = decoded(Format::Mxfp4, &[0.11, -0.7, 2.9, -5.0, 0.0, 1.2]);
    assert_eq!(four.values[..6], [0.0, -0.5, 3.0, -4.0, 0.0, 1.0]);
    assert_eq!(four.scales, [1.0]);
}

#[test]
fn zeros_stay_zeros() {
    for format in Format::ALL {
        for zero in [0.0, -0.0] {
            let decoded = format.decode(&format.encode(&vec![zero; 2 * format.block_values()]).unwrap()).unwrap();
            assert!(decoded.values.iter().all(|value| *value == 0.0), "{}", format.name());
            assert!(decoded.scales.iter().chain(&decoded.zeros).all(|scale| *scale == 0.0 || format == Format::Mxfp4));
        }
    }
}

#[test]
fn what_is_too_small_for_a_scale_becomes_zero_and_never_nan() {
    for format in Format::ALL {
        for small in [1e-9, 1e-14, 1e-30, 1e-38, 1e-41, f32::from_bits(1)] {
            let mut values = weights(format.block_values());
            for value in &mut values {
                *value *= small;
            }
            values[0] = small;
            assert!(round_trip(format, &values).iter().all(|value| value.abs() <= 2.0 * small), "{format:?} {small}");
        }
    }
}

#[test]
fn constants_are_met_within_the_precision_of_scales() {
    for format in Format::ALL {
        // Half precision, six bits of a scale of the largest sub-block, or the spacing of E2M1 times that of E4M3.
        let bound = match format {
            Format::Mxfp4 => 0.2,
            Format::Nvfp4 => 1.0 / 16.0,
            _ => 1e-3,
        };
        // None so small that a scale is subnormal in half precision.
        for constant in [0.75, -0.75, 0.1, -40.0] {
            for value in round_trip(format, &vec![constant; format.block_values()]) {
                assert!((value / constant - 1.0).abs() <= bound, "{}: {value} for {constant}", format.name());
            }
        }
    }
}

#[test]
fn more_bits_err_less() {
    let values = weights(64 * 256);
    let error = |format: Format| -> f64 {
        let found = round_trip(format, &values);
        values.iter().zip(found).map(|(a, b)| f64::from(a - b).powi(2)).sum()
    };
    let order = [Format::Q2K, Format::Q3K, Format::Q4K, Format::Q5K, Format::Q6K, Format::Q8_0];
    assert!(order.is_sorted_by(|less, more| error(*less) > 2.0 * error(*more)));
    let legacy = [Format::Q4_0, Format::Q4_1, Format::Q5_0, Format::Q5_1];
    assert!(legacy.is_sorted_by(|less, more| error(*less) > error(*more)));
    assert!(error(Format::Q4K) < error(Format::Q4_0));
}

#[test]
fn what_does_not_fit_is_refused() {
    for format in Format::ALL {
        let (block, bytes) = (format.block_values(), format.block_bytes());
        let values = BlockError::Values { format, found: block - 1, block };
        assert_eq!(format.encode(&vec![1.0; block - 1]).unwrap_err(), values);
        assert!(format.encode(&[]).unwrap().is_empty());
        for cut in [1, bytes - 1, bytes + 1] {
            let error = format.decode(&vec![0; cut]).unwrap_err();
            assert_eq!(error, BlockError::Bytes { format, found: cut, block: bytes });
        }
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = vec![1.0; 2 * block];
            values[block + 3] = bad;
            assert!(
                matches!(format.encode(&values).unwrap_err(), BlockError::Value { index, .. } if index == block + 3)
            );
        }
    }
    let error = Format::Q4_0.decode(&[0; 17]).unwrap_err();
    assert_eq!(error.to_string(), "17 bytes are no blocks of 18; what is to be q4_0 is cut off or something else");
}

#[test]
fn scales_too_large_to_store_are_refused_where_they_are() {
    for format in Format::ALL.into_iter().filter(|format| *format != Format::Mxfp4) {
        for large in [1e10, 1e13, 1e20, 1e30, f32::MAX] {
            let mut values = weights(100 * format.block_values());
            let block = format.block_values();
            for at in [70, 90] {
                values[at * block + 1] = large;
                values[at * block + 2] = -large / 3.0;
            }
            let error = format.encode(&values).unwrap_err();
            assert!(matches!(error, BlockError::Scale { block: 70, .. }), "{format:?} {large}: {error}");
        }
    }
    let error = Format::Q8_0.encode(&block(Format::Q8_0, &[1e8])).unwrap_err().to_string();
    let expected =
        "block 0 needs 787401.56 for the scale, more than q8_0 can store; scale the weights down, or take mxfp4 or fp8";
    assert_eq!(error, expected);
    assert!(round_trip(Format::Mxfp4, &block(Format::Mxfp4, &[f32::MAX]))[0].is_finite());
}

#[test]
fn damaged_scales_are_refused() {
    for (format, at, bytes) in [
        (Format::Q4_0, 0, vec![0x00, 0x7c]),
        (Format::Q5_1, 2, vec![0x01, 0x7e]),
        (Format::Q2K, 80, vec![0x00, 0xfc]),
        (Format::Q3K, 108, vec![0x00, 0x7c]),
        (Format::Q4K, 2, vec![0xff, 0xff]),
        (Format::Q6K, 208, vec![0x00, 0x7c]),
        (Format::Mxfp4, 0, vec![0xff]),
        (Format::Nvfp4, 3, vec![0x7f]),
    ] {
        let mut data = vec![0; 3 * format.block_bytes()];
        let start = 2 * format.block_bytes() + at;
        data[start..start + bytes.len()].copy_from_slice(&bytes);
        let error = format.decode(&data).unwrap_err();
        assert!(matches!(error, BlockError::Stored { block: 2, .. }), "{format:?}: {error}");
    }
}

proptest! {
    #[test]
    fn any_bytes_decode_or_are_refused(seed in prop::collection::vec(any::<u8>(), 210)) {
        for format in Format::ALL {
            if let Ok(decoded) = format.decode(&seed[..format.block_bytes()]) {
                prop_assert_eq!(decoded.values.len(), format.block_values());
                prop_assert!(decoded.values.iter().all(|value| !value.is_nan()));
            }
        }
    }

    #[test]
    fn formats_without_minima_of_one_scale_are_left_alone_the_second_time(
        values in prop::collection::vec(-1f32..1.0, 32), scale in -20i32..10,
    ) {
        let values: Vec<f32> = values.iter().map(|value| value * 2f32.powi(scale)).collect();
        for format in [Format::Q4_0, Format::Q5_0, Format::Q8_0, Format::Mxfp4] {
            let once = round_trip(format, &values);
            prop_assert_eq!(&round_trip(format, &once), &once, "{}", format.name());
        }
    }

    #[test]
    fn errors_are_within_half_a_step(values in prop::collection::vec(-1f32..1.0, 32)) {
        for (format, steps) in [(Format::Q8_0, 0.5), (Format::Q4_1, 0.5), (Format::Q5_1, 0.5), (Format::Q4_0, 1.0), (Format::Q5_0, 1.0)] {
            let decoded = format.decode(&format.encode(&values).unwrap()).unwrap();
            // The rounding of scale and minimum to half precision comes on top.
            let bound = steps * decoded.scales[0].abs() + 2e-3;
            for (found, value) in decoded.values.iter().zip(&values) {
                prop_assert!((found - value).abs() <= bound, "{}: {found} for {value}", format.name());
            }
        }
    }
}
