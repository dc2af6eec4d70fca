//! Frequencies against `tests/reference/position.py` (transformers and numpy), and what holds for every method of the axis.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;

use harness_core::Axis;
use proptest::prelude::*;
use serde_json::Value as Json;

use super::*;
use crate::registry::{methods, position};

fn scaled(arm: &str, rotary: &Rotary, length: usize) -> Scaled {
    let method = position(&arm.parse().unwrap()).unwrap();
    method.check(rotary).unwrap();
    method.scaled(rotary, length)
}

/// The configuration of the card's examples: d = 8, b = 10,000, L = 256.
fn tiny() -> Rotary {
    Rotary::new(10_000.0, 8, 256)
}

fn close(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= tolerance * b.abs(), "{what}, pair {i}: {a} for {b}");
    }
}

#[test]
fn frequencies_are_those_of_transformers_and_numpy() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/position.json");
    let golden: Json = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert!(cases.iter().filter(|case| case["source"] == "transformers").count() >= 20);
    let mut tested = BTreeSet::new();
    for case in cases {
        let size = |key: &str| usize::try_from(case[key].as_u64().unwrap()).unwrap();
        let arm = case["arm"].as_str().unwrap();
        let rotary = Rotary::new(case["base"].as_f64().unwrap(), size("dim"), size("trained"));
        let found = scaled(arm, &rotary, size("length"));
        let expected: Vec<f64> =
            case["inv_freq"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
        close(&found.frequencies, &expected, 1e-6, &format!("{case}"));
        let factor = case["attention_factor"].as_f64().unwrap();
        assert!((found.attention_factor - factor).abs() < 1e-12, "{arm}: {} for {factor}", found.attention_factor);
        tested.insert(arm.split('(').next().unwrap().to_owned());
    }
    for flow in golden["flows"].as_array().unwrap() {
        let size = |key: &str| usize::try_from(flow[key].as_u64().unwrap()).unwrap();
        let numbers =
            |key: &str| flow[key].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect::<Vec<f64>>();
        let map = |key: &str| numbers(key).into_iter().map(|value| value as f32).collect();
        let net = Net { up: map("up"), down: map("down") };
        let rotary = Rotary::new(flow["base"].as_f64().unwrap(), size("dim"), size("trained")).with_net(Some(net));
        let found = scaled(flow["arm"].as_str().unwrap(), &rotary, size("length"));
        close(&found.frequencies, &numbers("inv_freq"), 1e-6, flow["arm"].as_str().unwrap());
    }
    for spec in methods().into_iter().filter(|spec| spec.axis == Axis::Position) {
        // Those that leave frequencies alone are in `window_tests.rs`.
        let method = position(&harness_core::Arm::new(spec.id)).unwrap();
        let elsewhere = !method.is_identity() && !method.kind().rewrites_frequencies();
        assert!(elsewhere || tested.contains(spec.id), "`{}` has no golden", spec.id);
    }
}

#[test]
fn examples_computed_by_hand() {
    let near = |arm: &str, length: usize, expected: &[f64]| {
        let found = scaled(arm, &tiny(), length).frequencies;
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() < 6e-7, "{arm}: {found:?} for {expected:?}");
        }
    };
    near("none", 256, &[1.0, 0.1, 0.01, 0.001]);
    near("linear(factor=4)", 256, &[0.25, 0.025, 0.0025, 0.00025]);
    near("ntk(factor=4)", 256, &[1.0, 0.062_996, 0.003_969, 0.000_250]);
    near("dynamic-ntk(factor=2)", 512, &[1.0, 0.069_336, 0.004_807, 0.000_333]);
    near("by-parts(factor=4)", 256, &[1.0, 0.032_438, 0.0025, 0.000_25]);
    near("clex", 1024, &[1.0, 0.052_276, 0.002_733, 0.000_143]);
    near("clex", 256, &[1.0, 0.1, 0.01, 0.001]);
    near("clex(max_factor=2)", 4096, &scaled("ntk(factor=3)", &tiny(), 256).frequencies);
    near("yarn(factor=4)", 256, &[1.0, 0.0625, 0.0025, 0.000_25]);
    near("longrope(factor=4, long=[1, 1.5, 4, 5])", 257, &[1.0, 0.066_667, 0.0025, 0.0002]);
    near("giraffe-truncated", 256, &[1.0, 0.1, 0.001_534, 0.0]);
    near("giraffe-power(k=0.5)", 256, &[1.0, 0.086_603, 0.007_071, 0.0005]);
    near("giraffe-power(k=0.1)", 256, &[1.0, 0.097_164, 0.009_33, 0.000_871]);
    let factor = |arm: &str| scaled(arm, &tiny(), 256).attention_factor;
    assert!((factor("yarn(factor=4)") - 1.138_629).abs() < 5e-7);
    assert!((factor("longrope(factor=4)") - 1.118_034).abs() < 5e-7);
    assert_eq!(factor("yarn(factor=1)"), 1.0);
}

#[test]
fn ramps_of_yarn_lie_where_its_code_puts_them() {
    let range = |base, dimensions, trained| {
        let method = position(&"yarn(factor=4)".parse().unwrap()).unwrap();
        method.ramp(&Rotary::new(base, dimensions, trained)).unwrap()
    };
    assert_eq!(range(1e4, 128, 4096), (20.0, 46.0));
    assert_eq!(range(5e5, 128, 8192), (18.0, 35.0));
    assert_eq!(range(1e5, 64, 8192), (10.0, 20.0));
    assert_eq!(range(1e4, 64, 2048), (8.0, 21.0));
    assert_eq!(range(1e4, 32, 256), (0.0, 7.0));
}

