//! Parameter values, and how they are written in the one grammar for arms.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A parameter value.
///
/// Serialised with its kind named, so that `1` and `1.0` stay apart in a journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Value {
    /// A parameter that was left unset where that is allowed.
    Unset,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A finite or infinite number; never NaN.
    Float(f64),
    /// Text; printed bare where that is unambiguous, quoted otherwise.
    Text(String),
    /// A list, `[a, b]`.
    List(Vec<Value>),
}

impl Value {
    /// What kind of value this is, in words for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unset => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Int(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
        }
    }

    /// The value as a number, for charts and sorting; `None` for anything that is not one.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Int(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            _ => None,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unset => write!(f, "unset"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) if value.is_infinite() => write!(f, "{}inf", if *value < 0.0 { "-" } else { "" }),
            Self::Float(value) => write!(f, "{value}"),
            Self::Text(text) => write_text(f, text),
            Self::List(values) => {
                write!(f, "[")?;
                for (index, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if index == 0 { "" } else { ", " })?;
                }
                write!(f, "]")
            }
        }
    }
}

/// Bare text must not hold the grammar's own signs and must not read as another kind of value.
fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let plain = !text.is_empty()
        && !text.contains([',', '(', ')', '|', '"', '[', ']', '=', '\\', '\n'])
        && text.trim() == text
        && matches!(parse_bare(text), Value::Text(_));
    if plain {
        f.write_str(text)
    } else {
        write!(f, "\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
    }
}

/// Reads an unquoted word: a boolean, a number, `unset`, or text.
pub(crate) fn parse_bare(word: &str) -> Value {
    match word {
        "true" => return Value::Bool(true),
        "false" => return Value::Bool(false),
        "unset" => return Value::Unset,
        "inf" => return Value::Float(f64::INFINITY),
        "-inf" => return Value::Float(f64::NEG_INFINITY),
        _ => {}
    }
    if let Ok(value) = word.parse::<i64>() {
        return Value::Int(value);
    }
    let numeric = word.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '+' || c == '.');
    match word.parse::<f64>() {
        Ok(value) if numeric && value.is_finite() => Value::Float(value),
        _ => Value::Text(word.to_owned()),
    }
}

/// An N:M pattern: at most `keep` non-zeros in every `group` consecutive weights along the input dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pattern {
    /// Weights kept in a group.
    pub keep: usize,
    /// Length of a group.
    pub group: usize,
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.keep, self.group)
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once(':').and_then(|(n, m)| Some((n.trim().parse().ok()?, m.trim().parse().ok()?)));
        let (keep, group): (usize, usize) =
            parts.ok_or_else(|| format!("`{text}` is not a pattern; write keep:group, for example 2:4"))?;
        if keep == 0 {
            return Err(format!("pattern {text} keeps nothing; keep at least 1 weight of every {group}"));
        }
        if group == 0 {
            return Err(format!("pattern {text} has groups of 0; a group holds at least 1 weight"));
        }
        if keep > group {
            return Err(format!("pattern {text} keeps {keep} of {group}; keep at most {group}"));
        }
        if group > 1024 {
            return Err(format!("pattern {text} has groups of {group}; 1024 is the longest"));
        }
        Ok(Self { keep, group })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_reads_as_something_else_is_quoted() {
        for (text, shown) in [
            ("row", "row"),
            ("2:4", "2:4"),
            ("true", "\"true\""),
            ("0.5", "\"0.5\""),
            ("a b", "a b"),
            ("a,b", "\"a,b\""),
            ("", "\"\""),
        ] {
            assert_eq!(Value::Text(text.into()).to_string(), shown);
        }
    }

    #[test]
    fn patterns_are_checked() {
        assert_eq!("2:4".parse(), Ok(Pattern { keep: 2, group: 4 }));
        for bad in ["2:0", "3:2", "0:4", "x", "2:", "-1:4", "1:2:3"] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad}");
        }
    }
}
