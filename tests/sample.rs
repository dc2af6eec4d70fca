//! `harness sample`: what a chain keeps of given rows, and of a model's steps.

use std::path::Path;

use serde_json::Value;

use crate::models::SMALL;
use crate::support::{run, scratch};

/// Writes rows as a `.npy` file of f32.
pub fn npy(path: &Path, rows: &[&[f32]]) -> String {
    let header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}\n", rows.len(), rows[0].len());
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(rows.iter().flat_map(|row| row.iter().flat_map(|value| value.to_le_bytes())));
    std::fs::write(path, bytes).unwrap();
    path.display().to_string()
}

const Z6: [f32; 6] = [2.0, 1.0, 0.5, 0.0, -1.0, -3.0];

#[test]
fn rows_are_answered_with_what_is_kept_of_them() {
    let folder = scratch();
    let logits = npy(&folder.path().join("rows.npy"), &[&Z6, &[0.0, 0.0, f32::NEG_INFINITY, 0.0, 0.0, 0.0]]);
    let rows = |sampler: &str, more: &[&str]| -> Vec<Value> {
        let ran = run(&[&["sample", "--json", "--logits", &logits, "--sampler", sampler], more].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        serde_json::from_str(&ran.out).unwrap()
    };
    let found = rows("min-p(p=0.1)", &[]);
    assert_eq!(found[0]["kept"], serde_json::json!([0, 1, 2, 3]));
    assert!((found[0]["threshold"].as_f64().unwrap() - 0.056_089).abs() < 1e-6);
    for (at, wanted) in [0.579_259, 0.213_097, 0.129_250, 0.078_394].into_iter().enumerate() {
        assert!((found[0]["prob"][at].as_f64().unwrap() - wanted).abs() < 1e-6);
    }
    assert_eq!(found[1]["kept"], serde_json::json!([0, 1, 3, 4, 5]));
    let keys: Vec<&String> = found[0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["kept", "prob", "threshold"]);
    // The place of the temperature is that of the chain, and a set that knows no threshold has none.
    assert_eq!(rows("temperature(t=2) | min-p(p=0.1)", &[])[0]["kept"], serde_json::json!([0, 1, 2, 3, 4]));
    assert_eq!(rows("min-p(p=0.1) | temperature(t=2)", &[])[0]["kept"], serde_json::json!([0, 1, 2, 3]));
    assert_eq!(rows("top-k(k=2)", &[])[0]["threshold"], Value::Null);
    assert_eq!(rows("", &[])[0]["kept"].as_array().unwrap().len(), 6);
    // A past for every row, or one for each.
    let one = folder.path().join("one.json");
    std::fs::write(&one, "[5, 1, 5]").unwrap();
    let history = ["--history", &one.display().to_string()];
    assert_eq!(rows("no-repeat-ngram(n=2)", &history)[0]["kept"], serde_json::json!([0, 2, 3, 4, 5]));
    let each = folder.path().join("each.json");
    std::fs::write(&each, "[[], [3]]").unwrap();
    let found = rows("no-repeat-ngram(n=1)", &["--history", &each.display().to_string()]);
    assert_eq!(found[0]["kept"].as_array().unwrap().len(), 6);
    assert_eq!(found[1]["kept"], serde_json::json!([0, 1, 4, 5]));
}

#[test]
fn tokens_are_judged_by_the_head() {
    let folder = scratch();
    let row = [0.5f32, 0.25, 0.15, 0.1].map(f32::ln);
    let logits = npy(&folder.path().join("rows.npy"), &[&row]);
    let head = npy(&folder.path().join("head.npy"), &[&[0.0], &[1.0], &[2.0], &[-3.0]]);
    let sample = |more: &[&str]| run(&[&["sample", "--json", "--logits", &logits], more].concat());
    let exact = ["--sampler", "bat(tau=0.25, directions=1, mode=exact)"];
    let ran = sample(&[&exact[..], &["--head", &head]].concat());
    assert_eq!(ran.code, 0, "{}", ran.err);
    let found: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(found[0]["kept"], serde_json::json!([0, 1, 3]));
    assert_eq!(found[0]["threshold"], serde_json::json!(0.25));
    let refused = |more: &[&str], code: i32, why: &str| {
        let ran = sample(more);
        assert_eq!(ran.code, code, "{}", ran.err);
        assert!(ran.err.contains(why), "{}", ran.err);
    };
    refused(&exact, 2, "give it with --head head.npy");
    refused(&[&exact[..], &["--head", "no-such.npy"]].concat(), 5, "does not exist");
    refused(&["--sampler", "bat", "--head", &head], 2, "20 directions are asked of a head of width 1");
    let other = npy(&folder.path().join("other.npy"), &[&[0.0], &[1.0]]);
    refused(&[&exact[..], &["--head", &other]].concat(), 2, "the head has 2 tokens and the row 4");
    refused(&["--sampler", "temperature(t=2) | bat", "--head", &head], 2, "changes that");
}

#[test]
fn what_cannot_be_sampled_is_said() {
    let folder = scratch();
    let broken = npy(&folder.path().join("nan.npy"), &[&Z6, &[0.0, f32::NAN, 0.0, 0.0, 0.0, 0.0]]);
    let refused = |arguments: &[&str], code: i32, why: &str| {
        let ran = run(&[&["sample"], arguments].concat());
        assert_eq!(ran.code, code, "{}", ran.err);
        assert!(ran.err.contains(why), "{}", ran.err);
    };
    refused(&["--logits", &broken], 2, "row 1 of");
    refused(&["--logits", &broken], 2, "the logit of token 1 is not a number");
    let good = npy(&folder.path().join("good.npy"), &[&Z6]);
    refused(&["--logits", &good, "--sampler", "min-p(p=1.05)"], 2, "`p = 1.05` is outside its range [0, 1]");
    refused(&["--logits", &good, "--sampler", "minp"], 2, "did you mean `min-p`?");
    refused(&["--logits", &good, "--sampler", "mirostat | top-k(k=4)"], 2, "put `mirostat` last");
    refused(&["--logits", &good, "--sampler", "logit-bias(tokens=\"6:1\")"], 2, "the model has 6 tokens");
    refused(&["--logits", "no-such.npy"], 5, "does not exist");
    let text = folder.path().join("text.npy");
    std::fs::write(&text, "hello").unwrap();
    refused(&["--logits", &text.display().to_string()], 2, "is not a .npy file");
    let pasts = folder.path().join("pasts.json");
    std::fs::write(&pasts, "[[1], [2]]").unwrap();
    refused(&["--logits", &good, "--history", &pasts.display().to_string()], 2, "has 2 pasts for 1 rows");
    refused(&["--model", "tiny-100k", "--prompt", "a", "--logits", &good], 2, "cannot be used with");
}

#[test]
fn a_model_goes_on_as_its_chain_says() {
    let folder = scratch();
    SMALL.write(&folder.path().join("model"));
    let model = folder.path().join("model").display().to_string();
    let sample = |arguments: &[&str]| -> Value {
        let head = ["sample", "--json", "--model", &model, "--prompt", "w3 w4", "-n", "6"];
        let ran = run(&[&head, arguments].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        serde_json::from_str(&ran.out).unwrap()
    };
    let greedy = sample(&["--sampler", "greedy"]);
    // A token that reaches the threshold is drawn as it is, and one that chooses itself has nothing beside it.
    let judged = sample(&["--sampler", "ba-eta(directions=4)", "--seed", "3"]);
    assert!(judged["steps"].as_array().unwrap().iter().all(|step| step["kept"] == 1));
    assert_eq!(judged["ids"], sample(&["--sampler", "ba-eta(directions=4)", "--seed", "3"])["ids"]);
    let ran = run(&["generate", "--json", "--model", &model, "--prompt", "w3 w4", "--max-tokens", "6"]);
    let generated: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&greedy["ids"], &greedy["text"]), (&generated["ids"], &generated["text"]));
    for step in greedy["steps"].as_array().unwrap() {
        assert_eq!(
            (step["kept"].as_u64(), step["entropy"].as_f64(), step["prob"].as_f64()),
            (Some(1), Some(0.0), Some(1.0))
        );
    }
    // The same seed gives the same text, another one another.
    let drawn = |seed: &str| sample(&["--sampler", "temperature(t=3)", "--seed", seed])["ids"].clone();
    assert_eq!(drawn("1"), drawn("1"));
    assert_ne!(drawn("1"), drawn("2"));
    let kept = sample(&["--sampler", "top-k(k=3)"]);
    assert!(kept["steps"].as_array().unwrap().iter().all(|step| step["kept"] == 3));
}

