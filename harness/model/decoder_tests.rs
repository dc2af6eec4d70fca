#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use candle_core::{Device, Var};

use super::*;
use crate::config::{Activation, NormKind, PositionScheme, RopeStyle};
use crate::linear::Dense;
use crate::load::expected_tensors;
use crate::replace::BlockNorm;
use crate::weight::{DType, Weight};

/// One case of `tests/reference/decoder.json`, written by the script beside it.
#[derive(serde::Deserialize)]
struct Case {
    name: String,
    config: Config,
    tokens: Vec<u32>,
    logits: Vec<Vec<f64>>,
}

fn cases() -> Vec<Case> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/reference/decoder.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The script's generator: values of the tensor with number `seed`.
fn draw(seed: usize, count: usize, offset: f32) -> Vec<f32> {
    let mut state = (seed as u32).wrapping_mul(2_654_435_761).wrapping_add(12_345);
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((f64::from(state >> 8) / f64::from(1 << 23) - 1.0) as f32) * 0.3 + offset
        })
        .collect()
}

fn weights(config: &Config, dtype: DType) -> BTreeMap<String, Weight> {
    expected_tensors(config)
        .enumerate()
        .map(|(index, spec)| {
            let offset = if spec.name.contains("norm") && spec.name.ends_with(".weight") { 1.0 } else { 0.0 };
            let values = draw(index + 1, spec.rows * spec.cols, offset);
            (spec.name.clone(), Weight::rounded(spec.rows, spec.cols, &values, dtype))
        })
        .collect()
}

fn decoder(config: &Config) -> Decoder {
    Decoder::from_weights(config, &weights(config, DType::F32)).unwrap()
}

fn read(tensor: &Tensor) -> Vec<f32> {
    with_values(tensor, <[f32]>::to_vec).unwrap()
}

fn all_logits(decoder: &Decoder, windows: &[&[u32]]) -> Vec<f32> {
    let hidden = decoder.hidden_positions(windows, 0..windows[0].len()).unwrap();
    read(&decoder.logits(&hidden).unwrap())
}

fn assert_close(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "{what}[{i}]: {a} for {b}");
    }
}

#[test]
fn logits_match_the_numpy_reference() {
    let cases = cases();
    assert!(cases.len() >= 6);
    for case in cases {
        let expected: Vec<f32> = case.logits.concat().iter().map(|v| *v as f32).collect();
        assert_close(&all_logits(&decoder(&case.config), &[&case.tokens]), &expected, 2e-5, &case.name);
    }
}

#[test]
fn sequences_of_different_lengths_step_together() {
    for case in cases() {
        let decoder = decoder(&case.config);
        let vocabulary = case.config.vocab_size;
        let full = all_logits(&decoder, &[&case.tokens]);
        let mut caches: Vec<KvCache> = [3, 11, 1, 7]
            .map(|length| {
                let mut cache = decoder.new_cache();
                decoder.step(&[&case.tokens[..length]], &mut cache, 1).unwrap();
                cache
            })
            .into();
        for _ in 0..3 {
            let places: Vec<usize> = caches.iter().map(KvCache::len).collect();
            let tokens: Vec<u32> = places.iter().map(|at| case.tokens[*at]).collect();
            let hidden = decoder.step_each(&tokens, &mut caches).unwrap();
            let logits = read(&decoder.logits(&hidden).unwrap());
            for (row, place) in logits.chunks(vocabulary).zip(places) {
                assert_close(row, &full[place * vocabulary..][..vocabulary], 2e-5, &case.name);
            }
        }
        assert!(decoder.step_each(&[1], &mut caches).is_err() && decoder.step_each(&[], &mut []).is_err());
        assert!(decoder.step_each(&[1, 1, 1, 999_999], &mut caches).is_err());
        assert_eq!(caches[0].len(), 6);
    }
}

