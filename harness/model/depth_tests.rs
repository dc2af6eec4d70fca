#![allow(clippy::unwrap_used)]

use super::*;
use crate::load::expected_tensors;
use crate::made::made;
use crate::packed::small_decoder;
use crate::weight::DType;

/// The small decoder with as many blocks, each its own.
fn deep(layers: usize) -> (Checkpoint, Decoder) {
    let config = Config { layers, ..small_decoder().config().clone() };
    made(config, DType::F32, 0.2)
}

fn logits(decoder: &Decoder, tokens: &[u32]) -> Vec<Vec<f32>> {
    let hidden = decoder.hidden(&[tokens]).unwrap().flatten_to(1).unwrap();
    decoder.logits(&hidden).unwrap().to_vec2().unwrap()
}

fn kept(blocks: &[usize]) -> Vec<Layer> {
    blocks.iter().copied().map(Layer::kept).collect()
}

const TOKENS: [u32; 7] = [1, 5, 2, 7, 3, 1, 6];

#[test]
fn a_shorter_decoder_is_a_pass_that_skips_blocks() {
    let (_, decoder) = deep(5);
    let short = decoder.of_layers(&kept(&[0, 2, 4])).unwrap();
    let mut hidden = decoder.embed(&[&TOKENS]).unwrap();
    for layer in [0, 2, 4] {
        hidden = decoder.block(layer, &hidden, None).unwrap();
    }
    let skipped = decoder.final_norm(&hidden).unwrap().flatten_to(1).unwrap();
    let skipped: Vec<Vec<f32>> = decoder.logits(&skipped).unwrap().to_vec2().unwrap();
    assert_eq!(logits(&short, &TOKENS), skipped);
    assert_ne!(logits(&decoder, &TOKENS), skipped);
}

#[test]
fn parameters_bytes_and_caches_are_those_of_the_blocks_left() {
    let (_, decoder) = deep(5);
    let short = decoder.of_layers(&kept(&[0, 3])).unwrap();
    let block: usize = decoder.block_parameters(1).unwrap().iter().map(|w| w.rows() * w.cols()).sum();
    assert_eq!(short.parameters(), decoder.parameters() - 3 * block);
    assert_eq!(short.stored_bytes(), decoder.stored_bytes() - 12 * block);
    assert_eq!((short.config().layers, short.cache_shape().layers), (2, 2));
    assert_eq!(short.bytes_not_shared_with(&decoder), 0);
    // Block 3 is the second and reads the second row of the cache.
    let mut cache = short.new_cache();
    let at_once = logits(&short, &TOKENS);
    let mut last = Vec::new();
    for token in TOKENS {
        last = short.logits_last(&[token], &mut cache).unwrap();
    }
    for (a, b) in last.iter().zip(at_once.last().unwrap()) {
        assert!((a - b).abs() < 1e-4, "{a} for {b}");
    }
}

#[test]
fn sums_of_blocks_are_sums_of_their_matrices() {
    let (_, decoder) = deep(4);
    let mix = vec![(0, -1.0), (1, 1.0), (2, 1.0)];
    let short = decoder.of_layers(&[Layer { base: 0, mix }, Layer::kept(3)]).unwrap();
    for projection in Projection::ALL {
        let Some(map) = short.linear(0, projection) else { continue };
        let of = |layer| decoder.linear(layer, projection).unwrap().weight().to_f32();
        let (a, b, c) = (of(0), of(1), of(2));
        for (at, found) in map.weight().to_f32().iter().enumerate() {
            assert!((found - (b[at] + c[at] - a[at])).abs() < 1e-6, "{projection:?}");
        }
    }
    assert_eq!(short.small_tensors(0)[0].1.to_f32(), decoder.small_tensors(0)[0].1.to_f32());
}

#[test]
fn a_shortened_checkpoint_is_the_shorter_decoder() {
    let (checkpoint, decoder) = deep(4);
    for layers in [kept(&[1, 3]), vec![Layer { base: 1, mix: vec![(1, 0.5), (2, 0.5)] }, Layer::kept(3)]] {
        let short = decoder.of_layers(&layers).unwrap();
        let written = checkpoint.shortened(&layers, &short);
        assert_eq!(logits(&Decoder::from_checkpoint(&written).unwrap(), &TOKENS), logits(&short, &TOKENS));
        let names: Vec<String> = expected_tensors(&written.config).map(|spec| spec.name).collect();
        assert_eq!(names.len(), written.tensors.len());
        assert!(names.iter().all(|name| written.tensors.contains_key(name)));
    }
}

#[test]
fn a_block_that_adds_nothing_goes_without_loss() {
    let (checkpoint, _) = deep(3);
    let mut checkpoint = checkpoint;
    for projection in [Projection::O, Projection::Down] {
        let weight = checkpoint.tensors.get_mut(&projection.tensor(1)).unwrap();
        *weight = Weight::from_f32(weight.rows(), weight.cols(), vec![0.0; weight.rows() * weight.cols()]);
    }
    let decoder = Decoder::from_checkpoint(&checkpoint).unwrap();
    let short = decoder.of_layers(&kept(&[0, 2])).unwrap();
    assert_eq!(logits(&short, &TOKENS), logits(&decoder, &TOKENS));
}

#[test]
fn what_is_not_there_is_refused() {
    let (_, decoder) = deep(2);
    assert!(matches!(decoder.of_layers(&kept(&[0, 2])), Err(ModelError::Range { start: 2, .. })));
    let missing = Layer { base: 0, mix: vec![(0, 1.0), (7, 1.0)] };
    assert!(matches!(decoder.of_layers(&[missing]), Err(ModelError::Range { start: 7, .. })));
    assert!(matches!(decoder.of_layers(&[]), Err(ModelError::Config(_))));
}

#[test]
fn gradients_of_several_windows_are_signed_before_they_are_added() {
    let (_, decoder) = deep(2);
    let windows = [vec![1, 5, 2, 7], vec![4, 2, 6, 6]];
    let both = decoder.mean_gradients(&windows).unwrap();
    let one: Vec<_> =
        windows.iter().map(|window| decoder.mean_gradients(std::slice::from_ref(window)).unwrap()).collect();
    assert_eq!(both.len(), 2);
    assert_eq!(both[0].len(), decoder.block_parameters(0).unwrap().len());
    for (layer, parameters) in both.iter().enumerate() {
        for (place, (weights, gradient)) in parameters.iter().enumerate() {
            assert_eq!(weights.len(), gradient.len());
            assert!(gradient.iter().any(|g| *g != 0.0), "block {layer}, parameter {place}");
            for (at, sum) in gradient.iter().enumerate() {
                let mean = f64::midpoint(one[0][layer][place].1[at], one[1][layer][place].1[at]);
                assert!((sum - mean).abs() < 1e-12);
            }
        }
    }
}
