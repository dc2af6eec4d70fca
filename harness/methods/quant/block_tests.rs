//! The methods that are formats, against `tests/reference/small_float.py` and the formats themselves.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use harness_core::{Arm, Axis};
use serde_json::Value as Json;

use super::ggml::Format;
use super::small_float::SmallFloat;
use super::{QuantError, Quantized};
use crate::prune::Site;
use crate::registry::{methods, quantizer};

fn golden() -> Json {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/small_float.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn bytes(json: &Json) -> Vec<u8> {
    let digits = json.as_str().unwrap();
    (0..digits.len() / 2).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap()).collect()
}

fn floats(json: &Json) -> Vec<f32> {
    bytes(json).chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect()
}

fn quantize(arm: &str, rows: usize, weight: &[f32]) -> Result<Quantized, QuantError> {
    let site = Site { name: "w", layer: 0, rows, cols: weight.len() / rows };
    quantizer(&arm.parse().unwrap()).unwrap().quantize(&site, weight, None)
}

#[test]
fn codes_stand_for_the_numbers_of_torch() {
    for (name, format) in [("e4m3", SmallFloat::E4M3), ("e5m2", SmallFloat::E5M2)] {
        for (code, expected) in (0..=255).zip(floats(&golden()["numbers"][name])) {
            let found = format.decode(code);
            assert!(found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan(), "{name} {code:#x}");
        }
    }
}

#[test]
fn codes_scales_and_values_are_those_of_the_reference() {
    let golden = golden();
    let matrices = golden["matrices"].as_array().unwrap();
    for case in golden["arms"].as_array().unwrap() {
        let arm = case["arm"].as_str().unwrap();
        for (matrix, expected) in matrices.iter().zip(case["matrices"].as_array().unwrap()) {
            let label = format!("{arm} {}", matrix["name"]);
            let rows = usize::try_from(matrix["rows"].as_u64().unwrap()).unwrap();
            let found = quantize(arm, rows, &floats(&matrix["weights"])).unwrap();
            let codes: Vec<i16> = bytes(&expected["codes"]).into_iter().map(i16::from).collect();
            assert_eq!(found.scales, floats(&expected["scales"]), "{label}");
            assert_eq!(found.codes, codes, "{label}");
            let values = floats(&expected["values"]);
            let same = |(found, expected): (&f32, &f32)| found.to_bits() == expected.to_bits();
            assert!(found.values.iter().zip(&values).all(same), "{label}: {:?} instead of {values:?}", found.values);
        }
    }
}

#[test]
fn worked_examples_come_out() {
    let mut weight = vec![0.0; 32];
    weight[..6].copy_from_slice(&[0.11, -0.7, 2.9, -5.0, 0.0, 1.2]);
    let found = quantize("mxfp4", 1, &weight).unwrap();
    assert_eq!(found.values[..6], [0.0, -0.5, 3.0, -4.0, 0.0, 1.0]);
    let found = quantize("mxfp4(round=nearest_away)", 1, &weight).unwrap();
    assert_eq!(found.values[3], -6.0);
    weight[16] = 12.0;
    let found = quantize("nvfp4", 1, &weight).unwrap();
    assert!((found.scales[0] - 0.857_143).abs() < 1e-6, "{:?}", found.scales);
    let expected = [0.0, -0.857_143, 2.571_429, -5.142_857, 0.0, 1.285_714];
    for (found, expected) in found.values.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-5, "{found} for {expected}");
    }
    weight[0] = 7.9;
    assert_eq!(quantize("mxfp4", 1, &weight[..32]).unwrap().scales, [2.0]);
    weight[16] = 0.0;
    assert_eq!(quantize("mxfp4", 1, &weight).unwrap().values[0], 6.0);
}

#[test]
fn a_matrix_takes_what_its_format_says() {
    let weight: Vec<f32> = (0..512u16).map(|at| f32::from(at * 37 % 101) / 50.0 - 1.0).collect();
    for spec in methods().into_iter().filter(|spec| spec.axis == Axis::Quant) {
        let Some(format) = Format::ALL.into_iter().find(|format| format.name() == spec.id) else { continue };
        let found = quantize(spec.id, 2, &weight).unwrap();
        let tensor = if format == Format::Nvfp4 { 32 } else { 0 };
        assert_eq!(
            found.bits.total() * format.block_values() as u64,
            512 * format.block_bits().total() + tensor * format.block_values() as u64,
            "{}",
            spec.id
        );
        assert_eq!(found.fallback, None);
        assert_eq!(found.scales.len(), 512 / format.group(), "{}", spec.id);
        if !matches!(format, Format::Nvfp4 | Format::Mxfp4) {
            assert_eq!(found.values, format.decode(&format.encode(&weight).unwrap()).unwrap().values, "{}", spec.id);
        }
    }
    let found = quantize("mxfp4(round=ggml)", 2, &weight).unwrap();
    let ggml = Format::Mxfp4.decode(&Format::Mxfp4.encode(&weight).unwrap()).unwrap();
    assert_eq!((found.values, found.codes, found.scales), (ggml.values, ggml.codes, ggml.scales));
    assert_eq!(quantize("fp8", 2, &weight).unwrap().bits.total(), 512 * 8 + 32);
    assert_eq!(quantize("fp8(scale=row)", 2, &weight).unwrap().bits.total(), 512 * 8 + 64);
}

