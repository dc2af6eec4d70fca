//! Reading `[[figure]]` and `[[table]]`.

use std::collections::HashSet;

use harness_core::chart::{IntervalStyle, StyleName};
use harness_core::statistics::{LawForm, LengthRule};
use harness_core::{Arm, Direction};

use crate::assertion::conditions;
use crate::column::{Column, Condition};
use crate::diagnostics::{Diagnostic, Span};
use crate::figure::{Figure, FigureKind, INTERVAL_STYLES, Reference, TableRequest, kind_keys};
use crate::node::Node;
use crate::section::{Faults, check_name, did_you_mean, refuse_unknown, refused, text, texts, unknown_parameter};
use crate::vocabulary::Vocabulary;

/// Keys of a `[[figure]]`.
pub(crate) const FIGURE_KEYS: [&str; 16] = [
    "kind",
    "name",
    "title",
    "x",
    "y",
    "value",
    "series",
    "facet",
    "where",
    "log",
    "reference",
    "minus",
    "form",
    "threshold",
    "drop",
    "style",
];
/// Those that every kind has.
const COMMON_KEYS: [&str; 7] = ["kind", "name", "title", "facet", "where", "log", "style"];
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
    let kind = kind(node, faults);
    if let Some(kind) = kind {
        check_keys(node, kind, faults);
    }
    let x = text(node, "x", faults).and_then(|(word, span)| column(word, span, vocabulary, true, faults));
    let one = |key: &str, faults: &mut Faults| {
        text(node, key, faults).and_then(|(word, span)| column(word, span, vocabulary, false, faults))
    };
    let (y, series) = match kind {
        Some(FigureKind::Heat) => {
            let rows = text(node, "y", faults).and_then(|(word, span)| column(word, span, vocabulary, true, faults));
            (the_metric(node, "value", vocabulary, faults), rows)
        }
        Some(FigureKind::Histogram) => (samples_of(node, x.as_ref(), faults), one("series", faults)),
        _ => (the_metric(node, "y", vocabulary, faults), one("series", faults)),
    };
    let facet = one("facet", faults);
    let directions: &[&str] = if kind == Some(FigureKind::Heat) { &["value"] } else { &["x", "y"] };
    let (mut log_x, mut log_y) = (false, false);
    for (word, span) in texts(node, "log", faults) {
        if !directions.contains(&word) {
            let help = format!("there is {}", directions.join(", "));
            faults.push(Diagnostic::new(span, format!("`log` has no direction `{word}`")).help(help));
        }
        log_x |= word == "x";
        log_y |= word == "y" || word == "value";
    }
    log_x |= kind == Some(FigureKind::Scaling);
    let arm = |key: &str, faults: &mut Faults| {
        text(node, key, faults).and_then(|(word, span)| reference(key, word, span, vocabulary, faults))
    };
    let (reference, minus) = (arm("reference", faults), arm("minus", faults));
    let form = text(node, "form", faults).and_then(|(word, span)| one_of("form", word, span, &LawForm::ALL, faults));
    let rule = rule(node, x.as_ref(), y.as_deref(), vocabulary, faults);
    let mut styles = Vec::new();
    for (word, span) in texts(node, "style", faults) {
        styles.extend(one_of("style", word, span, &StyleName::ALL, faults).filter(|style| !styles.contains(style)));
    }
    let conditions = all_conditions(node, vocabulary, faults);
    if let (Some(kind), Some(x), Some(y)) = (kind, &x, &y) {
        check_columns(node, kind, x, y, series.as_ref(), vocabulary, faults);
    }
    let fallback = fallback(kind, x.as_ref(), y.as_deref());
    let name = name(node, "figure", fallback, taken, faults);
    let title = text(node, "title", faults).map(|(title, _)| title.to_owned());
    let (Some(kind), Some(x), Some(y)) = (kind, x, y) else { return None };
    (faults.len() == before).then(|| Figure {
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
        minus,
        form: form.unwrap_or_default(),
        rule,
        styles,
    })
}

