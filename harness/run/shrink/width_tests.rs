//! Narrower models of a small decoder: what they compute, what is counted, and what another program says.
#![allow(clippy::unwrap_used)]

use harness_core::Axis;
use harness_methods::registry;
use harness_methods::width::database::Database;
use harness_methods::width::reorder::{copies, order};
use harness_model::config::{Config, Projection};
use harness_model::decoder::Decoder;
use harness_model::weight::{DType, Weight};

use super::inner::narrow;
use super::*;
use crate::calibrate::{CalibrationOrder, PruneArm, prune_all};
use crate::footprint::{Counting, Footprint};
use crate::lowrank::tests::{drawn, small, windows};

/// Three blocks of six query heads on three key-value heads and of forty channels.
pub(super) fn wide(dtype: DType) -> Decoder {
    let shape = Config { hidden_size: 48, intermediate_size: 40, heads: 6, kv_heads: 3, head_dim: 8, ..small(3) };
    let position = harness_model::config::PositionScheme::Rope {
        theta: 10_000.0,
        rotary: 8,
        style: harness_model::config::RopeStyle::HalfSplit,
    };
    drawn(&Config { position, ..shape }, dtype)
}

fn made(arm: &str, dense: &Decoder) -> Shortened {
    tried(arm, dense).unwrap()
}

fn tried(arm: &str, dense: &Decoder) -> Result<Shortened, PrepareError> {
    shortened(dense, &*registry::shrink(&arm.parse().unwrap()).unwrap(), Some(&windows()), 3, &mut |_, _| {})
}

fn logits(decoder: &Decoder) -> Vec<f32> {
    let hidden = decoder.hidden(&[&windows()[0]]).unwrap().flatten_to(1).unwrap();
    with_values(&decoder.logits(&hidden).unwrap(), <[f32]>::to_vec).unwrap()
}

pub(super) fn near(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    found.iter().zip(expected).for_each(|(a, b)| assert!((a - b).abs() < 1e-4, "{what}: {a} for {b}"));
}

const ARMS: &[&str] = &[
    "random-width(ratio=0.4)",
    "random-width(heads=2, channels=9)",
    "magnitude-width(ratio=0.4)",
    "magnitude-width(channels=20, power=2)",
    "wanda-width(ratio=0.4)",
    "flap(ratio=0.4)",
    "flap(ratio=0.4, metric=wifn)",
    "flap(ratio=0.4, manner=al-mm)",
    "flap(ratio=0.4, manner=ul-um)",
    "flap(ratio=0.4, bias=false)",
    "llm-pruner(ratio=0.4, skip_first=0, skip_last=0)",
    "llm-pruner(ratio=0.4, ranking=model, criterion=mixed, skip_first=1, skip_last=0)",
    "head-importance(ratio=0.4)",
    "darwinlm(ratio=0.4, levels=8, generations=3, offspring=4, stages=2)",
];

#[test]
fn what_every_method_leaves_computes_what_zeros_compute() {
    for dtype in [DType::F32, DType::Bf16] {
        let dense = wide(dtype);
        for arm in ARMS {
            let made = made(arm, &dense);
            let masked = dense.masked(&narrow(&made.shorter.widths)).unwrap();
            near(&logits(&made.decoder), &logits(&masked), arm);
            assert!(made.decoder.parameters() < dense.parameters(), "{arm}");
            let counted = Footprint::of(&made.decoder, Counting::default());
            assert_eq!(counted.parameters as usize, made.decoder.parameters(), "{arm}");
            assert!(made.kept().iter().any(|(heads, channels)| *heads < 1.0 || *channels < 1.0));
        }
    }
}

#[test]
fn nothing_removed_is_the_same_model_to_the_bit() {
    let dense = wide(DType::F32);
    for arm in [
        "random-width(ratio=0)",
        "magnitude-width(ratio=0.02)",
        "wanda-width(ratio=0)",
        "flap(ratio=0)",
        "llm-pruner(ratio=0, skip_first=0, skip_last=0)",
        "darwinlm(ratio=0, generations=2)",
    ] {
        let made = made(arm, &dense);
        assert_eq!(logits(&made.decoder), logits(&dense), "{arm}");
        assert_eq!(made.decoder.bytes_not_shared_with(&dense), 0, "{arm}");
        assert!(made.kept().iter().all(|kept| *kept == (1.0, 1.0)));
    }
}

