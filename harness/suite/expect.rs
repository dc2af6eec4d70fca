//! Expectations: benchmarks are tests.
//!
//! Three forms: `metric(arm) OP metric(arm)`, `metric(arm) OP number` and `metric(arm) ~ number ± number`, each with an
//! optional `where key = value and key = value`.

use std::collections::HashMap;
use std::fmt;

use harness_core::cell::Coordinate;
use harness_core::{Arm, Axis, Value};

use crate::column::{Condition, Coordinates, parameter, same};

/// How the two sides are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operator {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `==`
    Equal,
    /// `~`: within a tolerance.
    Near,
}

impl Operator {
    /// All operators as written, longer ones before their beginnings.
    pub const ALL: [(&'static str, Self); 6] = [
        ("<=", Self::LessOrEqual),
        (">=", Self::GreaterOrEqual),
        ("==", Self::Equal),
        ("<", Self::Less),
        (">", Self::Greater),
        ("~", Self::Near),
    ];
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(_, operator)| operator == self).map_or("", |(word, _)| word))
    }
}

/// `metric(arm)`: the metric of every cell whose arm has this id and the parameters given.
#[derive(Debug, Clone, PartialEq)]
pub struct Term {
    /// Metric id.
    pub metric: String,
    /// Id and given parameters.
    pub arm: Arm,
    /// The axis the arm stands on.
    pub axis: Axis,
}

/// What the left side is compared with.
#[derive(Debug, Clone, PartialEq)]
pub enum Right {
    /// The same cell with another arm.
    Term(Term),
    /// A number.
    Number(f64),
    /// `number ± tolerance`.
    Near {
        /// The middle.
        value: f64,
        /// How far off is still good.
        tolerance: f64,
    },
}

/// One line of `expect`.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectation {
    /// As written.
    pub text: String,
    /// What is judged.
    pub left: Term,
    /// How.
    pub operator: Operator,
    /// Against what.
    pub right: Right,
    /// Which cells it speaks of.
    pub conditions: Vec<Condition>,
}

impl Expectation {
    /// The cells it compares, as positions in `cells`: the left one and, where the right side is a term, the right one.
    ///
    /// Two cells are compared when they agree on every axis but those of the two arms and on every parameter that both
    /// arms have and neither side names. So `ppl(wanda) <= ppl(magnitude)` compares at equal sparsity and pattern, and
    /// `ppl(wanda(sparsity=0.3)) <= ppl(wanda(sparsity=0.5))` across two sparsities. A condition on a parameter binds
    /// the sides that have it.
    pub fn pairs<C: Coordinates>(&self, cells: &[C]) -> Vec<(usize, Option<usize>)> {
        self.pairs_up_to(cells, usize::MAX)
    }

    pub(crate) fn pairs_up_to<C: Coordinates>(&self, cells: &[C], most: usize) -> Vec<(usize, Option<usize>)> {
        let lefts = cells.iter().enumerate().filter(|(_, cell)| self.left.matches(*cell));
        let Right::Term(right) = &self.right else {
            let good = |cell: &C| self.conditions.iter().all(|condition| condition.holds(cell));
            return lefts.filter(|(_, cell)| good(cell)).map(|(index, _)| (index, None)).take(most).collect();
        };
        let sample =
            |term: &Term| cells.iter().find(|cell| term.matches(*cell)).and_then(|cell| cell.coordinate(term.axis));
        let (Some(a), Some(b)) = (sample(&self.left), sample(right)) else { return Vec::new() };
        let named = |name: &str| self.left.arm.get(name).is_some() || right.arm.get(name).is_some();
        let shared: Vec<&str> = (a.parameters.iter().map(|(name, _)| name.as_str()))
            .filter(|name| !named(name) && parameter(b, name).is_some())
            .collect();
        let key = |cell: &C, term: &Term| {
            let elsewhere = Axis::ALL.into_iter().filter(|axis| *axis != self.left.axis && *axis != right.axis);
            let labels = elsewhere.map(|axis| cell.coordinate(axis).map(|at| at.label.clone()).unwrap_or_default());
            let at = cell.coordinate(term.axis);
            let values = shared
                .iter()
                .map(|name| at.and_then(|at| parameter(at, name)).map(ToString::to_string).unwrap_or_default());
            std::iter::once(cell.bench().to_owned()).chain(labels).chain(values).collect::<Vec<_>>()
        };
        let mut partners: HashMap<Vec<String>, Vec<usize>> = HashMap::new();
        for (index, cell) in cells.iter().enumerate().filter(|(_, cell)| right.matches(*cell)) {
            partners.entry(key(cell, right)).or_default().push(index);
        }
        let together = |l: &C, r: &C| {
            self.conditions.iter().all(|condition| match (condition.test(l), condition.test(r)) {
                (None, None) => false,
                (one, other) => one.unwrap_or(true) && other.unwrap_or(true),
            })
        };
        lefts
            .flat_map(|(index, cell)| {
                let found = partners.get(&key(cell, &self.left)).map_or(&[][..], Vec::as_slice);
                found.iter().map(move |partner| (index, *partner))
            })
            .filter(|(l, r)| l != r && together(&cells[*l], &cells[*r]))
            .map(|(l, r)| (l, Some(r)))
            .take(most)
            .collect()
    }

    /// Whether it holds of the values of one pair; `right` is read only where the right side is a term. A NaN never
    /// holds.
    pub fn holds(&self, left: f64, right: Option<f64>) -> bool {
        let (other, tolerance) = match &self.right {
            Right::Term(_) => (right.unwrap_or(f64::NAN), 0.0),
            Right::Number(number) => (*number, 0.0),
            Right::Near { value, tolerance } => (*value, *tolerance),
        };
        match self.operator {
            Operator::Less => left < other,
            Operator::LessOrEqual => left <= other,
            Operator::Greater => left > other,
            Operator::GreaterOrEqual => left >= other,
            Operator::Equal => left == other,
            Operator::Near => (left - other).abs() <= tolerance,
        }
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Term {
    /// Whether a cell's arm is meant.
    pub fn matches(&self, cell: &impl Coordinates) -> bool {
        cell.coordinate(self.axis).is_some_and(|at| matches_arm(at, &self.arm))
    }
}

/// Same id, and every parameter the pattern gives has that value.
pub(crate) fn matches_arm(at: &Coordinate, pattern: &Arm) -> bool {
    at.id == pattern.id
        && pattern
            .parameters
            .iter()
            .all(|(name, value)| parameter(at, name).is_some_and(|found: &Value| same(found, value)))
}
