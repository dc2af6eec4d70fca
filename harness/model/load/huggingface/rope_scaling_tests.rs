//! Rotary tables of `config.json` in their spellings, what is refused of them, and that writing gives back what was read.

#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;
use crate::config::Config;
use crate::load::{Checkpoint, expected_tensors, fixtures, load};
use crate::weight::{DType, Weight};
use crate::write::{DEFAULT_SHARD_BYTES, write_folder};

fn read_with(more: &Json) -> Result<Rotary, Fault> {
    read(more, 16, 4096)
}

fn scaling_of(more: &Json) -> (String, Option<usize>) {
    let scaling = read_with(more).unwrap().scaling.unwrap();
    (scaling.arm.to_string(), scaling.trained)
}

fn refused(more: &Json) -> String {
    match read_with(more).map(|rotary| rotary.scaling) {
        Err(Fault::Unusable(what) | Fault::Unsupported(what)) => what,
        Ok(scaling) => panic!("{scaling:?}"),
    }
}

fn factors() -> Json {
    json!([1, 1.5, 2, 2.5, 3, 3, 4, 5])
}

/// Files and the arm and length that they are read as.
fn spellings() -> Vec<(Json, &'static str, Option<usize>)> {
    vec![
        (json!({"rope_scaling": {"type": "linear", "factor": 4}}), "linear(factor=4)", None),
        (
            json!({"rope_parameters": {"rope_type": "linear", "factor": 2.5, "rope_theta": 5e5}}),
            "linear(factor=2.5)",
            None,
        ),
        (json!({"rope_scaling": {"type": "dynamic", "factor": 2.0}}), "dynamic-ntk(factor=2)", None),
        (
            json!({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0, "original_max_position_embeddings": 4096}}),
            "dynamic-ntk(factor=2)",
            None,
        ),
        (
            json!({"rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024, "finetuned": true}}),
            "yarn(factor=4)",
            Some(1024),
        ),
        (
            json!({"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024,
                "beta_fast": 16, "beta_slow": 2, "attention_factor": 1.25, "truncate": true, "mscale": null}}),
            "yarn(factor=4, fast=16, slow=2, attention_factor=1.25)",
            Some(1024),
        ),
        // Scales that are alike cancel; the factor is that of the lengths.
        (
            json!({"original_max_position_embeddings": 512,
                "rope_scaling": {"type": "yarn", "mscale": 0.7, "mscale_all_dim": 0.7}}),
            "yarn(factor=8, attention_factor=1)",
            Some(512),
        ),
        (
            json!({"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 1024}}),
            "llama3(factor=8, low=1, high=4)",
            Some(1024),
        ),
        (
            json!({"original_max_position_embeddings": 1024,
                "rope_scaling": {"type": "su", "short_factor": factors(), "long_factor": factors()}}),
            "longrope(factor=4, short=[1, 1.5, 2, 2.5, 3, 3, 4, 5], long=[1, 1.5, 2, 2.5, 3, 3, 4, 5])",
            Some(1024),
        ),
        (
            json!({"rope_parameters": {"rope_type": "longrope", "factor": 32, "attention_factor": 1.5,
                "short_factor": factors(), "long_factor": factors(), "original_max_position_embeddings": 1024},
                "original_max_position_embeddings": 1024}),
            "longrope(factor=32, short=[1, 1.5, 2, 2.5, 3, 3, 4, 5], long=[1, 1.5, 2, 2.5, 3, 3, 4, 5], attention_factor=1.5)",
            Some(1024),
        ),
        // Both tables, saying the same.
        (
            json!({"rope_scaling": {"type": "linear", "factor": 4}, "rope_parameters": {"rope_type": "linear", "factor": 4.0}}),
            "linear(factor=4)",
            None,
        ),
    ]
}

#[test]
fn every_kind_is_read_in_every_spelling() {
    for (file, arm, trained) in spellings() {
        assert_eq!(scaling_of(&file), (arm.to_owned(), trained), "{file}");
    }
    let uneven = json!({"rope_scaling": {"type": "yarn", "factor": 4, "original_max_position_embeddings": 1024,
        "mscale": 1.0, "mscale_all_dim": 0.5}});
    let scaling = read_with(&uneven).unwrap().scaling.unwrap();
    let factor = scaling.arm.get("attention_factor").and_then(Value::as_number).unwrap();
    assert!((factor - (0.1 * 4f64.ln() + 1.0) / (0.05 * 4f64.ln() + 1.0)).abs() < 1e-15, "{factor}");
}

#[test]
fn tables_that_scale_nothing_are_none() {
    for file in [
        json!({}),
        json!({"rope_scaling": null}),
        json!({"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}),
        json!({"rope_scaling": {}, "original_max_position_embeddings": 1024}),
    ] {
        let found = read_with(&file).unwrap();
        assert!(found.scaling.is_none() && found.dimensions == 16, "{file}");
    }
    assert_eq!(read_with(&json!({"rope_theta": 7.0})).unwrap().theta, 7.0);
    assert_eq!(read_with(&json!({"rope_theta": 7.0, "rope_parameters": {"rope_theta": 8.0}})).unwrap().theta, 8.0);
    assert_eq!(read_with(&json!({"rope_parameters": {"partial_rotary_factor": 0.5}})).unwrap().dimensions, 8);
    assert_eq!(read_with(&json!({"partial_rotary_factor": 0.25})).unwrap().dimensions, 4);
}

#[test]
fn what_cannot_be_read_is_said() {
    let table = |table: Json| json!({ "rope_scaling": table });
    let yarn = |key: &str, value: Json| {
        let mut file = table(json!({"type": "yarn", "factor": 4, "original_max_position_embeddings": 1024}));
        file["rope_scaling"][key] = value;
        file
    };
    for (file, said) in [
        (
            table(json!({"type": "ntk-alpha", "alpha": 2})),
            "rotary scaling \"ntk-alpha\"; default, linear, dynamic, yarn, llama3",
        ),
        (table(json!({"factor": 2})), "the key \"factor\" of rotary scaling \"default\""),
        (table(json!({"type": "linear", "factor": 2, "alpha": 9})), "the key \"alpha\" of rotary scaling \"linear\""),
        (table(json!({"full_attention": {"rope_type": "yarn"}})), "the key \"full_attention\""),
        (table(json!({"type": "linear"})), "rotary scaling \"linear\" needs factor"),
        (table(json!({"type": "linear", "factor": "2"})), "factor is \"2\", not a number or a list of numbers"),
        (table(json!({"type": 3})), "type is 3, not a name"),
        (
            table(json!({"type": "linear", "rope_type": "yarn", "factor": 2})),
            "rope_type is \"yarn\" and type is \"linear\"",
        ),
        (table(json!([1])), "rope_scaling is [1], not a table"),
        (
            table(json!({"type": "yarn", "factor": 4})),
            "needs original_max_position_embeddings, the positions of the training",
        ),
        (yarn("original_max_position_embeddings", json!(0)), "is 0, not a positive whole number"),
        (yarn("original_max_position_embeddings", json!(10.5)), "is 10.5, not a positive whole number"),
        (yarn("truncate", json!(false)), "a ramp that is not truncated"),
        (yarn("mscale", json!(1.0)), "one of mscale and mscale_all_dim alone"),
        (table(json!({"type": "llama3", "factor": 8, "original_max_position_embeddings": 9})), "needs low_freq_factor"),
        (
            table(
                json!({"type": "longrope", "short_factor": ["a"], "long_factor": [1], "original_max_position_embeddings": 9}),
            ),
            "short_factor is \"a\", not a number",
        ),
        (
            table(json!({"type": "dynamic", "factor": 2, "original_max_position_embeddings": 1024})),
            "of which transformers takes the latter",
        ),
        (
            json!({"rope_scaling": {"type": "linear", "factor": 2}, "rope_parameters": {"factor": 3}}),
            "rope_scaling and rope_parameters contradict each other: factor is 2 and 3",
        ),
        (
            json!({"original_max_position_embeddings": 5, "rope_scaling": {"type": "yarn", "factor": 2,
                "original_max_position_embeddings": 6}}),
            "original_max_position_embeddings is 6 and 5",
        ),
        (json!({"partial_rotary_factor": 0.2}), "partial_rotary_factor = 0.2 rotates 3 of 16 dimensions of a head"),
        (json!({"partial_rotary_factor": 0.01}), "rotates 0 of 16 dimensions"),
        (json!({"partial_rotary_factor": 1.5}), "partial_rotary_factor is 1.5, not a number above 0 and at most 1"),
    ] {
        let found = refused(&file);
        assert!(found.contains(said), "{file}: {found}");
    }
}

fn checkpoint(config: Config) -> Checkpoint {
    let tensors = expected_tensors(&config)
        .enumerate()
        .map(|(i, spec)| (spec.name.clone(), Weight::from_f32(spec.rows, spec.cols, fixtures::values(spec.len(), i))))
        .collect();
    Checkpoint::new(config, tensors, None).unwrap()
}

#[test]
fn folders_give_back_the_scaling_that_was_read() {
    let folder = tempfile::tempdir().unwrap();
    fixtures::place(folder.path(), &fixtures::folder());
    let plain = load(folder.path()).unwrap().config;
    for (at, (file, _, _)) in spellings().into_iter().enumerate() {
        let Rotary { scaling, .. } = read_with(&file).unwrap();
        let config = Config { scaling, max_positions: 4096, ..plain.clone() };
        let target = folder.path().join(format!("{at}"));
        write_folder(&target, &checkpoint(config.clone()), DType::F32, DEFAULT_SHARD_BYTES).unwrap();
        assert_eq!(load(&target).unwrap().config, config, "{file}");
        let text = std::fs::read_to_string(target.join("config.json")).unwrap();
        let written: Json = serde_json::from_str(&text).unwrap();
        assert_eq!(written["architectures"][0], "LlamaForCausalLM");
        assert_eq!(written["rope_scaling"]["rope_type"], written["rope_parameters"]["rope_type"]);
    }
    // What transformers has no name for is kept under the program's own key.
    for arm in
        ["giraffe-power(k=0.5)", "yarn(factor=4, ramp=paper)", "longrope(factor=2, long=[1, 2, 3, 4, 5, 6, 7, 8])"]
    {
        let scaling = Some(Scaling { arm: arm.parse().unwrap(), trained: Some(1024), net: None });
        let config = Config { scaling, ..plain.clone() };
        let target = folder.path().join(arm);
        write_folder(&target, &checkpoint(config.clone()), DType::F32, DEFAULT_SHARD_BYTES).unwrap();
        assert_eq!(load(&target).unwrap().config, config, "{arm}");
        let text = std::fs::read_to_string(target.join("config.json")).unwrap();
        assert!(text.contains("HarnessForCausalLM") && text.contains(arm), "{text}");
    }
}

#[test]
fn no_decoder_is_made_without_the_scaling() {
    let folder = tempfile::tempdir().unwrap();
    fixtures::place(folder.path(), &fixtures::folder());
    let plain = load(folder.path()).unwrap().config;
    let scaling = Some(Scaling { arm: "linear(factor=4)".parse().unwrap(), trained: None, net: None });
    let scaled = checkpoint(Config { scaling, ..plain });
    let error = crate::decoder::Decoder::from_checkpoint(&scaled).unwrap_err().to_string();
    assert_eq!(
        error,
        "the checkpoint scales its rotary frequencies by `linear(factor=4)`, and the decoder was made without them"
    );
    assert!(crate::decoder::Decoder::from_weights(&scaled.config, &scaled.tensors).is_err());
}