#[test]
fn units_of_nothing_are_the_first_to_go_and_go_without_loss() {
    let mut dense = wide(DType::F32);
    // The columns that group 1 and channels 0, 7 and 39 of every block write by.
    for layer in 0..3 {
        for (projection, zero) in [
            (Projection::O, &(|column: usize| column / 16 == 1) as &dyn Fn(usize) -> bool),
            (Projection::Down, &|column: usize| [0, 7, 39].contains(&column)),
        ] {
            let map = dense.linear(layer, projection).unwrap();
            let (rows, cols) = (map.rows(), map.cols());
            let mut values = map.weight().to_f32();
            values.iter_mut().enumerate().for_each(|(at, value)| {
                if zero(at % cols) {
                    *value = 0.0;
                }
            });
            dense = dense.with_weight(layer, projection, Weight::from_f32(rows, cols, values));
        }
    }
    for arm in ["wanda-width(heads=2, channels=3)", "flap(ratio=0.34, manner=ul-um, metric=wifv)"] {
        let made = made(arm, &dense);
        for narrow in &made.shorter.widths {
            assert_eq!(narrow.groups, [0, 2], "{arm}");
            assert!([0, 7, 39].iter().all(|channel| !narrow.channels.contains(channel)), "{arm}");
        }
        if arm.starts_with("wanda") {
            near(&logits(&made.decoder), &logits(&dense), arm);
        }
    }
}

#[test]
fn what_is_behind_sees_the_narrower_model() {
    let dense = wide(DType::F32);
    let narrower = made("flap(ratio=0.4, manner=al-mm)", &dense).decoder;
    assert!(!narrower.config().widths.is_empty());
    let pruner = registry::pruner(&"wanda(sparsity=0.5)".parse().unwrap()).unwrap();
    let arms = [PruneArm { pruner: &*pruner, seed: 0, dtype: None }];
    let pruned = prune_all(&narrower, &arms, Some(&windows()), CalibrationOrder::Sequential, &mut |_, _| {});
    let pruned = pruned.into_iter().next().unwrap().unwrap().decoder;
    let counted = Footprint::of(&pruned, Counting { dense: Some(&narrower), moments: false });
    assert!((counted.sparsity() - 0.5).abs() < 0.02);
    assert_eq!(pruned.config().widths, narrower.config().widths);
}

#[test]
fn the_divergence_of_a_candidate_is_that_of_its_logits() {
    let dense = wide(DType::F32);
    let text = windows();
    let mut walked = Walked::new(&dense, &text);
    let samples = Samples { windows: 1, start: 0, tokens: 48 };
    let whole = made("random-width(ratio=0)", &dense).shorter.widths;
    assert!(walked.divergence(&whole, samples).unwrap().abs() < 1e-9);
    let made = made("wanda-width(ratio=0.4)", &dense);
    let found = walked.divergence(&made.shorter.widths, samples).unwrap();
    let softmax = |row: &[f32]| {
        let sum: f64 = row.iter().map(|value| f64::from(*value).exp()).sum();
        row.iter().map(|value| f64::from(*value).exp() / sum).collect::<Vec<f64>>()
    };
    let (p, q) = (logits(&dense), logits(&made.decoder));
    let rows = p.chunks_exact(23).zip(q.chunks_exact(23)).map(|(p, q)| (softmax(p), softmax(q)));
    let each = rows.map(|(p, q)| p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum::<f64>());
    let expected = each.sum::<f64>() / 48.0;
    assert!((found - expected).abs() < 1e-5 * expected && found > 1e-4, "{found} for {expected}");
}