/// The rule by which a series is good up to some x.
fn rule(
    node: &Node,
    x: Option<&Column>,
    y: Option<&str>,
    vocabulary: &Vocabulary,
    faults: &mut Faults,
) -> Option<LengthRule> {
    let mut number = |key: &str| {
        let value = node.get(key)?;
        let number = value.scalar().and_then(|value| value.as_number()).filter(|number| number.is_finite());
        if number.is_none() {
            faults.push(Diagnostic::new(value.span, format!("`{key}` must be a number, not {}", value.kind())));
        }
        number
    };
    let (threshold, drop) = (number("threshold"), number("drop"));
    if let (Some(written), Some(drop)) = (node.get("drop"), drop) {
        if node.get("threshold").is_none() {
            let message = "`drop` is a part of the rule that `threshold` begins";
            faults.push(Diagnostic::new(written.span, message).help("write threshold = 0.85 as well"));
        } else if drop < 0.0 {
            faults.push(Diagnostic::new(
                written.span,
                format!("`drop = {drop}` would ask for better scores than its own"),
            ));
        }
    }
    let written = node.get("threshold")?;
    if let Some(other) = x.filter(|x| !matches!(x, Column::Parameter { .. })) {
        let message = format!("the rule asks up to which number a series is good, and `{other}` is no parameter");
        faults.push(Diagnostic::new(written.span, message).help("write x = \"length\", or leave `threshold` out"));
    }
    let direction = vocabulary.catalog.metric(y?)?.direction;
    if direction == Direction::Neutral {
        let message = format!("`{}` has no better direction, so no threshold", y.unwrap_or_default());
        faults.push(Diagnostic::new(written.span, message));
    }
    Some(LengthRule { threshold: threshold?, drop, direction })
}

fn kind(node: &Node, faults: &mut Faults) -> Option<FigureKind> {
    if node.get("kind").is_none() {
        faults.push(Diagnostic::new(node.span, "a figure needs `kind`"));
    }
    let (word, span) = text(node, "kind", faults)?;
    let words = FigureKind::ALL.map(|(word, _)| word);
    let kind = FigureKind::ALL.iter().find(|(known, _)| *known == word).map(|(_, kind)| *kind);
    if kind.is_none() {
        faults.push(Diagnostic::new(span, format!("`{word}` is no kind of figure")).help(did_you_mean(word, &words)));
    }
    kind
}

/// Keys that a kind needs and has not, and keys that mean nothing to it.
fn check_keys(node: &Node, kind: FigureKind, faults: &mut Faults) {
    let keys = kind_keys(kind);
    let known: Vec<&str> = COMMON_KEYS.iter().chain(keys.required).chain(keys.optional).copied().collect();
    for key in keys.required.iter().filter(|key| node.get(key).is_none()) {
        let message = format!("a figure of kind `{}` needs `{key}`", kind.word());
        faults.push(Diagnostic::new(node.span, message).help(format!("it shows {}", keys.about)));
    }
    for entry in node.entries().unwrap_or_default() {
        if FIGURE_KEYS.contains(&entry.key.as_str()) && !known.contains(&entry.key.as_str()) {
            let message = format!("a figure of kind `{}` has no key `{}`", kind.word(), entry.key);
            let help = format!("it has {}", known.join(", "));
            faults.push(Diagnostic::new(entry.key_span, message).help(help));
        }
    }
}

fn the_metric(node: &Node, key: &str, vocabulary: &Vocabulary, faults: &mut Faults) -> Option<String> {
    text(node, key, faults).and_then(|(word, span)| metric(word, span, vocabulary, faults))
}

/// The metric whose samples a histogram counts.
fn samples_of(node: &Node, x: Option<&Column>, faults: &mut Faults) -> Option<String> {
    match x? {
        Column::Metric(id) => Some(id.clone()),
        other => {
            let span = node.get("x").map_or(node.span, |value| value.span);
            let fault =
                Diagnostic::new(span, format!("a histogram counts the samples of a metric, and `{other}` is none"));
            faults.push(fault);
            None
        }
    }
}

/// A word of a fixed list.
fn one_of<T: Copy>(key: &str, word: &str, span: Span, all: &[(&str, T)], faults: &mut Faults) -> Option<T> {
    let found = all.iter().find(|(known, _)| *known == word).map(|(_, value)| *value);
    if found.is_none() {
        let words: Vec<&str> = all.iter().map(|(word, _)| *word).collect();
        faults.push(Diagnostic::new(span, format!("there is no {key} `{word}`")).help(did_you_mean(word, &words)));
    }
    found
}

