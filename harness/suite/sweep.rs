//! Arms as written, before sweeps are expanded: every slot with its values and their places.

use harness_core::{Arm, GrammarError, Value};

use crate::diagnostics::{Diagnostic, Span};
use crate::node::{Data, Entry, Node};
use crate::range::Progression;

/// The values of one slot.
#[derive(Debug, Clone)]
pub(crate) enum Values {
    /// Values that stand in the text; more than one is a sweep.
    Listed(Vec<(Value, Span)>),
    /// A range.
    Range(Progression, Span),
}

impl Values {
    pub fn count(&self) -> u64 {
        match self {
            Self::Listed(values) => values.len() as u64,
            Self::Range(range, _) => range.count(),
        }
    }

    pub fn value(&self, index: u64) -> Value {
        match self {
            Self::Listed(values) => values.get(index as usize).map_or(Value::Unset, |(value, _)| value.clone()),
            Self::Range(range, _) => range.value(index),
        }
    }

    /// Enough values to check all of them, each with its place: all that are listed, the ends of a range.
    pub fn to_check(&self) -> Vec<(Value, Span)> {
        match self {
            Self::Listed(values) => values.clone(),
            Self::Range(range, span) => range.ends().map(|value| (value, *span)).to_vec(),
        }
    }

    /// Reads a scalar, a list of scalars or a range. `key` is for messages.
    pub fn read(key: &str, node: &Node, faults: &mut Vec<Diagnostic>) -> Option<Self> {
        match &node.data {
            Data::List(members) if members.is_empty() => {
                let message = format!("`{key}` sweeps over nothing");
                faults.push(Diagnostic::new(node.span, message).help("write at least one value, or leave the key out"));
                None
            }
            Data::List(members) => {
                let mut values = Vec::with_capacity(members.len());
                for member in members {
                    match member.scalar() {
                        Some(value) => values.push((value, member.span)),
                        None => faults.push(
                            Diagnostic::new(member.span, format!("`{key}` cannot hold {} in a list", member.kind()))
                                .help("a list holds plain values; a range stands alone: { from = 0.1, to = 0.9, step = 0.2 }"),
                        ),
                    }
                }
                (values.len() == members.len()).then_some(Self::Listed(values))
            }
            Data::Table(entries) => read_range(key, node, entries, faults),
            _ => {
                if let Some(value) = node.scalar() {
                    Some(Self::Listed(vec![(value, node.span)]))
                } else {
                    faults.push(Diagnostic::new(node.span, format!("`{key}` cannot be {}", node.kind())));
                    None
                }
            }
        }
    }
}

fn read_range(key: &str, node: &Node, entries: &[Entry], faults: &mut Vec<Diagnostic>) -> Option<Values> {
    const SHAPE: &str = "a range is written { from = 0.1, to = 0.9, step = 0.2 }";
    let before = faults.len();
    for entry in entries.iter().filter(|entry| !["from", "to", "step"].contains(&entry.key.as_str())) {
        faults.push(Diagnostic::new(entry.key_span, format!("a range has no `{}`", entry.key)).help(SHAPE));
    }
    let mut parts = Vec::new();
    for part in ["from", "to", "step"] {
        match node.get(part).map(|node| (node, node.scalar())) {
            Some((_, Some(value @ (Value::Int(_) | Value::Float(_))))) => parts.push(value),
            Some((wrong, _)) => faults.push(
                Diagnostic::new(wrong.span, format!("`{part}` must be a number, not {}", wrong.kind())).help(SHAPE),
            ),
            None => faults.push(Diagnostic::new(node.span, format!("the range of `{key}` lacks `{part}`")).help(SHAPE)),
        }
    }
    let [from, to, step] = parts.as_slice() else { return None };
    if faults.len() > before {
        return None;
    }
    match Progression::new(from, to, step) {
        Ok(range) => Some(Values::Range(range, node.span)),
        Err((part, why)) => {
            let span = node.get(part).map_or(node.span, |node| node.span);
            faults.push(Diagnostic::new(span, format!("the range of `{key}` is empty or endless: {why}")));
            None
        }
    }
}

/// One key of an arm or table.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub key: String,
    pub key_span: Span,
    pub values: Values,
}