#[test]
fn cached_steps_chunks_and_batches_equal_the_full_pass() {
    for case in cases() {
        let decoder = decoder(&case.config);
        let vocabulary = case.config.vocab_size;
        let full = all_logits(&decoder, &[&case.tokens]);
        let last = &full[full.len() - vocabulary..];
        for chunk in [1, 2, 5, 9, 20, 21] {
            let mut cache = decoder.new_cache();
            let mut logits = Vec::new();
            for (index, part) in case.tokens.chunks(chunk).enumerate() {
                logits = decoder.logits_last(part, &mut cache).unwrap();
                let seen = (index * chunk + part.len()) * vocabulary;
                assert_close(&logits, &full[seen - vocabulary..seen], 2e-5, &case.name);
            }
            assert_eq!(cache.len(), case.tokens.len());
            assert_close(&logits, last, 2e-5, &case.name);
        }
        let reversed: Vec<u32> = case.tokens.iter().rev().copied().collect();
        let both = all_logits(&decoder, &[&reversed, &case.tokens]);
        assert_close(&both[full.len()..], &full, 2e-6, "batch");
        let some = decoder.hidden_positions(&[&reversed, &case.tokens], 6..11).unwrap();
        let mut rows = Vec::new();
        decoder.logits_into(&some, 5..10, &mut rows).unwrap();
        assert_close(&rows, &full[6 * vocabulary..11 * vocabulary], 2e-5, "some positions");

        let mut cache = decoder.new_cache();
        decoder.step(&[&reversed[..20], &case.tokens[..20]], &mut cache, 1).unwrap();
        let hidden = decoder.step(&[&reversed[20..], &case.tokens[20..]], &mut cache, 1).unwrap();
        let hidden = hidden.narrow(0, 1, 1).unwrap().reshape((1, case.config.hidden_size)).unwrap();
        assert_close(&read(&decoder.logits(&hidden).unwrap()), last, 2e-5, "batched decoding");
        assert!(matches!(decoder.step(&[&[1]], &mut cache, 1), Err(ModelError::CacheBatch { cached: 2, given: 1 })));
        assert_eq!(cache.len(), 21);
    }
}

#[test]
fn half_precision_weights_are_computed_in_single_precision() {
    let case = cases().remove(1);
    for dtype in [DType::F16, DType::Bf16] {
        let stored = weights(&case.config, dtype);
        let widened: BTreeMap<String, Weight> =
            stored.iter().map(|(name, w)| (name.clone(), Weight::from_f32(w.rows(), w.cols(), w.to_f32()))).collect();
        let half = Decoder::from_weights(&case.config, &stored).unwrap();
        let single = Decoder::from_weights(&case.config, &widened).unwrap();
        assert_eq!(all_logits(&half, &[&case.tokens]), all_logits(&single, &[&case.tokens]));
        assert_eq!(half.stored_bytes() * 2, single.stored_bytes());
        assert_eq!(half.parameters(), single.parameters());
    }
}

#[test]
fn replacing_a_matrix_changes_one_copy_only() {
    let case = cases().remove(1);
    let dense = decoder(&case.config);
    let before = all_logits(&dense, &[&case.tokens]);
    let old = dense.linear(1, Projection::Q).unwrap().weight();
    let changed = dense.with_weight(1, Projection::Q, Weight::from_f32(old.rows(), old.cols(), vec![0.0; 32 * 24]));
    assert_eq!(all_logits(&dense, &[&case.tokens]), before);
    assert_ne!(all_logits(&changed, &[&case.tokens]), before);
    assert_eq!(changed.bytes_not_shared_with(&dense), 32 * 24 * 4);
    assert!(changed.linear(1, Projection::Q).unwrap().bias().is_some());
    assert_eq!(changed.linear(1, Projection::Q).unwrap().weight().zeros(), 32 * 24);
    let same = changed.with_weight(1, Projection::Q, old);
    assert_eq!(all_logits(&same, &[&case.tokens]), before);
    let wrong = Arc::new(Dense::new(Weight::from_f32(2, 2, vec![0.0; 4]), None));
    assert!(matches!(
        dense.with_linear(0, Projection::Down, wrong),
        Err(ModelError::Replacement { layer: 0, projection: Projection::Down, found: (2, 2), expected: (24, 40) })
    ));
    let counted: usize = expected_tensors(&case.config).map(|spec| spec.rows * spec.cols).sum();
    assert_eq!(dense.parameters(), counted);
}

struct Inputs(Vec<(usize, Projection, usize)>, f32);

impl Tap for Inputs {
    fn linear_input(&mut self, layer: usize, projection: Projection, x: &[f32]) {
        self.0.push((layer, projection, x.len()));
        self.1 += x.iter().map(|v| v.abs()).sum::<f32>();
    }
}

