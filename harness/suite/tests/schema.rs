//! The JSON schema says what the reader takes.

#![allow(clippy::unwrap_used)]

mod support;

use harness_suite::schema::schema;
use serde_json::{Value, json};

#[test]
fn the_schema_follows_the_catalog() {
    let schema = schema(&support::catalog(), &["tiny-a"]);
    let bench = &schema["$defs"]["bench-language-model"]["properties"];
    for key in [
        "name", "kind", "model", "prune", "quant", "data", "calib", "seed", "metrics", "zip", "expect", "quick",
        "rounds",
    ] {
        assert!(bench[key].is_object(), "{key}");
    }
    assert_eq!(bench["rounds"]["default"], 5);
    assert_eq!(bench["calibration_order"]["enum"], json!(["dense-once", "sequential", "true-sequential"]));
    let arm = &schema["$defs"]["arm-prune"]["anyOf"][1]["properties"];
    assert_eq!(arm["sparsity"]["anyOf"][0], json!({ "type": "number", "minimum": 0, "exclusiveMaximum": 1 }));
    assert_eq!(arm["sparsity"]["anyOf"][2], json!({ "$ref": "#/$defs/range" }));
    assert!(arm["sparsity"]["description"].as_str().unwrap().ends_with("(random, magnitude, wanda, sparsegpt)"));
    assert_eq!(arm["method"]["anyOf"][0]["enum"][3], "wanda");
    assert_eq!(schema["$defs"]["bench-language-model"]["required"], json!(["model", "data", "metrics"]));
}

#[test]
fn every_reference_resolves() {
    fn visit(node: &Value, root: &Value) {
        if let Some(target) = node.get("$ref").and_then(Value::as_str) {
            assert!(root.pointer(target.trim_start_matches('#')).is_some(), "{target}");
        }
        match node {
            Value::Object(members) => members.values().for_each(|member| visit(member, root)),
            Value::Array(members) => members.iter().for_each(|member| visit(member, root)),
            _ => {}
        }
    }
    let schema = schema(&support::catalog(), &["tiny-a"]);
    visit(&schema, &schema);
}
