//! JSON of unknown origin: keys stand once, numbers are finite, and every fault is named by its place.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::ImportError;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    Whole(i64),
    Number(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Whole(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(i64::try_from(value).map_or(Json::Number(value as f64), Json::Whole))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Json, A::Error> {
        let mut all = Vec::new();
        while let Some(value) = values.next_element()? {
            all.push(value);
        }
        Ok(Json::List(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut all: Vec<(String, Json)> = Vec::new();
        let mut keys = HashSet::new();
        while let Some((key, value)) = entries.next_entry::<String, Json>()? {
            if !keys.insert(key.clone()) {
                return Err(serde::de::Error::custom(format!("the key `{key}` stands twice")));
            }
            all.push((key, value));
        }
        Ok(Json::Object(all))
    }
}

/// Reads one document.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Json, ImportError> {
    serde_json::from_slice(bytes).map_err(|error| malformed(path, bytes, error))
}

fn malformed(path: &Path, bytes: &[u8], error: serde_json::Error) -> ImportError {
    let line = bytes.split(|byte| *byte == b'\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    let at = line.get(error.column().saturating_sub(1)..).unwrap_or_default();
    let nan = [&b"NaN"[..], b"aN", b"Infinity", b"-Infinity"].iter().any(|word| at.starts_with(word));
    let hint = if nan { "; NaN and Infinity are no numbers of JSON" } else { "" };
    ImportError::Malformed { path: path.to_owned(), format: "JSON", reason: format!("{error}{hint}") }
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub struct At<'a> {
    path: &'a Path,
    place: String,
    value: &'a Json,
}

impl<'a> At<'a> {
    /// The whole of a document.
    pub fn root(path: &'a Path, place: impl Into<String>, value: &'a Json) -> Self {
        Self { path, place: place.into(), value }
    }

    /// An error at this place.
    pub fn wrong(&self, reason: impl Into<String>) -> ImportError {
        let place = if self.place.is_empty() { "the document".to_owned() } else { self.place.clone() };
        ImportError::Wrong { path: self.path.to_owned(), place, reason: reason.into() }
    }

    fn expected(&self, what: &str) -> ImportError {
        let found = match self.value {
            Json::Null => "null",
            Json::Bool(_) => "a boolean",
            Json::Whole(_) | Json::Number(_) => "a number",
            Json::Text(_) => "text",
            Json::List(_) => "a list",
            Json::Object(_) => "an object",
        };
        self.wrong(format!("{what} belongs here, not {found}"))
    }

    fn below(&self, step: &str, value: &'a Json) -> Self {
        let joint = if self.place.is_empty() || step.starts_with('[') { "" } else { "." };
        Self { path: self.path, place: format!("{}{joint}{step}", self.place), value }
    }

    /// The value itself.
    pub fn value(&self) -> &'a Json {
        self.value
    }

    /// A member that may be missing or null.
    pub fn get(&self, key: &str) -> Option<Self> {
        let Json::Object(entries) = self.value else { return None };
        let (_, value) = entries.iter().find(|(name, value)| name == key && *value != Json::Null)?;
        Some(self.below(key, value))
    }

    /// A member that must be there.
    pub fn need(&self, key: &str) -> Result<Self, ImportError> {
        self.entries()?;
        self.get(key).ok_or_else(|| self.wrong(format!("`{key}` is missing")))
    }

    /// The members of an object.
    pub fn entries(&self) -> Result<Vec<(&'a str, Self)>, ImportError> {
        let Json::Object(entries) = self.value else { return Err(self.expected("an object")) };
        Ok(entries.iter().map(|(key, value)| (key.as_str(), self.below(key, value))).collect())
    }

    /// The members of a list.
    pub fn list(&self) -> Result<Vec<Self>, ImportError> {
        let Json::List(values) = self.value else { return Err(self.expected("a list")) };
        Ok(values.iter().enumerate().map(|(index, value)| self.below(&format!("[{index}]"), value)).collect())
    }

    /// Text.
    pub fn text(&self) -> Result<&'a str, ImportError> {
        if let Json::Text(text) = self.value { Ok(text) } else { Err(self.expected("text")) }
    }

    /// A finite number.
    pub fn number(&self) -> Result<f64, ImportError> {
        match self.value {
            Json::Whole(number) => Ok(*number as f64),
            Json::Number(number) if number.is_finite() => Ok(*number),
            Json::Number(number) => Err(self.wrong(format!("{number} is no measurement"))),
            _ => Err(self.expected("a number")),
        }
    }

    /// A number above zero.
    pub fn positive(&self) -> Result<f64, ImportError> {
        match self.number()? {
            number if number > 0.0 => Ok(number),
            number => Err(self.wrong(format!("{number} must be above zero"))),
        }
    }

    /// A whole number from zero that a double holds exactly.
    pub fn count(&self) -> Result<u64, ImportError> {
        let number = self.number()?;
        let whole = number >= 0.0 && number.fract() == 0.0 && number <= 9_007_199_254_740_992.0;
        if whole { Ok(number as u64) } else { Err(self.wrong(format!("{number} is no count"))) }
    }

    /// Finite numbers.
    pub fn numbers(&self) -> Result<Vec<f64>, ImportError> {
        self.list()?.iter().map(Self::number).collect()
    }

    /// A value of a known shape, read again by its own reader.
    pub fn typed<T: serde::de::DeserializeOwned>(&self) -> Result<T, ImportError> {
        serde_json::from_value(self.value.clone().into()).map_err(|error| self.wrong(error.to_string()))
    }
}

impl From<Json> for serde_json::Value {
    fn from(json: Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(value),
            Json::Whole(value) => Self::from(value),
            Json::Number(value) => Self::from(value),
            Json::Text(value) => Self::String(value),
            Json::List(values) => Self::Array(values.into_iter().map(Into::into).collect()),
            Json::Object(entries) => {
                Self::Object(entries.into_iter().map(|(key, value)| (key, value.into())).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn fault(text: &str) -> String {
        parse("x.json".as_ref(), text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn faults_are_named() {
        assert_eq!(
            fault(r#"{"a": {"b": 1, "b": 2}}"#),
            "x.json is not JSON: the key `b` stands twice at line 1 column 22"
        );
        assert!(
            fault(r#"{"a": NaN}"#).ends_with("NaN and Infinity are no numbers of JSON"),
            "{}",
            fault(r#"{"a": NaN}"#)
        );
        assert!(fault(r#"{"a": 1e999}"#).contains("out of range"));
        assert!(fault(r#"{"a": [1, 2"#).contains("EOF"));
        assert!(fault(&"[".repeat(100_000)).contains("recursion limit"));
    }

    #[test]
    fn places_are_named() {
        let json = parse("x.json".as_ref(), br#"{"a": [{"b": -1.5, "c": "x"}]}"#).unwrap();
        let root = At::root("x.json".as_ref(), "", &json);
        let at = &root.need("a").unwrap().list().unwrap()[0];
        let message = |result: Result<u64, ImportError>| result.unwrap_err().to_string();
        assert_eq!(message(at.need("b").unwrap().count()), "x.json: a[0].b: -1.5 is no count");
        assert_eq!(message(at.need("c").unwrap().count()), "x.json: a[0].c: a number belongs here, not text");
        assert_eq!(at.need("d").unwrap_err().to_string(), "x.json: a[0]: `d` is missing");
        assert_eq!(
            root.need("a").unwrap().need("d").unwrap_err().to_string(),
            "x.json: a: an object belongs here, not a list"
        );
    }
}
