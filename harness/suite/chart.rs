//! Reading `[[figure]]` and `[[table]]`.

use std::collections::HashSet;

use harness_core::Arm;
use harness_core::chart::IntervalStyle;

use crate::assertion::conditions;
use crate::column::{Column, Condition};
use crate::diagnostics::{Diagnostic, Span};
use crate::figure::{Figure, FigureKind, INTERVAL_STYLES, Reference, TableRequest};
use crate::node::Node;
use crate::section::{Faults, check_name, did_you_mean, refuse_unknown, refused, text, texts, unknown_parameter};
use crate::vocabulary::Vocabulary;

/// Keys of a `[[figure]]`.
pub(crate) const FIGURE_KEYS: [&str; 10] =
    ["kind", "name", "title", "x", "y", "series", "facet", "where", "log", "reference"];
/// Keys of a `[[table]]`.
pub(crate) const TABLE_KEYS: [&str; 9] =
    ["name", "title", "rows", "columns", "metrics", "where", "within", "reference", "intervals"];

/// Reads one figure; `taken` holds the names of those before it.
pub(crate) fn figure(
    node: &Node,
    vocabulary: &Vocabulary,
    taken: &mut HashSet<String>,
    faults: &mut Faults,
) -> Option<Figure> {
    let before = faults.len();
    refuse_unknown(node, "a figure", &FIGURE_KEYS, faults);
    let words: Vec<&str> = FigureKind::ALL.iter().map(|(word, _)| *word).collect();
    let kind = required(node, "figure", "kind", faults).and_then(|(word, span)| {
        let kind = FigureKind::ALL.iter().find(|(known, _)| *known == word).map(|(_, kind)| *kind);
        if kind.is_none() {
            faults
                .push(Diagnostic::new(span, format!("`{word}` is no kind of figure")).help(did_you_mean(word, &words)));
        }
        kind
    });
    let x = required(node, "figure", "x", faults).and_then(|(word, span)| column(word, span, vocabulary, true, faults));
    let y = required(node, "figure", "y", faults).and_then(|(word, span)| metric(word, span, vocabulary, faults));
    let one = |key: &str, faults: &mut Faults| {
        text(node, key, faults).and_then(|(word, span)| column(word, span, vocabulary, false, faults))
    };
    let (series, facet) = (one("series", faults), one("facet", faults));
    let mut logarithmic = [false, false];
    for (word, span) in texts(node, "log", faults) {
        match word {
            "x" => logarithmic[0] = true,
            "y" => logarithmic[1] = true,
            _ => faults.push(
                Diagnostic::new(span, format!("`log` has no direction `{word}`")).help("write log = [\"x\", \"y\"]"),
            ),
        }
    }
    let reference = text(node, "reference", faults).and_then(|(word, span)| reference(word, span, vocabulary, faults));
    let conditions = all_conditions(node, vocabulary, faults);
    let fallback = x
        .as_ref()
        .zip(y.as_ref())
        .map_or_else(String::new, |(x, y)| format!("{y}-{}", x.to_string().replace('.', "-")));
    let name = name(node, "figure", fallback, taken, faults);
    let title = text(node, "title", faults).map(|(title, _)| title.to_owned());
    let (Some(kind), Some(x), Some(y)) = (kind, x, y) else { return None };
    let [log_x, log_y] = logarithmic;
    (faults.len() == before).then_some(Figure {
        name,
        kind,
        title,
        x,
        y,
        series,
        facet,
        conditions,
        log_x,
        log_y,
        reference,
    })
}

/// Reads one table; `taken` holds the names of those before it.
pub(crate) fn table(
    node: &Node,
    vocabulary: &Vocabulary,
    taken: &mut HashSet<String>,
    faults: &mut Faults,
) -> Option<TableRequest> {
    let before = faults.len();
    refuse_unknown(node, "a table", &TABLE_KEYS, faults);
    let columns = |key: &str, faults: &mut Faults| -> Vec<Column> {
        texts(node, key, faults)
            .into_iter()
            .filter_map(|(word, span)| column(word, span, vocabulary, false, faults))
            .collect()
    };
    let (rows, across) = (columns("rows", faults), columns("columns", faults));
    let mut metrics = Vec::new();
    for (word, span) in texts(node, "metrics", faults) {
        metrics.extend(metric(word, span, vocabulary, faults));
    }
    for (key, empty) in [("rows", rows.is_empty()), ("metrics", metrics.is_empty())] {
        if empty && faults.len() == before {
            let span = node.get(key).map_or(node.span, |value| value.span);
            faults.push(Diagnostic::new(span, format!("a table needs `{key}`")));
        }
    }
    let within = node.get("within").map(|_| columns("within", faults));
    let reference = text(node, "reference", faults).and_then(|(word, span)| reference(word, span, vocabulary, faults));
    let intervals = text(node, "intervals", faults).map_or(IntervalStyle::PlusMinus, |(word, span)| {
        let known = INTERVAL_STYLES.iter().find(|(name, _)| *name == word);
        if known.is_none() {
            let names = INTERVAL_STYLES.map(|(name, _)| name);
            let message = format!("`{word}` is no way to write intervals");
            faults.push(Diagnostic::new(span, message).help(did_you_mean(word, &names)));
        }
        known.map_or_else(IntervalStyle::default, |(_, style)| *style)
    });
    let conditions = all_conditions(node, vocabulary, faults);
    let fallback = format!("table-{}", taken.len() + 1);
    let name = name(node, "table", fallback, taken, faults);
    let title = text(node, "title", faults).map(|(title, _)| title.to_owned());
    (faults.len() == before).then_some(TableRequest {
        name,
        title,
        rows,
        columns: across,
        metrics,
        conditions,
        within,
        reference,
        intervals,
    })
}

