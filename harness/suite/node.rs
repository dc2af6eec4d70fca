//! The TOML tree with a span on every key and value, owned, so that flags can be grafted onto a file's tree.

use harness_core::Value;
use sha2::{Digest, Sha256};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostics::{Diagnostic, Span};

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub span: Span,
    pub data: Data,
}

#[derive(Debug, Clone)]
pub(crate) enum Data {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Date,
    List(Vec<Node>),
    Table(Vec<Entry>),
}

/// A key of a table with its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub key: String,
    pub key_span: Span,
    pub value: Node,
}

impl Node {
    /// Reads all of a text that is meant to be TOML; every syntax error becomes a fault.
    pub fn document(text: &str, source: usize, faults: &mut Vec<Diagnostic>) -> Self {
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut last_line = None;
        for error in &errors {
            let span = Span::new(source, &error.span().unwrap_or(0..0));
            // One slip makes several faults on its line; the first says it best. What was never closed is always said.
            let before = &text.as_bytes()[..span.start.min(text.len())];
            let line = before.iter().rposition(|byte| *byte == b'\n');
            if last_line.replace(line) == Some(line) && !error.message().contains("unclosed") {
                continue;
            }
            let message = error.message().lines().collect::<Vec<_>>().join("; ");
            faults.push(Diagnostic::new(span, format!("not TOML: {message}")));
        }
        let span = Span::new(source, &(0..0));
        Self { span, data: Data::Table(entries(table.get_ref(), source, faults)) }
    }

    fn of(value: &Spanned<DeValue<'_>>, source: usize, faults: &mut Vec<Diagnostic>) -> Self {
        let span = Span::new(source, &value.span());
        let data = match value.get_ref() {
            DeValue::Boolean(value) => Data::Bool(*value),
            DeValue::Integer(digits) => {
                if let Ok(value) = i64::from_str_radix(digits.as_str(), digits.radix()) {
                    Data::Int(value)
                } else {
                    faults.push(Diagnostic::new(span, "this whole number does not fit in 64 bits").help(format!(
                        "write a number between {} and {}",
                        i64::MIN,
                        i64::MAX
                    )));
                    Data::Int(0)
                }
            }
            DeValue::Float(digits) => match digits.as_str().parse::<f64>() {
                Ok(value) if !value.is_nan() => Data::Float(value),
                _ => {
                    faults.push(Diagnostic::new(span, "this is not a number that can be compared"));
                    Data::Float(0.0)
                }
            },
            DeValue::String(text) => Data::Text(text.to_string()),
            DeValue::Datetime(_) => Data::Date,
            DeValue::Array(values) => Data::List(values.iter().map(|value| Self::of(value, source, faults)).collect()),
            DeValue::Table(table) => Data::Table(entries(table, source, faults)),
        };
        Self { span, data }
    }

    /// What this is, in words for messages.
    pub fn kind(&self) -> &'static str {
        match self.data {
            Data::Bool(_) => "a boolean",
            Data::Int(_) => "a whole number",
            Data::Float(_) => "a number",
            Data::Text(_) => "text",
            Data::Date => "a date",
            Data::List(_) => "a list",
            Data::Table(_) => "a table",
        }
    }

    /// The value of a scalar; `None` for lists, tables and dates.
    pub fn scalar(&self) -> Option<Value> {
        match &self.data {
            Data::Bool(value) => Some(Value::Bool(*value)),
            Data::Int(value) => Some(Value::Int(*value)),
            Data::Float(value) => Some(Value::Float(*value)),
            Data::Text(text) => Some(Value::Text(text.clone())),
            Data::Date | Data::List(_) | Data::Table(_) => None,
        }
    }

    pub fn text(&self) -> Option<&str> {
        if let Data::Text(text) = &self.data { Some(text) } else { None }
    }

    pub fn entries(&self) -> Option<&[Entry]> {
        if let Data::Table(entries) = &self.data { Some(entries) } else { None }
    }

    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries()?.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        let Data::Table(entries) = &mut self.data else { return None };
        entries.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.value)
    }

    /// The members of a list, or the node itself where a list of one may be written without brackets.
    pub fn each(&self) -> &[Node] {
        if let Data::List(members) = &self.data { members } else { std::slice::from_ref(self) }
    }

    /// As [`Node::each`].
    pub fn each_mut(&mut self) -> &mut [Node] {
        if matches!(self.data, Data::List(_)) {
            let Data::List(members) = &mut self.data else { return &mut [] };
            members
        } else {
            std::slice::from_mut(self)
        }
    }

    /// Sets a key of a table: replaced where it stands, appended where it is new. Nothing happens to other nodes.
    pub fn set(&mut self, entry: Entry) {
        let Data::Table(entries) = &mut self.data else { return };
        match entries.iter_mut().find(|old| old.key == entry.key) {
            Some(old) => *old = entry,
            None => entries.push(entry),
        }
    }

    /// Lays a table over this one, key by key; tables are merged, anything else is replaced. A table laid over a list
    /// of tables is merged into each.
    pub fn lay_over(&mut self, over: &Node) {
        let Data::Table(changes) = &over.data else {
            *self = over.clone();
            return;
        };
        match &mut self.data {
            Data::Table(_) => {
                for change in changes {
                    match self.get_mut(&change.key) {
                        Some(old) => old.lay_over(&change.value),
                        None => self.set(change.clone()),
                    }
                }
            }
            Data::List(members) if members.iter().all(|member| matches!(member.data, Data::Table(_))) => {
                for member in members {
                    member.lay_over(over);
                }
            }
            _ => *self = over.clone(),
        }
    }

    /// SHA-256 of the content in 64 hexadecimal digits: keys sorted, no spaces, no comments.
    pub fn hash(&self) -> String {
        let mut hasher = Sha256::new();
        self.feed(&mut hasher);
        hasher.finalize().iter().fold(String::with_capacity(64), |hex, byte| hex + &format!("{byte:02x}"))
    }

    fn feed(&self, hasher: &mut Sha256) {
        let mut atom = |tag: u8, text: &str| {
            hasher.update([tag]);
            hasher.update((text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        };
        match &self.data {
            Data::Bool(value) => atom(b'b', &value.to_string()),
            Data::Int(value) => atom(b'i', &value.to_string()),
            Data::Float(value) => atom(b'f', &value.to_string()),
            Data::Text(text) => atom(b't', text),
            Data::Date => atom(b'd', ""),
            Data::List(members) => {
                atom(b'l', &members.len().to_string());
                for member in members {
                    member.feed(hasher);
                }
            }
            Data::Table(entries) => {
                atom(b'm', &entries.len().to_string());
                let mut sorted: Vec<&Entry> = entries.iter().collect();
                sorted.sort_by_key(|entry| &entry.key);
                for entry in sorted {
                    hasher.update((entry.key.len() as u64).to_le_bytes());
                    hasher.update(entry.key.as_bytes());
                    entry.value.feed(hasher);
                }
            }
        }
    }
}

/// The entries of a table in the order they are written.
fn entries(table: &DeTable<'_>, source: usize, faults: &mut Vec<Diagnostic>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            key_span: Span::new(source, &key.span()),
            value: Node::of(value, source, faults),
        })
        .collect();
    entries.sort_by_key(|entry| entry.key_span);
    entries
}
