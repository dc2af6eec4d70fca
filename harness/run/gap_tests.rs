//! The embedded models against the floor of their language, and the smallest of them made anew.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use harness_model::load::load;
use harness_model::train::{Recipe, train};

use super::*;
use crate::position::decoder_of;

const MODELS: [&str; 21] = [
    "tiny-100k",
    "tiny-300k",
    "tiny-1m",
    "tiny-300k-alibi",
    "tiny-300k-inverse",
    "tiny-300k-inverse-square",
    "tiny-300k-kerple-log",
    "tiny-300k-kerple-power",
    "tiny-300k-log-square",
    "tiny-300k-none",
    "tiny-300k-random",
    "tiny-300k-t5",
    "tiny-300k-xpos",
    "tiny-300k-pi",
    "tiny-300k-yarn",
    "tiny-300k-truncated",
    "tiny-300k-e2",
    "tiny-300k-clex",
    "tiny-300k-longrope2",
    "tiny-300k-states",
    "tiny-300k-states-carried",
];

fn datasets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets")
}

fn fables() -> Generated {
    Generated::parse(&std::fs::read_to_string(datasets().join("corpora/fables/dataset.toml")).unwrap()).unwrap()
}

fn quality(name: &str) -> Quality {
    toml::from_str(&std::fs::read_to_string(datasets().join("models").join(name).join("quality.toml")).unwrap())
        .unwrap()
}

fn decoder(folder: &Path) -> Decoder {
    decoder_of(&load(folder).unwrap()).unwrap()
}

fn agree(name: &str, measured: &Stated, stated: &Stated) {
    let near = |a: f64, b: f64| assert!((a - b).abs() < 3e-4, "{name}: {measured:?} is stated as {stated:?}");
    near(measured.floor, stated.floor);
    near(measured.model, stated.model);
    near(measured.gap, stated.gap);
    near(measured.half_width, stated.half_width);
    assert!((measured.gap_percent - stated.gap_percent).abs() < 0.02, "{name}: {measured:?}");
}

#[test]
fn experts_of_dialects_have_the_gaps_they_state() {
    for dialect in ["sea", "hill"] {
        let corpus = format!("fables-{dialect}");
        let text = std::fs::read_to_string(datasets().join(format!("corpora/{corpus}/dataset.toml"))).unwrap();
        let (language, name) = (Generated::parse(&text).unwrap(), format!("tiny-100k-{dialect}"));
        let (decoder, stated) = (decoder(&datasets().join("models").join(&name)), quality(&name));
        let measured = Quality::measure(&language, &decoder, &corpus).unwrap();
        assert_eq!(measured.corpus, stated.corpus);
        agree(&name, &measured.document_starts, &stated.document_starts);
        agree(&name, &measured.stream_windows, &stated.stream_windows);
        // The words are those of the language, what is said with them is not.
        let base = Quality::measure(&language, &self::decoder(&datasets().join("models/tiny-100k")), &corpus);
        assert!(base.unwrap().stream_windows.gap > 3.0 * measured.stream_windows.gap);
    }
}

#[test]
fn the_embedded_models_have_the_gaps_they_state_and_larger_ones_smaller_gaps() {
    let fables = fables();
    let mut shares = Vec::new();
    for name in MODELS {
        let (decoder, stated) = (decoder(&datasets().join("models").join(name)), quality(name));
        assert_eq!(stated.corpus, "fables/test");
        let measured = Quality::measure(&fables, &decoder, "fables").unwrap();
        assert_eq!((stated.documents, measured.documents), (512, 512));
        for (measured, stated) in
            [(&measured.document_starts, &stated.document_starts), (&measured.stream_windows, &stated.stream_windows)]
        {
            agree(name, measured, stated);
            shares.push(measured.gap_percent / 100.0);
        }
    }
    // The first three differ in size, the others in how they tell positions apart and what they were trained on with.
    let [small, small_stream, middle, middle_stream, large, large_stream, ..] = shares[..] else {
        panic!("{shares:?}")
    };
    assert!(small > 1.1 * middle && middle > 1.1 * large && large > 0.0, "{shares:?}");
    assert!(small_stream > 1.1 * middle_stream && middle_stream > 1.1 * large_stream, "{shares:?}");
    assert!(large < 0.05 && large_stream < 0.05, "{shares:?}");
}

#[test]
fn a_split_too_short_for_a_window_is_an_error() {
    let decoder = decoder(&datasets().join("models/tiny-100k"));
    let error = gap(&fables(), &decoder, "test", 3, Protocol::Documents(1_000_000)).unwrap_err();
    assert_eq!(error.to_string(), "split `test` has no window of 1000000 tokens in its first 3 documents");
}

#[test]
#[ignore = "trains for minutes; the gate runs it"]
fn training_the_smallest_anew_gives_the_stated_quality() {
    let (fables, stated) = (fables(), quality("tiny-100k"));
    let seeds = stated.seeds.unwrap();
    let text = std::fs::read_to_string(datasets().join("models/tiny-100k/recipe.toml")).unwrap();
    let recipe = Recipe::parse(&text).unwrap();
    assert_eq!((seeds.seed[0], seeds.seed.len()), (recipe.training.seed, seeds.gap.len()));
    let out = tempfile::tempdir().unwrap();
    train(&recipe, &fables, out.path(), &mut |_| {}).unwrap();
    let anew = gap(&fables, &decoder(&out.path().join("model")), "test", 512, Protocol::Documents(256)).unwrap();
    assert!((anew.nats() - seeds.gap[0]).abs() <= seeds.tolerance, "{anew:?} against {seeds:?}");
}
