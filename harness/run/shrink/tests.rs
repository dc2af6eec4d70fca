//! Shorter models of a small decoder, alone and under what comes behind.
#![allow(clippy::unwrap_used)]

use harness_core::Axis;
use harness_methods::registry;
use harness_model::config::Projection;
use harness_model::weight::DType;

use super::*;
use crate::calibrate::{CalibrationOrder, PruneArm, prune_all};
use crate::footprint::{Counting, Footprint};
use crate::lowrank::tests::{decoder, windows};

fn method(arm: &str) -> Box<dyn Shrink> {
    registry::shrink(&arm.parse().unwrap()).unwrap()
}

fn made(arm: &str, dense: &Decoder) -> Shortened {
    shortened(dense, &*method(arm), Some(&windows()), 3, &mut |_, _| {}).unwrap()
}

fn logits(decoder: &Decoder) -> Vec<f32> {
    let hidden = decoder.hidden(&[&windows()[0]]).unwrap().flatten_to(1).unwrap();
    with_values(&decoder.logits(&hidden).unwrap(), <[f32]>::to_vec).unwrap()
}

#[test]
fn every_method_gives_a_shorter_model_whose_numbers_are_counted() {
    let dense = decoder(8, DType::F32);
    let of = |decoder: &Decoder| Footprint::of(decoder, Counting::default());
    for arm in [
        "drop-last(blocks=2)",
        "random-blocks(blocks=2)",
        "block-influence(blocks=2)",
        "block-influence(blocks=2, span=contiguous)",
        "shortened-llama(blocks=2)",
        "shortened-llama(blocks=2, criterion=magnitude)",
        "shortened-llama(blocks=2, criterion=ppl)",
        "laco(layers_per_merge=3, threshold=0.999, low=4)",
        "l3prune(mode=small, tokens=20)",
    ] {
        let made = made(arm, &dense);
        let blocks = made.decoder.config().layers;
        assert_eq!(blocks, made.shorter.layers.len(), "{arm}");
        if arm.contains("blocks=2") {
            assert_eq!(blocks, 6, "{arm}");
        }
        let (whole, short) = (of(&dense), of(&made.decoder));
        assert_eq!(short.prunable * 8, whole.prunable * blocks as u64, "{arm}");
        assert_eq!(short.parameters as usize, made.decoder.parameters(), "{arm}");
        assert_eq!(logits(&dense).len(), logits(&made.decoder).len(), "{arm}");
    }
}

#[test]
fn nothing_removed_is_the_same_model_to_the_bit() {
    let dense = decoder(4, DType::F32);
    for arm in ["none", "drop-last(blocks=0)", "shortened-llama(blocks=0, plus=false)", "block-influence(share=0)"] {
        let made = made(arm, &dense);
        assert_eq!(logits(&made.decoder), logits(&dense), "{arm}");
        assert_eq!(made.decoder.bytes_not_shared_with(&dense), 0, "{arm}");
    }
}

#[test]
fn a_block_that_does_nothing_is_the_first_to_go_and_goes_without_loss() {
    let mut dense = decoder(8, DType::F32);
    for projection in [Projection::O, Projection::Down] {
        let map = dense.linear(4, projection).unwrap();
        let zeros = vec![0.0; map.rows() * map.cols()];
        let weight = harness_model::weight::Weight::from_f32(map.rows(), map.cols(), zeros);
        dense = dense.with_weight(4, projection, weight);
    }
    let text = windows();
    let mut walked = Walked::new(&dense, &text);
    let losses = walked.losses_without(Samples::ALL).unwrap();
    let whole: f64 = {
        let each = text.iter().map(|window| {
            let hidden = dense.embed(&[&window[..window.len() - 1]]).unwrap();
            walked.loss(hidden, 0, window).unwrap().0
        });
        each.sum::<f64>() / text.iter().map(|window| window.len() - 1).sum::<usize>() as f64
    };
    assert_eq!(losses[4], whole);
    for arm in ["block-influence(blocks=1)", "block-influence(blocks=1, span=contiguous)"] {
        let made = made(arm, &dense);
        assert_eq!(made.shorter.layers.iter().map(|l| l.base).collect::<Vec<_>>(), [0, 1, 2, 3, 5, 6, 7], "{arm}");
        assert!(made.shorter.scores.as_ref().unwrap().0[4].abs() < 1e-7, "{arm}");
        assert_eq!(logits(&made.decoder), logits(&dense), "{arm}");
    }
}

#[test]
fn losses_without_a_block_are_those_of_the_model_without_it() {
    let dense = decoder(4, DType::F32);
    let text = windows();
    let mut walked = Walked::new(&dense, &text);
    let losses = walked.losses_without(Samples::ALL).unwrap();
    for (block, loss) in losses.iter().enumerate() {
        let layers: Vec<depth::Layer> = (0..4).filter(|l| *l != block).map(depth::Layer::kept).collect();
        let short = dense.of_layers(&layers).unwrap();
        let own = Walked::new(&short, &text);
        let (mut sum, mut tokens) = (0.0, 0);
        for window in &text {
            let hidden = short.embed(&[&window[..window.len() - 1]]).unwrap();
            let (part, count) = own.loss(hidden, 0, window).unwrap();
            sum += part;
            tokens += count;
        }
        assert!((loss - sum / tokens as f64).abs() < 1e-12, "block {block}");
    }
}

