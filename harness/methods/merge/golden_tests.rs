//! Merging beside numpy (`tests/reference/merge.py`).
#![allow(clippy::unwrap_used)]

use serde_json::Value as Json;

use crate::registry::della::{agreed, probabilities};
use crate::registry::ties::ties;

fn numbers(json: &Json) -> Vec<f64> {
    json.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

fn near(found: &[f64], expected: &Json, what: &str) {
    let expected = numbers(expected);
    assert_eq!(found.len(), expected.len(), "{what}");
    assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-9), "{what}: {found:?} for {expected:?}");
}

#[test]
fn what_experts_learned_is_merged_as_another_program_merges_it() {
    let reference: Json = serde_json::from_str(include_str!("../../../tests/reference/merge.json")).unwrap();
    let scale = reference["scale"].as_f64().unwrap();
    let experts = reference["experts"].as_array().unwrap().iter().map(numbers);
    let experts: Vec<Vec<f64>> = experts.map(|expert| expert.iter().map(|value| value / scale).collect()).collect();
    let all: Vec<&[f64]> = experts.iter().map(Vec::as_slice).collect();
    for case in reference["ties"].as_array().unwrap() {
        near(&ties(&all, case[0].as_f64().unwrap()).unwrap(), &case[1], "ties");
    }
    let columns = usize::try_from(reference["columns"].as_u64().unwrap()).unwrap();
    for case in reference["probabilities"].as_array().unwrap() {
        let (density, window) = (case[0].as_f64().unwrap(), case[1].as_f64().unwrap());
        let found = experts[0].chunks(columns).flat_map(|row| probabilities(row, density, window));
        near(&found.collect::<Vec<_>>(), &case[2], "probabilities");
    }
    let weights = numbers(&reference["weights"]);
    for case in reference["agreed"].as_array().unwrap() {
        near(&agreed(&all, &weights, 1.1, case[0].as_bool().unwrap()).unwrap(), &case[1], "agreed");
    }
}
