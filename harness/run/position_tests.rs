//! Decoders with every method of the axis: nothing changes where nothing should, and a cache gives what reading at once gives.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use harness_core::Axis;
use harness_model::config::{Activation, DistanceBias, NormKind, RopeStyle};
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
        scaling: None,
        qkv_bias: false,
        output_bias: false,
        widths: Vec::new(),
        shortcuts: false,
        reads: Vec::new(),
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
        "longrope(factor=4, short=[1, 1, 1, 1], long=[1, 1.5, 4, 5], start_tokens=4)",
        "longrope(factor=4, short=[1, 1.5, 4, 5], long=[1, 1.5, 4, 5], start_tokens=20)",
        "giraffe-power(k=0.5)",
        "giraffe-truncated",
        "clex",
        "clex(max_factor=2, log_scale=true)",
        "dynamic-linear(whole=true)",
        "log-n(trained=7)",
        "sliding-window(window=7)",
        "streaming-llm(sinks=2, window=9)",
        "lm-infinite(window=7, globals=3, limit=12)",
        "lm-infinite(window=7, globals=3, top_k=4)",
        "unlimiformer(k=4, window=7, skip=0.3)",
        "self-extend(group=4, window=8)",
        "rerope(window=5)",
        "rerope(window=6, leak=2.5, log_n=true, trained=9)",
        "dca(chunk=5, limit=9)",
        "dca(chunk=5, limit=9, bound=code)",
    ];
    // What is searched on text first becomes `longrope`.
    for spec in registry::methods().into_iter().filter(|spec| spec.axis == Axis::Position && !spec.calibrated) {
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
fn methods_with_one_rule_for_all_lengths_step_alike_in_several_blocks() {
    let model = decoder(3, rope());
    let tokens = tokens(2 * TRAINED);
    for arm in arms() {
        let method = registry::position(&arm.parse().unwrap()).unwrap();
        let rotary = rotary_of(model.config()).unwrap().0;
        if method.regime(&rotary, TRAINED) != method.regime(&rotary, 2 * TRAINED) {
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
    for arm in [
        "dynamic-ntk(factor=2)",
        "dynamic-linear",
        "yarn(factor=4)",
        "log-n(trained=7)",
        "lm-infinite(window=7, globals=3)",
        "lm-infinite(window=7, globals=3, top_k=4)",
        "unlimiformer(k=4, window=7)",
        "self-extend(group=4, window=8)",
        "dca(chunk=5, limit=9)",
    ] {
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
        "longrope(factor=1, start_tokens=5)",
        "longrope(long=[1, 1.5, 4, 5], attention_factor=1, start_tokens=1000)",
        "self-extend(group=1)",
        "rerope(leak=1)",
        "sliding-window(window=1000)",
        "lm-infinite(window=1000, allow_unseen=true)",
    ] {
        let (placed, _) = placed(&model, &arm.parse().unwrap()).unwrap();
        assert_eq!(at_once(&placed, &long), at_once(&model, &long), "{arm}");
    }
    for (arm, within) in [
        ("dynamic-ntk(factor=4)", TRAINED),
        ("dynamic-linear", TRAINED),
        ("dynamic-linear(whole=true)", TRAINED),
        ("clex(log_scale=true)", TRAINED),
        ("longrope(factor=4, long=[1, 1.5, 4, 5], attention_factor=1)", TRAINED),
        ("log-n", TRAINED),
        ("sliding-window", TRAINED),
        ("streaming-llm(sinks=2)", TRAINED),
        ("lm-infinite", TRAINED),
        ("lm-infinite(top_k=4)", TRAINED),
        ("unlimiformer", TRAINED),
        ("self-extend(group=8, window=8)", 8),
        ("rerope(window=15)", 15),
        ("dca(chunk=15, limit=16)", 15),
    ] {
        let (placed, _) = placed(&model, &arm.parse().unwrap()).unwrap();
        let short = &short[..within];
        assert_ne!(at_once(&placed, &long), at_once(&model, &long), "{arm} beyond the trained length");
        assert_eq!(at_once(&placed, short), at_once(&model, short), "{arm} after a longer text");
    }
}

#[test]
fn first_positions_keep_the_angles_that_numpy_gives_them() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/position.json");
    let golden: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let starts = golden["starts"].as_array().unwrap();
    assert_eq!(starts.len(), 4);
    for case in starts {
        let numbers = |name: &str| -> Vec<f64> { serde_json::from_value(case[name].clone()).unwrap() };
        let config = Config { max_positions: 256, ..config(1, rope()) };
        let arm = case["arm"].as_str().unwrap();
        let rope = Placed::of(&config, None, &arm.parse().unwrap()).unwrap().into_rope();
        let length = case["length"].as_u64().unwrap() as usize;
        let tables = rope.tables(length, length);
        for (at, place) in numbers("places").iter().enumerate() {
            for pair in 0..4 {
                for (found, expected) in [(&tables.cos, numbers("cos")), (&tables.sin, numbers("sin"))] {
                    let (found, expected) = (found[*place as usize * 4 + pair], expected[at * 4 + pair]);
                    assert!((f64::from(found) - expected).abs() < 2e-5, "{arm}, place {place}: {found} for {expected}");
                }
            }
        }
        let pairs: Vec<[usize; 2]> = serde_json::from_value(case["pairs"].clone()).unwrap();
        for (places, expected) in pairs.into_iter().zip(numbers("scores")) {
            let [q, k] = places.map(|place| tables.turn(&[1.0; 8], place, 1, 8));
            let score: f32 = q.iter().zip(&k).map(|(a, b)| a * b).sum();
            assert!((f64::from(score) - expected).abs() < 2e-4, "{arm}, {places:?}: {score} for {expected}");
        }
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
        assert_eq!(said, format!("yarn: `yarn` does not work on {found}; it is for rotary embeddings"));
    }
    let said = refused(&decoder(1, PositionScheme::Learned), "lm-infinite");
    assert!(said.ends_with("; it is for rotary embeddings, linear biases (ALiBi), biases by distance, decaying rotary embeddings (xPos), no position scheme"), "{said}");
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
        ("clex(step=2)", "`step = 2` is outside its range (0, 1]"),
        ("longrope(short=[1, 0, 1, 1])", "`short = 0` is outside its range (0, inf)"),
        ("yarn(attention_factor=0)", "`attention_factor = 0` is outside its range (0, inf)"),
        ("dynamic-ntk(trained=0)", "`trained = 0` is outside its range [1, 1073741824]"),
        ("sliding-window(window=0)", "`window = 0` is outside its range [1, 1073741824]"),
        ("rerope(window=16)", "`window = 16` must be between 1 and 15: it is below the trained length"),
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

/// Logits after every token, read in pieces of `step` through a cache, and the cache.
fn stepped(decoder: &Decoder, tokens: &[u32], step: usize) -> (Vec<f32>, harness_model::cache::KvCache) {
    let mut cache = decoder.new_cache();
    let mut last = Vec::new();
    for piece in tokens.chunks(step) {
        last = decoder.logits_last(piece, &mut cache).unwrap();
    }
    (last, cache)
}

#[test]
fn windows_let_keys_go_and_still_give_what_reading_at_once_gives() {
    let tokens = tokens(700);
    for scheme in [
        rope(),
        PositionScheme::Alibi,
        PositionScheme::Biases(DistanceBias::T5),
        PositionScheme::Biases(DistanceBias::KerpleLog),
        PositionScheme::Biases(DistanceBias::Fire),
        PositionScheme::Xpos { theta: 10_000.0, scale: 512.0 },
        PositionScheme::None,
    ] {
        let model = decoder(2, scheme);
        let (_, everything) = stepped(&model, &tokens, 50);
        for arm in [
            "sliding-window(window=7)",
            "streaming-llm(sinks=2, window=9)",
            "lm-infinite(window=7, globals=3, limit=12)",
        ] {
            let (placed, _) = placed(&model, &arm.parse().unwrap()).unwrap();
            let whole = at_once(&placed, &tokens);
            for step in [1, 3, 50] {
                let (last, cache) = stepped(&placed, &tokens, step);
                let far = last.iter().zip(&whole).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(far < 1e-4, "{arm} on {scheme:?} in pieces of {step}: {far}");
                assert_eq!(cache.len(), 700);
                assert!(
                    cache.bytes() * 4 < everything.bytes(),
                    "{arm}: {} bytes of {}",
                    cache.bytes(),
                    everything.bytes()
                );
            }
        }
    }
}

#[test]
fn what_may_be_chosen_is_held() {
    let tokens = tokens(300);
    for scheme in [rope(), PositionScheme::Alibi, PositionScheme::Biases(DistanceBias::T5), PositionScheme::None] {
        let model = decoder(2, scheme);
        for arm in ["lm-infinite(window=7, globals=3, top_k=5)", "unlimiformer(k=5, window=7)"] {
            let (placed, _) = placed(&model, &arm.parse().unwrap()).unwrap();
            let whole = at_once(&placed, &tokens);
            for step in [1, 50] {
                let (last, mut cache) = stepped(&placed, &tokens, step);
                let far = last.iter().zip(&whole).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(far < 1e-4, "{arm} on {scheme:?} in pieces of {step}: {far}");
                assert_eq!((cache.len(), cache.held()), (300, 300));
                cache.truncate(40).unwrap();
                let again = placed.logits_last(&tokens[40..60], &mut cache).unwrap();
                let short = at_once(&placed, &tokens[..60]);
                assert!(again.iter().zip(&short).all(|(a, b)| (a - b).abs() < 1e-4), "{arm}");
            }
        }
    }
}

#[test]
fn what_a_window_has_let_go_cannot_come_back() {
    let (placed, _) = placed(&decoder(2, rope()), &"lm-infinite(window=7, globals=3)".parse().unwrap()).unwrap();
    let tokens = tokens(700);
    let (_, mut cache) = stepped(&placed, &tokens, 1);
    let said = cache.truncate(100).unwrap_err().to_string();
    assert!(said.starts_with("a key-value cache cannot go back to 100 positions: it holds the newest from "), "{said}");
    assert!(harness_model::cache::KvCache::gather(&[(&cache, 0)], 100).is_err() && cache.rest(50).is_err());
    // Queries near the end look at nothing that is gone.
    let whole = at_once(&placed, &tokens[..698]);
    cache.truncate(697).unwrap();
    let mut copy = harness_model::cache::KvCache::gather(&[(&cache, 0), (&cache, 0)], 697).unwrap();
    for (cache, rows) in [(&mut cache, 1), (&mut copy, 2)] {
        let hidden = placed.step(&vec![&tokens[697..698]; rows], cache, 1).unwrap().flatten_to(1).unwrap();
        let logits = with_values(&placed.logits(&hidden).unwrap(), <[f32]>::to_vec).unwrap();
        for row in logits.chunks(whole.len()) {
            assert!(row.iter().zip(&whole).all(|(a, b)| (a - b).abs() < 1e-4));
        }
    }
    cache.truncate(0).unwrap();
    assert_eq!(placed.logits_last(&tokens[..9], &mut cache).unwrap(), stepped(&placed, &tokens[..9], 9).0);
}

#[test]
fn streams_do_not_know_how_far_they_have_come() {
    // The same tokens in the cache, after a short text and after a long one: the same bits.
    let (placed, _) = placed(&decoder(1, rope()), &"streaming-llm(sinks=2, window=9)".parse().unwrap()).unwrap();
    let ends = [100, 700].map(|length| {
        let mut text: Vec<u32> = [3, 5].into_iter().chain((2..length).map(|i| (i * i % 23) as u32)).collect();
        text.truncate(length - 12);
        text.extend(tokens(12));
        stepped(&placed, &text, 1).0
    });
    assert_eq!(ends[0], ends[1]);
}

#[test]
fn one_block_of_a_window_does_not_see_the_middle() {
    let (arm, tokens) = ("lm-infinite(window=7, globals=3)", tokens(60));
    let mut other = tokens.clone();
    other[20] = (other[20] + 1) % 23;
    let seen = |layers: usize| {
        let (placed, _) = placed(&decoder(layers, rope()), &arm.parse().unwrap()).unwrap();
        at_once(&placed, &tokens) != at_once(&placed, &other)
    };
    // Several blocks pass on what each sees a window before: six positions a block.
    assert!(!seen(1) && !seen(6) && seen(7));
}

#[test]
fn one_block_that_chooses_sees_the_middle() {
    let text = tokens(60);
    let mut other = text.clone();
    other[20] = (other[20] + 1) % 23;
    for (arm, sees) in [
        ("lm-infinite(window=7, globals=3)", false),
        ("lm-infinite(window=7, globals=3, top_k=50)", true),
        ("sliding-window(window=7)", false),
        ("unlimiformer(k=16, window=7)", true),
    ] {
        // A key is one of those with the largest scores of some head of some query.
        let (placed, _) = placed(&decoder(1, rope()), &arm.parse().unwrap()).unwrap();
        let rows = |text: &[u32]| {
            let hidden = placed.hidden_positions(&[text], 40..60).unwrap();
            with_values(&placed.logits(&hidden).unwrap(), <[f32]>::to_vec).unwrap()
        };
        assert_eq!(rows(&text) != rows(&other), sees, "{arm}");
    }
}
