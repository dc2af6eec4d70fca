//! Reading a table whose keys are known: unknown keys, wrong kinds and missing keys become faults.

use harness_core::nearest::nearest;
use harness_core::{Kind, ParameterError, ParameterSpec, Value};

use crate::diagnostics::{Diagnostic, Span};
use crate::node::{Data, Node};

/// Faults found so far; reading goes on after each.
pub(crate) type Faults = Vec<Diagnostic>;

/// Every key that is not known is a fault with the nearest known one.
pub(crate) fn refuse_unknown(node: &Node, what: &str, known: &[&str], faults: &mut Faults) {
    for entry in node.entries().unwrap_or_default() {
        if !known.contains(&entry.key.as_str()) {
            faults.push(
                Diagnostic::new(entry.key_span, format!("{what} has no key `{}`", entry.key))
                    .label("not known")
                    .help(did_you_mean(&entry.key, known)),
            );
        }
    }
}

/// `did you mean …?` with the nearest word, else all of them.
pub(crate) fn did_you_mean(word: &str, known: &[&str]) -> String {
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "there is none".to_owned(),
        None => format!("there is {}", known.join(", ")),
    }
}

/// The text of a key; a fault where it is something else, `None` where it is missing.
pub(crate) fn text<'a>(node: &'a Node, key: &str, faults: &mut Faults) -> Option<(&'a str, Span)> {
    let value = node.get(key)?;
    let found = value.text();
    if found.is_none() {
        faults.push(wrong_kind(value, key, "text"));
    }
    found.map(|text| (text, value.span))
}

/// The texts of a key that takes one or a list of them.
pub(crate) fn texts<'a>(node: &'a Node, key: &str, faults: &mut Faults) -> Vec<(&'a str, Span)> {
    let mut found = Vec::new();
    for member in node.get(key).map_or(&[][..], Node::each) {
        match member.text() {
            Some(text) => found.push((text, member.span)),
            None => faults.push(wrong_kind(member, key, "text or a list of text")),
        }
    }
    found
}

pub(crate) fn wrong_kind(node: &Node, key: &str, wanted: &str) -> Diagnostic {
    Diagnostic::new(node.span, format!("`{key}` must be {wanted}, not {}", node.kind()))
}

/// The tables of an array of tables, `[[key]]`.
pub(crate) fn tables<'a>(document: &'a Node, key: &str, faults: &mut Faults) -> Vec<&'a Node> {
    let Some(value) = document.get(key) else { return Vec::new() };
    let members = if let Data::List(members) = &value.data {
        members.as_slice()
    } else {
        let fault = Diagnostic::new(value.span, format!("`{key}` must be an array of tables, not {}", value.kind()));
        faults.push(fault.help(format!("write [[{key}]]")));
        return Vec::new();
    };
    let mut found = Vec::new();
    for member in members {
        if member.entries().is_some() {
            found.push(member);
        } else {
            faults.push(wrong_kind(member, key, "a table").help(format!("write [[{key}]]")));
        }
    }
    found
}

/// A name that can be part of a file name, of `--set` and of a printed cell.
pub(crate) fn check_name(name: &str, span: Span, what: &str, faults: &mut Faults) {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 80 || !name.chars().all(good) {
        faults.push(
            Diagnostic::new(span, format!("`{name}` cannot be the name of a {what}"))
                .help("write letters, digits, `-` and `_`, at most 80 of them"),
        );
    }
}

/// What a parameter takes, in words: kind, range, default, meaning.
pub(crate) fn describe(spec: &ParameterSpec) -> String {
    let bounded = spec.domain != harness_core::Domain::ANY;
    let range = if bounded { format!(" in {}", spec.domain) } else { String::new() };
    let kind = match spec.kind {
        Kind::Float => format!("a number{range}"),
        Kind::Int => format!("a whole number{range}"),
        Kind::Bool => "true or false".to_owned(),
        Kind::Text => "text".to_owned(),
        Kind::Choice(words) => format!("one of {}", words.join(", ")),
        Kind::Pattern => "a pattern keep:group such as 2:4".to_owned(),
        Kind::Numbers => format!("a list of numbers{range}"),
        Kind::Texts => "a list of texts".to_owned(),
    };
    let about = spec.about.trim_end_matches('.');
    let mut letters = about.chars();
    let about: String = letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default();
    format!("`{}` takes {kind}: {about}", spec.name)
}

/// A fault for a value that a parameter refused.
pub(crate) fn refused(error: &ParameterError, spec: &ParameterSpec, value: &Value, span: Span) -> Diagnostic {
    let near = match (spec.kind, value) {
        (Kind::Choice(words), Value::Text(text)) => nearest(text, words.iter().copied()),
        _ => None,
    };
    let label = match error {
        ParameterError::Range { domain, .. } => format!("outside {domain}"),
        _ => String::new(),
    };
    let help = near.map_or_else(|| describe(spec), |near| format!("did you mean `{near}`?"));
    Diagnostic::new(span, error.to_string()).label(label).help(help)
}

/// A fault for a parameter that does not exist.
pub(crate) fn unknown_parameter(owner: &str, name: &str, span: Span, specs: &[ParameterSpec]) -> Diagnostic {
    let known: Vec<&str> = specs.iter().map(|spec| spec.name).collect();
    let help = match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? it takes {}", known.join(", ")),
        None if known.is_empty() => "it takes none".to_owned(),
        None => format!("it takes {}", known.join(", ")),
    };
    Diagnostic::new(span, format!("`{owner}` has no parameter `{name}`")).label("not known").help(help)
}

/// A whole number with its digits in groups of three.
pub(crate) fn grouped(number: u128) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
