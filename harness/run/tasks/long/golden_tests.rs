//! Against an independent program: `tests/reference/long_context.py`.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use serde_json::Value;

use super::counting::{repeats, zeta_counts};

#[test]
fn counts_of_words_are_those_of_the_reference() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/long_context.json");
    let golden: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let cases = golden["frequent_words"].as_array().unwrap();
    assert!(cases.len() > 3);
    for case in cases {
        let wanted: Vec<u64> = case["counts"].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
        let found: Vec<u64> =
            zeta_counts(case["words"].as_u64().unwrap() as usize).into_iter().map(|count| count as u64).collect();
        assert_eq!(found, wanted, "{}", case["words"]);
    }
    for case in golden["common_words"].as_array().unwrap() {
        let found = repeats(case["length"].as_u64().unwrap() as usize);
        assert_eq!(
            (found.0 as u64, found.1 as u64),
            (case["common"].as_u64().unwrap(), case["uncommon"].as_u64().unwrap())
        );
    }
}
