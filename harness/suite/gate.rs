//! Reading `[gate]`: how `harness track` judges the runs of a suite.

use harness_core::Catalog;
use harness_core::gate::{FALSE_ALARMS, GateRequest, MetricRequest, Side};

use crate::diagnostics::Diagnostic;
use crate::node::{Data, Entry, Node};
use crate::section::{Faults, did_you_mean, refuse_unknown, text, wrong_kind};
use crate::vocabulary::Vocabulary;

/// The one key of a `[gate]` that is no metric.
pub(crate) const BUDGET: &str = "false_alarms";
/// Keys of a metric in a `[gate]`.
pub(crate) const METRIC_KEYS: [&str; 4] = ["direction", "floor", "floor_absolute", "error_rate"];

/// Reads the gate of a suite.
pub(crate) fn gate(node: &Node, vocabulary: &Vocabulary, faults: &mut Faults) -> GateRequest {
    let mut request = GateRequest::default();
    let Some(entries) = node.entries() else {
        faults.push(wrong_kind(node, "gate", "a table").help("write [gate]"));
        return request;
    };
    if let Some(value) = node.get(BUDGET) {
        request.false_alarms = share(value, BUDGET, faults).unwrap_or(FALSE_ALARMS);
    }
    for entry in entries.iter().filter(|entry| entry.key != BUDGET) {
        if known(entry, vocabulary, faults) {
            request.metrics.extend(metric(entry, vocabulary.catalog, faults));
        }
    }
    check_budget(node, &request, faults);
    request
}

/// Whether an entry is named after a metric that is measured.
fn known(entry: &Entry, vocabulary: &Vocabulary, faults: &mut Faults) -> bool {
    let metrics = vocabulary.metrics();
    if metrics.contains(&entry.key.as_str()) {
        return true;
    }
    let message = match vocabulary.catalog.metric(&entry.key) {
        Some(_) => format!("no bench here measures `{}`", entry.key),
        None => format!("`{}` is no metric, and a gate has no such key", entry.key),
    };
    let words: Vec<&str> = std::iter::once(BUDGET).chain(metrics.iter().copied()).collect();
    faults.push(Diagnostic::new(entry.key_span, message).label("not known").help(did_you_mean(&entry.key, &words)));
    false
}

fn metric(entry: &Entry, catalog: &Catalog, faults: &mut Faults) -> Option<MetricRequest> {
    let node = &entry.value;
    if node.entries().is_none() {
        let fault = wrong_kind(node, &entry.key, "a table");
        faults.push(fault.help(format!("write {} = {{ floor = 0.01 }}", entry.key)));
        return None;
    }
    refuse_unknown(node, &format!("`gate.{}`", entry.key), &METRIC_KEYS, faults);
    let side = text(node, "direction", faults).and_then(|(word, span)| {
        let side = Side::ALL.iter().find(|(known, _)| *known == word).map(|(_, side)| *side);
        if side.is_none() {
            let words = Side::ALL.map(|(word, _)| word);
            let fault = Diagnostic::new(span, format!("`direction` must be one of {}, not {word}", words.join(", ")));
            faults.push(fault.help(did_you_mean(word, &words)));
        }
        side
    });
    let neutral = catalog.metric(&entry.key).is_some_and(|spec| spec.direction == harness_core::Direction::Neutral);
    if neutral && node.get("direction").is_none() {
        let fault = Diagnostic::new(entry.key_span, format!("`{}` has no good side of its own", entry.key));
        faults.push(fault.help("say which changes are good: direction = \"higher\", \"lower\", or \"both\" for none"));
    }
    let floor = node.get("floor").and_then(|value| size(value, "floor", faults));
    let floor_absolute = node.get("floor_absolute").and_then(|value| size(value, "floor_absolute", faults));
    let error_rate = node.get("error_rate").and_then(|value| share(value, "error_rate", faults));
    Some(MetricRequest { metric: entry.key.clone(), side, floor, floor_absolute, error_rate })
}

/// Shares that add up to more than the budget cannot all be kept.
fn check_budget(node: &Node, request: &GateRequest, faults: &mut Faults) {
    let given: Vec<&MetricRequest> = request.metrics.iter().filter(|metric| metric.error_rate.is_some()).collect();
    let sum: f64 = given.iter().filter_map(|metric| metric.error_rate).sum();
    let open = request.metrics.len() > given.len();
    let Some(last) = given.last().and_then(|metric| node.get(&metric.metric)?.get("error_rate")) else { return };
    // Sums of decimal fractions are not exact.
    let (over, used) = (sum > request.false_alarms * (1.0 + 1e-9), sum >= request.false_alarms * (1.0 - 1e-9));
    if over {
        let fault = Diagnostic::new(
            last.span,
            format!("the error rates add up to {sum}, more than `{BUDGET}` = {}", request.false_alarms),
        );
        faults.push(fault.help("give the metrics smaller shares, or the suite a larger budget"));
    } else if open && used {
        let fault = Diagnostic::new(last.span, format!("nothing of `{BUDGET}` is left for the other metrics"));
        faults.push(fault.help("a metric without `error_rate` shares what the others leave"));
    }
}

fn number(node: &Node) -> Option<f64> {
    match node.data {
        Data::Int(value) => Some(value as f64),
        Data::Float(value) => Some(value),
        _ => None,
    }
}

/// A probability that is neither impossible nor certain.
fn share(node: &Node, key: &str, faults: &mut Faults) -> Option<f64> {
    let value = number(node).filter(|value| *value > 0.0 && *value < 1.0);
    if value.is_none() {
        let fault = match number(node) {
            Some(value) => Diagnostic::new(node.span, format!("`{key} = {value}` is outside its range (0, 1)")),
            None => wrong_kind(node, key, "a number"),
        };
        faults.push(fault.help("a share such as 0.01, which is 1 %"));
    }
    value
}

/// A size that is not negative.
fn size(node: &Node, key: &str, faults: &mut Faults) -> Option<f64> {
    let value = number(node).filter(|value| *value >= 0.0 && value.is_finite());
    if value.is_none() {
        let fault = match number(node) {
            Some(value) => Diagnostic::new(node.span, format!("`{key} = {value}` is outside its range [0, inf)")),
            None => wrong_kind(node, key, "a number"),
        };
        let meaning = if key == "floor" { "a share of the reference: 0.01 is 1 %" } else { "in the metric's unit" };
        faults.push(fault.help(format!("changes up to this do not matter; {meaning}")));
    }
    value
}