#[test]
fn decoders_show_hypotheses_scores_and_calls() {
    let head = ["sample", "--model", "tiny-300k", "--prompt", "the fox", "--bos", "-n", "12"];
    let sample = |arguments: &[&str]| -> Value {
        let ran = run(&[&head[..], &["--json"], arguments].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        serde_json::from_str(&ran.out).unwrap()
    };
    let greedy = sample(&["--sampler", "greedy"]);
    let beam = sample(&["--sampler", "beam(width=4, n_best=3, length_penalty=0)"]);
    let keys: Vec<&String> = beam.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["prompt_ids", "hypotheses", "calls", "second_calls", "steps", "rounds", "pops", "deleted"]);
    let score = |found: &Value, at: usize| found["hypotheses"][at]["score"].as_f64().unwrap();
    assert_eq!(beam["hypotheses"].as_array().unwrap().len(), 3);
    assert!(score(&beam, 0) >= score(&beam, 1) && score(&beam, 1) >= score(&beam, 2));
    let slots = sample(&["--sampler", "beam(width=4, length_penalty=0, finished=beam)"]);
    let first = sample(&["--sampler", "best-first-beam(width=4)"]);
    assert_eq!(first["hypotheses"][0]["ids"], slots["hypotheses"][0]["ids"]);
    let calls = |found: &Value| found["calls"]["sequences"].as_u64().unwrap();
    assert!(calls(&first) <= calls(&slots), "{} {}", calls(&first), calls(&slots));
    let drafted = ["--draft", "tiny-100k", "--sampler", "speculative(draft_tokens=3) | greedy"];
    let speculative = sample(&drafted);
    assert_eq!(speculative["hypotheses"][0]["ids"], greedy["ids"]);
    assert!(calls(&speculative) < greedy["ids"].as_array().unwrap().len() as u64);
    let one = sample(&["--sampler", "cfg(scale=1) | greedy", "--negative-prompt", "a fox"]);
    assert_eq!(one["hypotheses"][0]["ids"], greedy["ids"]);
    assert_eq!(one["steps"].as_array().unwrap().len(), greedy["ids"].as_array().unwrap().len());
    let contrast = sample(&["--amateur", "tiny-100k", "--sampler", "contrastive-decoding"]);
    assert_eq!(contrast["second_calls"], contrast["calls"]);
    // For people: a line on each hypothesis, its text, and the calls.
    let ran = run(&[&head, &drafted[..]].concat());
    assert!(ran.out.contains("log-probability") && ran.out.contains("drafted tokens accepted in"), "{}", ran.out);
}