#[test]
fn what_is_behind_sees_the_shorter_model() {
    let dense = decoder(6, DType::F32);
    let short = made("drop-last(blocks=2)", &dense).decoder;
    let pruner = registry::pruner(&"wanda(sparsity=0.5)".parse().unwrap()).unwrap();
    let arms = [PruneArm { pruner: &*pruner, seed: 0, dtype: None }];
    let pruned = prune_all(&short, &arms, Some(&windows()), CalibrationOrder::Sequential, &mut |_, _| {});
    let pruned = pruned.into_iter().next().unwrap().unwrap().decoder;
    assert_eq!(pruned.config().layers, 4);
    let counted = Footprint::of(&pruned, Counting { dense: Some(&short), moments: false });
    assert!((counted.sparsity() - 0.5).abs() < 0.01);
}

#[test]
fn laco_only_takes_what_is_above_its_threshold() {
    let dense = decoder(8, DType::F32);
    let mut last = usize::MAX;
    for threshold in [0.999_999_9, 0.99, 0.9, 0.5, -0.999] {
        let made = made(&format!("laco(layers_per_merge=3, threshold={threshold})"), &dense);
        let Shorter { layers, similarity, steps, .. } = &made.shorter;
        assert!(layers.len() <= last, "{threshold}: {steps:?}");
        last = layers.len();
        assert!(layers.len() == 8 || similarity.unwrap() > threshold, "{threshold}");
        assert_eq!(made.decoder.config().layers, layers.len());
    }
    assert!(last < 4);
}

#[test]
fn what_cannot_be_removed_is_refused_with_what_to_do() {
    let dense = decoder(4, DType::F32);
    let refusal =
        |arm: &str| shortened(&dense, &*method(arm), Some(&windows()), 0, &mut |_, _| {}).unwrap_err().to_string();
    assert_eq!(
        refusal("shortened-llama(blocks=1)"),
        "1 of the model's 4 blocks cannot be removed, 0 at most can: the first four and the last two stay; set `plus = false`"
    );
    assert_eq!(
        refusal("drop-last(blocks=4)"),
        "4 of the model's 4 blocks cannot be removed, 3 at most can: a model has at least one block"
    );
    assert_eq!(refusal("laco(layers_per_merge=5)"), "`layers_per_merge = 5` must be 2 to 4 for a model of 4 blocks");
    assert_eq!(refusal("laco(high=9)"), "`high = 9` must be at most 3 for a model of 4 blocks");
    assert_eq!(
        refusal("l3prune(tokens=48)"),
        "calibration text: windows of 48 tokens are too short, 49 are needed at least"
    );
    let error = shortened(&dense, &*method("laco"), None, 0, &mut |_, _| {}).unwrap_err();
    assert!(matches!(error, PrepareError::NoCalibration));
    for arm in ["laco(threshold=1)", "laco(threshold=-1)", "laco(layers_per_merge=1)", "laco(interval=0)"] {
        assert!(registry::build(Axis::Shrink, &arm.parse().unwrap()).is_err(), "{arm}");
    }
}

#[test]
fn scores_and_models_are_those_of_torch() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/depth.json");
    let golden: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let numbers = |key: &serde_json::Value| -> Vec<f64> {
        key.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
    };
    let close = |found: &[f64], expected: &[f64], tolerance: f64, what: &str| {
        assert_eq!(found.len(), expected.len(), "{what}");
        let most = expected.iter().fold(0.0f64, |most, value| most.max(value.abs()));
        for (at, (a, b)) in found.iter().zip(expected).enumerate() {
            assert!((a - b).abs() <= tolerance * most, "{what}, number {at}: {a} for {b}");
        }
    };
    let dense = decoder(8, DType::F32);
    for (key, arm) in [
        ("influence", "block-influence(blocks=2)"),
        ("contiguous", "block-influence(blocks=2, span=contiguous)"),
        ("taylor", "shortened-llama(blocks=1, samples=4, tokens=20)"),
        ("magnitude", "shortened-llama(blocks=1, criterion=magnitude)"),
        ("ppl", "shortened-llama(blocks=1, criterion=ppl, samples=4, tokens=20)"),
        ("contrast", "l3prune(tokens=20)"),
    ] {
        close(&made(arm, &dense).shorter.scores.unwrap().0, &numbers(&golden[key]), 1e-4, key);
    }
    let laco = &golden["laco"];
    let text = windows();
    let samples = Samples { windows: 5, start: 0, tokens: 10 };
    let mut walked = Walked::new(&dense, &text);
    let whole: Vec<Layer> = (0..8).map(Layer::kept).collect();
    let folded = registry::laco::merged(&whole, 3, 2, registry::laco::Merge::Rdsc);
    let (before, behind) =
        (walked.final_states(&whole, samples).unwrap(), walked.final_states(&folded, samples).unwrap());
    let cosines = before.iter().zip(&behind).map(|(a, b)| harness_methods::shrink::cosine(a, b));
    let similarity = cosines.sum::<f64>() / before.len() as f64;
    close(&[similarity], &[laco["similarity"].as_f64().unwrap()], 1e-4, "similarity");
    let layers: Vec<depth::Layer> = folded.iter().map(layer).collect();
    let short = dense.of_layers(&layers).unwrap();
    let sums = Projection::ALL.map(|projection| {
        let map = short.linear(3, projection).unwrap();
        map.weight().to_f32().iter().map(|value| f64::from(*value)).sum::<f64>()
    });
    close(&sums, &numbers(&laco["sums"]), 1e-4, "sums");
    let left: Vec<depth::Layer> = [0, 1, 3, 4, 6, 7].map(depth::Layer::kept).to_vec();
    let short = dense.of_layers(&left).unwrap();
    let found = logits(&short);
    let last: Vec<f64> = found[found.len() - 23..].iter().map(|value| f64::from(*value)).collect();
    close(&last, &numbers(&golden["logits"]), 1e-4, "logits");
}
