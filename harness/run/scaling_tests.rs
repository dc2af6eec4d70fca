//! Checkpoints that scale their rotary frequencies, against `tests/reference/rope_scaling.py` (transformers), in both formats.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use harness_model::load::{Checkpoint, expected_tensors, load};
use harness_model::tensor::with_values;
use harness_model::weight::DType;
use harness_model::write::gguf::{GgufHeader, GgufTensor, GgufWriter, plain_kind};
use harness_model::write::{DEFAULT_SHARD_BYTES, FolderWriter, write_folder};
use serde_json::Value as Json;
use tempfile::TempDir;

use super::*;
use crate::inputs::LoadedModel;

fn golden() -> Json {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/rope_scaling.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The weights of the reference: one linear congruential sequence through all tensors.
fn values(config: &Config) -> Vec<(String, Vec<f32>)> {
    let mut state = 12_345_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let mut of = |norm: bool| if norm { 1.0 + next() * 0.125 } else { next() * 0.5 };
    expected_tensors(config)
        .map(|spec| {
            let norm = spec.vector && spec.name.ends_with("norm.weight");
            (spec.name.clone(), (0..spec.len()).map(|_| of(norm)).collect())
        })
        .collect()
}

/// A folder of that configuration and those weights.
fn folder(config: &Json) -> (TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("model");
    let number = |key: &str| usize::try_from(config[key].as_u64().unwrap()).unwrap();
    let shape = Config {
        architecture: String::new(),
        vocab_size: number("vocab_size"),
        hidden_size: number("hidden_size"),
        intermediate_size: number("intermediate_size"),
        layers: number("num_hidden_layers"),
        heads: number("num_attention_heads"),
        kv_heads: number("num_key_value_heads"),
        head_dim: number("head_dim"),
        max_positions: number("max_position_embeddings"),
        norm: harness_model::config::NormKind::Rms,
        norm_epsilon: 1e-5,
        activation: harness_model::config::Activation::Silu,
        gated: true,
        position: PositionScheme::None,
        scaling: None,
        qkv_bias: config["model_type"] == "qwen2",
        output_bias: false,
        widths: Vec::new(),
        shortcuts: false,
        reads: Vec::new(),
        mlp_bias: false,
        tied_head: true,
        bos: None,
        eos: vec![],
    };
    let specs: Vec<_> = expected_tensors(&shape).collect();
    let mut writer = FolderWriter::create(&folder, &shape, &specs, DType::F32, DEFAULT_SHARD_BYTES).unwrap();
    for (name, values) in values(&shape) {
        writer.write_f32(&name, &values).unwrap();
    }
    writer.finish().unwrap();
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    (place, folder)
}

/// Logits at all positions, read at once.
fn all_logits(decoder: &Decoder, tokens: &[u32]) -> Vec<Vec<f32>> {
    let hidden = decoder.hidden_positions(&[tokens], 0..tokens.len()).unwrap();
    let rows = with_values(&decoder.logits(&hidden).unwrap(), <[f32]>::to_vec).unwrap();
    rows.chunks(decoder.config().vocab_size).map(<[f32]>::to_vec).collect()
}

/// The largest difference from what the reference has.
fn difference(decoder: &Decoder, tokens: &[u32], pass: &Json) -> f64 {
    let length = usize::try_from(pass["length"].as_u64().unwrap()).unwrap();
    let found = all_logits(decoder, &tokens[..length]);
    let rows = pass["rows"].as_object().unwrap();
    assert!(!rows.is_empty());
    let of_row = |(at, row): (&String, &Json)| {
        let row = row.as_array().unwrap().iter().map(|value| value.as_f64().unwrap());
        let found = &found[at.parse::<usize>().unwrap()];
        assert_eq!(found.len(), row.len());
        found.iter().zip(row).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max)
    };
    rows.iter().map(of_row).fold(0.0, f64::max)
}

fn tokens(golden: &Json) -> Vec<u32> {
    golden["tokens"].as_array().unwrap().iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect()
}

fn as_gguf(checkpoint: &Checkpoint, target: &Path) -> Result<Checkpoint, String> {
    let config = &checkpoint.config;
    let divisors = divisors(config).unwrap();
    let divisors = divisors.as_deref();
    let header = GgufHeader { config, tokenizer: None, chat_template: None, name: "x", file_type: 0, divisors };
    let kind = plain_kind(DType::F32);
    let tensors: Vec<_> = expected_tensors(config).map(|spec| GgufTensor { spec, kind }).collect();
    let mut writer = GgufWriter::create(target, &header, &tensors).map_err(|error| error.to_string())?;
    for tensor in &tensors {
        writer.write_weight(&tensor.spec.name, &checkpoint.weight(&tensor.spec.name).unwrap()).unwrap();
    }
    writer.finish().unwrap();
    Ok(load(target).unwrap())
}

