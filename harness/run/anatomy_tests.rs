#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use harness_model::config::Projection;
use harness_model::load::load;
use harness_model::weight::Weight;

use super::*;

fn model() -> Decoder {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../datasets/models/tiny-1m");
    Decoder::from_checkpoint(&load(&folder).unwrap()).unwrap()
}

fn windows() -> Vec<Vec<u32>> {
    (0..3).map(|window| (0..40).map(|place| (window * 17 + place * 7) % 200).collect()).collect()
}

/// With a map of zeros.
fn without(decoder: &Decoder, layer: usize, projection: Projection) -> Decoder {
    let old = decoder.linear(layer, projection).unwrap();
    let zeros = vec![0.0; old.rows() * old.cols()];
    decoder.with_weight(layer, projection, Weight::from_f32(old.rows(), old.cols(), zeros))
}

#[test]
fn a_block_that_adds_nothing_has_an_error_of_one_and_the_others_none() {
    let dense = model();
    let silent = without(&without(&dense, 1, Projection::O), 1, Projection::Down);
    let found = block_errors(&dense, &[&dense, &silent], &windows());
    let same = found[0].as_ref().unwrap();
    assert!(same.len() > 2 && same.iter().all(|block| block.error == 0.0 && block.size > 0.0), "{same:?}");
    for (layer, (block, size)) in found[1].as_ref().unwrap().iter().zip(same).enumerate() {
        assert_eq!(block.size, size.size);
        assert_eq!(block.error, if layer == 1 { block.size } else { 0.0 }, "layer {layer}");
    }
    // As the metric has it: the whole is the silent block's share of what all blocks add.
    let seen = Seen { block_errors: Some(found[1].clone()), ..Seen::default() };
    let metric = registry().into_iter().find(|metric| metric.spec.id == "output_error").unwrap();
    let observed = (metric.observe)(&metric.spec, &seen);
    let total: f64 = same.iter().map(|block| block.size).sum();
    assert_eq!(observed.value(), Some(same[1].size / total));
    let layers = observed.profile.unwrap().by_place("output_error");
    assert_eq!(layers.iter().map(|(_, at)| at.value().unwrap()).collect::<Vec<_>>()[..3], [0.0, 1.0, 0.0]);
}

#[test]
fn decibels_moments_and_flips_have_known_answers() {
    let layer = |change| LayerFootprint {
        weights: 10,
        change,
        norm: 100.0,
        kurtosis: if change > 0.0 { 50.0 } else { 30.0 },
        outliers: u64::from(change > 0.0),
        ..LayerFootprint::default()
    };
    let footprint =
        Footprint { prunable: 30, layers: vec![layer(1.0), layer(0.0), layer(0.01)], ..Footprint::default() };
    let window = crate::score::WindowScore { tokens: 8, agreements: 6, ..Default::default() };
    let seen = Seen { footprint: Some(footprint), scores: vec![window], documents: vec![0], ..Seen::default() };
    let observed = |id: &str| {
        let metric = registry().into_iter().find(|metric| metric.spec.id == id).unwrap();
        (metric.observe)(&metric.spec, &seen)
    };
    let sqnr = observed("sqnr");
    assert!((sqnr.value().unwrap() - 10.0 * (300.0_f64 / 1.01).log10()).abs() < 1e-12);
    let layers = sqnr.profile.unwrap().by_place("sqnr");
    let layers: Vec<(f64, f64)> = layers.iter().map(|(place, at)| (*place, at.value().unwrap())).collect();
    assert_eq!(layers, [(0.0, 20.0), (2.0, 40.0)]);
    assert!((observed("kurtosis").value().unwrap() - 130.0 / 30.0).abs() < 1e-12);
    assert_eq!(observed("kurtosis").profile.unwrap().by_place("kurtosis")[1].1.value(), Some(3.0));
    assert!((observed("outlier_share").value().unwrap() - 2.0 / 30.0).abs() < 1e-12);
    assert_eq!(observed("flips").value(), Some(0.25));
    assert!(observed("output_error").absent.unwrap().contains("no calibration text"));
    let untouched = Seen { footprint: Some(Footprint::default()), ..Seen::default() };
    let metric = registry().into_iter().find(|metric| metric.spec.id == "sqnr").unwrap();
    assert!((metric.observe)(&metric.spec, &untouched).absent.unwrap().contains("no weight is changed"));
}
