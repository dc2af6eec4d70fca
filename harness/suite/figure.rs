//! Declared figures and tables, resolved.

use harness_core::chart::IntervalStyle;
use harness_core::{Arm, Axis};

use crate::column::{Column, Condition, Coordinates};
use crate::expect::matches_arm;

/// How a figure is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FigureKind {
    /// Points of a series joined in the order of x.
    Line,
    /// One bar a cell.
    Bar,
    /// Points only.
    Scatter,
}

impl FigureKind {
    /// All kinds, as written.
    pub const ALL: [(&'static str, Self); 3] = [("line", Self::Line), ("bar", Self::Bar), ("scatter", Self::Scatter)];

    /// The word in a suite.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(word, _)| word)
    }
}

/// The arm drawn as a reference beside the series.
#[derive(Debug, Clone, PartialEq)]
pub enum Reference {
    /// The untouched model: `none` wherever weights could be changed; written `dense`.
    Dense,
    /// Cells with this arm: its id, and the parameters that were given.
    Arm(Axis, Arm),
}

impl Reference {
    /// Whether a cell is the reference.
    pub fn matches(&self, cell: &impl Coordinates) -> bool {
        match self {
            Self::Dense => [Axis::Train, Axis::Lowrank, Axis::Prune, Axis::Quant]
                .into_iter()
                .filter_map(|axis| cell.coordinate(axis))
                .all(|at| at.id == "none"),
            Self::Arm(axis, arm) => cell.coordinate(*axis).is_some_and(|at| matches_arm(at, arm)),
        }
    }
}

/// One `[[figure]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// File name without extension, unique in the suite.
    pub name: String,
    /// How it is drawn.
    pub kind: FigureKind,
    /// Heading; `None` leaves it to the report.
    pub title: Option<String>,
    /// Horizontal column.
    pub x: Column,
    /// Vertical column: always a metric.
    pub y: String,
    /// What makes a series; see [`Column::group`].
    pub series: Option<Column>,
    /// What makes a panel.
    pub facet: Option<Column>,
    /// Cells shown: those for which all hold.
    pub conditions: Vec<Condition>,
    /// Whether x is logarithmic.
    pub log_x: bool,
    /// Whether y is logarithmic.
    pub log_y: bool,
    /// The arm drawn beside the series, whatever the conditions say of it.
    pub reference: Option<Reference>,
}

/// One `[[table]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct TableRequest {
    /// File name without extension, unique in the suite.
    pub name: String,
    /// Heading; `None` leaves it to the report.
    pub title: Option<String>,
    /// What makes a row, outermost first; never empty.
    pub rows: Vec<Column>,
    /// What makes a group of columns; empty for none.
    pub columns: Vec<Column>,
    /// Metric ids shown, in order; never empty.
    pub metrics: Vec<String>,
    /// Cells shown: those for which all hold.
    pub conditions: Vec<Condition>,
    /// What rows must have in common to be compared for the best; `None` for every row column but the last.
    pub within: Option<Vec<Column>>,
    /// The arm that is shown and never competes.
    pub reference: Option<Reference>,
    /// How intervals are written.
    pub intervals: IntervalStyle,
}

impl TableRequest {
    /// The columns that rows must have in common to be compared for the best.
    pub fn compared_within(&self) -> &[Column] {
        self.within.as_deref().unwrap_or_else(|| self.rows.split_last().map_or(&[], |(_, outer)| outer))
    }
}

/// The ways of writing an interval, as written in a suite.
pub const INTERVAL_STYLES: [(&str, IntervalStyle); 3] =
    [("plus-minus", IntervalStyle::PlusMinus), ("range", IntervalStyle::Range), ("none", IntervalStyle::Hidden)];
