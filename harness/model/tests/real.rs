//! Real checkpoints against transformers' committed numbers (tests/reference/score.py says how they were made), by hand:
//! `HARNESS_SMOLLM2=model.gguf HARNESS_STORIES15M=stories15M.bin HARNESS_QWEN=qwen.gguf cargo test --release -p harness-model --test real -- --ignored`.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::PathBuf;

use harness_model::decoder::Decoder;
use harness_model::load::{Checkpoint, load};
use harness_model::tensor::with_values;
use harness_model::weight::DType;
use harness_model::write::write_folder;
use serde_json::Value;

fn model(variable: &str) -> Checkpoint {
    let path = std::env::var_os(variable).unwrap_or_else(|| panic!("{variable} must be the path of the model"));
    load(&PathBuf::from(path)).unwrap()
}

fn reference(name: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

/// Nats summed over the predictions of a window.
fn nll(decoder: &Decoder, window: &[u32]) -> f64 {
    let last = window.len() - 1;
    let hidden = decoder.hidden_positions(&[window], 0..last).unwrap();
    let logits = decoder.logits(&hidden).unwrap();
    with_values(&logits, |values| {
        let width = values.len() / last;
        let of_row = |(row, next): (&[f32], &u32)| {
            let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = row.iter().map(|v| f64::from(v - most).exp()).sum();
            sum.ln() + f64::from(most) - f64::from(row[*next as usize])
        };
        values.chunks_exact(width).zip(&window[1..]).map(of_row).sum()
    })
    .unwrap()
}

fn greedy(decoder: &Decoder, prompt: &[u32], count: usize) -> Vec<u32> {
    let mut cache = decoder.new_cache();
    let mut next = prompt.to_vec();
    let mut found = Vec::new();
    for _ in 0..count {
        let logits = decoder.logits_last(&next, &mut cache).unwrap();
        let best = logits.iter().enumerate().fold(0, |best, (id, v)| if *v > logits[best] { id } else { best });
        found.push(best as u32);
        next = vec![best as u32];
    }
    found
}

fn agrees(checkpoint: &Checkpoint, name: &str) {
    checkpoint.check_finite().unwrap();
    let tokenizer = checkpoint.tokenizer.as_ref().unwrap();
    for text in reference(&format!("{name}_tokenize.json"))["texts"].as_array().unwrap() {
        let found = tokenizer.encode(text["text"].as_str().unwrap(), false).unwrap();
        assert_eq!(found, ids(&text["ids"]), "{:?}", text["text"]);
    }
    let decoder = Decoder::from_checkpoint(checkpoint).unwrap();
    let mut worst = 0.0f64;
    for window in reference(&format!("{name}_score.json"))["windows"].as_array().unwrap() {
        let (found, expected) = (nll(&decoder, &ids(&window["ids"])), window["nll"].as_f64().unwrap());
        worst = worst.max((found / expected - 1.0).abs());
    }
    eprintln!("{name}: largest relative difference of a window's nll {worst:e}");
    assert!(worst < 1e-4, "{worst}");
    for prompt in reference(&format!("{name}_greedy.json"))["prompts"].as_array().unwrap() {
        let expected = ids(&prompt["continuation"]);
        assert_eq!(greedy(&decoder, &ids(&prompt["ids"]), expected.len()), expected);
    }
}

/// Where `HARNESS_WRITE` names a folder, the models are left there for other programs to read.
fn round_trip(checkpoint: &Checkpoint, name: &str) {
    let temporary = tempfile::tempdir().unwrap();
    let place = std::env::var_os("HARNESS_WRITE").map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    let target = write_folder(&place.join(name), checkpoint, DType::F32, 200_000_000).unwrap();
    let again = load(&target).unwrap();
    assert_eq!(again.config, checkpoint.config);
    assert_eq!(again.chat_template, checkpoint.chat_template);
    for (tensor, weight) in &checkpoint.tensors {
        assert!(weight.to_f32() == again.tensors[tensor].to_f32(), "{tensor}");
    }
    agrees(&again, name);
}

#[test]
#[ignore = "needs HARNESS_SMOLLM2"]
fn smollm2() {
    let checkpoint = model("HARNESS_SMOLLM2");
    assert_eq!(checkpoint.hash(), "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53");
    assert_eq!(checkpoint.parameters(), 134_515_008);
    agrees(&checkpoint, "smollm2");
    round_trip(&checkpoint, "smollm2");
}

#[test]
#[ignore = "needs HARNESS_STORIES15M"]
fn stories15m() {
    let checkpoint = model("HARNESS_STORIES15M");
    agrees(&checkpoint, "stories15m");
    round_trip(&checkpoint, "stories15m");
}

#[test]
#[ignore = "needs HARNESS_QWEN"]
fn qwen2_5_coder() {
    let checkpoint = model("HARNESS_QWEN");
    assert!(checkpoint.config.qkv_bias && !checkpoint.config.tied_head);
    agrees(&checkpoint, "qwen2.5-coder-0.5b");
}
