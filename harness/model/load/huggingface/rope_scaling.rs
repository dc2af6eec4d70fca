//! Rotary embeddings of a `config.json`: base, rotated dimensions, and what is done to the frequencies.
//!
//! Keys stand in `rope_parameters` (transformers 5), in `rope_scaling` (before), or beside them; `rope_type` was `type` and `longrope` was
//! `su`. A table that holds a key this program does not know is refused, for nobody can say what the key changes; so are two places
//! that contradict each other, and scalings that need the length of the training and do not state it (transformers takes
//! `max_position_embeddings` for it, which is the window after the extension).

use harness_core::{Arm, Value};
use serde_json::Value as Json;

use crate::scaling::{KINDS, Kind, Scaling, number};

use super::Fault;

/// The two names of the table.
const TABLES: [&str; 2] = ["rope_scaling", "rope_parameters"];
/// The length of the training.
const ORIGINAL: &str = "original_max_position_embeddings";
/// Keys of every kind; `finetuned` is what the code of YaRN writes and never reads.
const COMMON: [&str; 5] = ["rope_type", "type", "rope_theta", "partial_rotary_factor", "finetuned"];
/// Keys from which YaRN's factor of attention is computed.
const MSCALES: [&str; 2] = ["mscale", "mscale_all_dim"];

/// What a file says of rotary embeddings.
pub(super) struct Rotary {
    /// Base of the frequencies.
    pub theta: f64,
    /// Rotated dimensions of a head.
    pub dimensions: usize,
    /// What is done to the frequencies.
    pub scaling: Option<Scaling>,
}

/// Reads them.
pub(super) fn read(json: &Json, head_dim: usize, max_positions: usize) -> Result<Rotary, Fault> {
    let tables = Tables::of(json)?;
    let theta = tables.number("rope_theta")?.or_else(|| json["rope_theta"].as_f64()).unwrap_or(10_000.0);
    let dimensions = dimensions(&tables, json, head_dim)?;
    Ok(Rotary { theta, dimensions, scaling: scaling(&tables, json, max_positions)? })
}

/// The tables that are there.
struct Tables<'a>(Vec<(&'static str, &'a serde_json::Map<String, Json>)>);

impl<'a> Tables<'a> {
    fn of(json: &'a Json) -> Result<Self, Fault> {
        let mut found = Vec::new();
        for name in TABLES {
            match &json[name] {
                Json::Null => {}
                Json::Object(table) => found.push((name, table)),
                other => return Err(Fault::Unusable(format!("{name} is {other}, not a table"))),
            }
        }
        Ok(Self(found))
    }

    /// All keys that have a value.
    fn keys(&self) -> impl Iterator<Item = &'a str> {
        let of_one = |(_, table): &(_, &'a serde_json::Map<String, Json>)| {
            table.iter().filter(|(_, value)| !value.is_null()).map(|(key, _)| key.as_str())
        };
        self.0.iter().flat_map(of_one)
    }

    /// The value of a key, which both tables have to agree on.
    fn get(&self, key: &str) -> Result<Option<&'a Json>, Fault> {
        let mut stated = self.0.iter().filter_map(|(_, table)| table.get(key).filter(|value| !value.is_null()));
        let (first, second) = (stated.next(), stated.next());
        match (first, second) {
            (Some(a), Some(b)) if !same(a, b) => Err(Fault::Unusable(format!(
                "{} and {} contradict each other: {key} is {a} and {b}",
                TABLES[0], TABLES[1]
            ))),
            _ => Ok(first),
        }
    }

    fn number(&self, key: &str) -> Result<Option<f64>, Fault> {
        let value = self.get(key)?;
        value.map(|value| value.as_f64().ok_or_else(|| not_a(key, value, "number"))).transpose()
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, Fault> {
        let value = self.get(key)?;
        value.map(|value| value.as_str().ok_or_else(|| not_a(key, value, "name"))).transpose()
    }
}

/// Whether two values are one; `4` and `4.0` are.
fn same(a: &Json, b: &Json) -> bool {
    a == b || a.as_f64().zip(b.as_f64()).is_some_and(|(a, b)| a == b)
}

fn not_a(key: &str, value: &Json, what: &str) -> Fault {
    Fault::Unusable(format!("{key} is {value}, not a {what}"))
}

/// Rotated dimensions of a head, from the part of a head that is rotated.
fn dimensions(tables: &Tables<'_>, json: &Json, head_dim: usize) -> Result<usize, Fault> {
    let key = "partial_rotary_factor";
    let Some(part) = tables.number(key)?.or_else(|| json[key].as_f64()) else { return Ok(head_dim) };
    if !(part > 0.0 && part <= 1.0) {
        return Err(Fault::Unusable(format!("{key} is {part}, not a number above 0 and at most 1")));
    }
    let rotated = (head_dim as f64 * part) as usize;
    if rotated == 0 || !rotated.is_multiple_of(2) {
        let why = "dimensions are rotated in pairs";
        return Err(Fault::Unusable(format!(
            "{key} = {part} rotates {rotated} of {head_dim} dimensions of a head; {why}"
        )));
    }
    Ok(rotated)
}

