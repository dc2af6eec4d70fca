//! `[gate]`: what is read, and every fault at its place.

#![allow(clippy::unwrap_used)]

mod support;

use harness_core::gate::{FALSE_ALARMS, GateRequest, MetricRequest, Side};
use harness_suite::Overrides;
use support::{bench, catalog, faults, parse, parse_with};

fn gate(lines: &str) -> String {
    format!("{}[gate]\n{lines}\n", bench(""))
}

/// Line of the first key below `[gate]`.
const FIRST: usize = 8;

#[test]
fn a_gate_is_read() {
    let text = gate(
        "false_alarms = 0.05\nppl = { floor = 0.01, error_rate = 0.02 }\nkl = { direction = \"both\", floor_absolute = 1 }",
    );
    let request = parse(&text).unwrap().gate;
    let rule = |metric: &str, side, floor, floor_absolute, error_rate| MetricRequest {
        metric: metric.into(),
        side,
        floor,
        floor_absolute,
        error_rate,
    };
    let wanted = [rule("ppl", None, Some(0.01), None, Some(0.02)), rule("kl", Some(Side::Both), None, Some(1.0), None)];
    assert_eq!((request.false_alarms, request.metrics.as_slice()), (0.05, &wanted[..]));
}

#[test]
fn without_a_gate_the_defaults_hold() {
    let request = parse(&bench("")).unwrap().gate;
    assert_eq!(request, GateRequest { false_alarms: FALSE_ALARMS, metrics: Vec::new() });
    assert_eq!(parse(&gate("")).unwrap().gate, request);
}

#[test]
fn every_fault_of_a_gate_is_pointed_at() {
    let at = |row: usize, column: usize, message: &str| format!("{}:{column} {message}", FIRST - 1 + row);
    let text = gate(
        "false_alarm = 0.01\npl = { floor = 0.1 }\nbytes = { floor = 0.1 }\nppl = { flor = 1, floor = -0.1, direction = \"up\", error_rate = 2 }\nkl = 0.1",
    );
    assert_eq!(
        faults(&text),
        [
            at(1, 1, "`false_alarm` is no metric, and a gate has no such key"),
            at(2, 1, "`pl` is no metric, and a gate has no such key"),
            at(3, 1, "no bench here measures `bytes`"),
            at(4, 9, "`gate.ppl` has no key `flor`"),
            at(4, 27, "`floor = -0.1` is outside its range [0, inf)"),
            at(4, 45, "`direction` must be one of higher, lower, both, not up"),
            at(4, 64, "`error_rate = 2` is outside its range (0, 1)"),
            at(5, 6, "`kl` must be a table, not a number"),
        ]
    );
    assert_eq!(faults(&gate("false_alarms = 1")), [at(1, 16, "`false_alarms = 1` is outside its range (0, 1)")]);
    assert_eq!(faults(&gate("false_alarms = \"1 %\"")), [at(1, 16, "`false_alarms` must be a number, not text")]);
    let list = format!("gate = 3\n{}", bench(""));
    assert_eq!(faults(&list), ["1:8 `gate` must be a table, not a whole number"]);
}

#[test]
fn shares_must_fit_into_the_budget() {
    let over = gate("ppl = { error_rate = 0.008 }\nkl = { error_rate = 0.004 }");
    assert_eq!(
        faults(&over),
        [format!("{}:21 the error rates add up to 0.012, more than `false_alarms` = 0.01", FIRST + 1)]
    );
    let none_left = gate("ppl = { error_rate = 0.01 }\nkl = { floor = 0.1 }");
    assert_eq!(faults(&none_left), [format!("{FIRST}:22 nothing of `false_alarms` is left for the other metrics")]);
    assert!(parse(&gate("ppl = { error_rate = 0.007 }\nkl = { error_rate = 0.003 }")).is_ok());
}

#[test]
fn a_metric_without_a_good_side_needs_one() {
    let mut known = catalog();
    known.metrics[0].direction = harness_core::Direction::Neutral;
    let read = |text: &str| harness_suite::Suite::parse(text, "x.toml", &known, &support::Known);
    let faults = read(&gate("ppl = { floor = 0.1 }")).unwrap_err();
    assert_eq!(support::list(&faults), [format!("{FIRST}:1 `ppl` has no good side of its own")]);
    assert!(read(&gate("ppl = { direction = \"both\" }")).is_ok());
}

#[test]
fn a_changed_suite_goes_on_without_the_part_that_no_longer_fits() {
    let text = gate("ppl = { floor = 0.1 }\nkl = { floor = 0.1 }");
    let overrides = Overrides { set: vec!["b.metrics=[\"ppl\"]".into()], quick: false };
    let suite = parse_with(&text, &overrides).unwrap();
    assert_eq!(suite.gate.metrics.iter().map(|metric| metric.metric.as_str()).collect::<Vec<_>>(), ["ppl"]);
    assert!(suite.notes.iter().any(|note| note.contains("gate") && note.contains("`kl`")), "{:?}", suite.notes);
}