#[test]
fn a_tap_sees_every_input_once_and_changes_nothing() {
    for case in cases() {
        let decoder = decoder(&case.config);
        let hidden = decoder.embed(&[&case.tokens, &case.tokens]).unwrap();
        let mut tap = Inputs(Vec::new(), 0.0);
        let seen = decoder.block(1, &hidden, Some(&mut tap)).unwrap();
        assert_eq!(read(&seen), read(&decoder.block(1, &hidden, None).unwrap()));
        let expected: Vec<(usize, Projection, usize)> = Projection::ALL
            .iter()
            .filter_map(|p| decoder.linear(1, *p).map(|map| (1, *p, map.cols() * 2 * case.tokens.len())))
            .collect();
        assert_eq!(tap.0, expected);
        assert!(tap.1 > 0.0);
    }
}

struct Values(Vec<(Projection, Vec<f32>)>);

impl Tap for Values {
    fn linear_input(&mut self, _: usize, projection: Projection, x: &[f32]) {
        self.0.push((projection, x.to_vec()));
    }
}

#[test]
fn what_is_shown_up_to_a_map_is_what_the_whole_block_shows() {
    for case in cases() {
        let decoder = decoder(&case.config);
        let hidden = decoder.embed(&[&case.tokens, &case.tokens]).unwrap();
        let mut whole = Values(Vec::new());
        decoder.block(1, &hidden, Some(&mut whole)).unwrap();
        for last in Projection::ALL {
            let mut part = Values(Vec::new());
            decoder.show_inputs(1, &hidden, last, &mut part).unwrap();
            assert!(whole.0.starts_with(&part.0), "up to {last:?}");
            let maps = part.0.iter().map(|(projection, _)| *projection);
            let at_least = Projection::ALL.into_iter().filter(|p| *p <= last && decoder.linear(1, *p).is_some());
            assert!(at_least.eq(maps.take_while(|p| *p <= last)), "up to {last:?}");
        }
    }
}

#[test]
fn bad_inputs_are_named() {
    let case = cases().remove(4);
    let decoder = decoder(&case.config);
    assert!(matches!(decoder.hidden(&[&[1, 50]]), Err(ModelError::Token { token: 50, vocabulary: 50 })));
    assert!(matches!(decoder.hidden(&[&[1, 2], &[1]]), Err(ModelError::Windows(lengths)) if lengths == [2, 1]));
    assert!(matches!(decoder.hidden(&[]), Err(ModelError::Windows(_))));
    assert!(matches!(decoder.hidden(&[&[3; 65]]), Err(ModelError::Position { position: 64, table: 64 })));
    assert!(matches!(decoder.hidden_positions(&[&[3; 5]], 2..6), Err(ModelError::Range { .. })));
    assert!(decoder.logits_last(&[], &mut decoder.new_cache()).is_err());
    let mut missing = weights(&case.config, DType::F32);
    missing.remove("model.norm.bias");
    let error = Decoder::from_weights(&case.config, &missing).unwrap_err();
    assert!(matches!(error, ModelError::MissingTensor { name } if name == "model.norm.bias"));
    missing.insert("model.norm.bias".into(), Weight::from_f32(1, 3, vec![0.0; 3]));
    assert!(matches!(
        Decoder::from_weights(&case.config, &missing),
        Err(ModelError::TensorShape { found: (1, 3), expected: (1, 24), .. })
    ));
}

fn variables(config: &Config) -> BTreeMap<String, Var> {
    weights(config, DType::F32)
        .into_iter()
        .map(|(name, weight)| {
            let vector = weight.rows() == 1;
            let values = weight.to_f32();
            let var = if vector {
                Var::from_vec(values, weight.cols(), &Device::Cpu)
            } else {
                Var::from_vec(values, (weight.rows(), weight.cols()), &Device::Cpu)
            };
            (name, var.unwrap())
        })
        .collect()
}