#[test]
fn a_decoder_without_what_it_needs_is_refused() {
    let folder = scratch();
    let refused = |arguments: &[&str], why: &str| {
        let ran = run(&[&["sample", "--offline", "--model", "tiny-300k", "--prompt", "the fox"], arguments].concat());
        assert_eq!(ran.code, 2, "{}", ran.err);
        assert!(ran.err.contains(why), "{}", ran.err);
    };
    refused(&["--sampler", "speculative"], "`speculative` needs a second model with the same tokens; give --draft");
    refused(&["--sampler", "contrastive-decoding", "--draft", "tiny-100k"], "`contrastive-decoding` takes no --draft");
    refused(&["--sampler", "beam", "--draft", "tiny-100k"], "`beam` takes no --draft");
    refused(&["--sampler", "beam", "--negative-prompt", "a"], "`beam` compares no second prompt");
    refused(&["--sampler", "top-k", "--negative-prompt", "a"], "--negative-prompt is for decoders");
    refused(&["--sampler", "beam | top-k"], "`beam` draws nothing, so `top-k` behind it would have no effect");
    refused(&["--sampler", "top-k | beam"], "`beam` is a decoder");
    refused(&["--sampler", "beam(width=2, n_best=3)"], "cannot come of `width = 2`");
    refused(&["--sampler", "speculative | mirostat", "--draft", "tiny-100k"], "learns from every token");
    SMALL.write(&folder.path().join("other"));
    let other = folder.path().join("other").display().to_string();
    refused(&["--sampler", "speculative", "--draft", &other], "have different tokenizers");
    let logits = npy(&folder.path().join("rows.npy"), &[&Z6]);
    let ran = run(&["sample", "--logits", &logits, "--sampler", "beam"]);
    assert_eq!(ran.code, 2, "{}", ran.err);
    assert!(ran.err.contains("can only stand first in a chain that has a model"), "{}", ran.err);
}
