//! Every quantizer against numbers computed apart from it, by `tests/reference/quant.py`.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use harness_core::{Arm, Axis};
use serde_json::Value as Json;

use super::codebook::{AF4, Codebook, NF4, dynamic, floats};
use crate::prune::{Needs, Site};
use crate::registry::fp4::{Variant, book};
use crate::registry::{methods, quantizer};
use crate::statistics::LinearStatistics;

fn golden() -> Json {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/quant.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn numbers(json: &Json) -> Vec<f64> {
    json.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

fn scaled(json: &Json, scale: &Json) -> Vec<f32> {
    numbers(json).into_iter().map(|value| (value / scale.as_f64().unwrap()) as f32).collect()
}

fn codes(case: &Json) -> Vec<i16> {
    let lowest = i16::try_from(case["lowest"].as_i64().unwrap()).unwrap();
    let digits: String = case["codes"].as_array().unwrap().iter().map(|row| row.as_str().unwrap()).collect();
    (0..digits.len()).step_by(2).map(|at| i16::from_str_radix(&digits[at..at + 2], 16).unwrap() + lowest).collect()
}

/// The largest difference relative to the number itself, or to 1e-3 where it is smaller.
fn apart(found: impl IntoIterator<Item = f64>, expected: &[f64]) -> f64 {
    let found: Vec<f64> = found.into_iter().collect();
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(a, b)| (a - b).abs() / b.abs().max(1e-3)).fold(0.0, f64::max)
}

#[test]
fn codes_scales_and_values_are_those_of_the_references() {
    let golden = golden();
    let mut checked = std::collections::BTreeSet::new();
    for matrix in golden["matrices"].as_array().unwrap() {
        let size = |key: &str| usize::try_from(matrix[key].as_u64().unwrap()).unwrap();
        let (rows, cols) = (size("rows"), size("cols"));
        let weight = scaled(&matrix["weights"], &golden["weight_scale"]);
        let needs = Needs::SECOND_MOMENT.union(Needs::MAGNITUDES).union(Needs::SAMPLES);
        let mut statistics = LinearStatistics::new(cols, needs);
        let inputs = scaled(&matrix["inputs"], &golden["input_scale"]);
        statistics.add(&inputs).unwrap();
        let site = Site { name: matrix["name"].as_str().unwrap(), layer: 0, rows, cols };
        for case in matrix["arms"].as_array().unwrap() {
            let arm: Arm = case["arm"].as_str().unwrap().parse().unwrap();
            let label = format!("{} {arm}", site.name);
            let found = quantizer(&arm).unwrap().quantize(&site, &weight, Some(&statistics)).unwrap();
            let expected = codes(case);
            let differing: Vec<usize> = (0..expected.len()).filter(|&at| found.codes[at] != expected[at]).collect();
            assert!(
                differing.is_empty(),
                "{label}: {} codes differ, first at {:?}",
                differing.len(),
                differing.first()
            );
            let wide = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect::<Vec<_>>();
            assert!(apart(wide(&found.scales), &numbers(&case["scales"])) < 1e-6, "{label}");
            assert!(apart(wide(&found.zeros), &numbers(&case["zeros"])) < 1e-6, "{label}");
            let sums = found.values.chunks(cols).map(|row| wide(row).iter().sum::<f64>());
            assert!(apart(sums, &numbers(&case["sums"])) < 2e-5, "{label}");
            assert_eq!(Some(found.bits.total()), case["bits"].as_u64(), "{label}");
            if let Some(expected) = case.get("outputs").map(numbers) {
                let m = expected.len() / rows;
                let operators = found.operators.unwrap();
                let most = expected.iter().fold(0.0_f64, |most, y| most.max(y.abs()));
                for operator in [operators.fake(), operators.packed().unwrap()] {
                    let mut outputs = vec![0.0; expected.len()];
                    operator.multiply(&inputs[..m * cols], m, &mut outputs);
                    let apart =
                        outputs.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
                    assert!(apart < 2e-6 * most, "{label}: {apart} of {most}");
                }
            }
            checked.insert(arm.id);
        }
    }
    // The block formats are compared byte by byte, in `ggml/golden_tests.rs` and `block_tests.rs`; the signs of turns are drawn, so
    // they are held to what turns keep, in `hadamard.rs`; `mixed` is one of the others for each matrix (`mixture_tests.rs`).
    let elsewhere = [
        "none", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "mxfp4", "nvfp4",
        "fp8", "rht", "mixed",
    ];
    for spec in methods().iter().filter(|spec| spec.axis == Axis::Quant && !elsewhere.contains(&spec.id)) {
        assert!(checked.contains(spec.id), "{} has no golden", spec.id);
    }
}

#[test]
fn codebooks_agree_to_six_digits() {
    let golden = golden();
    let expect = |name: &str, found: &Codebook| {
        let expected = numbers(&golden["codebooks"][name]);
        let found: Vec<f64> = found.values().iter().map(|&value| f64::from(value)).collect();
        assert_eq!(found.len(), expected.len(), "{name}");
        assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6), "{name} {found:?}");
    };
    expect("nf4", &Codebook::ascending(NF4.to_vec()));
    expect("af4", &Codebook::ascending(AF4.to_vec()));
    expect("fp4", &book(Variant::Bitsandbytes));
    expect("float4_body", &floats(4, 2, 2));
    for bits in [3, 4, 8] {
        expect(&format!("dynamic{bits}"), &dynamic(bits));
    }
}
