//! Models that are trained, cut and trained again, beside another program.
#![allow(clippy::unwrap_used)]

use harness_model::weight::DType;

use super::width_tests::{near, wide};
use super::*;
use crate::lowrank::tests::windows;
use harness_methods::registry;

fn golden() -> serde_json::Value {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/tuned.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn numbers(value: &serde_json::Value) -> Vec<f64> {
    serde_json::from_value(value.clone()).unwrap()
}

fn dressed(settings: &str, dense: &Decoder) -> Shortened {
    let arm = format!("dress({settings})").parse().unwrap();
    shortened(dense, &*registry::shrink(&arm).unwrap(), Some(&windows()), 0, &mut |_, _| {}).unwrap()
}

/// Logits of the last token of the first window.
fn last(decoder: &Decoder) -> Vec<f32> {
    let hidden = decoder.hidden(&[&windows()[0]]).unwrap().flatten_to(1).unwrap();
    let logits = with_values(&decoder.logits(&hidden).unwrap(), <[f32]>::to_vec).unwrap();
    logits[logits.len() - 23..].to_vec()
}

/// The numbers that the steps of a shorter model tell.
fn told(made: &Shortened) -> Vec<f64> {
    let words = made.shorter.steps.iter().flat_map(|step| step.split([' ', ',']));
    words.filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn models_that_are_trained_and_cut_are_those_of_torch() {
    let dense = wide(DType::F32);
    for (arm, expected) in golden()["arms"].as_object().unwrap() {
        let settings = format!("ratio=0.4, {arm}, steps=3, recover=2, rank=0, batch=2, rate=0.001, recover_rate=0.002");
        let made = dressed(&settings, &dense);
        for (narrow, at) in made.shorter.widths.iter().zip(0..) {
            assert_eq!(
                serde_json::json!([narrow.groups, narrow.channels]),
                serde_json::json!([expected["groups"][at], expected["channels"][at]])
            );
        }
        let (found, expected_numbers) =
            (told(&made), [numbers(&expected["norms"]), numbers(&expected["losses"])].concat());
        assert_eq!(found.len(), 6, "{found:?}");
        for (found, expected) in found.iter().zip(&expected_numbers) {
            assert!((found - expected).abs() <= 1e-4 * expected.abs().max(1.0), "{arm}: {found} for {expected}");
        }
        let logits: Vec<f32> = numbers(&expected["logits"]).into_iter().map(|value| value as f32).collect();
        near(&last(&made.decoder), &logits, arm);
    }
}

#[test]
fn factors_beside_maps_learn_as_in_torch() {
    let (dense, text) = (wide(DType::F32), windows());
    let mut walked = Walked::new(&dense, &text);
    let mut state: u32 = 5;
    let mut draw = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state) / f64::from(1u32 << 31) / 2.0
    };
    let training = Training { steps: 4, batch: 2, rate: 0.002, rank: Some(2), told: (0, 4) };
    let losses = walked.train(&training, &mut draw, &mut |_, _| {}).unwrap();
    let golden = &golden()["factors"];
    for (found, expected) in losses.iter().zip(numbers(&golden["losses"])) {
        assert!((found - expected).abs() < 1e-5, "{found} for {expected}");
    }
    let expected: Vec<f32> = numbers(&golden["logits"]).into_iter().map(|value| value as f32).collect();
    near(&last(walked.tuned()), &expected, "factors");
    // What is trained beside the maps changes nothing else, and no more than the rank.
    let (before, after) = (dense.numbers(), walked.tuned().numbers());
    let changed: Vec<&String> = before.keys().filter(|name| before[*name] != after[*name]).collect();
    assert_eq!(changed.len(), 21);
    assert!(changed.iter().all(|name| name.contains("proj")), "{changed:?}");
}

/// What tells it from a lasso over all weights: only what goes shrinks, and cutting costs less than cutting at once.
#[test]
fn what_goes_becomes_small_before_it_goes_and_nothing_else_does() {
    let dense = wide(DType::F32);
    let of = |strength: f64, steps: usize, recover: usize| {
        let settings = format!(
            "ratio=0.4, select=random, strength={strength}, steps={steps}, recover={recover}, batch=2, rate=0.004"
        );
        told(&dressed(&settings, &dense))
    };
    let (with, without, at_once) = (of(0.05, 40, 10), of(0.0, 40, 10), of(0.05, 0, 50));
    let norms = |told: &[f64]| told[1] / told[0];
    assert!(norms(&with) < 0.25 && norms(&without) > 0.8, "{with:?} {without:?}");
    // Before and behind the cut.
    let jump = |told: &[f64]| told[told.len() - 2] - told[told.len() - 3];
    assert!(jump(&with) < 0.5 * jump(&without), "{with:?} {without:?}");
    assert_eq!(at_once.len(), 3);
}

#[test]
fn nothing_cut_and_no_step_is_the_same_model_and_training_leaves_the_first_as_it_was() {
    let dense = wide(DType::F16);
    let before = dense.numbers();
    let same = dressed("ratio=0, steps=0, recover=0", &dense);
    assert_eq!(same.decoder.numbers(), before);
    let trained = dressed("ratio=0, steps=2, recover=0", &dense);
    assert_ne!(trained.decoder.numbers(), before);
    assert_eq!(dense.numbers(), before);
    // Numbers are stored as they were.
    assert_eq!(trained.decoder.stored_bytes(), dense.stored_bytes());
    let text = windows();
    let training = Training { steps: 3, batch: 1, rate: 0.01, rank: None, told: (0, 3) };
    let mut spoil = |_: usize, maps: &mut [(Map, &[f32], &mut [f32])]| maps[0].2[0] = f32::NAN;
    let lost = Walked::new(&dense, &text).train(&training, &mut || 0.5, &mut spoil);
    assert_eq!(lost, Err(ShrinkError::Diverged { step: 1 }));
    for arm in ["dress(norm=3)", "dress(norm=0)", "dress(strength=-1)", "dress(rate=0)", "dress(ratio=0.5, heads=2)"] {
        assert!(registry::build(harness_core::Axis::Shrink, &arm.parse().unwrap()).is_err(), "{arm}");
    }
}
