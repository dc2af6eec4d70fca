//! Decoders with every method of the axis: nothing changes where nothing should, and a cache gives what reading at once gives.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use harness_core::Axis;
use harness_model::config::{Activation, NormKind, RopeStyle};
use harness_model::load::expected_tensors;
use harness_model::tensor::with_values;
use harness_model::weight::Weight;

use super::*;

const TRAINED: usize = 16;

fn config(layers: usize, position: PositionScheme) -> Config {
    Config {
        architecture: "llama".to_owned(),
        vocab_size: 23,
        hidden_size: 32,
        intermediate_size: 48,
        layers,
        heads: 4,
        kv_heads: 2,
        head_dim: 8,
        max_positions: TRAINED,
        norm: NormKind::Rms,
        norm_epsilon: 1e-5,
        activation: Activation::Silu,
        gated: true,
        position,
        qkv_bias: false,
        output_bias: false,
        mlp_bias: false,
        tied_head: true,
        bos: None,
        eos: vec![],
    }
}

fn decoder(layers: usize, position: PositionScheme) -> Decoder {
    let config = config(layers, position);
    let mut state = 9_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let tensors: BTreeMap<String, Weight> = expected_tensors(&config)
        .map(|spec| {
            let value = |_| if spec.vector { 1.0 } else { 0.4 * next() };
            let values: Vec<f32> = (0..spec.len()).map(value).collect();
            (spec.name.clone(), Weight::from_f32(spec.rows, spec.cols, values))
        })
        .collect();
    Decoder::from_weights(&config, &tensors).unwrap()
}

fn rope() -> PositionScheme {
    PositionScheme::Rope { theta: 10_000.0, rotary: 8, style: RopeStyle::HalfSplit }
}

fn tokens(count: usize) -> Vec<u32> {
    (0..count as u32).map(|i| (i * 7 + i * i) % 23).collect()
}

/// Logits after all of `tokens`, read at once without a cache.
fn at_once(decoder: &Decoder, tokens: &[u32]) -> Vec<f32> {
    let hidden = decoder.hidden_positions(&[tokens], tokens.len() - 1..tokens.len()).unwrap();
    with_values(&decoder.logits(&hidden).unwrap(), <[f32]>::to_vec).unwrap()
}

/// Every method of the axis, set so that it changes something.
fn arms() -> Vec<&'static str> {
    let arms = vec![
        "none",
        "rope(base=500000)",
        "linear(factor=4)",
        "dynamic-linear",
        "ntk(factor=4)",
        "dynamic-ntk(factor=2)",
        "by-parts(factor=4)",
        "yarn(factor=4)",
        "yarn(factor=4, ramp=paper)",
        "llama3(factor=8)",
        "longrope(factor=4, short=[1, 1, 1, 1], long=[1, 1.5, 4, 5])",
        "giraffe-power(k=0.5)",
        "giraffe-truncated",
    ];
    for spec in registry::methods().into_iter().filter(|spec| spec.axis == Axis::Position) {
        assert!(arms.iter().any(|arm| arm.split('(').next() == Some(spec.id)), "`{}` is not tested", spec.id);
    }
    arms
}

#[test]
fn a_step_through_the_cache_gives_what_reading_at_once_gives_across_the_trained_length() {
    // In one block keys depend on nothing but their tokens. In several, the states behind a key of a method that follows the
    // length were made at the length of their own step, as in every cache.
    let model = decoder(1, rope());
    let tokens = tokens(2 * TRAINED + 3);
    for arm in arms() {
        let (placed, identity) = placed(&model, &arm.parse().unwrap()).unwrap();
        assert_eq!(identity, arm == "none");
        let mut cache = placed.new_cache();
        placed.logits_last(&tokens[..5], &mut cache).unwrap();
        for at in 5..tokens.len() {
            let stepped = placed.logits_last(&tokens[at..=at], &mut cache).unwrap();
            let whole = at_once(&placed, &tokens[..=at]);
            let far = stepped.iter().zip(&whole).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(far < 1e-4, "{arm} at {at}: {far}");
        }
    }
}

#[test]
fn methods_with_one_frequency_for_all_lengths_step_alike_in_several_blocks() {
    let model = decoder(3, rope());
    let tokens = tokens(2 * TRAINED);
    for arm in arms() {
        let method = registry::position(&arm.parse().unwrap()).unwrap();
        if method.cache_policy() == CachePolicy::Unrotated {
            continue;
        }
        let (placed, _) = placed(&model, &arm.parse().unwrap()).unwrap();
        let mut cache = placed.new_cache();
        let mut stepped = Vec::new();
        for token in &tokens {
            stepped = placed.logits_last(&[*token], &mut cache).unwrap();
        }
        let whole = at_once(&placed, &tokens);
        assert!(stepped.iter().zip(&whole).all(|(a, b)| (a - b).abs() < 1e-4), "{arm}");
    }
}

