//! What reading windows of text costs a model: a multiplication by every weight for each token, and attention between them.

use harness_core::{Axis, Cell, Parameters, Value};
use harness_methods::registry;

use super::{EFFICIENCY, Machine, ModelSize, read, set};
use crate::text::TextSelection;

/// Windows of tokens to read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Read {
    pub tokens: u64,
    /// Pairs of a query and a key, those that attention leaves out included: twice the number it multiplies.
    pairs: u64,
}

impl Read {
    /// So many windows of so many tokens, of which a query sees the nearest keys only where there is a bound.
    pub fn new(window: u64, windows: u64, seen: Option<u64>) -> Self {
        Self { tokens: window * windows, pairs: window * windows * seen.map_or(window, |seen| window.min(2 * seen)) }
    }

    /// The windows that a table selects.
    pub fn of(parameters: &[(String, Value)], seen: Option<u64>) -> Self {
        TextSelection::resolve(&set(parameters)).map_or_else(
            |_| Self::default(),
            |selection| Self::new(selection.window as u64, selection.windows as u64, seen),
        )
    }

    /// Seconds that reading them takes a model.
    pub fn seconds(self, size: &ModelSize, machine: Machine) -> f64 {
        let attention = 2.0 * size.layers as f64 * size.hidden as f64 * self.pairs as f64;
        self.tokens as f64 * read(size, machine) + attention / (machine.operations * EFFICIENCY)
    }
}

impl std::ops::Add for Read {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { tokens: self.tokens + other.tokens, pairs: self.pairs + other.pairs }
    }
}

impl std::ops::Mul<u64> for Read {
    type Output = Self;

    fn mul(self, times: u64) -> Self {
        Self { tokens: self.tokens * times, pairs: self.pairs * times }
    }
}

impl std::iter::Sum for Read {
    fn sum<I: Iterator<Item = Self>>(reads: I) -> Self {
        reads.fold(Self::default(), std::ops::Add::add)
    }
}

/// Keys a query sees of a text in a cell; all where no method bounds them.
pub(crate) fn seen(cell: &Cell, size: &ModelSize) -> Option<u64> {
    let arm = cell.label(Axis::Position)?.parse().ok()?;
    let reach = registry::position(&arm).ok()?.reach(size.trained as usize).ok()??;
    reach.kept().map(|kept| (kept.first + kept.last) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attention_costs_as_the_square_of_a_window_unless_queries_see_only_so_far() {
        assert_eq!(Read::new(1024, 2, None), Read { tokens: 2048, pairs: 2 << 20 });
        assert_eq!(Read::new(1024, 2, Some(64)), Read { tokens: 2048, pairs: 2 << 17 });
        assert_eq!(Read::new(64, 1, Some(64)), Read::new(64, 1, None));
    }
}