#[test]
fn candidates_judged_one_after_the_other_are_as_each_by_itself() {
    let dense = wide(DType::F32);
    let text = windows();
    let mut walked = Walked::new(&dense, &text);
    let database = Database::of(&mut walked, 10, 0.01, 0).unwrap();
    let samples = |start, windows| Samples { windows, start, tokens: 40 };
    // Levels of heads, then of channels; some begin alike, some are told apart on more text, some come again.
    let asked = [
        ([1, 1, 1, 5, 5, 5], samples(0, 4)),
        ([1, 1, 1, 5, 6, 4], samples(0, 1)),
        ([0, 1, 2, 5, 5, 5], samples(0, 1)),
        ([1, 1, 1, 5, 6, 4], samples(0, 3)),
        ([1, 1, 1, 5, 5, 5], samples(0, 2)),
        ([1, 1, 1, 5, 5, 6], samples(8, 2)),
        ([1, 1, 1, 5, 6, 4], samples(8, 2)),
        ([1, 1, 1, 5, 6, 4], samples(0, 4)),
    ];
    for (levels, samples) in asked {
        let widths = database.widths(&levels);
        let found = walked.divergence(&widths, samples).unwrap();
        let alone = Walked::new(&dense, &text).divergence(&widths, samples).unwrap();
        assert_eq!(found, alone, "{levels:?} {samples:?}");
        assert!(found > 1e-4);
    }
}

#[test]
fn what_cannot_go_is_refused_with_what_to_do() {
    let dense = wide(DType::F32);
    let refusal = |arm: &str| tried(arm, &dense).unwrap_err().to_string();
    assert_eq!(
        refusal("magnitude-width(heads=3)"),
        "3 heads of block 0 cannot go: 2 query heads share their keys and values and go together; set `heads` to a multiple of 2"
    );
    assert_eq!(
        refusal("random-width(heads=6)"),
        "3 of block 0's 3 groups of heads cannot go, 2 at most can: a block keeps one of each; remove fewer"
    );
    assert_eq!(
        refusal("wanda-width(channels=40)"),
        "40 of block 0's 40 channels cannot go, 39 at most can: a block keeps one of each; remove fewer"
    );
    assert_eq!(
        refusal("llm-pruner"),
        "the first 4 and the last 2 blocks stay whole, and the model has 3; set `skip_first` and `skip_last`"
    );
    for arm in ["flap(ratio=1)", "flap(ratio=-0.1)", "wanda-width(ratio=0.5, heads=2)", "llm-pruner(tokens=1)"] {
        assert!(registry::build(Axis::Shrink, &arm.parse().unwrap()).is_err(), "{arm}");
    }
    let wanda = registry::shrink(&"wanda-width".parse().unwrap()).unwrap();
    let none = shortened(&dense, &*wanda, None, 0, &mut |_, _| {}).unwrap_err();
    assert!(matches!(none, PrepareError::NoCalibration));
}

#[test]
fn a_search_finds_what_is_no_worse_than_it_began_with() {
    let dense = wide(DType::F32);
    let text = windows();
    let samples = Samples { windows: 4, start: 0, tokens: 48 };
    let judge = |made: &Shortened| {
        let mut walked = Walked::new(&dense, &text);
        walked.divergence(&made.shorter.widths, samples).unwrap()
    };
    let shape = "levels=10, offspring=6, stages=2, samples=2, tokens=48";
    let begin = made(&format!("darwinlm(ratio=0.5, generations=0, {shape})"), &dense);
    let found = made(&format!("darwinlm(ratio=0.5, generations=25, {shape})"), &dense);
    assert!(judge(&found) < judge(&begin), "{} for {}", judge(&found), judge(&begin));
    let sum = |made: &Shortened| {
        made.shorter.widths.iter().fold((0, 0), |sum, n| (sum.0 + n.groups.len(), sum.1 + n.channels.len()))
    };
    assert_eq!((sum(&found), sum(&begin)), ((6, 60), (6, 60)));
    assert_eq!(found.decoder.parameters(), begin.decoder.parameters());
    // Fitted columns lose less than those of the same places as they were.
    let zeroed: Vec<Narrow> =
        begin.shorter.widths.iter().map(|n| Narrow::of(n.groups.clone(), n.channels.clone())).collect();
    let mut walked = Walked::new(&dense, &text);
    assert!(judge(&begin) < walked.divergence(&zeroed, samples).unwrap());
    let unequal = shortened(
        &found.decoder,
        &*registry::shrink(&"darwinlm".parse().unwrap()).unwrap(),
        Some(&windows()),
        0,
        &mut |_, _| {},
    );
    assert!(unequal.unwrap_err().to_string().contains("needs blocks of one width"));
    for arm in ["darwinlm(offspring=4, stages=4)", "darwinlm(levels=0)", "darwinlm(damp=0)"] {
        assert!(registry::build(Axis::Shrink, &arm.parse().unwrap()).is_err(), "{arm}");
    }
}

