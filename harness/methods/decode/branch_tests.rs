#![allow(clippy::unwrap_used)]

use harness_core::{Arm, Parameters};
use proptest::prelude::*;

use crate::decode::tables::{Table, decoder};
use crate::decode::{LanguageModel, Models, Task};
use crate::registry::{cfg, contrastive_decoding, contrastive_search};

fn softmax(row: &[f32]) -> Vec<f64> {
    let weights: Vec<f64> = row.iter().map(|z| f64::from(*z).exp()).collect();
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / total).collect()
}

fn guide(conditional: &[f32], unconditional: &[f32], arm: &str) -> Vec<f32> {
    cfg::guide(conditional, unconditional, &cfg::Settings::resolve(&arm.parse().unwrap()).unwrap()).unwrap()
}

fn near(found: &[f64], wanted: &[f64]) {
    assert!(found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?} {wanted:?}");
}

#[test]
fn guidance_has_the_scales_of_the_card() {
    let (c, u) = ([2.0, 1.0, 0.0], [0.0, 1.0, 1.0]);
    near(&softmax(&guide(&c, &u, "cfg(scale=1)")), &[0.665_241, 0.244_728, 0.090_031]);
    near(&softmax(&guide(&c, &u, "cfg(scale=1.5)")), &[0.857_977, 0.116_115, 0.025_909]);
    near(&softmax(&guide(&c, &u, "cfg(scale=3)")), &[0.992_976, 0.006_691, 0.000_333]);
    near(&softmax(&guide(&c, &u, "cfg(scale=0)")), &softmax(&u));
    // Neither l_c + scale · (l_c − l_u) nor a mixture of probabilities.
    let off_by_one = softmax(&guide(&c, &u, "cfg(scale=2.5)"));
    assert!((off_by_one[0] - 0.857_977).abs() > 0.05);
}

#[test]
fn what_a_branch_excludes_gives_no_infinity() {
    let never = f32::NEG_INFINITY;
    let (c, u) = ([2.0, 1.0, never, never], [never, 1.0, 0.0, never]);
    for scale in ["0", "0.5", "1", "3"] {
        let row = guide(&c, &u, &format!("cfg(scale={scale})"));
        assert!(row.iter().all(|z| !z.is_nan() && *z < f32::INFINITY), "{scale}: {row:?}");
        assert_eq!(row[3], never);
        assert_eq!(row[2] == never, scale != "0", "{scale}");
        assert_eq!(row[0] == never, scale.parse::<f64>().unwrap() < 1.0, "{scale}");
    }
    // Tokens that the prompt makes improbable are out whatever the other branch says.
    let row = guide(&[3.0, 0.0, 1.0], &[0.0, -50.0, 0.0], "cfg(scale=3, plausibility=0.1)");
    assert_eq!((row[1], row[2].is_finite()), (never, true));
}

proptest! {
    #[test]
    fn scale_one_is_the_model(row in prop::collection::vec(-8.0f32..8.0, 5), other in prop::collection::vec(-8.0f32..8.0, 5)) {
        near(&softmax(&guide(&row, &other, "cfg(scale=1)")), &softmax(&row));
    }
}

#[test]
fn the_other_branch_sees_the_generated_tokens() {
    let mut numbers = harness_core::seed::stream(1, &["branch tests"]);
    let mut table = Table::random(6, &[0], 1.0, &mut numbers);
    let stages = [Arm::new("greedy")];
    let task = Task { prompt: &[1, 2], other_prompt: Some(&[3, 4, 5]), tokens: 5, stages: &stages, ..Task::default() };
    let found = decoder("cfg(scale=2)").decode(Models { model: &mut table, second: None }, &task).unwrap();
    let generated = &found.hypotheses[0].tokens;
    assert!(generated.len() > 1);
    for (at, pair) in table.read.chunks_exact(2).enumerate() {
        assert_eq!(pair, [[&[1, 2], &generated[..at]].concat(), [&[3, 4, 5], &generated[..at]].concat()]);
    }
    assert_eq!((found.calls.passes, found.calls.sequences), (generated.len(), 2 * generated.len()));
    // Without another prompt the last token stands for it.
    table.read.clear();
    let task = Task { other_prompt: None, ..task };
    decoder("cfg").decode(Models { model: &mut table, second: None }, &task).unwrap();
    assert_eq!(table.read[1], [2]);
}