#[test]
fn logits_are_those_of_transformers_below_and_beyond_the_length_of_the_training() {
    let golden = golden();
    let tokens = tokens(&golden);
    let cases = golden["cases"].as_array().unwrap();
    let mut kinds = std::collections::BTreeSet::new();
    for case in cases {
        let config = &case["config"];
        let (place, path) = folder(config);
        let model = LoadedModel::open("tiny", &path).unwrap();
        let scaling = model.decoder.config().scaling.clone();
        kinds.extend(scaling.iter().map(|scaling| scaling.arm.id.clone()));
        let (within, beyond) = (&case["passes"][0], &case["passes"][1]);
        for pass in [within, beyond] {
            let far = difference(&model.decoder, &tokens, pass);
            assert!(far < 1e-4, "{far}: {config}");
        }
        // Without the scaling it is another model, so that leaving it out would show.
        let plain = placed(&model.decoder, &"rope(base=100)".parse().unwrap()).unwrap().0;
        let far = difference(&plain, &tokens, beyond);
        assert!(if scaling.is_some() { far > 1e-2 } else { far < 1e-4 }, "{far}: {config}");
        let (same, unchanged) = placed(&model.decoder, &"none".parse().unwrap()).unwrap();
        assert!(unchanged && difference(&same, &tokens, beyond) < 1e-4);
        // What is written reads as what was read.
        let checkpoint = load(&path).unwrap();
        let again = write_folder(&place.path().join("again"), &checkpoint, DType::F32, DEFAULT_SHARD_BYTES).unwrap();
        let again = LoadedModel::open("again", &again).unwrap();
        assert_eq!(all_logits(&again.decoder, &tokens), all_logits(&model.decoder, &tokens), "{config}");
        let arm = scaling.map_or("none".to_owned(), |scaling| scaling.arm.to_string());
        match as_gguf(&checkpoint, &place.path().join("m.gguf")) {
            Ok(checkpoint) => {
                let decoder = decoder_of(&checkpoint).unwrap();
                assert!([within, beyond].iter().all(|pass| difference(&decoder, &tokens, pass) < 1e-4), "{config}");
            }
            Err(why) => {
                assert!(arm.starts_with("dynamic-ntk") || arm.contains("fast="), "{arm}: {why}");
                assert!(why.starts_with(&format!("GGUF cannot express rotary scaling by `{arm}`")), "{why}");
            }
        }
    }
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["dynamic-ntk", "linear", "llama3", "longrope", "yarn"]);
}

#[test]
fn methods_take_the_length_of_the_training_and_not_that_of_the_extension() {
    let golden = golden();
    let yarn = &golden["cases"].as_array().unwrap()[5]["config"];
    let (_place, path) = folder(yarn);
    let model = LoadedModel::open("tiny", &path).unwrap();
    assert_eq!((model.decoder.config().max_positions, rotary_of(model.decoder.config()).unwrap().0.trained), (64, 16));
    let tokens = tokens(&golden);
    let by = |arm: &str| all_logits(&placed(&model.decoder, &arm.parse().unwrap()).unwrap().0, &tokens);
    assert_eq!(by("yarn(factor=4)"), by("none"));
    assert_eq!(by("yarn(factor=4)"), by("yarn(factor=4, trained=16)"));
    assert_ne!(by("yarn(factor=4)"), by("yarn(factor=4, trained=64)"));
}

#[test]
fn a_part_of_each_head_may_be_rotated() {
    let golden = golden();
    let mut config = golden["cases"].as_array().unwrap()[5]["config"].clone();
    config["rope_parameters"]["partial_rotary_factor"] = 0.5.into();
    let (place, path) = folder(&config);
    let model = LoadedModel::open("tiny", &path).unwrap();
    assert_eq!(rotary_of(model.decoder.config()).unwrap().0.dimensions(), 8);
    let checkpoint = load(&path).unwrap();
    let again = write_folder(&place.path().join("again"), &checkpoint, DType::F32, DEFAULT_SHARD_BYTES).unwrap();
    assert_eq!(load(&again).unwrap().config, checkpoint.config);
}

#[test]
fn a_scaling_that_does_not_fit_is_said() {
    let golden = golden();
    let cases = golden["cases"].as_array().unwrap();
    let refused = |case: usize, table: &str, key: &str, value: Json| {
        let mut config = cases[case]["config"].clone();
        config[table][key] = value;
        let (_place, path) = folder(&config);
        let error = LoadedModel::open("tiny", &path).unwrap_err();
        assert_eq!(error.exit_code(), 5);
        error.to_string()
    };
    let short = refused(1, "rope_parameters", "factor", 0.5.into());
    assert!(short.starts_with("tiny: its own rotary scaling is not usable: linear"), "{short}");
    assert!(short.ends_with("`factor = 0.5` is outside its range [1, 1048576]"), "{short}");
    let list = refused(10, "rope_parameters", "long_factor", serde_json::json!([1, 2, 3]));
    assert!(list.ends_with("`long` has 3 numbers; the model rotates 8 pairs of dimensions"), "{list}");
    let order = refused(8, "rope_parameters", "low_freq_factor", 9.into());
    assert!(order.ends_with("`low = 9` must be below `high = 1.5`"), "{order}");
    let odd = refused(5, "rope_parameters", "partial_rotary_factor", 0.2.into());
    assert!(
        odd.ends_with(
            "partial_rotary_factor = 0.2 rotates 3 of 16 dimensions of a head; dimensions are rotated in pairs"
        ),
        "{odd}"
    );
}
