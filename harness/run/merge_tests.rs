//! Experts of the embedded base, and what is none.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use harness_methods::registry;
use harness_model::tensor::with_values;

use super::*;

fn model(name: &str) -> LoadedModel {
    LoadedModel::open(name, &Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/models").join(name)).unwrap()
}

fn by(arm: &str, base: &LoadedModel, experts: &[LoadedModel], seed: u64) -> Result<Decoder, String> {
    let method = registry::merge(&arm.parse().unwrap()).unwrap();
    merged(base, experts, &*method, seed).map(|merged| merged.decoder).map_err(|error| error.to_string())
}

fn logits(decoder: &Decoder) -> Vec<f32> {
    let tokens: Vec<u32> = (0..40).map(|at| (at * 37 + 11) % 700).collect();
    let hidden = decoder.hidden(&[&tokens]).unwrap();
    with_values(&decoder.logits(&hidden.flatten_to(1).unwrap()).unwrap(), <[f32]>::to_vec).unwrap()
}

#[test]
fn one_expert_alone_is_that_expert() {
    let (base, expert) = (model("tiny-100k"), model("tiny-100k-sea"));
    let expected = logits(&expert.decoder);
    for arm in ["task-arithmetic", "ties(density=1)", "dare(drop=0)", "della(drop=0, scale=1)"] {
        let found = logits(&by(arm, &base, std::slice::from_ref(&expert), 0).unwrap());
        assert_eq!(found, expected, "{arm}");
    }
    let nothing = by("task-arithmetic(scale=0)", &base, &[expert], 0).unwrap();
    assert_eq!(logits(&nothing), logits(&base.decoder));
}

#[test]
fn experts_are_put_together_by_seed() {
    let base = model("tiny-100k");
    let experts = [model("tiny-100k-sea"), model("tiny-100k-hill")];
    let of = |arm: &str, seed| logits(&by(arm, &base, &experts, seed).unwrap());
    for (arm, random) in
        [("ties", false), ("task-arithmetic(weights=[1, 0.5])", false), ("dare", true), ("della", true)]
    {
        assert_eq!(of(arm, 1), of(arm, 1), "{arm}");
        assert_eq!(of(arm, 1) != of(arm, 2), random, "{arm}");
    }
    // A sum is the same in whatever order, where weights go with their experts.
    let turned = [model("tiny-100k-hill"), model("tiny-100k-sea")];
    let other = logits(&by("task-arithmetic(weights=[0.5, 1])", &base, &turned, 0).unwrap());
    let first = of("task-arithmetic(weights=[1, 0.5])", 0);
    assert!(first.iter().zip(&other).all(|(a, b)| (a - b).abs() < 1e-2 * (1.0 + a.abs())));
}

#[test]
fn what_is_no_expert_of_the_base_is_refused() {
    let base = model("tiny-100k");
    let said = |arm: &str, experts: &[LoadedModel]| by(arm, &base, experts, 0).unwrap_err();
    assert!(said("ties", &[]).starts_with("there is no expert to merge"));
    let error = said("ties", &[model("tiny-300k")]);
    assert_eq!(
        error,
        "tiny-300k differs from tiny-100k in its shape or in how it tells positions apart; merge models trained from one base"
    );
    let turned = base.decoder.tensors().into_iter().map(|(name, weight)| {
        let values: Vec<f32> = weight.to_f32().into_iter().map(|value| -value).collect();
        (name, Weight::from_f32(weight.rows(), weight.cols(), values))
    });
    let mut stranger = base.clone();
    stranger.decoder = base.decoder.with_tensors(&turned.collect()).unwrap();
    stranger.name = "stranger".to_owned();
    let error = said("della", &[stranger]);
    assert!(error.starts_with("stranger differs from tiny-100k in its weights by 2.00 of their own size"), "{error}");
    let error = said("dare(weights=[1, 2])", &[model("tiny-100k-sea")]);
    assert!(error.ends_with("2 factors for 1 experts; give one for each"), "{error}");
}

#[test]
fn every_parameter_has_its_name() {
    for name in
        ["tiny-100k", "tiny-300k-t5", "tiny-300k-kerple-log", "tiny-300k-clex", "tiny-300k-alibi", "tiny-300k-xpos"]
    {
        let model = model(name);
        let tensors = model.decoder.tensors();
        let expected: Vec<String> =
            harness_model::load::expected_tensors(model.decoder.config()).map(|spec| spec.name).collect();
        assert!(expected.iter().all(|name| tensors.contains_key(name)) && expected.len() == tensors.len(), "{name}");
        let again = model.decoder.with_tensors(&tensors).unwrap();
        assert_eq!(logits(&again), logits(&model.decoder), "{name}");
    }
}
