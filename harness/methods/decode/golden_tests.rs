//! Against `tests/reference/decoders.py`.
#![allow(clippy::unwrap_used)]

use harness_core::{Arm, Parameters};
use serde_json::Value;

use crate::decode::expand::log_row;
use crate::decode::tables::{Table, decoder};
use crate::decode::{Decoded, Hypothesis, Models, Task};
use crate::registry::cfg;

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

fn tokens(value: &Value) -> Vec<u32> {
    numbers(value).into_iter().map(|token| token as u32).collect()
}

fn row(value: &Value) -> Vec<f32> {
    numbers(value).into_iter().map(|value| value as f32).collect()
}

/// The model of a case: a row for every last two tokens, and for a lone token that after itself twice.
fn table(case: &Value) -> Table {
    let rows = case["rows"].as_array().unwrap();
    let mut table = Table::new(rows.len(), &tokens(&case["ends"]));
    for (a, after) in (0..).zip(rows) {
        for (b, values) in (0..).zip(after.as_array().unwrap()) {
            table.rows.insert(vec![a, b], row(values));
        }
        table.rows.insert(vec![a], row(&after[a as usize]));
    }
    table.states = case["states"].as_array().unwrap().iter().map(row).collect();
    table
}

struct Golden {
    file: Value,
}

impl Golden {
    fn read() -> Self {
        let text = include_str!("../../../tests/reference/decoders.json");
        Self { file: serde_json::from_str(text).unwrap() }
    }

    fn cases(&self, kind: &str) -> Vec<(Table, &Value)> {
        let cases = self.file["cases"].as_array().unwrap();
        cases
            .iter()
            .flat_map(|case| case[kind].as_array().unwrap().iter().map(move |item| (table(case), item)))
            .collect()
    }

    fn decode(&self, arm: &str, table: &mut Table, stages: &[Arm], other_prompt: Option<&[u32]>) -> Decoded {
        let prompt = tokens(&self.file["prompt"]);
        let count = self.file["tokens"].as_u64().unwrap() as usize;
        let task = Task { prompt: &prompt, other_prompt, tokens: count, stages, ..Task::default() };
        decoder(arm).decode(Models { model: table, second: None }, &task).unwrap()
    }
}

fn agree(found: &[Hypothesis], case: &Value, tolerance: f64) {
    let wanted: Vec<Vec<u32>> = case["tokens"].as_array().unwrap().iter().map(tokens).collect();
    let ours: Vec<Vec<u32>> = found.iter().map(|hypothesis| hypothesis.tokens.clone()).collect();
    assert_eq!(ours, wanted, "{case}");
    if !case["scores"].is_null() {
        for (hypothesis, score) in found.iter().zip(numbers(&case["scores"])) {
            assert!((hypothesis.score - score).abs() < tolerance, "{case}: {}", hypothesis.score);
        }
    }
}

#[test]
fn beams_are_those_of_transformers() {
    let golden = Golden::read();
    let cases = golden.cases("beam");
    assert_eq!(cases.len(), 75);
    for (mut table, case) in cases {
        let (width, penalty, stop) = (&case["width"], &case["penalty"], case["stop"].as_str().unwrap());
        let arm = format!("beam(width={width}, n_best={width}, length_penalty={penalty}, stop={stop})");
        agree(&golden.decode(&arm, &mut table, &[], None).hypotheses, case, 2e-5);
    }
}

#[test]
fn guided_rows_are_those_of_transformers() {
    let golden = Golden::read();
    for (mut table, case) in golden.cases("cfg") {
        // The reference goes on behind end tokens, to compare all rows.
        table.ends.clear();
        let scale = &case["scale"];
        let negative = case["negative"].as_array().map(|_| tokens(&case["negative"]));
        let arm = format!("cfg(scale={scale})");
        let found = golden.decode(&arm, &mut table, &[Arm::new("greedy")], negative.as_deref());
        assert_eq!(found.hypotheses[0].tokens, tokens(&case["tokens"]), "{case}");
        // All rows along that text, not only their largest.
        let settings = cfg::Settings::resolve(&arm.parse().unwrap()).unwrap();
        let prompt = tokens(&golden.file["prompt"]);
        let other = negative.unwrap_or_else(|| vec![*prompt.last().unwrap()]);
        for (step, wanted) in case["rows"].as_array().unwrap().iter().enumerate() {
            let generated = &found.hypotheses[0].tokens[..step];
            let row = |prompt: &[u32]| table.row(&[prompt, generated].concat());
            let guided = cfg::guide(&row(&prompt), &row(&other), &settings).unwrap();
            let logs = log_row(&guided).unwrap();
            for (found, wanted) in logs.iter().zip(numbers(wanted)) {
                assert!((found - wanted).abs() < 2e-4, "step {step} of {case}: {found} {wanted}");
            }
        }
    }
}

#[test]
fn groups_of_beams_are_those_of_the_formula() {
    let golden = Golden::read();
    for (mut table, case) in golden.cases("diverse") {
        let (width, groups, strength) = (&case["width"], &case["groups"], &case["strength"]);
        let arm = format!("diverse-beam(width={width}, groups={groups}, strength={strength}, n_best={width})");
        agree(&golden.decode(&arm, &mut table, &[], None).hypotheses, case, 2e-6);
    }
}

#[test]
fn contrastive_search_is_that_of_the_formula() {
    let golden = Golden::read();
    for (mut table, case) in golden.cases("contrastive") {
        let arm = format!("contrastive-search(k={}, alpha={})", case["k"], case["alpha"]);
        let found = golden.decode(&arm, &mut table, &[], None);
        assert_eq!(found.hypotheses[0].tokens, tokens(&case["tokens"]), "{case}");
    }
}