#[test]
fn sequences_of_different_lengths_step_together_as_alone() {
    let model = decoder(2, rope());
    for arm in ["dynamic-ntk(factor=2)", "dynamic-linear", "yarn(factor=4)"] {
        let (placed, _) = placed(&model, &arm.parse().unwrap()).unwrap();
        let mut caches = Vec::new();
        let mut alone = Vec::new();
        for length in [3, TRAINED, TRAINED + 9] {
            let mut cache = placed.new_cache();
            placed.logits_last(&tokens(length), &mut cache).unwrap();
            caches.push(cache.clone());
            alone.push(placed.logits_last(&[4], &mut cache).unwrap());
        }
        let hidden = placed.step_each(&[4, 4, 4], &mut caches).unwrap();
        let together = with_values(&placed.logits(&hidden).unwrap(), <[f32]>::to_vec).unwrap();
        for (row, alone) in together.chunks(alone[0].len()).zip(&alone) {
            assert!(row.iter().zip(alone).all(|(a, b)| (a - b).abs() < 1e-5), "{arm}");
        }
    }
}

#[test]
fn nothing_changes_where_nothing_should() {
    let model = decoder(2, rope());
    let (short, long) = (tokens(TRAINED), tokens(3 * TRAINED));
    for arm in [
        "linear(factor=1)",
        "ntk(factor=1)",
        "by-parts(factor=1)",
        "yarn(factor=1)",
        "yarn(factor=1, ramp=paper)",
        "llama3(factor=1)",
        "giraffe-power(k=0)",
        "giraffe-truncated(cutoff=1e9)",
        "rope(base=10000)",
        "longrope(factor=1)",
    ] {
        let (placed, _) = placed(&model, &arm.parse().unwrap()).unwrap();
        assert_eq!(at_once(&placed, &long), at_once(&model, &long), "{arm}");
    }
    for arm in ["dynamic-ntk(factor=4)", "dynamic-linear"] {
        let (placed, _) = placed(&model, &arm.parse().unwrap()).unwrap();
        assert_ne!(at_once(&placed, &long), at_once(&model, &long), "{arm} beyond the trained length");
        assert_eq!(at_once(&placed, &short), at_once(&model, &short), "{arm} after a longer text");
    }
}

#[test]
fn what_does_not_fit_a_model_is_said() {
    let refused = |decoder: &Decoder, arm: &str| placed(decoder, &arm.parse().unwrap()).unwrap_err().to_string();
    for (scheme, found) in [
        (PositionScheme::Alibi, "linear biases (ALiBi)"),
        (PositionScheme::None, "no position scheme"),
        (PositionScheme::Learned, "a learned table of positions"),
    ] {
        let said = refused(&decoder(1, scheme), "yarn");
        assert_eq!(said, format!("yarn: `yarn` rewrites rotary frequencies; the model has {found}"));
    }
    let model = decoder(1, rope());
    let said = refused(&model, "longrope(long=[1, 2])");
    assert!(said.ends_with("`long` has 2 numbers; the model rotates 4 pairs of dimensions"), "{said}");
    let one = PositionScheme::Rope { theta: 10_000.0, rotary: 2, style: RopeStyle::HalfSplit };
    let said = refused(&decoder(1, one), "ntk");
    assert!(said.ends_with("needs at least two pairs of dimensions; the model rotates 1"), "{said}");
    for (arm, what) in [
        ("linear(factor=0.5)", "`factor = 0.5` is outside its range [1, 1048576]"),
        ("rope(base=1)", "`base = 1` is outside its range (1, 1000000000000000]"),
        ("yarn(fast=1, slow=2)", "`slow = 2` must be below `fast = 1`"),
        ("by-parts(slow=32)", "`slow = 32` must be below `fast = 32`"),
        ("llama3(low=4)", "`low = 4` must be below `high = 4`"),
        ("longrope(short=[1, 0, 1, 1])", "`short = 0` is outside its range (0, inf)"),
        ("yarn(attention_factor=0)", "`attention_factor = 0` is outside its range (0, inf)"),
        ("dynamic-ntk(trained=0)", "`trained = 0` is outside its range [1, 1073741824]"),
        ("yarm", "`yarm` is not a position method; did you mean `yarn`?"),
    ] {
        let said = refused(&model, arm);
        assert!(said.ends_with(what), "{said}");
    }
    let codes = harness_model::cache::CacheFormat::Quantized {
        grid: harness_model::cache::Grid { bits: harness_model::cache::CodeBits::Four, group: 4 },
        window: 4,
    };
    let quantized = model.with_cache(codes).unwrap();
    assert!(placed(&quantized, &"yarn".parse().unwrap()).is_ok());
    let said = refused(&quantized, "dynamic-ntk");
    assert!(said.contains("cannot hold keys whose angles change with the length of what is read"), "{said}");
    let (moving, _) = placed(&model, &"dynamic-ntk".parse().unwrap()).unwrap();
    assert!(moving.with_cache(codes).is_err());
}
