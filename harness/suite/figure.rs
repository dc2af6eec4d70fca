//! Declared figures and tables, resolved.

pub use harness_core::chart::ChartKind as FigureKind;
use harness_core::chart::{IntervalStyle, StyleName};
use harness_core::statistics::{LawForm, LengthRule};
use harness_core::{Arm, Axis};

use crate::column::{Column, Condition, Coordinates};
use crate::expect::matches_arm;

/// The keys that a kind of figure has beside those that all have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KindKeys {
    /// Those it needs.
    pub required: &'static [&'static str],
    /// Those it may have.
    pub optional: &'static [&'static str],
    /// What it shows, in a sentence.
    pub about: &'static str,
}

/// What a kind of figure is told by.
pub fn kind_keys(kind: FigureKind) -> KindKeys {
    let keys = |required, optional, about| KindKeys { required, optional, about };
    match kind {
        FigureKind::Line => keys(
            &["x", "y"],
            &["series", "reference", "minus", "threshold", "drop"],
            "points joined along x, with interval bands; with `threshold` also the largest x up to which each series passes",
        ),
        FigureKind::Bar => keys(&["x", "y"], &["series", "reference"], "one bar a cell, with error bars"),
        FigureKind::Scatter => keys(&["x", "y"], &["series", "reference"], "points with error bars in both directions"),
        FigureKind::Pareto => keys(
            &["x", "y"],
            &["series", "reference"],
            "points of two metrics; those that no other beats are joined, the others faded",
        ),
        FigureKind::Heat => keys(&["x", "y", "value"], &[], "a shade for each x and y"),
        FigureKind::Box => keys(&["x", "y"], &["series", "minus"], "quartiles, whiskers and outliers of raw samples"),
        FigureKind::Violin => keys(&["x", "y"], &["series", "minus"], "the density of raw samples"),
        FigureKind::Histogram => keys(&["x"], &["series", "minus"], "counts of the raw samples of the metric x"),
        FigureKind::Profile => keys(&["x", "y"], &["series"], "a metric along the layers or along a window"),
        FigureKind::Fit => keys(&["x", "y"], &["series", "form"], "points and the law fitted through them"),
        FigureKind::Scaling => keys(
            &["x", "y", "series", "reference"],
            &[],
            "models of several sizes by bits of the whole model, a curve for each number of bits a weight, which one is the \
                lowest and whether that is told; the reference is the curve of 16 bits",
        ),
    }
}

/// The arm drawn as a reference beside the series.
#[derive(Debug, Clone, PartialEq)]
pub enum Reference {
    /// The untouched model: `none` wherever weights or what is kept of a text could be changed; written `dense`.
    Dense,
    /// Cells with this arm: its id, and the parameters that were given.
    Arm(Axis, Arm),
}

impl Reference {
    /// Whether a cell is the reference.
    pub fn matches(&self, cell: &impl Coordinates) -> bool {
        match self {
            Self::Dense => (Axis::ALL.into_iter().filter(|axis| axis.changes_model()))
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
    /// The metric shown: upwards, as a shade in a heat map, by its samples in a histogram.
    pub y: String,
    /// What makes a series, or the rows of a heat map; see [`Column::group`].
    pub series: Option<Column>,
    /// What makes a panel.
    pub facet: Option<Column>,
    /// Cells shown: those for which all hold.
    pub conditions: Vec<Condition>,
    /// Whether x is logarithmic.
    pub log_x: bool,
    /// Whether the metric is.
    pub log_y: bool,
    /// The arm drawn beside the series, whatever the conditions say of it.
    pub reference: Option<Reference>,
    /// The arm whose samples are taken from those of every other, sample by sample; in a line whose value is.
    pub minus: Option<Reference>,
    /// Which law a fit draws.
    pub form: LawForm,
    /// Up to which x a series counts as good.
    pub rule: Option<LengthRule>,
    /// Where it is to be seen besides the page of the report.
    pub styles: Vec<StyleName>,
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
