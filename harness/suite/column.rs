//! Columns that figures, tables and conditions speak of, and how a cell answers them.

use std::fmt;

use harness_core::cell::Coordinate;
use harness_core::{Arm, Axis, Cell, Value};

/// Anything that stands at one coordinate on each axis of a bench.
pub trait Coordinates {
    /// Name of the bench.
    fn bench(&self) -> &str;
    /// The coordinate on an axis, if the bench has that axis.
    fn coordinate(&self, axis: Axis) -> Option<&Coordinate>;
}

impl Coordinates for Cell {
    fn bench(&self) -> &str {
        &self.bench
    }

    fn coordinate(&self, axis: Axis) -> Option<&Coordinate> {
        self.coordinates.get(&axis)
    }
}

/// What a figure shows on an axis, a table in a row, a condition compares.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Column {
    /// A measured number, by metric id.
    Metric(String),
    /// The arm of an axis as it is printed; written as the axis key, `prune`.
    Axis(Axis),
    /// The id of the arm without parameters; written `prune.method`.
    Method(Axis),
    /// A parameter as it was asked for; written `sparsity`, or `prune.sparsity` where a metric has that name too.
    Parameter {
        /// The axis, where it was written.
        axis: Option<Axis>,
        /// The parameter.
        name: String,
    },
    /// The name of the bench; written `bench`.
    Bench,
    /// Places along something that a metric is taken apart along: `layer`, `token`.
    Along(String),
}

impl Column {
    /// What a cell has in this column. `None` for a metric and its places, which only a record can answer, and where
    /// the cell has no such axis or parameter, or the parameter is unset.
    pub fn of(&self, cell: &impl Coordinates) -> Option<Value> {
        match self {
            Self::Metric(_) | Self::Along(_) => None,
            Self::Axis(axis) => cell.coordinate(*axis).map(|at| Value::Text(at.label.clone())),
            Self::Method(axis) => cell.coordinate(*axis).map(|at| Value::Text(at.id.clone())),
            Self::Parameter { axis, name } => Axis::ALL
                .into_iter()
                .filter(|candidate| axis.is_none_or(|wanted| wanted == *candidate))
                .filter_map(|candidate| cell.coordinate(candidate))
                .find_map(|at| parameter(at, name))
                .filter(|value| **value != Value::Unset)
                .cloned(),
            Self::Bench => Some(Value::Text(cell.bench().to_owned())),
        }
    }

    /// The name of the group a cell belongs to when this column makes the series or facets of a figure over `x`.
    ///
    /// For an axis that is the arm as printed, without the parameter that `x` shows: over `x = "sparsity"` the arms
    /// `wanda(sparsity=0.3)` and `wanda(sparsity=0.5)` are one series `wanda`, and `wanda(pattern=2:4)` another.
    pub fn group(&self, x: &Self, cell: &impl Coordinates) -> Option<String> {
        let Value::Text(label) = self.of(cell)? else { return self.of(cell).map(|value| value.to_string()) };
        let shown = match (self, x) {
            (Self::Axis(_), Self::Metric(name)) => name,
            (Self::Axis(own), Self::Parameter { axis, name }) if axis.is_none_or(|axis| axis == *own) => name,
            _ => return Some(label),
        };
        let Ok(mut stages) = Arm::parse_chain(&label) else { return Some(label) };
        // A parameter that two stages of a chain have is shown with the id of its stage.
        let (stage, key) = shown.split_once('.').map_or((None, shown.as_str()), |(stage, key)| (Some(stage), key));
        for arm in stages.iter_mut().filter(|arm| stage.is_none_or(|stage| arm.id == stage)) {
            arm.parameters.retain(|(name, _)| name != key);
        }
        Some(stages.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | "))
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Metric(id) => f.write_str(id),
            Self::Axis(axis) => write!(f, "{axis}"),
            Self::Method(axis) => write!(f, "{axis}.method"),
            Self::Parameter { axis: Some(axis), name } => write!(f, "{axis}.{name}"),
            Self::Parameter { axis: None, name } => f.write_str(name),
            Self::Bench => f.write_str("bench"),
            Self::Along(word) => f.write_str(word),
        }
    }
}

/// `column = value`: which cells a figure shows or an expectation speaks of.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// What is compared; never a metric.
    pub column: Column,
    /// What it must equal.
    pub value: Value,
}

impl Condition {
    /// Whether a cell has the column and the value in it. An axis is matched by the whole arm or by its id.
    pub fn holds(&self, cell: &impl Coordinates) -> bool {
        self.test(cell) == Some(true)
    }

    /// As [`Condition::holds`]; `None` where the cell does not have the column.
    pub(crate) fn test(&self, cell: &impl Coordinates) -> Option<bool> {
        let found = self.column.of(cell)?;
        let by_id = match &self.column {
            Column::Axis(axis) => {
                cell.coordinate(*axis).is_some_and(|at| same(&Value::Text(at.id.clone()), &self.value))
            }
            _ => false,
        };
        Some(by_id || same(&found, &self.value))
    }
}

/// The value of a parameter at a coordinate, unset ones included.
pub(crate) fn parameter<'a>(at: &'a Coordinate, name: &str) -> Option<&'a Value> {
    at.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value)
}

/// Equality that does not tell `1` from `1.0` nor a number from its text (a seed's label is text).
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    match (a.as_number(), b.as_number()) {
        (Some(x), Some(y)) => x == y,
        _ => a == b || plain(a) == plain(b),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        other => other.to_string(),
    }
}
