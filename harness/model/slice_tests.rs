#![allow(clippy::unwrap_used)]

use super::*;
use crate::load::{expected_tensors, load};
use crate::made::made;
use crate::packed::small_decoder;
use crate::weight::DType;
use crate::write::write_folder;

fn model(biased: bool) -> (Checkpoint, Decoder) {
    let config = small_decoder().config().clone();
    let config =
        Config { layers: 3, tied_head: true, qkv_bias: biased, output_bias: biased, mlp_bias: biased, ..config };
    made(config, DType::F32, 0.4)
}

fn logits(decoder: &Decoder) -> Vec<f32> {
    let hidden = decoder.hidden(&[&TOKENS]).unwrap().flatten_to(1).unwrap();
    decoder.logits(&hidden).unwrap().to_vec2::<f32>().unwrap().concat()
}

fn near(a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).for_each(|(a, b)| assert!((a - b).abs() < tolerance, "{a} for {b}"));
}

const TOKENS: [u32; 9] = [1, 5, 2, 7, 3, 1, 6, 4, 2];

/// Orthonormal rows, another matrix at every place.
fn rotations(decoder: &Decoder, left: usize) -> Vec<Vec<f32>> {
    let (whole, places) = (decoder.config().hidden_size, 2 * decoder.config().layers + 1);
    (0..places).map(|place| orthonormal(whole, left, place as u32 + 1)).collect()
}

/// Rows drawn at random, each made orthogonal to those before it.
fn orthonormal(whole: usize, left: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut rows: Vec<Vec<f64>> = Vec::new();
    while rows.len() < left {
        let mut row: Vec<f64> = (0..whole)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                f64::from(state >> 8) / f64::from(1 << 23) - 1.0
            })
            .collect();
        for _ in 0..2 {
            for before in &rows {
                let along: f64 = row.iter().zip(before).map(|(a, b)| a * b).sum();
                row.iter_mut().zip(before).for_each(|(a, b)| *a -= along * b);
            }
        }
        let size = row.iter().map(|a| a * a).sum::<f64>().sqrt();
        for a in &mut *row {
            *a /= size;
        }
        rows.push(row);
    }
    rows.into_iter().flatten().map(|value| value as f32).collect()
}

#[test]
fn a_turned_stream_of_all_its_numbers_computes_the_same() {
    for biased in [false, true] {
        let (_, decoder) = model(biased);
        let turned = decoder.sliced(&rotations(&decoder, decoder.config().hidden_size)).unwrap();
        near(&logits(&turned), &logits(&decoder), 1e-4);
        assert!(!turned.config().tied_head && turned.config().shortcuts);
    }
}

#[test]
fn a_cut_stream_computes_what_a_projected_one_computes() {
    let (_, decoder) = model(true);
    let whole = decoder.config().hidden_size;
    let left = whole / 2;
    let rotations = rotations(&decoder, left);
    let cut = decoder.sliced(&rotations).unwrap();
    // The whole model, whose stream loses what is cut off at every place.
    let project = |hidden: &candle_core::Tensor, place: usize| {
        let flat = hidden.flatten_to(1).unwrap().to_vec2::<f32>().unwrap().concat();
        let rows = flat.len() / whole;
        let inside = product(&flat, &rotations[place], [rows, whole, left]);
        let back = product(&inside, &transposed(&rotations[place], left), [rows, left, whole]);
        candle_core::Tensor::from_vec(back, hidden.shape(), hidden.device()).unwrap()
    };
    let mut hidden = decoder.embed(&[&TOKENS]).unwrap();
    for layer in 0..3 {
        let stream = project(&hidden, 2 * layer);
        hidden = (&stream + decoder.attention_of(layer, &stream).unwrap()).unwrap();
        let stream = project(&hidden, 2 * layer + 1);
        hidden = (&stream + decoder.feed_forward_of(layer, &stream).unwrap()).unwrap();
    }
    let end = decoder.final_norm(&project(&hidden, 6)).unwrap().flatten_to(1).unwrap();
    let expected = decoder.logits(&end).unwrap().to_vec2::<f32>().unwrap().concat();
    near(&logits(&cut), &expected, 1e-4);
    assert_eq!(cut.config().hidden_size, left);
}

#[test]
fn caches_gradients_and_counts_are_those_of_the_cut_model() {
    let (checkpoint, decoder) = model(false);
    let left = decoder.config().hidden_size / 2;
    let cut = decoder.sliced(&rotations(&decoder, left)).unwrap();
    let at_once = logits(&cut);
    let mut cache = cut.new_cache();
    let mut found = Vec::new();
    for token in TOKENS {
        found = cut.logits_last(&[token], &mut cache).unwrap();
    }
    near(&found, &at_once[at_once.len() - found.len()..], 1e-4);
    let counted: usize = expected_tensors(cut.config()).map(|spec| spec.len()).sum();
    assert_eq!(cut.parameters(), counted);
    cut.mean_gradients(&[TOKENS.to_vec()]).unwrap();
    let written = checkpoint.sliced(&cut);
    assert_eq!(logits(&Decoder::from_checkpoint(&written).unwrap()), at_once);
    assert_eq!(written.tensors.len(), expected_tensors(&written.config).count());
    let place = std::env::temp_dir().join(format!("harness-slice-{}", std::process::id()));
    write_folder(&place, &written, DType::F32, 1 << 30).unwrap();
    let json = std::fs::read_to_string(place.join("config.json")).unwrap();
    assert!(json.contains("HarnessForCausalLM"));
    assert_eq!(logits(&Decoder::from_checkpoint(&load(&place).unwrap()).unwrap()), at_once);
    std::fs::remove_dir_all(place).unwrap();
}

#[test]
fn what_cannot_be_turned_is_refused() {
    let (_, decoder) = model(false);
    let whole = decoder.config().hidden_size;
    assert!(decoder.sliced(&rotations(&decoder, whole)[1..]).is_err());
    assert!(decoder.sliced(&vec![vec![1.0; whole + 1]; 7]).is_err());
    let turned = decoder.sliced(&rotations(&decoder, whole)).unwrap();
    let again = turned.sliced(&rotations(&turned, whole)).unwrap_err();
    assert!(again.to_string().contains("turned before"), "{again}");
    let (_, shifted) = made(Config { norm: NormKind::Layer, layers: 3, ..decoder.config().clone() }, DType::F32, 0.4);
    assert!(shifted.sliced(&rotations(&shifted, whole)).unwrap_err().to_string().contains("subtract a mean"));
}
