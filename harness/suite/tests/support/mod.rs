//! A small catalog in the image of the real one, with a second axis of methods.

#![allow(dead_code, clippy::unwrap_used)]

use harness_core::{
    Along, Arm, Axis, BenchKind, Catalog, Direction, Domain, Kind, MethodSpec, MetricSpec, Noise, ParameterError,
    ParameterSpec, Probe, Reduction, TableSpec, Value,
};
use harness_suite::{Diagnostics, NameFault, Names, Overrides, Suite};

const fn parameter(name: &'static str, kind: Kind, domain: Domain, default: Value) -> ParameterSpec {
    ParameterSpec { name, about: "What it does.", kind, domain, default }
}

fn sparsity() -> ParameterSpec {
    parameter("sparsity", Kind::Float, Domain::half_open(0.0, 1.0), Value::Unset)
}

fn pattern() -> ParameterSpec {
    parameter("pattern", Kind::Pattern, Domain::ANY, Value::Unset)
}

fn method(id: &'static str, axis: Axis, parameters: Vec<ParameterSpec>) -> MethodSpec {
    let check = |arm: &Arm| match (arm.get("sparsity"), arm.get("pattern")) {
        (Some(_), Some(_)) => Err(ParameterError::Together("`sparsity` and `pattern` exclude each other".to_owned())),
        _ => Ok(()),
    };
    MethodSpec {
        id,
        axis,
        about: "a method",
        source: "a paper",
        version: 1,
        calibrated: false,
        random: false,
        parameters,
        check,
    }
}

fn metric(id: &'static str) -> MetricSpec {
    MetricSpec {
        id,
        about: "a metric",
        unit: "1",
        direction: Direction::Lower,
        noise: Noise::Exact,
        probe: Probe::Static,
        reduction: Reduction::Single,
        needs_dense: false,
        needs: (id == "bytes").then_some("calib"),
        along: (id == "kl").then_some(Along { word: "token", label: "place in the window" }),
        version: 1,
    }
}

fn text_keys() -> Vec<ParameterSpec> {
    vec![
        parameter("corpus", Kind::Text, Domain::ANY, Value::Text(String::new())),
        parameter("window", Kind::Int, Domain::closed(2.0, 1e6), Value::Int(256)),
        parameter("windows", Kind::Int, Domain::closed(1.0, 1e6), Value::Int(64)),
    ]
}

pub fn catalog() -> Catalog {
    let int = |name, default| parameter(name, Kind::Int, Domain::closed(1.0, 65536.0), Value::Int(default));
    let scope = parameter("scope", Kind::Choice(&["layer", "row", "global"]), Domain::ANY, Value::Text("layer".into()));
    let damp = parameter("damp", Kind::Float, Domain::closed(0.0, 1e6), Value::Float(0.01));
    Catalog {
        methods: vec![
            method("none", Axis::Prune, vec![]),
            method("random", Axis::Prune, vec![sparsity(), pattern()]),
            method("magnitude", Axis::Prune, vec![sparsity(), scope, pattern()]),
            method("wanda", Axis::Prune, vec![sparsity(), pattern()]),
            method("sparsegpt", Axis::Prune, vec![sparsity(), pattern(), damp, int("block", 128)]),
            method("none", Axis::Quant, vec![]),
            method("rtn", Axis::Quant, vec![int("bits", 4)]),
        ],
        metrics: ["ppl", "kl", "sparsity", "bytes"].map(metric).to_vec(),
        kinds: vec![BenchKind {
            id: "language-model",
            about: "quality of language models",
            axes: vec![Axis::Model, Axis::Prune, Axis::Quant, Axis::Data, Axis::Seed],
            probes: vec![Probe::Static],
            settings: vec![
                parameter(
                    "calibration_order",
                    Kind::Choice(&["dense-once", "sequential", "true-sequential"]),
                    Domain::ANY,
                    Value::Text("sequential".into()),
                ),
                int("rounds", 5),
            ],
            tables: vec![
                TableSpec {
                    key: "data",
                    about: "what is scored",
                    axis: Some(Axis::Data),
                    required: true,
                    label: "corpus",
                    parameters: text_keys(),
                    check: |_| Ok(()),
                },
                TableSpec {
                    key: "calib",
                    about: "what is calibrated on",
                    axis: None,
                    required: false,
                    label: "corpus",
                    parameters: text_keys(),
                    check: |_| Ok(()),
                },
            ],
        }],
        check_chain: None,
    }
}

/// Knows `tiny-a`, `tiny-b` and every corpus `fables/…`.
pub struct Known;

impl Names for Known {
    fn check(&self, key: &str, value: &str) -> Result<(), NameFault> {
        let good = match key {
            "model" => ["tiny-a", "tiny-b"].contains(&value),
            _ => value.starts_with("fables/"),
        };
        let fault = || NameFault {
            message: format!("there is no {key} `{value}`"),
            help: Some("there is tiny-a, tiny-b".into()),
        };
        good.then_some(()).ok_or_else(fault)
    }
}

pub fn parse(text: &str) -> Result<Suite, Diagnostics> {
    Suite::parse(text, "x.toml", &catalog(), &Known)
}

pub fn parse_with(text: &str, overrides: &Overrides) -> Result<Suite, Diagnostics> {
    Suite::parse_with(text, "x.toml", &catalog(), &Known, overrides)
}

/// A suite of one bench with these further lines in it.
pub fn bench(lines: &str) -> String {
    format!(
        "[[bench]]\nname = \"b\"\nmodel = \"tiny-a\"\ndata = {{ corpus = \"fables/test\" }}\nmetrics = [\"ppl\", \"kl\"]\n{lines}\n"
    )
}

/// The labels of an axis of the only bench.
pub fn labels(suite: &Suite, axis: Axis) -> Vec<String> {
    suite.benches[0].axes[&axis].iter().map(|at| at.label.clone()).collect()
}

/// Each fault as `line:column message`.
pub fn faults(text: &str) -> Vec<String> {
    list(&parse(text).unwrap_err())
}

pub fn list(diagnostics: &Diagnostics) -> Vec<String> {
    diagnostics
        .iter()
        .map(|fault| {
            let place = diagnostics.location(fault);
            format!("{}:{} {}", place.line, place.column, fault.message)
        })
        .collect()
}