#[test]
fn gradients_of_every_parameter_match_finite_differences() {
    let base = cases().remove(0).config;
    let small =
        Config { vocab_size: 11, hidden_size: 8, intermediate_size: 12, head_dim: 4, max_positions: 16, ..base };
    let rotary = |style| PositionScheme::Rope { theta: 100.0, rotary: 4, style };
    let configs = [
        Config { qkv_bias: true, position: rotary(RopeStyle::HalfSplit), ..small.clone() },
        Config { tied_head: false, position: rotary(RopeStyle::Interleaved), ..small.clone() },
        Config {
            norm: NormKind::Layer,
            activation: Activation::Gelu,
            gated: false,
            mlp_bias: true,
            output_bias: true,
            position: PositionScheme::Learned,
            ..small.clone()
        },
        Config { activation: Activation::GeluTanh, position: PositionScheme::Alibi, ..small },
    ];
    for config in configs {
        let variables = variables(&config);
        let decoder = Decoder::trainable(&config, &variables).unwrap();
        let windows: [&[u32]; 2] = [&[1, 4, 9, 2, 2, 7, 0, 10, 3, 3], &[5, 5, 6, 1, 8, 9, 4, 3, 2, 1]];
        let targets: Vec<u32> = (0..20).map(|i| (i * 7 + 3) % 11).collect();
        let loss = || {
            let hidden = decoder.hidden(&windows).unwrap().reshape((20, config.hidden_size)).unwrap();
            ops::cross_entropy(&decoder.logits(&hidden).unwrap(), &targets).unwrap()
        };
        let gradients = loss().backward().unwrap();
        for (name, variable) in &variables {
            let gradient = read(gradients.get(variable).unwrap_or_else(|| panic!("{name} has no gradient")));
            let values = read(variable);
            for at in [0, values.len() / 3, values.len() - 1] {
                let shifted = |by: f32| {
                    let mut moved = values.clone();
                    moved[at] += by;
                    variable.set(&Tensor::from_vec(moved, variable.shape(), &Device::Cpu).unwrap()).unwrap();
                    f64::from(loss().to_scalar::<f32>().unwrap())
                };
                let expected = (shifted(5e-3) - shifted(-5e-3)) / 1e-2;
                shifted(0.0);
                let found = f64::from(gradient[at]);
                assert!(
                    (found - expected).abs() < 4e-4 * (1.0 + expected.abs()),
                    "{name}[{at}]: {found} for {expected}"
                );
            }
        }
    }
}

#[test]
fn factors_moved_between_layers_change_no_logit() {
    for case in cases() {
        let plain = decoder(&case.config);
        let factors = |count: usize| -> Vec<f32> { (0..count).map(|i| 0.5 + (i % 7) as f32 * 0.3).collect() };
        let hidden = factors(case.config.hidden_size);
        let mut moved = plain.with_norm_divided(0, BlockNorm::Attention, &hidden).unwrap();
        for projection in [Projection::Q, Projection::K, Projection::V] {
            moved = moved.with_inputs_multiplied(0, projection, &hidden).unwrap();
        }
        moved = moved.with_norm_divided(0, BlockNorm::FeedForward, &hidden).unwrap();
        moved = moved.with_inputs_multiplied(0, Projection::Up, &hidden).unwrap();
        if case.config.gated {
            moved = moved.with_inputs_multiplied(0, Projection::Gate, &hidden).unwrap();
            let inner = factors(moved.linear(0, Projection::Up).unwrap().rows());
            moved = moved.with_outputs_divided(0, Projection::Up, &inner).unwrap();
            moved = moved.with_inputs_multiplied(0, Projection::Down, &inner).unwrap();
        }
        if case.config.heads == case.config.kv_heads {
            let values = factors(moved.linear(0, Projection::V).unwrap().rows());
            moved = moved.with_outputs_divided(0, Projection::V, &values).unwrap();
            moved = moved.with_inputs_multiplied(0, Projection::O, &values).unwrap();
        }
        let window: &[u32] = &case.tokens;
        let (a, b) = (all_logits(&plain, &[window]), all_logits(&moved, &[window]));
        let apart = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 2e-4 && a != b, "{}: {apart}", case.name);
        // What a writer is given is what the model computes with.
        let mut stored = weights(&case.config, DType::F32);
        stored.extend(moved.small_tensors(0));
        for projection in Projection::ALL {
            if let Some(map) = moved.linear(0, projection) {
                stored.insert(projection.tensor(0), map.weight());
            }
        }
        let again = Decoder::from_weights(&case.config, &stored).unwrap();
        assert_eq!(all_logits(&again, &[window]), b, "{}", case.name);
        assert!(matches!(
            plain.with_norm_divided(0, BlockNorm::Attention, &hidden[1..]),
            Err(ModelError::Factors { .. })
        ));
    }
}
