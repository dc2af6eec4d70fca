//! The shipped suites: each resolves, the schema is up to date, and every method stands in one.

use std::path::PathBuf;

use crate::support::{root, run, scratch};

fn shipped() -> Vec<PathBuf> {
    let mut folders = vec![root().join("suites")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else if entry.path().extension().is_some_and(|end| end == "toml") {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn every_shipped_suite_resolves_and_names_its_schema() {
    let suites = shipped();
    assert!(suites.len() >= 3);
    for suite in suites {
        let ran = run(&["check", &suite.display().to_string()]);
        assert_eq!(ran.code, 0, "{}: {}", suite.display(), ran.err);
        let text = std::fs::read_to_string(&suite).unwrap();
        assert!(text.starts_with("#:schema "), "{} does not begin with its schema", suite.display());
    }
}

#[test]
fn every_method_that_a_bench_can_have_stands_in_a_shipped_suite() {
    let texts: String = shipped().iter().map(|suite| std::fs::read_to_string(suite).unwrap()).collect();
    let catalog = harness_run::catalog();
    let on_a_bench = |axis| catalog.kinds.iter().any(|kind| kind.axes.contains(&axis));
    for method in catalog.methods.iter().filter(|method| on_a_bench(method.axis)) {
        assert!(texts.contains(&format!("\"{}", method.id)), "no suite uses {}", method.id);
    }
}

#[test]
fn the_committed_schema_is_the_generated_one() {
    let ran = run(&["schema"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let path = root().join("suites/suite.schema.json");
    if std::env::var_os("HARNESS_BLESS").is_some() {
        std::fs::write(&path, &ran.out).unwrap();
    }
    let generated: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let committed: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(generated == committed, "run `harness schema > suites/suite.schema.json`");
}

#[test]
fn the_smoke_suite_runs() {
    let folder = scratch();
    let out = folder.path().join("smoke").display().to_string();
    let ran = run(&["run", "suites/smoke.toml", "--out", &out]);
    assert_eq!(ran.code, 0, "{}", ran.err);
}

#[test]
fn the_plan_loads_each_model_once_and_scores_the_dense_model_once() {
    let ran = run(&["plan", "suites/pruning.toml", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let plan: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let estimates = plan["estimates"].as_array().unwrap();
    let mut models: Vec<&str> = estimates.iter().map(|estimate| estimate["model"].as_str().unwrap()).collect();
    models.dedup();
    assert_eq!(models.len(), estimates.len(), "one row a model");
    for estimate in estimates {
        assert_eq!(estimate["dense_passes"], 1, "{estimate}");
        assert!(estimate["cells"].as_u64().unwrap() >= 10);
    }
}

/// Every axis that a bench can have, as an axis with several arms, and within ten minutes on two cores.
#[test]
fn the_nightly_suite_covers_every_axis_in_minutes() {
    let text = std::fs::read_to_string(root().join("suites/nightly.toml")).unwrap();
    let suite =
        harness_suite::Suite::parse(&text, "suites/nightly.toml", &harness_run::catalog(), &harness_suite::AnyName)
            .unwrap();
    for axis in &harness_run::catalog().kinds[0].axes {
        assert!(suite.benches.iter().any(|bench| bench.axes.get(axis).is_some_and(|arms| arms.len() > 1)), "{axis}");
    }
    assert!(!suite.gate.metrics.is_empty(), "the nightly suite has a gate");
    let ran = run(&["plan", "suites/nightly.toml", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let plan: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let tokens: f64 = plan["estimates"].as_array().unwrap().iter().map(|e| e["scored_tokens"].as_f64().unwrap()).sum();
    // A million tokens of these models take well under a minute; the clock itself decides nothing here.
    assert!(tokens < 3e6, "{tokens} tokens are scored");
}

#[test]
fn a_plan_of_ten_thousand_cells_lists_them_all() {
    let folder = scratch();
    let suite = folder.path().join("large.toml");
    let text = r#"
[suite]
seed = 1
[[bench]]
name = "large"
model = "tiny-100k"
data = { corpus = "fables/test", window = 64, windows = 8 }
calib = { corpus = "fables/train", window = 64, windows = 4 }
metrics = ["ppl"]
seed = { from = 1, to = 100, step = 1 }
prune = [{ method = "random", sparsity = { from = 0.0001, to = 0.01, step = 0.0001 } }]
"#;
    std::fs::write(&suite, text).unwrap();
    let ran = run(&["plan", &suite.display().to_string(), "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let plan: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(plan["cells"].as_array().unwrap().len(), 10_000);
}
