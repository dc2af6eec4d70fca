//! The verbs on one model, `score`, `generate` and `apply`: their JSON, their flags, and what they agree on.

use std::path::Path;

use harness_model::config::Projection;
use harness_model::load::{Checkpoint, load};
use harness_model::weight::DType;
use serde_json::Value;

use crate::models::{self, Recipe, SMALL};
use crate::support::{Ran, run, scratch};

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(scratch());
        SMALL.write(&place.0.path().join("model"));
        place
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn put(&self, name: &str, content: &str) -> String {
        std::fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    fn put_windows(&self, name: &str, windows: &[Vec<u32>]) -> String {
        self.put(name, &serde_json::to_string(windows).unwrap())
    }

    /// `harness score --model model … --json`.
    fn score(&self, arguments: &[&str]) -> Value {
        self.score_of("model", arguments)
    }

    fn score_of(&self, model: &str, arguments: &[&str]) -> Value {
        json(&run(&[&["score", "--json", "--model", &self.path(model)], arguments].concat()))
    }

    fn generate(&self, model: &str, arguments: &[&str]) -> Value {
        json(&run(&[&["generate", "--json", "--model", &self.path(model)], arguments].concat()))
    }

    /// `harness apply --model model … --out OUT`, and what it wrote.
    fn apply(&self, out: &str, arguments: &[&str]) -> Checkpoint {
        let (model, out) = (self.path("model"), self.path(out));
        let ran = run(&[&["apply", "--model", &model, "--out", &out], arguments].concat());
        assert_eq!((ran.code, ran.out.trim_end()), (0, out.as_str()), "{}", ran.err);
        load(Path::new(&out)).unwrap()
    }
}