/// An arm or table as written, standing for as many arms as its sweeps have steps.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    pub span: Span,
    /// Method ids; a single empty one in tables without methods.
    pub methods: Vec<(String, Span)>,
    pub slots: Vec<Slot>,
    /// Slots that advance together, as positions in `slots`.
    pub zip: Vec<usize>,
}

impl Template {
    /// How many arms it stands for.
    pub fn count(&self) -> u128 {
        let free = self.slots.iter().enumerate().filter(|(index, _)| !self.zip.contains(index));
        let zipped = self.zip.first().and_then(|first| self.slots.get(*first)).map_or(1, |slot| slot.values.count());
        free.fold(self.methods.len() as u128 * u128::from(zipped), |count, (_, slot)| {
            count.saturating_mul(u128::from(slot.values.count()))
        })
    }

    /// One arm; the first method and the first slot turn slowest.
    pub fn arm(&self, index: u128) -> Arm {
        let mut rest = index;
        let mut steps = vec![0_u64; self.slots.len()];
        let mut zipped_step = None;
        for (position, slot) in self.slots.iter().enumerate().rev() {
            let in_zip = self.zip.contains(&position);
            let step = match zipped_step {
                Some(step) if in_zip => step,
                _ => {
                    let count = u128::from(slot.values.count().max(1));
                    let step = (rest % count) as u64;
                    rest /= count;
                    step
                }
            };
            if in_zip {
                zipped_step = Some(step);
            }
            steps[position] = step;
        }
        let id = self.methods.get(rest as usize).map_or("", |(id, _)| id);
        let parameters = self.slots.iter().zip(steps).map(|(slot, step)| (slot.key.clone(), slot.values.value(step)));
        Arm { id: id.to_owned(), parameters: parameters.collect() }
    }

    /// Reads an arm: text in the arm grammar, or a table with `method`.
    pub fn arm_of(node: &Node, axis: &str, faults: &mut Vec<Diagnostic>) -> Option<Self> {
        match &node.data {
            Data::Text(text) => Self::from_text(text, node.span, faults),
            Data::Table(entries) => {
                let Some(method) = node.get("method") else {
                    let fault = Diagnostic::new(node.span, format!("an arm of `{axis}` lacks its `method`"));
                    faults.push(fault.help("write { method = \"id\", key = value } or \"id(key=value)\""));
                    return None;
                };
                let methods = read_methods(method, faults)?;
                let slots: Vec<&Entry> = entries.iter().filter(|entry| entry.key != "method").collect();
                Self::from_entries(node.span, methods, &slots, faults)
            }
            _ => {
                let message = format!("an arm of `{axis}` is text or a table, not {}", node.kind());
                let help = "write \"id(key=value)\" or { method = \"id\", key = value }";
                faults.push(Diagnostic::new(node.span, message).help(help));
                None
            }
        }
    }

    /// Reads a table that names no method.
    pub fn table_of(node: &Node, key: &str, faults: &mut Vec<Diagnostic>) -> Option<Self> {
        let Some(entries) = node.entries() else {
            let message = format!("`{key}` is a table, not {}", node.kind());
            faults.push(Diagnostic::new(node.span, message).help(format!("write {key} = {{ key = value }}")));
            return None;
        };
        let slots: Vec<&Entry> = entries.iter().collect();
        Self::from_entries(node.span, vec![(String::new(), node.span)], &slots, faults)
    }

    fn from_entries(
        span: Span,
        methods: Vec<(String, Span)>,
        entries: &[&Entry],
        faults: &mut Vec<Diagnostic>,
    ) -> Option<Self> {
        let before = faults.len();
        let mut template = Self { span, methods, slots: Vec::new(), zip: Vec::new() };
        for entry in entries.iter().filter(|entry| entry.key != "zip") {
            if let Some(values) = Values::read(&entry.key, &entry.value, faults) {
                template.slots.push(Slot { key: entry.key.clone(), key_span: entry.key_span, values });
            }
        }
        if let Some(zip) = entries.iter().find(|entry| entry.key == "zip")
            && faults.len() == before
        {
            template.read_zip(&zip.value, faults);
        }
        (faults.len() == before).then_some(template)
    }