/// What is done to the frequencies.
fn scaling(tables: &Tables<'_>, json: &Json, max_positions: usize) -> Result<Option<Scaling>, Fault> {
    let name = match (tables.text("rope_type")?, tables.text("type")?) {
        (Some(new), Some(old)) if modern(new) != modern(old) => {
            return Err(Fault::Unusable(format!("rope_type is \"{new}\" and type is \"{old}\"")));
        }
        (new, old) => modern(new.or(old).unwrap_or("default")),
    };
    let kind = match KINDS.iter().find(|kind| kind.name == name) {
        None if name == "default" => None,
        None => {
            let known: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
            let known = known.join(", ");
            return Err(Fault::Unsupported(format!("rotary scaling \"{name:.64}\"; default, {known} are read")));
        }
        kind => kind,
    };
    refuse_unknown(tables, name, kind)?;
    let Some(kind) = kind else { return Ok(None) };
    let trained = trained(tables, json, kind, max_positions)?;
    let mut arm = Arm::new(kind.method);
    for (parameter, key, required) in kind.keys {
        let value = match tables.get(key)? {
            Some(value) => value_of(key, value)?,
            None if *required => {
                return Err(Fault::Unusable(format!("rotary scaling \"{name}\" needs {key}")));
            }
            // The extension of the window is stated by both its lengths.
            None if *key == "factor" => number((max_positions as f64 / trained.unwrap_or(1) as f64).max(1.0)),
            None => continue,
        };
        arm = arm.with(*parameter, value);
    }
    if let Some(factor) = attention(tables, &arm)? {
        arm = arm.with("attention_factor", number(factor));
    }
    Ok(Some(Scaling { arm, trained, net: None }))
}

/// `su` was `longrope`'s name.
fn modern(name: &str) -> &str {
    if name == "su" { "longrope" } else { name }
}

fn refuse_unknown(tables: &Tables<'_>, name: &str, kind: Option<&Kind>) -> Result<(), Fault> {
    let known = |key: &str| {
        COMMON.contains(&key)
            || kind.is_some_and(|kind| {
                key == ORIGINAL
                    || kind.keys.iter().any(|(_, known, _)| *known == key)
                    || (kind.name == "yarn" && (key == "truncate" || MSCALES.contains(&key)))
            })
    };
    if let Some(key) = tables.keys().find(|key| !known(key)) {
        return Err(Fault::Unsupported(format!("the key \"{key:.64}\" of rotary scaling \"{name}\"")));
    }
    if tables.get("truncate")?.is_some_and(|value| value != &Json::Bool(true)) {
        return Err(Fault::Unsupported("rotary scaling \"yarn\" with a ramp that is not truncated".to_owned()));
    }
    Ok(())
}

/// Positions of the training, where they are stated.
fn trained(tables: &Tables<'_>, json: &Json, kind: &Kind, max_positions: usize) -> Result<Option<usize>, Fault> {
    let (inside, beside) = (tables.get(ORIGINAL)?, Some(&json[ORIGINAL]).filter(|value| !value.is_null()));
    if let (Some(a), Some(b)) = (inside, beside)
        && !same(a, b)
    {
        return Err(Fault::Unusable(format!("{ORIGINAL} is {a} and {b}")));
    }
    // Beside the table it may stand for no scaling at all.
    let stated = inside.or(beside.filter(|_| kind.original));
    let Some(value) = stated else {
        if !kind.original {
            return Ok(None);
        }
        return Err(Fault::Unusable(format!(
            "rotary scaling \"{}\" needs {ORIGINAL}, the positions of the training; max_position_embeddings = {max_positions} may be those it was extended to",
            kind.name
        )));
    };
    let whole = value.as_u64().and_then(|value| usize::try_from(value).ok()).filter(|value| *value > 0);
    let whole = whole.ok_or_else(|| not_a(ORIGINAL, value, "positive whole number"))?;
    if kind.name == "dynamic" {
        if whole != max_positions {
            return Err(Fault::Unsupported(format!(
                "rotary scaling \"dynamic\" with {ORIGINAL} = {whole} and max_position_embeddings = {max_positions}, of which transformers takes the latter"
            )));
        }
        return Ok(None);
    }
    Ok(Some(whole))
}

/// A number or a list of numbers.
fn value_of(key: &str, value: &Json) -> Result<Value, Fault> {
    if let Some(one) = value.as_f64() {
        return Ok(number(one));
    }
    let list = value.as_array().ok_or_else(|| not_a(key, value, "number or a list of numbers"))?;
    let one = |value: &Json| value.as_f64().map(number).ok_or_else(|| not_a(key, value, "number"));
    list.iter().map(one).collect::<Result<_, _>>().map(Value::List)
}

/// YaRN's factor of cosines and sines by its two scales: `(0.1 m ln s + 1) / (0.1 m' ln s + 1)`.
fn attention(tables: &Tables<'_>, arm: &Arm) -> Result<Option<f64>, Fault> {
    let scales = (tables.number(MSCALES[0])?, tables.number(MSCALES[1])?);
    let (Some(above), Some(below)) = scales else {
        return match scales {
            (None, None) => Ok(None),
            _ => Err(Fault::Unsupported(format!("one of {} and {} alone", MSCALES[0], MSCALES[1]))),
        };
    };
    // A factor that is stated outright goes before them, and transformers takes 0 for none.
    if arm.get("attention_factor").is_some() || above == 0.0 || below == 0.0 {
        return Ok(None);
    }
    let factor = arm.get("factor").and_then(Value::as_number).unwrap_or(1.0).max(1.0);
    let scale = |by: f64| 0.1 * by * factor.ln() + 1.0;
    Ok(Some(scale(above) / scale(below)))
}

#[cfg(test)]
#[path = "rope_scaling_tests.rs"]
mod tests;