#[test]
fn removed_columns_and_fitted_ones_are_those_of_numpy() {
    let dense = wide(DType::F32);
    let expected = &golden()["levels"];
    let text = windows();
    let mut walked = Walked::new(&dense, &text);
    let database = Database::of(&mut walked, 40, 0.01, 0).unwrap();
    let levels = &database.blocks[0][1];
    let order: Vec<usize> = serde_json::from_value(expected["order"].clone()).unwrap();
    for (at, gone) in order.iter().enumerate() {
        assert!(levels[at].stay.contains(gone) && !levels[at + 1].stay.contains(gone), "column {gone} at {at}");
    }
    let weight = levels[order.len()].weight.as_ref().unwrap();
    let over = |of: fn(f32) -> f32| -> Vec<f32> {
        (0..40).map(|column| weight.iter().skip(column).step_by(40).map(|w| of(*w)).sum()).collect()
    };
    near(&over(|w| w), &numbers(&expected["sums"]), "sums");
    near(&over(|w| w * w), &numbers(&expected["squares"]), "squares");
}

#[test]
fn a_turned_stream_computes_the_same_until_it_is_cut() {
    let dense = wide(DType::F32);
    let whole = made("slicegpt(ratio=0)", &dense);
    near(&logits(&whole.decoder), &logits(&dense), "all of the stream");
    let expected = &golden()["sliced"];
    for (ratio, left) in [(0.0, 48), (0.25, 32)] {
        let made = made(&format!("slicegpt(ratio={ratio})"), &dense);
        assert_eq!(made.decoder.config().hidden_size, left);
        let found = logits(&made.decoder);
        near(&found[found.len() - 23..], &numbers(&expected[left.to_string()]), "cut stream");
        assert_eq!(made.shorter.steps.len(), 7);
        assert!(made.narrow().is_empty());
    }
    // What is behind sees the turned model, which has maps of its own size.
    let cut = made("slicegpt(ratio=0.25)", &dense).decoder;
    let pruner = registry::pruner(&"wanda(sparsity=0.5)".parse().unwrap()).unwrap();
    let arms = [PruneArm { pruner: &*pruner, seed: 0, dtype: None }];
    let pruned = prune_all(&cut, &arms, Some(&windows()), CalibrationOrder::Sequential, &mut |_, _| {});
    let counted = Footprint::of(
        &pruned.into_iter().next().unwrap().unwrap().decoder,
        Counting { dense: Some(&cut), moments: false },
    );
    assert!((counted.sparsity() - 0.5).abs() < 0.02);
    assert_eq!(Footprint::of(&cut, Counting::default()).parameters as usize, cut.parameters());
    let twice =
        shortened(&cut, &*registry::shrink(&"slicegpt".parse().unwrap()).unwrap(), Some(&windows()), 0, &mut |_, _| {});
    assert!(twice.unwrap_err().to_string().contains("turned before"));
}

fn golden() -> serde_json::Value {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/width.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn numbers(value: &serde_json::Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|value| value.as_f64().unwrap() as f32).collect()
}

#[test]
fn choices_biases_and_models_are_those_of_torch() {
    let dense = wide(DType::F32);
    let golden = golden();
    for (arm, expected) in golden["arms"].as_object().unwrap() {
        let made = made(arm, &dense);
        let places = |value: &serde_json::Value| -> Vec<Vec<usize>> { serde_json::from_value(value.clone()).unwrap() };
        let widths = &made.shorter.widths;
        let of =
            |part: fn(&Narrow) -> &Vec<usize>| widths.iter().map(|narrow| part(narrow).clone()).collect::<Vec<_>>();
        assert_eq!(of(|narrow| &narrow.groups), places(&expected["groups"]), "{arm}");
        assert_eq!(of(|narrow| &narrow.channels), places(&expected["channels"]), "{arm}");
        let found = logits(&made.decoder);
        near(&found[found.len() - 23..], &numbers(&expected["logits"]), arm);
        if let Some(biases) = expected["bias"].as_array() {
            for (fit, bias) in [&widths[1].output, &widths[1].down].into_iter().zip(biases) {
                let expected = numbers(bias);
                let zeros = vec![0.0; expected.len()];
                near(fit.bias.as_ref().unwrap_or(&zeros), &expected, arm);
            }
        }
    }
}