#[test]
fn the_pair_that_training_never_turns_once_is_found() {
    let critical = |base, dimensions, trained| Rotary::new(base, dimensions, trained).critical_pair();
    assert_eq!(critical(5e5, 128, 8192), 35);
    assert_eq!(critical(1e4, 128, 4096), 46);
    assert_eq!(critical(1e5, 64, 8192), 20);
    assert_eq!(critical(1e4, 32, 256), 7);
}

#[test]
fn llama3_is_by_parts_under_other_names() {
    let rotary = Rotary::new(1e5, 64, 2048);
    let (a, b) = (
        scaled("llama3(factor=6, low=2, high=9)", &rotary, 9000),
        scaled("by-parts(factor=6, slow=2, fast=9)", &rotary, 9000),
    );
    assert_eq!(a, b);
}

#[test]
fn a_longer_text_leaves_no_trace_in_methods_that_follow_the_length() {
    for arm in ["dynamic-ntk(factor=3)", "dynamic-linear", "dynamic-linear(whole=true)", "clex(log_scale=true)"] {
        let method = position(&arm.parse().unwrap()).unwrap();
        let rotary = tiny();
        let before = method.scaled(&rotary, 200);
        assert_eq!(before.frequencies, rotary.frequencies, "{arm}");
        assert_ne!(method.scaled(&rotary, 300), before, "{arm}");
        assert_eq!(method.scaled(&rotary, 256), before, "{arm}");
        assert_eq!(method.regime(&rotary, 10), method.regime(&rotary, 256), "{arm}");
        if !arm.contains("whole") {
            assert_ne!(method.regime(&rotary, 300), method.regime(&rotary, 301), "{arm}");
        }
    }
}

#[test]
fn a_net_for_other_rotary_embeddings_is_refused() {
    let method = position(&"clex".parse().unwrap()).unwrap();
    let with = |up: usize, down: usize| tiny().with_net(Some(Net { up: vec![0.1; up], down: vec![0.1; down] }));
    assert_eq!(method.check(&with(12, 12)), Ok(()));
    let error = method.check(&with(12, 16)).unwrap_err();
    assert_eq!(error, PositionError::Net { up: 12, down: 16, pairs: 4 });
    assert!(method.check(&with(0, 0)).is_err() && method.check(&with(6, 6)).is_err());
    let one = Rotary::new(10_000.0, 2, 256);
    assert_eq!(method.check(&one), Err(PositionError::FewPairs(1)));
    for (arm, what) in
        [("clex(step=0)", "step"), ("clex(max_factor=0)", "max_factor"), ("clex(activation=relu)", "activation")]
    {
        assert!(position(&arm.parse().unwrap()).unwrap_err().to_string().contains(what), "{arm}");
    }
    // Lengths that end a time belong to it.
    let regimes: Vec<usize> = [1, 256, 257, 512, 513, 1024, 9999].map(|n| method.regime(&tiny(), n)).to_vec();
    assert_eq!(regimes, [1, 1, 2, 2, 3, 4, 4]);
}

proptest! {
    /// No method turns a pair faster than the checkpoint but a lowered base; frequencies stay finite and fall with the pair.
    #[test]
    fn frequencies_stay_in_order(
        pairs in 2usize..64, base in 1.5f64..1e7, trained in 2usize..100_000, factor in 1.0f64..64.0, length in 1usize..1_000_000,
    ) {
        let rotary = Rotary::new(base, 2 * pairs, trained);
        let flowed = scaled("clex", &rotary, length);
        let raised = scaled(&format!("ntk(factor={})", 2 * length.div_ceil(trained).clamp(1, 4) - 1), &rotary, length);
        for (a, b) in flowed.frequencies.iter().zip(&raised.frequencies) {
            prop_assert!((a / b - 1.0).abs() < 1e-3, "without a net: {a} for {b}");
        }
        for arm in ["linear", "ntk", "dynamic-ntk", "by-parts", "yarn", "llama3"] {
            let found = scaled(&format!("{arm}(factor={factor})"), &rotary, length);
            prop_assert!(found.frequencies.iter().all(|f| f.is_finite() && *f > 0.0), "{arm}: {found:?}");
            for (new, old) in found.frequencies.iter().zip(&rotary.frequencies) {
                prop_assert!(*new <= old * (1.0 + 1e-6), "{arm}: {new} above {old}");
            }
        }
        let power = scaled("giraffe-power(k=0.7)", &rotary, length).frequencies;
        prop_assert!(power.windows(2).all(|pair| pair[1] <= pair[0]) && power[0] == rotary.frequencies[0]);
        let truncated = scaled("giraffe-truncated", &rotary, length).frequencies;
        prop_assert!(truncated.windows(2).all(|pair| pair[1] <= pair[0]));
    }

    /// The ends of what NTK-aware scaling interpolates: nothing of the highest frequency, all of the lowest.
    #[test]
    fn ntk_keeps_the_first_pair_and_interpolates_the_last(pairs in 2usize..64, base in 2.0f64..1e6, factor in 1.0f64..64.0) {
        let rotary = Rotary::new(base, 2 * pairs, 100);
        let found = scaled(&format!("ntk(factor={factor})"), &rotary, 1).frequencies;
        let (last, old) = (found[pairs - 1], rotary.frequencies[pairs - 1]);
        prop_assert_eq!(found[0], 1.0);
        prop_assert!((last * factor / old - 1.0).abs() < 1e-5, "{} for {}", last, old / factor);
    }
}
