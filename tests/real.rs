//! Real checkpoints against numbers computed by transformers, torch and numpy. Runs under `HARNESS_TEST_REAL=1` after
//! `harness fetch smollm2-135m-instruct stories15m`; a missing asset then fails.

use harness_core::{Arm, seed};
use harness_methods::prune::{Needs, Site};
use harness_methods::registry::pruner;
use harness_methods::statistics::LinearStatistics;
use harness_model::config::Projection;
use harness_model::decoder::Tap;
use harness_run::inputs::{Inputs, LoadedModel};
use serde_json::Value;

use crate::support::{real, reference, run, scratch};

fn open(name: &str) -> LoadedModel {
    Inputs::from_environment()
        .unwrap()
        .model(name)
        .unwrap_or_else(|error| panic!("{error}; run `harness fetch {name}`"))
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

/// Scores the windows of a reference with the program and compares each window's sum.
fn compare_scores(model: &str, reference: &Value, tolerance: f64) {
    let folder = scratch();
    let windows: Vec<Vec<u32>> =
        reference["windows"].as_array().unwrap().iter().map(|window| ids(&window["ids"])).collect();
    let path = folder.path().join("windows.json");
    std::fs::write(&path, serde_json::to_string(&windows).unwrap()).unwrap();
    let ran = run(&["score", "--offline", "--model", model, "--token-ids", &path.display().to_string(), "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let scores: Value = serde_json::from_str(&ran.out).unwrap();
    let scored = scores["windows"].as_array().unwrap();
    assert_eq!(scored.len(), windows.len());
    for (ours, theirs) in scored.iter().zip(reference["windows"].as_array().unwrap()) {
        assert_eq!(ours["tokens"], theirs["tokens"]);
        let (ours, theirs) = (ours["nll"].as_f64().unwrap(), theirs["nll"].as_f64().unwrap());
        assert!((ours / theirs - 1.0).abs() < tolerance, "{model}: {ours} and {theirs} nats");
    }
}

#[test]
fn scores_agree_with_transformers() {
    if real() {
        compare_scores("smollm2-135m-instruct", &reference("smollm2_score.json"), 1e-4);
        compare_scores("stories15m", &reference("stories15m_score.json"), 1e-4);
    }
}

#[test]
fn greedy_continuations_are_those_of_transformers() {
    for (model, file) in [("smollm2-135m-instruct", "smollm2_greedy.json"), ("stories15m", "stories15m_greedy.json")] {
        if !real() {
            return;
        }
        let folder = scratch();
        for prompt in reference(file)["prompts"].as_array().unwrap() {
            let path = folder.path().join("prompt.json");
            std::fs::write(&path, prompt["ids"].to_string()).unwrap();
            let wanted = ids(&prompt["continuation"]);
            let count = wanted.len().to_string();
            let path = path.display().to_string();
            let ran = run(&[
                "generate",
                "--offline",
                "--model",
                model,
                "--prompt-ids",
                &path,
                "--max-tokens",
                &count,
                "--ignore-eos",
                "--json",
            ]);
            assert_eq!(ran.code, 0, "{}", ran.err);
            let value: Value = serde_json::from_str(&ran.out).unwrap();
            assert_eq!(ids(&value["ids"]), wanted, "{model}");
        }
    }
}

#[test]
fn texts_are_tokenized_as_transformers_does() {
    for (model, file) in
        [("smollm2-135m-instruct", "smollm2_tokenize.json"), ("stories15m", "stories15m_tokenize.json")]
    {
        if !real() {
            return;
        }
        let loaded = open(model);
        for text in reference(file)["texts"].as_array().unwrap() {
            let found = loaded.tokenizer().unwrap().encode(text["text"].as_str().unwrap(), false).unwrap();
            assert_eq!(found, ids(&text["ids"]), "{model}: {}", text["text"]);
        }
    }
}

/// Sums up the inputs of one projection.
struct Inspect {
    projection: Projection,
    statistics: LinearStatistics,
}

impl Tap for Inspect {
    fn linear_input(&mut self, _layer: usize, projection: Projection, x: &[f32]) {
        if projection == self.projection {
            self.statistics.add(x).unwrap();
        }
    }
}

/// The inputs of one projection of the dense model, summed over windows.
fn inspect(model: &LoadedModel, windows: &[Vec<u32>], layer: usize, projection: Projection) -> LinearStatistics {
    let columns = model.decoder.linear(layer, projection).unwrap().cols();
    let mut tap = Inspect {
        projection,
        statistics: LinearStatistics::new(columns, Needs::SECOND_MOMENT.union(Needs::COLUMN_NORMS)),
    };
    for window in windows {
        let mut hidden = model.decoder.embed(&[window]).unwrap();
        for block in 0..=layer {
            let tap: Option<&mut dyn Tap> = if block == layer { Some(&mut tap) } else { None };
            hidden = model.decoder.block(block, &hidden, tap).unwrap();
        }
    }
    tap.statistics
}

fn close(ours: f64, theirs: &Value, tolerance: f64, what: &str) {
    let theirs = theirs.as_f64().unwrap();
    assert!((ours / theirs - 1.0).abs() < tolerance, "{what}: {ours} and {theirs}");
}

#[test]
fn wanda_and_sparsegpt_match_an_independent_computation_on_real_layers() {
    if !real() {
        return;
    }
    let wanted = reference("smollm2_pruning.json");
    let model = open("smollm2-135m-instruct");
    let windows: Vec<Vec<u32>> = wanted["windows"].as_array().unwrap().iter().map(ids).collect();
    for layer in wanted["layers"].as_array().unwrap() {
        let tensor = layer["tensor"].as_str().unwrap();
        let (index, projection) = (0..30)
            .flat_map(|index| Projection::ALL.map(|projection| (index, projection)))
            .find(|(index, projection)| projection.tensor(*index) == tensor)
            .unwrap();
        let statistics = inspect(&model, &windows, index, projection);
        close(statistics.column_sum_squares().iter().sum(), &layer["trace"], 1e-4, "trace of the inputs");
        let dense = model.decoder.linear(index, projection).unwrap().weight();
        let sample: Vec<usize> = ids(&layer["sample"]).into_iter().map(|at| at as usize).collect();
        for arm in layer["arms"].as_array().unwrap() {
            let name = arm["arm"].as_str().unwrap();
            let pruner = pruner(&name.parse::<Arm>().unwrap()).unwrap();
            let mut weight = dense.to_f32();
            let site = Site { name: tensor, layer: index, rows: dense.rows(), cols: dense.cols() };
            pruner.prune(&site, &mut weight, Some(&statistics), None, &mut seed::stream(0, &["test"])).unwrap();
            let near = ids(&arm["near"]);
            let zeros: Vec<u64> = weight
                .chunks(dense.cols())
                .map(|row| row.iter().filter(|value| **value == 0.0).count() as u64)
                .collect();
            let counts: Vec<u64> =
                arm["row_counts"].as_array().unwrap().iter().map(|count| count.as_u64().unwrap()).collect();
            let moved: u64 = zeros.iter().zip(&counts).map(|(ours, theirs)| ours.abs_diff(*theirs)).sum();
            assert!(
                moved <= 2 * near.len() as u64,
                "{tensor} {name}: {moved} counts differ, {} decisions are near",
                near.len()
            );
            let differing = sample
                .iter()
                .zip(arm["values"].as_array().unwrap())
                .filter(|(at, value)| (f64::from(weight[**at]) - value.as_f64().unwrap()).abs() > 1e-4)
                .count();
            // A near decision that falls otherwise moves weights of its own row only.
            let allowed = sample.len() * near.len() / dense.rows();
            assert!(
                differing <= allowed,
                "{tensor} {name}: {differing} of {} sampled weights differ, {allowed} may",
                sample.len()
            );
            close(weight.iter().map(|value| f64::from(*value).powi(2)).sum(), &arm["sum_squares"], 1e-4, name);
        }
    }
}

/// Writes the calibration windows of the pruning reference into a file.
fn calibration(folder: &std::path::Path) -> String {
    let path = folder.join("calibration.json");
    std::fs::write(&path, reference("smollm2_pruning.json")["windows"].to_string()).unwrap();
    path.display().to_string()
}

#[test]
fn a_pruned_folder_scores_as_transformers_scores_it() {
    if !real() {
        return;
    }
    let folder = scratch();
    let out = folder.path().join("pruned").display().to_string();
    let ran = run(&[
        "apply",
        "--offline",
        "--model",
        "smollm2-135m-instruct",
        "--prune",
        "wanda(sparsity=0.5)",
        "--token-ids",
        &calibration(folder.path()),
        "--dtype",
        "f32",
        "--out",
        &out,
    ]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    compare_scores(&out, &reference("smollm2_wanda_score.json"), 1e-3);
}

#[test]
fn a_converted_folder_scores_as_its_source() {
    if !real() {
        return;
    }
    let folder = scratch();
    let out = folder.path().join("converted").display().to_string();
    let ran = run(&["apply", "--offline", "--model", "stories15m", "--prune", "none", "--out", &out]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    compare_scores(&out, &reference("stories15m_score.json"), 1e-4);
}
