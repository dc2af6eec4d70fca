//! An arm: a method with its parameters, in the one grammar used by suites, the command line, records and legends.
//!
//! `id(key=value, …)`; lists are `[a, b]`; text is quoted when it holds a sign of the grammar; arms of a chain are
//! joined by ` | `.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::value::{Value, parse_bare};

/// A method's id and the parameters that were set, in the order they were written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Arm {
    /// The method's id: lower case, words joined by hyphens or underscores.
    pub id: String,
    /// Parameter names and values.
    pub parameters: Vec<(String, Value)>,
}

/// Where and why a text is not an arm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (at character {offset} of `{text}`)")]
pub struct GrammarError {
    /// The whole text.
    pub text: String,
    /// Byte offset of the fault in it.
    pub offset: usize,
    /// What is wrong.
    pub message: String,
}

impl Arm {
    /// An arm without parameters.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), parameters: Vec::new() }
    }

    /// The same arm with one more parameter.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: Value) -> Self {
        self.parameters.push((name.into(), value));
        self
    }

    /// The value of a parameter that was set.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// Reads a chain, arms joined by `|`.
    ///
    /// # Errors
    /// A [`GrammarError`] that points at the fault.
    pub fn parse_chain(text: &str) -> Result<Vec<Self>, GrammarError> {
        let mut reader = Reader { text, at: 0 };
        let mut arms = vec![reader.arm()?];
        while reader.eat('|') {
            arms.push(reader.arm()?);
        }
        reader.end()?;
        Ok(arms)
    }
}

impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)?;
        for (index, (name, value)) in self.parameters.iter().enumerate() {
            write!(f, "{}{name}={value}", if index == 0 { "(" } else { ", " })?;
        }
        f.write_str(if self.parameters.is_empty() { "" } else { ")" })
    }
}

impl FromStr for Arm {
    type Err = GrammarError;

    fn from_str(text: &str) -> Result<Self, GrammarError> {
        let mut reader = Reader { text, at: 0 };
        let arm = reader.arm()?;
        reader.end()?;
        Ok(arm)
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn fail<T>(&self, message: impl Into<String>) -> Result<T, GrammarError> {
        Err(GrammarError { text: self.text.to_owned(), offset: self.at, message: message.into() })
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn skip_space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn eat(&mut self, sign: char) -> bool {
        self.skip_space();
        let found = self.rest().starts_with(sign);
        self.at += if found { sign.len_utf8() } else { 0 };
        found
    }

    fn end(&mut self) -> Result<(), GrammarError> {
        self.skip_space();
        if self.rest().is_empty() { Ok(()) } else { self.fail(format!("`{}` does not belong here", self.rest())) }
    }

    fn word(&mut self, allowed: fn(char) -> bool, what: &str) -> Result<String, GrammarError> {
        self.skip_space();
        let length = self.rest().find(|c| !allowed(c)).unwrap_or(self.rest().len());
        if length == 0 {
            return self.fail(format!("{what} is missing"));
        }
        let word = self.rest()[..length].to_owned();
        self.at += length;
        Ok(word)
    }

    fn arm(&mut self) -> Result<Arm, GrammarError> {
        let id =
            self.word(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'), "a method id")?;
        let mut arm = Arm::new(id);
        if !self.eat('(') || self.eat(')') {
            return Ok(arm);
        }
        loop {
            self.skip_space();
            let start = self.at;
            let name = self.word(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_', "a parameter name")?;
            if arm.get(&name).is_some() {
                self.at = start;
                return self.fail(format!("parameter `{name}` is set twice"));
            }
            if !self.eat('=') {
                return self.fail(format!("`=` and a value must follow `{name}`"));
            }
            let value = self.value(0)?;
            arm.parameters.push((name, value));
            if self.eat(')') {
                return Ok(arm);
            }
            if !self.eat(',') {
                return self.fail("`,` or `)` is missing");
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, GrammarError> {
        if depth > 8 {
            return self.fail("lists are nested too deeply");
        }
        if self.eat('"') {
            return self.quoted();
        }
        if self.eat('[') {
            let mut values = Vec::new();
            if self.eat(']') {
                return Ok(Value::List(values));
            }
            loop {
                values.push(self.value(depth + 1)?);
                if self.eat(']') {
                    return Ok(Value::List(values));
                }
                if !self.eat(',') {
                    return self.fail("`,` or `]` is missing");
                }
            }
        }
        let word = self.word(|c| !matches!(c, ',' | '(' | ')' | '|' | '"' | '[' | ']' | '=' | '\n'), "a value")?;
        Ok(parse_bare(word.trim_end()))
    }

    fn quoted(&mut self) -> Result<Value, GrammarError> {
        let mut text = String::new();
        let mut escaped = false;
        for (offset, sign) in self.rest().char_indices() {
            match sign {
                _ if escaped => {
                    text.push(if sign == 'n' { '\n' } else { sign });
                    escaped = false;
                }
                '\\' => escaped = true,
                '"' => {
                    self.at += offset + 1;
                    return Ok(Value::Text(text));
                }
                other => text.push(other),
            }
        }
        self.fail("the closing quote is missing")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_arm_prints_as_it_reads() {
        for text in [
            "none",
            "wanda(pattern=2:4)",
            "magnitude(sparsity=0.5, scope=row)",
            "x(list=[1, 0.5, a], flag=true)",
            "y(name=\"a, b\")",
        ] {
            assert_eq!(text.parse::<Arm>().unwrap().to_string(), text);
        }
        assert_eq!("wanda( sparsity = 0.5 )".parse::<Arm>().unwrap().to_string(), "wanda(sparsity=0.5)");
    }

    #[test]
    fn chains_split_at_bars() {
        let chain = Arm::parse_chain("temperature(t=0.8) | top-p(p=0.9)").unwrap();
        assert_eq!(chain.iter().map(ToString::to_string).collect::<Vec<_>>(), ["temperature(t=0.8)", "top-p(p=0.9)"]);
    }

    #[test]
    fn faults_are_pointed_at() {
        let error = "wanda(sparsity)".parse::<Arm>().unwrap_err();
        assert_eq!((error.offset, error.message.as_str()), (14, "`=` and a value must follow `sparsity`"));
        assert_eq!("a(x=1, x=2)".parse::<Arm>().unwrap_err().message, "parameter `x` is set twice");
        assert_eq!("a(x=\"1)".parse::<Arm>().unwrap_err().message, "the closing quote is missing");
        assert_eq!("a(x=1) b".parse::<Arm>().unwrap_err().message, "`b` does not belong here");
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            any::<f64>().prop_filter("finite, not whole", |v| v.is_finite() && v.fract() != 0.0).prop_map(Value::Float),
            ".{0,12}".prop_map(Value::Text),
        ];
        leaf.prop_recursive(2, 8, 4, |inner| prop::collection::vec(inner, 0..4).prop_map(Value::List))
    }

    proptest! {
        #[test]
        fn printing_and_reading_are_inverse(values in prop::collection::vec(any_value(), 0..4)) {
            let arm = values.into_iter().enumerate().fold(Arm::new("some-id"), |arm, (i, value)| arm.with(format!("p{i}"), value));
            prop_assert_eq!(arm.to_string().parse::<Arm>().unwrap(), arm);
        }

        #[test]
        fn reading_never_panics(text in ".{0,60}") {
            let _ = text.parse::<Arm>();
        }
    }
}
