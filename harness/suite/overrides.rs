//! `--set` and `--quick`: changes to a suite before it is resolved.

use harness_core::Catalog;

use crate::bench::kind_of;
use crate::diagnostics::{Diagnostic, Source, Span};
use crate::node::{Data, Entry, Node};
use crate::section::{Faults, did_you_mean};

/// The most windows (or other counted pieces) of a table that `--quick` leaves where the bench does not say.
pub const QUICK_WINDOWS: i64 = 8;

/// Changes to a suite from the command line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overrides {
    /// Each `bench.key=value`, `bench.table.key=value`, `*.key=value` for every bench, or `suite.seed=value`. The value
    /// is TOML; anything that does not begin like a list, table or quoted text and is no TOML is taken as text.
    pub set: Vec<String>,
    /// Lays each bench's `quick` table over the bench. A bench without one keeps the first arm of its first axis and
    /// at most [`QUICK_WINDOWS`] `windows` in each of its tables.
    pub quick: bool,
}

impl Overrides {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && !self.quick
    }

    /// Changes the document; every `--set` becomes a source of its own for messages.
    pub(crate) fn apply(&self, document: &mut Node, catalog: &Catalog, sources: &mut Vec<Source>, faults: &mut Faults) {
        if self.quick {
            benches(document).for_each(|bench| make_quick(bench, catalog));
        }
        for flag in &self.set {
            let source = sources.len();
            sources.push(Source { name: "--set".to_owned(), text: flag.clone() });
            set(document, flag, source, faults);
        }
    }
}

fn benches(document: &mut Node) -> impl Iterator<Item = &mut Node> {
    let list = document.get_mut("bench").map(Node::each_mut).unwrap_or_default();
    list.iter_mut().filter(|bench| bench.entries().is_some())
}

fn make_quick(bench: &mut Node, catalog: &Catalog) {
    if let Some(quick) = bench.get("quick").filter(|quick| quick.entries().is_some()).cloned() {
        bench.lay_over(&quick);
        return;
    }
    let Some(kind) = kind_of(bench, catalog) else { return };
    let first = kind.axes.first().map_or("", |axis| axis.key());
    if bench.get("zip").is_none()
        && let Some(Data::List(arms)) = bench.get_mut(first).map(|node| &mut node.data)
    {
        arms.truncate(1);
    }
    for table in &kind.tables {
        for node in bench.get_mut(table.key).map(Node::each_mut).unwrap_or_default() {
            if let Some(Data::Int(windows)) = node.get_mut("windows").map(|node| &mut node.data) {
                *windows = (*windows).min(QUICK_WINDOWS);
            }
        }
    }
}

fn set(document: &mut Node, flag: &str, source: usize, faults: &mut Faults) {
    const SHAPE: &str = "write --set bench.key=value, --set bench.table.key=value or --set suite.seed=value";
    let span = |start: usize, end: usize| Span { source, start, end };
    let Some((path, written)) = flag.split_once('=') else {
        faults.push(Diagnostic::new(span(0, flag.len()), "`--set` needs `=` and a value").help(SHAPE));
        return;
    };
    let mut keys: Vec<(String, Span)> = Vec::new();
    let mut at = 0;
    for part in path.split('.') {
        let start = at + (part.len() - part.trim_start().len());
        keys.push((part.trim().to_owned(), span(start, start + part.trim().len())));
        at += part.len() + 1;
    }
    let (Some((owner, owner_span)), true) =
        (keys.first().cloned(), keys.len() >= 2 && keys.iter().all(|(key, _)| !key.is_empty()))
    else {
        faults.push(
            Diagnostic::new(span(0, path.len()), format!("`{}` is no place in a suite", path.trim())).help(SHAPE),
        );
        return;
    };
    let Some(value) = value(written, path.len() + 1, source, faults) else { return };
    if owner == "suite" {
        if document.get("suite").is_none() {
            document.set(Entry { key: "suite".to_owned(), key_span: owner_span, value: empty_table(owner_span) });
        }
        if let Some(suite) = document.get_mut("suite") {
            place(suite, &keys[1..], &value, faults);
        }
        return;
    }
    let mut names = vec!["suite".to_owned()];
    let mut found = false;
    for (index, bench) in benches(document).enumerate() {
        let name = bench.get("name").and_then(Node::text).map_or_else(|| format!("bench-{}", index + 1), str::to_owned);
        if owner == "*" || owner == name {
            place(bench, &keys[1..], &value, faults);
            found = true;
        }
        names.push(name);
    }
    if !found {
        let known: Vec<&str> = names.iter().map(String::as_str).collect();
        faults.push(
            Diagnostic::new(owner_span, format!("the suite has no bench `{owner}`")).help(did_you_mean(&owner, &known)),
        );
    }
}

fn empty_table(span: Span) -> Node {
    Node { span, data: Data::Table(Vec::new()) }
}

/// Puts a value at the end of a path of keys; tables on the way are made, a list of tables is changed in each.
fn place(node: &mut Node, keys: &[(String, Span)], value: &Node, faults: &mut Faults) {
    let Some(((key, key_span), rest)) = keys.split_first() else { return };
    if let Data::List(members) = &mut node.data
        && !members.is_empty()
    {
        for member in members {
            place(member, keys, value, faults);
        }
        return;
    }
    if node.entries().is_none() {
        let message = format!("`{key}` cannot be set inside {}", node.kind());
        faults.push(Diagnostic::new(*key_span, message).other(node.span, "this value"));
        return;
    }
    if rest.is_empty() {
        node.set(Entry { key: key.clone(), key_span: *key_span, value: value.clone() });
        return;
    }
    if node.get(key).is_none() {
        node.set(Entry { key: key.clone(), key_span: *key_span, value: empty_table(*key_span) });
    }
    if let Some(inner) = node.get_mut(key) {
        place(inner, rest, value, faults);
    }
}

/// Reads the value of a flag, whose places are counted from the beginning of the flag.
fn value(written: &str, offset: usize, source: usize, faults: &mut Faults) -> Option<Node> {
    const KEY: &str = "v=";
    let mut own = Faults::new();
    let mut document = Node::document(&format!("{KEY}{written}"), source, &mut own);
    let alone = document.entries().is_some_and(|entries| entries.len() == 1);
    let shift = |span: &mut Span| {
        span.start = (span.start + offset).saturating_sub(KEY.len());
        span.end = (span.end + offset).saturating_sub(KEY.len());
    };
    if own.is_empty()
        && alone
        && let Some(node) = document.get_mut("v")
    {
        move_spans(node, &shift);
        return Some(node.clone());
    }
    let trimmed = written.trim();
    if trimmed.starts_with(['[', '{', '"', '\'']) {
        for mut fault in own {
            shift(&mut fault.span);
            faults.push(fault);
        }
        return None;
    }
    let start = offset + (written.len() - written.trim_start().len());
    let span = Span { source, start, end: start + trimmed.len() };
    Some(Node { span, data: Data::Text(trimmed.to_owned()) })
}

fn move_spans(node: &mut Node, shift: &impl Fn(&mut Span)) {
    shift(&mut node.span);
    match &mut node.data {
        Data::List(members) => members.iter_mut().for_each(|member| move_spans(member, shift)),
        Data::Table(entries) => {
            for entry in entries {
                shift(&mut entry.key_span);
                move_spans(&mut entry.value, shift);
            }
        }
        _ => {}
    }
}
