//! Every method against numbers computed apart from it, by `tests/reference/pruning.py`.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;

use harness_core::{Arm, Axis, seed};
use serde_json::Value as Json;

use crate::prune::{Needs, Site};
use crate::registry::{methods, pruner};
use crate::statistics::LinearStatistics;

fn golden() -> Json {
    read("pruning.json")
}

fn read(name: &str) -> Json {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn list(json: &Json) -> impl Iterator<Item = &Json> {
    json.as_array().unwrap().iter()
}

fn whole_numbers(json: &Json, scale: &Json) -> Vec<f32> {
    list(json).map(|value| (value.as_f64().unwrap() / scale.as_f64().unwrap()) as f32).collect()
}

/// Rows of hexadecimal digits, the first column in the highest bit.
fn mask(json: &Json, cols: usize) -> Vec<bool> {
    let bits = |digits: &Json| -> Vec<bool> {
        let digits = digits.as_str().unwrap().chars().map(|digit| digit.to_digit(16).unwrap());
        digits.flat_map(|digit| (0..4).rev().map(move |bit| digit >> bit & 1 == 1)).take(cols).collect()
    };
    list(json).flat_map(bits).collect()
}

struct Matrix {
    name: String,
    rows: usize,
    cols: usize,
    weights: Vec<f32>,
    statistics: LinearStatistics,
}

impl Matrix {
    fn read(json: &Json, golden: &Json) -> Self {
        let size = |key: &str| usize::try_from(json[key].as_u64().unwrap()).unwrap();
        let (rows, cols) = (size("rows"), size("cols"));
        let mut statistics = LinearStatistics::new(cols, Needs::COLUMN_NORMS.union(Needs::SECOND_MOMENT));
        for sequence in list(&json["sequences"]) {
            statistics.add(&whole_numbers(sequence, &golden["input_scale"])).unwrap();
        }
        let weights = whole_numbers(&json["weights"], &golden["weight_scale"]);
        Self { name: json["name"].as_str().unwrap().to_owned(), rows, cols, weights, statistics }
    }

    fn site(&self) -> Site<'_> {
        Site { name: &self.name, layer: 0, rows: self.rows, cols: self.cols }
    }
}

#[test]
fn masks_and_weights_are_those_of_the_reference() {
    let golden = golden();
    let mut worst = 0.0f32;
    for model in list(&golden["models"]) {
        let matrices: Vec<Matrix> = list(&model["matrices"]).map(|json| Matrix::read(json, &golden)).collect();
        for case in list(&model["arms"]) {
            let arm: Arm = case["arm"].as_str().unwrap().parse().unwrap();
            let pruner = pruner(&arm).unwrap();
            let allotted =
                pruner.allocate(&mut matrices.iter().map(|matrix| (matrix.site(), matrix.weights.clone()))).unwrap();
            let counts = case["counts"].as_array();
            let counts = counts.map(|all| all.iter().map(|n| usize::try_from(n.as_u64().unwrap()).unwrap()).collect());
            assert_eq!(allotted, counts, "{model} {arm}", model = model["name"]);
            for (at, (matrix, expected)) in matrices.iter().zip(list(&case["matrices"])).enumerate() {
                let label = format!("{} {} {arm}", model["name"], matrix.name);
                let mut weight = matrix.weights.clone();
                let mut random = seed::stream(case["seed"].as_u64().unwrap(), &["prune", &matrix.name]);
                let allotted = allotted.as_ref().map(|counts| counts[at]);
                pruner.prune(&matrix.site(), &mut weight, Some(&matrix.statistics), allotted, &mut random).unwrap();
                let pruned = mask(&expected["mask"], matrix.cols);
                // A weight that was zero from the start shows in no mask that is read off the weights.
                let found: Vec<bool> = weight
                    .iter()
                    .zip(&pruned)
                    .zip(&matrix.weights)
                    .map(|((value, pruned), before)| if *before == 0.0 { *pruned } else { *value == 0.0 })
                    .collect();
                if expected["weights"].is_null() {
                    assert!(found == pruned, "{label}: another mask");
                    let kept = |(value, (pruned, before)): (&f32, (&bool, &f32))| {
                        *pruned || value.to_bits() == before.to_bits()
                    };
                    assert!(
                        weight.iter().zip(pruned.iter().zip(&matrix.weights)).all(kept),
                        "{label}: a kept weight changed"
                    );
                    continue;
                }
                assert!(
                    pruned.iter().zip(&weight).all(|(pruned, value)| !pruned || *value == 0.0),
                    "{label}: another mask"
                );
                for (value, expected) in weight.iter().zip(list(&expected["weights"])) {
                    let expected = expected.as_f64().unwrap() as f32;
                    let error = (value - expected).abs() / expected.abs().max(1.0);
                    assert!(error < 1e-6, "{label}: {value} instead of {expected}");
                    assert_eq!(*value == 0.0, expected == 0.0, "{label}");
                    worst = worst.max(error);
                }
            }
        }
    }
    // Both are rounded to f32 here, so that they hardly differ at all.
    assert!(worst < 2e-7, "{worst}");
}

#[test]
fn every_pruning_method_has_a_golden() {
    let golden = golden();
    let second_order = read("second_order.json");
    // Net-Trim's balls stand beside the arms of the layer.
    let balls = list(&second_order["layer"]["net_trim"]).next().is_some();
    let models = list(&golden["models"]).chain([&second_order["fisher"], &second_order["layer"]]);
    let arms = models.flat_map(|model| list(&model["arms"]));
    let arm = |case: &Json| case["arm"].as_str().or(case.as_str()).unwrap().parse::<Arm>().unwrap().id;
    let mut covered: BTreeSet<String> = arms.map(arm).collect();
    covered.extend(balls.then(|| "net-trim".to_owned()));
    // Neither chooses a weight: one keeps all, the others ask a method that is covered.
    covered.extend(["budget", "one-block"].map(str::to_owned));
    for spec in methods().into_iter().filter(|spec| spec.axis == Axis::Prune) {
        assert!(covered.contains(spec.id), "add `{}` to tests/reference/pruning.py", spec.id);
    }
}
