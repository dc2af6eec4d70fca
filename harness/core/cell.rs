//! A cell: one arm per axis, named by the content of everything its result depends on.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::axis::Axis;
use crate::value::Value;

/// The coordinate of a cell on one axis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Coordinate {
    /// As printed in records and legends: `wanda(sparsity=0.5)`, `tiny-300k`, `fables/test`.
    pub label: String,
    /// The method's id, or the label again where the axis holds no methods.
    pub id: String,
    /// Every parameter with its value, defaults included, in specification order.
    pub parameters: Vec<(String, Value)>,
}

impl Coordinate {
    /// A coordinate without parameters.
    pub fn plain(label: impl Into<String>) -> Self {
        let label = label.into();
        Self { id: label.clone(), label, parameters: Vec::new() }
    }
}

/// One point of a bench: a coordinate on each axis the bench uses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Name of the bench.
    pub bench: String,
    /// Coordinates in staging order.
    pub coordinates: BTreeMap<Axis, Coordinate>,
}

impl Cell {
    /// The label on an axis.
    pub fn label(&self, axis: Axis) -> Option<&str> {
        self.coordinates.get(&axis).map(|coordinate| coordinate.label.as_str())
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.bench)?;
        self.coordinates.values().try_for_each(|coordinate| write!(f, " / {}", coordinate.label))
    }
}

/// The name of a cell: a hash of all that its result depends on, 16 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CellId(String);

impl CellId {
    /// The id of a list of named facts. The order of the facts matters.
    pub fn of(facts: &[(&str, String)]) -> Self {
        let mut hasher = Sha256::new();
        for (name, fact) in facts {
            for part in [*name, fact.as_str()] {
                hasher.update((part.len() as u64).to_le_bytes());
                hasher.update(part.as_bytes());
            }
        }
        let digits = hasher.finalize()[..8].iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        Self(format!("{digits:016x}"))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CellId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