    fn read_zip(&mut self, node: &Node, faults: &mut Vec<Diagnostic>) {
        const SHAPE: &str = "write zip = [\"a\", \"b\"] where a and b are equally long lists of this table";
        let Data::List(members) = &node.data else {
            faults
                .push(Diagnostic::new(node.span, format!("`zip` is a list of keys, not {}", node.kind())).help(SHAPE));
            return;
        };
        let mut first: Option<(u64, String)> = None;
        for member in members {
            let found = member.text().and_then(|key| self.slots.iter().position(|slot| slot.key == key));
            let Some(position) = found else {
                let what = member.text().map_or_else(|| member.kind().to_owned(), |key| format!("`{key}`"));
                faults.push(
                    Diagnostic::new(member.span, format!("{what} is no key of this table that can be zipped"))
                        .help(SHAPE),
                );
                continue;
            };
            if self.zip.contains(&position) {
                faults.push(Diagnostic::new(member.span, format!("`{}` is zipped twice", self.slots[position].key)));
                continue;
            }
            let count = self.slots[position].values.count();
            match &first {
                Some((length, key)) if *length != count => faults.push(
                    Diagnostic::new(
                        member.span,
                        format!(
                            "`{}` has {count} values and `{key}` has {length}; zipped lists are equally long",
                            self.slots[position].key
                        ),
                    )
                    .other(self.slots[position].key_span, "this list"),
                ),
                Some(_) => {}
                None => first = Some((count, self.slots[position].key.clone())),
            }
            self.zip.push(position);
        }
        if members.len() < 2 {
            faults.push(Diagnostic::new(node.span, "`zip` needs at least two keys").help(SHAPE));
        }
    }

    /// Reads one arm written as text.
    pub fn from_text(text: &str, span: Span, faults: &mut Vec<Diagnostic>) -> Option<Self> {
        let arm: Arm = match text.parse() {
            Ok(arm) => arm,
            Err(GrammarError { offset, message, .. }) => {
                let label = format!("`{text}`: {message}");
                let at = inside(text, span, offset, offset + 1);
                faults.push(Diagnostic::new(at, label).help("an arm is written id(key=value, key=value)"));
                return None;
            }
        };
        let before = faults.len();
        let mut slots = Vec::new();
        for (name, value) in arm.parameters {
            let (key_span, value_span) = parameter_spans(text, span, &name);
            slots.push(Slot { key: name, key_span, values: Values::Listed(vec![(value, value_span)]) });
        }
        let id_start = text.len() - text.trim_start().len();
        let methods = vec![(arm.id.clone(), inside(text, span, id_start, id_start + arm.id.len()))];
        (faults.len() == before).then_some(Self { span, methods, slots, zip: Vec::new() })
    }
}

fn read_methods(node: &Node, faults: &mut Vec<Diagnostic>) -> Option<Vec<(String, Span)>> {
    let members = node.each();
    if members.is_empty() {
        faults.push(Diagnostic::new(node.span, "`method` sweeps over nothing").help("write at least one method id"));
        return None;
    }
    let mut methods = Vec::with_capacity(members.len());
    for member in members {
        match member.text() {
            Some(id) => methods.push((id.to_owned(), member.span)),
            None => faults.push(Diagnostic::new(member.span, format!("`method` is text, not {}", member.kind()))),
        }
    }
    (methods.len() == members.len()).then_some(methods)
}

/// The place of bytes `start..end` of a text literal. Exact for plain literals; the whole literal where escapes or
/// triple quotes make places differ.
pub(crate) fn inside(text: &str, span: Span, start: usize, end: usize) -> Span {
    match span.end.saturating_sub(span.start).checked_sub(text.len()) {
        // Equally long: a flag's bare text. Two more: a pair of quotes.
        Some(extra @ (0 | 2)) => {
            Span { source: span.source, start: span.start + extra / 2 + start, end: span.start + extra / 2 + end }
        }
        _ => span,
    }
}

/// The places of `name` and of its value in an arm's text.
fn parameter_spans(text: &str, span: Span, name: &str) -> (Span, Span) {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let key = text.match_indices(name).map(|(at, _)| at).find(|at| {
        let after = text[at + name.len()..].trim_start();
        !text[..*at].ends_with(is_word) && after.starts_with('=')
    });
    let Some(start) = key else { return (span, span) };
    let after_key = start + name.len();
    let equals = text[after_key..].find('=').map_or(after_key, |at| after_key + at + 1);
    let value = equals + (text[equals..].len() - text[equals..].trim_start().len());
    let length = text[value..].find([',', ')']).unwrap_or(text.len() - value);
    (inside(text, span, start, after_key), inside(text, span, value, value + length))
}