fn required<'a>(node: &'a Node, what: &str, key: &str, faults: &mut Faults) -> Option<(&'a str, Span)> {
    if node.get(key).is_none() {
        faults.push(Diagnostic::new(node.span, format!("a {what} needs `{key}`")));
    }
    text(node, key, faults)
}

fn column(word: &str, span: Span, vocabulary: &Vocabulary, metrics: bool, faults: &mut Faults) -> Option<Column> {
    match vocabulary.column(word, metrics) {
        Ok(column) => Some(column),
        Err((message, help)) => {
            faults.push(Diagnostic::new(span, message).help(help));
            None
        }
    }
}

fn metric(word: &str, span: Span, vocabulary: &Vocabulary, faults: &mut Faults) -> Option<String> {
    if vocabulary.metrics().contains(&word) {
        return Some(word.to_owned());
    }
    let message = match vocabulary.catalog.metric(word) {
        Some(_) => format!("no bench here measures `{word}`"),
        None => format!("`{word}` is no metric"),
    };
    faults.push(Diagnostic::new(span, message).help(did_you_mean(word, vocabulary.metrics())));
    None
}

fn all_conditions(node: &Node, vocabulary: &Vocabulary, faults: &mut Faults) -> Vec<Condition> {
    let lines = texts(node, "where", faults);
    lines.into_iter().flat_map(|(line, span)| conditions(line, span, vocabulary, faults)).collect()
}

fn reference(word: &str, span: Span, vocabulary: &Vocabulary, faults: &mut Faults) -> Option<Reference> {
    if word == "dense" {
        return Some(Reference::Dense);
    }
    let fault = |faults: &mut Faults, fault: Diagnostic| {
        faults.push(fault);
        None
    };
    let arm: Arm = match word.parse() {
        Ok(arm) => arm,
        Err(error) => {
            return fault(
                faults,
                Diagnostic::new(span, error.to_string()).help("write reference = \"dense\" or an arm"),
            );
        }
    };
    let Some(axis) = vocabulary.axes_with(&arm.id).first().copied() else {
        if vocabulary.open {
            return None;
        }
        let message = format!("no arm of the suite is `{}`", arm.id);
        return fault(faults, Diagnostic::new(span, message).help(did_you_mean(&arm.id, &vocabulary.ids())));
    };
    if let Some(method) = vocabulary.catalog.method(axis, &arm.id) {
        for (name, value) in &arm.parameters {
            match method.parameters.iter().find(|spec| spec.name == name) {
                None => return fault(faults, unknown_parameter(method.id, name, span, &method.parameters)),
                Some(spec) => {
                    if let Err(error) = spec.check(value) {
                        return fault(faults, refused(&error, spec, value, span));
                    }
                }
            }
        }
    }
    Some(Reference::Arm(axis, arm))
}

/// The name as written, which must be free, or the fallback made free by a number.
fn name(node: &Node, what: &str, fallback: String, taken: &mut HashSet<String>, faults: &mut Faults) -> String {
    if let Some((name, span)) = text(node, "name", faults) {
        check_name(name, span, what, faults);
        if !taken.insert(name.to_owned()) {
            faults.push(Diagnostic::new(span, format!("two {what}s are named `{name}`")));
        }
        return name.to_owned();
    }
    let candidates = std::iter::once(fallback.clone()).chain((2..).map(|number| format!("{fallback}-{number}")));
    let mut free = candidates.filter(|candidate| !taken.contains(candidate));
    let name = free.next().unwrap_or(fallback);
    taken.insert(name.clone());
    name
}