/// What the arm leaves of what each part reads, beside what another program leaves.
#[test]
fn what_parts_read_and_models_of_it_are_those_of_torch() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/upscale.json");
    let golden: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let dense = wide(DType::F32);
    for (arm, expected) in golden["arms"].as_object().unwrap() {
        let made = made(arm, &dense);
        let reading = made.reading().unwrap();
        let parts: Vec<[Vec<usize>; 2]> = serde_json::from_value(expected["parts"].clone()).unwrap();
        assert_eq!(reading.parts, parts, "{arm}");
        let as_is: Vec<usize> = (0..48).collect();
        let before = copies(&as_is, &parts.concat());
        assert_eq!(serde_json::json!([before.0, before.1]), expected["before"], "{arm}");
        let found = logits(&made.decoder);
        near(&found[found.len() - 23..], &numbers(&expected["logits"]), arm);
        let masked = logits(&dense.unread(&reading).unwrap());
        let most = masked.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        assert!(found.iter().zip(&masked).all(|(a, b)| (a - b).abs() <= 1e-5 * most), "{arm}");
        // The metrics' numbers are those of the order that was found, and no more is copied than before.
        let after = metrics::of_config(&made);
        assert_eq!((metrics::of_whole(&made), after), (before, copies(&reading.order, &parts.concat())), "{arm}");
        assert!(after <= before && (after.0 == 0) == (after.1 == 0), "{arm}");
        if arm.contains("constrained") {
            assert_eq!(after, (0, 0), "{arm}");
        }
        let as_is = arm.replace(')', ", reorder=false)");
        let plain = tried(&as_is, &dense).unwrap();
        assert_eq!(metrics::of_config(&plain), before, "{as_is}");
        let same = logits(&plain.decoder);
        assert!(same.iter().zip(&masked).all(|(a, b)| (a - b).abs() <= 1e-5 * most), "{as_is}");
    }
}

#[test]
fn graphs_copy_as_little_as_any_order_can() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/upscale.json");
    let golden: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    for graph in golden["graphs"].as_array().unwrap() {
        let consumers: Vec<Vec<usize>> = serde_json::from_value(graph["consumers"].clone()).unwrap();
        let channels = consumers.iter().flatten().max().unwrap() + 1;
        let found = order(&consumers, channels);
        assert_eq!(copies(&found, &consumers).0 as u64, graph["copies"].as_u64().unwrap(), "{consumers:?}: {found:?}");
    }
}

#[test]
fn models_that_are_read_in_part_are_counted_pruned_and_not_read_in_part_again() {
    let dense = wide(DType::F32);
    let whole = made("upscale(amount=0)", &dense);
    assert_eq!((logits(&whole.decoder), whole.decoder.config()), (logits(&dense), dense.config()));
    assert_eq!(whole.decoder.bytes_not_shared_with(&dense), 0);
    let made = made("upscale(amount=0.5)", &dense);
    let read = &made.decoder;
    // Half of 48 columns of 96 rows and of 80.
    assert_eq!(dense.parameters() - read.parameters(), 3 * 24 * (96 + 80));
    assert_eq!(Footprint::of(read, Counting::default()).parameters as usize, read.parameters());
    let pruner = registry::pruner(&"wanda(sparsity=0.5)".parse().unwrap()).unwrap();
    let arms = [PruneArm { pruner: &*pruner, seed: 0, dtype: None }];
    let pruned = prune_all(read, &arms, Some(&windows()), CalibrationOrder::Sequential, &mut |_, _| {});
    let pruned = pruned.into_iter().next().unwrap().unwrap().decoder;
    let counted = Footprint::of(&pruned, Counting { dense: Some(read), moments: false });
    assert!((counted.sparsity() - 0.5).abs() < 0.02);
    for (arm, expected) in [
        ("upscale", "block 0 reads a part of the residual stream already; begin with the whole model"),
        ("slicegpt", "read in part"),
    ] {
        let error = tried(arm, read).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(registry::shrink(&"upscale(constrained=true, scope=global)".parse().unwrap()).is_err());
}