/// The one line of JSON that a verb prints.
fn json(ran: &Ran) -> Value {
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(ran.out.lines().count(), 1, "{}", ran.out);
    serde_json::from_str(&ran.out).unwrap()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn windows(value: &Value) -> Vec<(f64, u64)> {
    let one = |window: &Value| {
        assert_eq!(keys(window), ["nll", "tokens"]);
        (window["nll"].as_f64().unwrap(), window["tokens"].as_u64().unwrap())
    };
    value["windows"].as_array().unwrap().iter().map(one).collect()
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-5 * a.abs().max(b.abs())
}

#[test]
fn score_prints_its_json_and_counts_a_trailing_partial_window() {
    let place = Place::new();
    let ids = models::ids(100, SMALL.vocabulary, 1);
    let text = place.put("text.txt", &models::text(&ids));
    let value = place.score(&["--text", &text, "--window", "16"]);
    assert_eq!(keys(&value), ["protocol", "ppl", "dropped", "windows", "seconds", "tokens_per_second"]);
    let scored = windows(&value);
    assert_eq!((scored.len(), value["dropped"].as_u64()), (6, Some(4)), "100 tokens are 6 windows of 16 and 4 more");
    assert!(scored.iter().all(|(_, tokens)| *tokens == 15), "a window of 16 tokens has 15 targets");
    let nll: f64 = scored.iter().map(|(nll, _)| nll).sum();
    assert!(close(value["ppl"].as_f64().unwrap(), (nll / 90.0).exp()));
    let protocol = value["protocol"].as_str().unwrap();
    assert!(protocol.starts_with("text=text.txt@"), "{protocol}");
    let rest = "select=consecutive window=16 windows=6 bos=false skip_first=0 unit=token tail=dropped";
    assert!(protocol.ends_with(rest), "{protocol}");
    // The same text elsewhere is the same protocol; another text of the same name is not.
    std::fs::create_dir(place.path("b")).unwrap();
    let moved = place.put("b/text.txt", &models::text(&ids));
    assert_eq!(place.score(&["--text", &moved, "--window", "16"])["protocol"], protocol);
    let other = place.put("b/text.txt", &models::text(&models::ids(100, SMALL.vocabulary, 2)));
    assert_ne!(place.score(&["--text", &other, "--window", "16"])["protocol"], protocol);
    assert_eq!(windows(&place.score(&["--text", &text, "--window", "16", "--windows", "2"])), scored[..2]);
}

#[test]
fn the_same_tokens_as_ids_give_the_same_scores() {
    let place = Place::new();
    let ids = models::ids(100, SMALL.vocabulary, 1);
    let text = place.put("text.txt", &models::text(&ids));
    let of_text = place.score(&["--text", &text, "--window", "16"]);
    let chunks: Vec<Vec<u32>> = ids.chunks_exact(16).map(<[u32]>::to_vec).collect();
    let path = place.put_windows("ids.json", &chunks);
    let of_ids = place.score(&["--token-ids", &path]);
    assert_eq!(windows(&of_ids), windows(&of_text));
    assert_eq!((&of_ids["ppl"], of_ids["dropped"].as_u64()), (&of_text["ppl"], Some(0)));
    assert_eq!(windows(&place.score(&["--token-ids", &path, "--window", "16"])), windows(&of_text));

    // `--bos` puts the token in front of 15 text tokens: 15 targets a window, and 100 = 6 · 15 + 10.
    let of_text = place.score(&["--text", &text, "--window", "16", "--bos"]);
    assert_eq!(of_text["dropped"].as_u64(), Some(10));
    assert!(of_text["protocol"].as_str().unwrap().contains("bos=true"));
    let begun: Vec<Vec<u32>> = ids.chunks_exact(15).map(|body| [&[1][..], body].concat()).collect();
    let path = place.put_windows("begun.json", &begun);
    let of_ids = place.score(&["--token-ids", &path]);
    assert_eq!(windows(&of_ids), windows(&of_text));
    assert!(windows(&of_ids).len() == 6 && windows(&of_ids).iter().all(|(_, tokens)| *tokens == 15));
    let ran = run(&["score", "--model", &place.path("model"), "--token-ids", &path, "--bos"]);
    assert_eq!(ran.code, 2, "ids hold their own beginning");
}

#[test]
fn skip_first_counts_only_predictions_made_at_that_position_and_later() {
    let place = Place::new();
    let chunks: Vec<Vec<u32>> = (0..3).map(|salt| models::ids(64, SMALL.vocabulary, salt)).collect();
    let whole = place.put_windows("ids.json", &chunks);
    let all = windows(&place.score(&["--token-ids", &whole]));
    // llama-perplexity's rule, halved twice: 128 and 64 would give 63 targets, 64 and 32 give 31.
    let later = windows(&place.score(&["--token-ids", &whole, "--skip-first", "32"]));
    // What is left out are the targets 1 to 32, predicted at the positions 0 to 31.
    let first: Vec<Vec<u32>> = chunks.iter().map(|window| window[..33].to_vec()).collect();
    let first = windows(&place.score(&["--token-ids", &place.put_windows("first.json", &first)]));
    for ((all, later), first) in all.iter().zip(&later).zip(&first) {
        assert_eq!((all.1, later.1, first.1), (63, 31, 32));
        assert!(close(all.0 - first.0, later.0), "{all:?} {first:?} {later:?}");
    }
}

#[test]
fn generate_prints_its_json_and_continues_greedily() {
    let place = Place::new();
    let value = place.generate("model", &["--prompt", "w5 w9 w20", "--max-tokens", "12", "--ignore-eos"]);
    assert_eq!(keys(&value), ["prompt_ids", "ids", "text"]);
    assert_eq!(value["prompt_ids"], serde_json::json!([5, 9, 20]));
    let ids: Vec<u32> = serde_json::from_value(value["ids"].clone()).unwrap();
    assert_eq!(ids.len(), 12);
    let words: Vec<String> = ids.iter().filter(|id| **id > 2).map(|id| format!("w{id}")).collect();
    assert_eq!(value["text"].as_str().unwrap().split_whitespace().collect::<Vec<_>>(), words);
    let path = place.put("prompt.json", "[5, 9, 20]");
    let of_ids = place.generate("model", &["--prompt-ids", &path, "--max-tokens", "12", "--ignore-eos"]);
    assert_eq!(of_ids, value);
    // Every token is the most likely one: the window is then scored no worse than with any other last token.
    let window = |last: u32| [&[5, 9, 20][..], &ids[..3], &[last]].concat();
    let candidates: Vec<Vec<u32>> = (0..SMALL.vocabulary as u32).map(window).collect();
    let path = place.put_windows("candidates.json", &candidates);
    let scored = windows(&place.score(&["--token-ids", &path, "--skip-first", "5"]));
    let best = (0..scored.len()).min_by(|a, b| scored[*a].0.total_cmp(&scored[*b].0)).unwrap();
    assert_eq!(best, ids[3] as usize);
    let begun = place.generate("model", &["--prompt", "w5", "--bos", "--max-tokens", "0"]);
    assert_eq!(begun, serde_json::json!({"prompt_ids": [1, 5], "ids": [], "text": ""}));

    // The fourth token made the end of a sequence ends it, unless told otherwise.
    let stop = ids.iter().position(|id| *id == ids[3]).unwrap();
    Recipe { eos: vec![ids[3]], ..SMALL }.write(&place.0.path().join("ending"));
    let ended = place.generate("ending", &["--prompt", "w5 w9 w20", "--max-tokens", "12"]);
    assert_eq!(ended["ids"], serde_json::json!(ids[..stop]));
    let on = place.generate("ending", &["--prompt", "w5 w9 w20", "--max-tokens", "12", "--ignore-eos"]);
    assert_eq!(on["ids"], value["ids"]);

    std::fs::remove_file(place.path("ending/tokenizer.json")).unwrap();
    let path = place.put("prompt.json", "[5, 9, 20]");
    let wordless = place.generate("ending", &["--prompt-ids", &path, "--max-tokens", "12", "--ignore-eos"]);
    assert_eq!((&wordless["ids"], &wordless["text"]), (&value["ids"], &Value::Null));
}

#[test]
fn apply_converts_and_prunes() {
    let place = Place::new();
    let dense = load(Path::new(&place.path("model"))).unwrap();
    for (flag, dtype) in [("f32", DType::F32), ("f16", DType::F16), ("bf16", DType::Bf16)] {
        let converted = place.apply(flag, &["--prune", "none", "--dtype", flag]);
        for (name, weight) in &dense.tensors {
            let wanted = harness_model::weight::Weight::rounded(weight.rows(), weight.cols(), &weight.to_f32(), dtype);
            assert_eq!(converted.tensors[name].dtype(), dtype);
            assert_eq!(converted.tensors[name].to_f32(), wanted.to_f32(), "{flag} {name}");
        }
        assert_eq!(converted.config, dense.config);
        assert_eq!(converted.tokenizer.unwrap().encode("w7 w8", false).unwrap(), [7, 8]);
    }
    let chunks: Vec<Vec<u32>> = (0..6).map(|salt| models::ids(32, SMALL.vocabulary, 10 + salt)).collect();
    let ids = place.put_windows("ids.json", &chunks);
    let pruned = place.apply("pruned", &["--prune", "wanda(sparsity=0.5)", "--token-ids", &ids, "--window", "32"]);
    for layer in 0..SMALL.layers {
        for projection in Projection::ALL {
            let weight = pruned.tensor(&projection.tensor(layer)).unwrap();
            assert_eq!((weight.zeros() * 2, weight.dtype()), (weight.rows() * weight.cols(), DType::Bf16));
        }
    }
    // Text of the same tokens calibrates alike; fewer windows, or another order, do not.
    let text = place.put("text.txt", &models::text(&chunks.concat()));
    let weights = |checkpoint: &Checkpoint| -> Vec<Vec<f32>> {
        checkpoint.tensors.values().map(harness_model::weight::Weight::to_f32).collect()
    };
    let arm = ["--prune", "sparsegpt(sparsity=0.5)", "--token-ids", &ids];
    let six = place.apply("six", &arm);
    let three = place.apply("three", &[&arm[..], &["--windows", "3"]].concat());
    let once = place.apply("once", &[&arm[..], &["--calibration-order", "dense-once"]].concat());
    assert!(weights(&six) != weights(&three) && weights(&six) != weights(&once));
    let of_text = place.apply(
        "of-text",
        &["--prune", "sparsegpt(sparsity=0.5)", "--calib", &text, "--window", "32", "--windows", "2"],
    );
    assert_eq!(of_text.tensors["model.norm.weight"].to_f32(), dense.tensors["model.norm.weight"].to_f32());
    // Random methods follow their seed.
    let random = |out: &str, seed: &str| weights(&place.apply(out, &["--prune", "random", "--seed", seed]));
    assert_eq!(random("r1", "7"), random("r2", "7"));
    assert_ne!(random("r3", "7"), random("r4", "8"));
}

#[test]
fn what_apply_writes_scores_as_the_run_measured_it() {
    let place = Place::new();
    let (scored, calibration) = (models::ids(8 * 32, SMALL.vocabulary, 1), models::ids(6 * 32, SMALL.vocabulary, 2));
    let cut = |ids: &[u32]| ids.chunks_exact(32).map(<[u32]>::to_vec).collect::<Vec<_>>();
    let texts = format!(
        "model = \"{}\"\nmetrics = [\"ppl\"]\n\
         data = {{ corpus = \"{}\", window = 32, windows = 8, select = \"consecutive\" }}\n\
         calib = {{ corpus = \"{}\", window = 32, windows = 6, select = \"consecutive\" }}\n",
        place.path("model"),
        place.put("scored.txt", &models::text(&scored)),
        place.put("calibration.txt", &models::text(&calibration))
    );
    let suite = format!(
        "[[bench]]\nname = \"pruned\"\n{texts}prune = [\"wanda(sparsity=0.5)\", \"sparsegpt(pattern=2:4)\"]\n\
         [[bench]]\nname = \"quantized\"\n{texts}zip = [[\"prune\", \"quant\"]]\n\
         prune = [\"none\", \"wanda(sparsity=0.5)\"]\nquant = [\"gptq(group=32)\", \"hqq(group=32)\"]\n\
         [[bench]]\nname = \"moved\"\n{texts}quant = \"awq(group=32)\"\n"
    );
    let suite = place.put("suite.toml", &suite);
    let ran = run(&["run", &suite, "--out", &place.path("run")]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let rows = harness_store::Run::open(Path::new(&place.path("run"))).unwrap();
    let ids = place.put_windows("calibration.json", &cut(&calibration));
    let windows = place.put_windows("scored.json", &cut(&scored));
    let arms = [
        ("wanda(sparsity=0.5)", "none"),
        ("sparsegpt(pattern=2:4)", "none"),
        ("none", "gptq(group=32)"),
        ("wanda(sparsity=0.5)", "hqq(group=32)"),
        // Moves factors into normalisations, which are written too.
        ("none", "awq(group=32)"),
    ];
    for (index, (prune, quant)) in arms.into_iter().enumerate() {
        let out = format!("applied-{index}");
        place.apply(&out, &["--prune", prune, "--quant", quant, "--token-ids", &ids]);
        let measured = rows.records[index].value("ppl").unwrap();
        let value = place.score_of(&out, &["--token-ids", &windows]);
        assert!(
            (value["ppl"].as_f64().unwrap() / measured - 1.0).abs() < 1e-9,
            "{prune} {quant}: {value} and {measured}"
        );
    }
}