#[test]
fn every_format_is_a_method() {
    let ids: Vec<&str> = methods().into_iter().filter(|spec| spec.axis == Axis::Quant).map(|spec| spec.id).collect();
    assert!(Format::ALL.iter().all(|format| ids.contains(&format.name())), "{ids:?}");
}

#[test]
fn rows_that_super_blocks_do_not_tile_take_another_format_and_say_so() {
    let weight: Vec<f32> = (0..2 * 288u16).map(|at| f32::from(at % 19) - 9.0).collect();
    for (id, other) in [("q2_k", "q4_0"), ("q3_k", "q4_0"), ("q4_k", "q5_0"), ("q5_k", "q5_1"), ("q6_k", "q8_0")] {
        let found = quantize(id, 2, &weight).unwrap();
        assert_eq!(found.fallback, Some(other));
        assert_eq!(Quantized { fallback: None, ..found }, quantize(other, 2, &weight).unwrap(), "{id}");
        let error = quantize(&format!("{id}(fallback=false)"), 2, &weight).unwrap_err().to_string();
        let advice = format!("`fallback = true` takes {other} instead, as llama.cpp does");
        assert_eq!(error, format!("w: groups of 256 do not divide 288 columns; {advice}"));
    }
}

#[test]
fn rows_that_no_block_tiles_are_refused() {
    for id in ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q4_k", "q6_k(fallback=false)", "mxfp4", "nvfp4"] {
        let error = quantize(id, 2, &[1.0; 2 * 40]).unwrap_err();
        assert!(matches!(&error, QuantError::Group { columns: 40, .. }), "{id}: {error}");
        assert!(error.to_string().ends_with("are what they are; fp8 has none"), "{id}: {error}");
    }
    assert!(quantize("fp8", 2, &[1.0; 2 * 40]).is_ok());
}

#[test]
fn weights_that_are_not_finite_or_too_large_are_refused_where_they_are() {
    let mut weight = vec![0.5; 4 * 256];
    weight[2 * 256 + 7] = f32::NAN;
    for spec in methods().into_iter().filter(|spec| spec.axis == Axis::Quant && !spec.calibrated) {
        let error = quantize(spec.id, 4, &weight).unwrap_err().to_string();
        assert!(error.contains("row 2, column 7"), "{}: {error}", spec.id);
    }
    weight[2 * 256 + 7] = 1e9;
    for id in ["q4_0", "q8_0", "q2_k", "q4_k", "q6_k"] {
        let error = quantize(id, 4, &weight).unwrap_err();
        assert!(matches!(error, QuantError::Block { row: 2, column: 0, .. }), "{id}: {error}");
    }
    assert!(["mxfp4", "nvfp4", "fp8"].iter().all(|id| quantize(id, 4, &weight).is_ok()));
}

#[test]
fn zeros_stay_zeros_and_the_smallest_numbers_make_no_nan() {
    for spec in methods().into_iter().filter(|spec| spec.axis == Axis::Quant && !spec.calibrated) {
        let found = quantize(spec.id, 2, &[0.0; 512]).unwrap();
        assert!(found.values.iter().all(|value| *value == 0.0), "{}", spec.id);
        let found = quantize(spec.id, 2, &[f32::from_bits(3); 512]).unwrap();
        assert!(found.values.iter().all(|value| value.abs() < 1e-40), "{}", spec.id);
    }
}

#[test]
fn parameters_that_do_not_fit_are_refused() {
    let refused = |text: &str| quantizer(&text.parse::<Arm>().unwrap()).err().unwrap().to_string();
    assert_eq!(refused("q4_0(bits=4)"), "q4_0(bits=4): `q4_0` has no parameter `bits`; it takes none");
    assert_eq!(refused("q4_k(fallback=q8_0)"), "q4_k(fallback=q8_0): `fallback` must be true or false, not q8_0");
    let expected = "mxfp4(round=floor): `round` must be one of rne, nearest_away, ggml, not floor";
    assert_eq!(refused("mxfp4(round=floor)"), expected);
    let expected = "nvfp4(scale_round=down): `scale_round` must be one of rne, up, not down";
    assert_eq!(refused("nvfp4(scale_round=down)"), expected);
    assert_eq!(refused("fp8(format=e3m4)"), "fp8(format=e3m4): `format` must be one of e4m3, e5m2, not e3m4");
    assert_eq!(refused("fp8(scale=block)"), "fp8(scale=block): `scale` must be one of tensor, row, not block");
    assert_eq!(refused("mxfp"), "`mxfp` is not a quant method; did you mean `mxfp4`?");
}
