//! Checkpoints that scale their own rotary frequencies, as `inspect`, `score`, `generate`, `apply` and `run` meet them. What `inspect position` and
//! `score --per-token` print is kept below `tests/inspect`; `HARNESS_BLESS=1` writes it.

use std::path::Path;

use serde_json::{Value, json};

use crate::models::{self, SMALL};
use crate::support::{compare, run, scratch};

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(scratch());
        SMALL.write(Path::new(&place.path("plain")));
        place.put("text.txt", &models::text(&models::ids(600, SMALL.vocabulary, 1)));
        place
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn put(&self, name: &str, content: &str) -> String {
        std::fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    /// A copy of the model whose configuration has a table of its own.
    fn scaled(&self, name: &str, table: &Value) -> String {
        SMALL.write(Path::new(&self.path(name)));
        let config = Path::new(&self.path(name)).join("config.json");
        let mut json: Value = serde_json::from_str(&std::fs::read_to_string(&config).unwrap()).unwrap();
        json["rope_parameters"] = table.clone();
        std::fs::write(config, json.to_string()).unwrap();
        self.path(name)
    }

    /// Perplexity of windows of 300 tokens.
    fn perplexity(&self, model: &str, more: &[&str]) -> f64 {
        let text = self.path("text.txt");
        let ran = run(&[&["score", "--model", model, "--text", &text, "--window", "300", "--json"], more].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        serde_json::from_str::<Value>(&ran.out).unwrap()["ppl"].as_f64().unwrap()
    }
}

fn yarn() -> Value {
    json!({"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 128})
}

fn llama3() -> Value {
    json!({"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 128})
}

fn longrope() -> Value {
    json!({"rope_type": "longrope", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 128,
        "short_factor": [1, 1, 1, 1, 1, 1, 1, 1], "long_factor": [1, 1.1, 1.5, 2, 3, 4, 4, 4.5]})
}

fn dynamic() -> Value {
    json!({"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0})
}

#[test]
fn what_a_checkpoint_does_to_its_frequencies_is_explained() {
    let place = Place::new();
    let show = |model: &str, more: &[&str]| {
        let ran = run(&[&["inspect", "position", "--model", model], more].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        ran.out
    };
    let yarn = place.scaled("yarn", &yarn());
    compare("checkpoint_yarn.txt", &show(&yarn, &[]));
    assert_eq!(show(&yarn, &["none"]), show(&yarn, &[]), "none is what the checkpoint says");
    compare("checkpoint_longrope_beyond.txt", &show(&place.scaled("longrope", &longrope()), &["--length", "129"]));
    compare("checkpoint_dynamic.txt", &show(&place.scaled("dynamic", &dynamic()), &["--length", "1024"]));
    compare("checkpoint_plain.txt", &show(&place.path("plain"), &[]));
    assert!(show(&yarn, &["linear(factor=2)"]).contains("\nin place of the checkpoint's own `yarn(factor=4)`\n"));

    let json: Value = serde_json::from_str(&show(&yarn, &["--json"])).unwrap();
    let explained = json!({
        "scaling": "yarn(factor=4)",
        "parameters": {"factor": 4.0, "ramp": "code", "fast": 32.0, "slow": 1.0, "attention_factor": null, "trained": null},
        "original_length": 128, "context": 512,
    });
    assert_eq!(json["checkpoint"], explained);
    assert_eq!(
        (&json["method"], &json["trained"], &json["length"]),
        (&json!("yarn(factor=4)"), &json!(128), &json!(128))
    );
    assert_eq!((&json["cache_policy"], &json["follows_length"]), (&json!("rotated"), &json!(false)));
    let found: Vec<f64> = json["inv_freq"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
    // d = 16, b = 10,000, L = 128: the ramp goes from pair 0 to pair ⌈16 ln(128 / 2π) / (2 ln 10,000)⌉ = 3.
    assert_eq!(json["ramp"], json!([0.0, 3.0]));
    for (pair, found) in found.iter().enumerate() {
        let (before, ramp) = (10_000f64.powf(-(pair as f64) / 8.0), (pair as f64 / 3.0).min(1.0));
        assert!((found / (before * (1.0 - ramp + ramp / 4.0)) - 1.0).abs() < 1e-6, "pair {pair}: {found}");
    }
    assert!((json["attention_factor"].as_f64().unwrap() - (0.1 * 4f64.ln() + 1.0)).abs() < 1e-12);
    let plain: Value = serde_json::from_str(&show(&place.path("plain"), &["--json"])).unwrap();
    assert_eq!(plain["checkpoint"], json!({"scaling": null, "context": 512}));
    let ran = run(&["inspect", "position"]);
    assert!(ran.code == 2 && ran.err.contains("SPEC"), "{}", ran.err);
}

#[test]
fn every_verb_reads_a_checkpoint_with_its_own_scaling() {
    let place = Place::new();
    let plain = place.perplexity(&place.path("plain"), &[]);
    for (name, table, arm) in [
        ("yarn", yarn(), "yarn(factor=4, trained=128)"),
        ("llama3", llama3(), "llama3(factor=8, trained=128)"),
        ("dynamic", dynamic(), "dynamic-ntk(factor=2, trained=512)"),
    ] {
        let model = place.scaled(name, &table);
        let own = place.perplexity(&model, &[]);
        // The plain model with the method is the checkpoint that names it; windows of 300 do not leave the 512 of `dynamic`.
        assert_eq!(own.to_bits(), place.perplexity(&place.path("plain"), &["--position", arm]).to_bits(), "{name}");
        assert_eq!(own.to_bits() == plain.to_bits(), name == "dynamic", "{name}");
        let replaced = place.perplexity(&model, &["--position", "rope(base=10000)"]);
        assert_eq!(replaced.to_bits(), plain.to_bits(), "{name}");
        let generated = |model: &str| {
            let prompt = models::text(&models::ids(140, SMALL.vocabulary, 3));
            let ran = run(&["generate", "--model", model, "--prompt", &prompt, "--max-tokens", "8", "--json"]);
            assert_eq!(ran.code, 0, "{}", ran.err);
            ran.out
        };
        assert_eq!(generated(&model) == generated(&place.path("plain")), name == "dynamic", "{name}");
    }
}

#[test]
fn what_apply_writes_keeps_the_scaling() {
    let place = Place::new();
    for (name, table) in [("yarn", yarn()), ("llama3", llama3()), ("longrope", longrope()), ("dynamic", dynamic())] {
        let model = place.scaled(name, &table);
        let own = place.perplexity(&model, &[]);
        let apply = |out: &str, more: &[&str]| {
            let out = place.path(&format!("{name}-{out}"));
            (run(&[&["apply", "--model", &model, "--out", &out], more].concat()), out)
        };
        let (ran, out) = apply("folder", &["--prune", "none"]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert_eq!(place.perplexity(&out, &[]).to_bits(), own.to_bits(), "{name}");
        let (ran, out) = apply("packed", &["--quant", "rtn(bits=8, group=32)", "--format", "packed"]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        let packed = run(&["inspect", "position", "--model", &out]);
        assert_eq!(packed.out, run(&["inspect", "position", "--model", &model]).out, "{name}");
        let (ran, out) = apply("file.gguf", &["--format", "gguf"]);
        if name == "dynamic" {
            assert_eq!(
                (ran.code, ran.reason()),
                (
                    2,
                    "error: GGUF cannot express rotary scaling by `dynamic-ntk(factor=2)`; write a Hugging Face folder instead"
                )
            );
            continue;
        }
        assert_eq!(ran.code, 0, "{}", ran.err);
        let far = (place.perplexity(&out, &[]) / own - 1.0).abs();
        assert!(far < 1e-5, "{name}: {far}");
    }
}

#[test]
fn every_scored_token_is_printed() {
    let place = Place::new();
    let (model, text) = (place.path("plain"), place.path("text.txt"));
    let score = |more: &[&str]| {
        let ran = run(&[&["score", "--model", &model, "--text", &text, "--windows", "3"], more].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        ran.out
    };
    let of = |more: &[&str]| -> Value { serde_json::from_str(&score(&[more, &["--json"]].concat())).unwrap() };
    let plain = of(&["--window", "16", "--skip-first", "4"]);
    let each = of(&["--window", "16", "--skip-first", "4", "--per-token"]);
    for key in ["protocol", "ppl", "dropped", "windows"] {
        assert_eq!(each[key], plain[key], "{key}");
    }
    assert!(plain.get("per_token").is_none());
    let rows = each["per_token"].as_array().unwrap();
    assert_eq!(rows.len(), 3 * 11);
    let ids = models::ids(600, SMALL.vocabulary, 1);
    for (at, row) in rows.iter().enumerate() {
        let (window, position) = (at / 11, 5 + at % 11);
        let id = ids[window * 16 + position];
        let expected = json!({"window": window, "position": position, "token": id, "text": format!("w{id}")});
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(&row[key], value, "{row}");
        }
    }
    let nll = |rows: &[Value]| rows.iter().map(|row| row["nll"].as_f64().unwrap()).sum::<f64>();
    for (window, rows) in rows.chunks(11).enumerate() {
        assert_eq!(each["windows"][window]["nll"].as_f64().unwrap(), nll(rows));
    }
    assert!((each["ppl"].as_f64().unwrap().ln() - nll(rows) / 33.0).abs() < 1e-12);

    // As text. The line of speed is left out, and digits behind the point, which hang on the processor.
    let printed = score(&["--window", "8", "--per-token", "--bos"]);
    let masked = |line: &str| match line.split_once('.') {
        Some((before, after)) => {
            let digits = after.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(after.len());
            format!("{before}.{}{}\n", "#".repeat(digits), &after[digits..])
        }
        None => format!("{line}\n"),
    };
    let (table, rest) = printed.split_at(printed.find("perplexity").unwrap());
    compare("per_token.txt", &table.lines().map(masked).collect::<String>());
    assert!(rest.lines().nth(1).unwrap().starts_with("text=text.txt@"), "{rest}");
    let windows = place.put("ids.json", "[[5, 9, 20, 7]]");
    let ran = run(&["score", "--model", &model, "--token-ids", &windows, "--per-token"]);
    assert!(ran.code == 0 && ran.out.lines().nth(1).unwrap().ends_with("  \"w9\""), "{}{}", ran.out, ran.err);
    // Lines are broken by the width of the terminal.
    let help = run(&["score", "--help"]).out.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in ["--per-token prints every scored token", "--windows 1 --per-token --json", "It ends with 0; with 2"] {
        assert!(help.contains(part), "{help}");
    }
}