/// Whether the columns are such as the kind can draw.
fn check_columns(
    node: &Node,
    kind: FigureKind,
    x: &Column,
    y: &str,
    series: Option<&Column>,
    vocabulary: &Vocabulary,
    faults: &mut Faults,
) {
    let at = |key: &str| node.get(key).map_or(node.span, |value| value.span);
    let spec = |id: &str| vocabulary.catalog.metric(id);
    let apart = |word: &str| spec(y).and_then(|metric| metric.along).is_some_and(|along| along.word == word);
    let mut places: Vec<(&str, &str)> = Vec::new();
    for (key, column) in [("x", Some(x)), ("y", series.filter(|_| kind == FigureKind::Heat))] {
        if let Some(Column::Along(word)) = column {
            places.push((key, word));
        }
    }
    for (key, word) in &places {
        if !matches!(kind, FigureKind::Profile | FigureKind::Heat) {
            let message = format!("`{word}` is for figures of kind `profile` and `heat`");
            faults.push(Diagnostic::new(at(key), message));
        } else if !apart(word) {
            let all = vocabulary
                .metrics()
                .iter()
                .filter(|id| spec(id).and_then(|metric| metric.along).is_some_and(|along| along.word == *word));
            let message = format!("`{y}` is not measured along `{word}`");
            let known = all.map(|id| format!("`{id}`")).collect::<Vec<_>>().join(", ");
            faults.push(Diagnostic::new(at(key), message).help(format!("of the metrics here, {known} is")));
        }
    }
    match kind {
        FigureKind::Profile if places.is_empty() => {
            let known = vocabulary.along();
            let help = if known.is_empty() {
                "no metric that is measured here has a profile".to_owned()
            } else {
                format!("x is one of {}", known.join(", "))
            };
            faults
                .push(Diagnostic::new(at("x"), format!("`{x}` is nothing that a metric is measured along")).help(help));
        }
        FigureKind::Heat if places.len() > 1 => {
            faults.push(Diagnostic::new(at("y"), "x and y cannot both be places along the same thing"));
        }
        FigureKind::Heat => {
            for (key, column) in [("x", Some(x)), ("y", series)] {
                if let Some(Column::Metric(id)) = column {
                    let message = format!("a heat map has no room for the metric `{id}` as `{key}`");
                    faults.push(Diagnostic::new(at(key), message).help("write an axis, a parameter or `bench`"));
                }
            }
        }
        FigureKind::Pareto => {
            let ids = [("x", if let Column::Metric(id) = x { id.as_str() } else { "" }), ("y", y)];
            for (key, id) in ids {
                if spec(id).is_none_or(|metric| metric.direction == Direction::Neutral) {
                    let word = text(node, key, &mut Faults::new()).map_or("", |(word, _)| word);
                    let message = format!("`{word}` has no better direction, so there is no front along it");
                    let good = |id: &&&str| spec(id).is_some_and(|metric| metric.direction != Direction::Neutral);
                    let known: Vec<&str> = vocabulary.metrics().iter().filter(good).copied().collect();
                    faults.push(Diagnostic::new(at(key), message).help(format!("there is {}", known.join(", "))));
                }
            }
        }
        FigureKind::Scaling => {
            if !matches!(x, Column::Metric(_)) {
                let message = format!("the sizes of models are measured, and `{x}` is no metric");
                faults.push(Diagnostic::new(at("x"), message).help("write x = \"model_bits\""));
            }
            if let Some(other) = series.filter(|series| !matches!(series, Column::Parameter { .. })) {
                let message = format!("the curves are told by a number of bits, and `{other}` is no parameter");
                faults.push(Diagnostic::new(at("series"), message).help("write series = \"quant.bits\""));
            }
        }
        FigureKind::Fit if !matches!(x, Column::Metric(_) | Column::Parameter { .. }) => {
            faults.push(Diagnostic::new(at("x"), format!("a law needs a number on x, and `{x}` is none")));
        }
        _ => {}
    }
}

/// The name of a figure that was given none. The first three kinds need no word for what they are.
fn fallback(kind: Option<FigureKind>, x: Option<&Column>, y: Option<&str>) -> String {
    let (Some(kind), Some(x), Some(y)) = (kind, x, y) else { return String::new() };
    let x = x.to_string().replace('.', "-");
    match kind {
        FigureKind::Line | FigureKind::Bar | FigureKind::Scatter => format!("{y}-{x}"),
        FigureKind::Histogram => format!("{y}-histogram"),
        _ => format!("{y}-{x}-{}", kind.word()),
    }
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
    let reference =
        text(node, "reference", faults).and_then(|(word, span)| reference("reference", word, span, vocabulary, faults));
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

fn reference(key: &str, word: &str, span: Span, vocabulary: &Vocabulary, faults: &mut Faults) -> Option<Reference> {
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
                Diagnostic::new(span, error.to_string()).help(format!("write {key} = \"dense\" or an arm")),
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