#[test]
fn contrast_has_the_scores_of_the_card() {
    let (expert, amateur) = ([0.5f64, 0.3, 0.15, 0.05], [0.6f64, 0.2, 0.1, 0.1]);
    let log = |p: &[f64]| -> Vec<f32> { p.iter().map(|p| p.ln() as f32).collect() };
    let contrast = |arm: &str| -> Vec<f64> {
        let settings = contrastive_decoding::Settings::resolve(&arm.parse().unwrap()).unwrap();
        let scores = contrastive_decoding::contrast(&log(&expert), &log(&amateur), &settings).unwrap();
        scores.into_iter().map(f64::from).collect()
    };
    near(&contrast("contrastive-decoding"), &[-0.182_322, 0.405_465, 0.405_465, -std::f64::consts::LN_2]);
    near(&contrast("contrastive-decoding(beta=0.5)"), &[-0.784_308, -1.001_240, -1.694_387, -3.342_306]);
    // Without the bound on the expert the amateur's most hated tokens would win.
    let masked = contrast("contrastive-decoding(alpha=0.5)");
    assert!(masked[1].is_finite() && masked[2] == f64::NEG_INFINITY && masked[3] == f64::NEG_INFINITY);
    let cooled = contrast("contrastive-decoding(amateur_temperature=0.5)");
    let squares = amateur.map(|p| p * p / amateur.iter().map(|p| p * p).sum::<f64>());
    near(&cooled, &std::array::from_fn::<f64, 4, _>(|at| (expert[at] / squares[at]).ln()));
}

#[test]
fn contrastive_decoding_feeds_both_models_the_same() {
    let expert = |p: &[f64]| Table::new(4, &[3]).with(&[], p);
    let mut model = expert(&[0.5, 0.3, 0.15, 0.05]);
    let mut amateur = expert(&[0.6, 0.2, 0.1, 0.1]);
    let task = Task { prompt: &[0, 2], tokens: 3, ..Task::default() };
    let models = Models { model: &mut model, second: Some(&mut amateur as &mut dyn LanguageModel) };
    let found = decoder("contrastive-decoding").decode(models, &task).unwrap();
    assert_eq!(found.hypotheses[0].tokens, [1, 1, 1], "of equal scores the lower id");
    assert_eq!(model.read, amateur.read);
    assert_eq!((found.calls.passes, found.second_calls.passes), (3, 3));
    let models = Models { model: &mut model, second: Some(&mut amateur as &mut dyn LanguageModel) };
    let found = decoder("contrastive-decoding(beta=0.5)").decode(models, &task).unwrap();
    assert_eq!(found.hypotheses[0].tokens, [0, 0, 0]);
}

#[test]
fn contrastive_search_chooses_as_the_card_does() {
    let (at, score) = contrastive_search::choose(&[0.4, 0.3, 0.2], &[0.9, 0.5, 0.2], 0.6);
    assert_eq!(at, 2);
    assert!((score + 0.04).abs() < 1e-12);
    assert_eq!(contrastive_search::choose(&[0.4, 0.3, 0.2], &[0.9, 0.5, 0.2], 0.0).0, 0);
    assert_eq!(contrastive_search::choose(&[0.3, 0.3], &[0.5, 0.5], 0.6).0, 0, "ties");
}

#[test]
fn contrastive_search_looks_back_into_the_prompt() {
    // Token 1 is more probable, and its state stands in the prompt.
    let mut table = Table::new(4, &[3]).with(&[], &[0.1, 0.5, 0.3, 0.1]);
    table.states = vec![vec![1.0, 1.0], vec![1.0, 0.0], vec![0.0, 1.0], vec![-1.0, 0.0]];
    let next = |table: &mut Table, prompt: &[u32]| {
        let task = Task { prompt, tokens: 1, ..Task::default() };
        let models = Models { model: table, second: None };
        decoder("contrastive-search(k=2, alpha=0.6)").decode(models, &task).unwrap()
    };
    assert_eq!(next(&mut table, &[1, 2, 0]).hypotheses[0].tokens, [1]);
    let found = next(&mut table, &[1, 3]);
    assert_eq!(found.hypotheses[0].tokens, [2]);
    assert_eq!((found.calls.passes, found.calls.sequences), (2, 3));
}
