//! Charts and tables as pure values: what is shown, without how it is drawn.

use serde::{Deserialize, Serialize};

use crate::metric::Direction;

/// The form of a chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChartKind {
    /// Points joined along x, with a band of their intervals.
    Line,
    /// One bar a category and series, with error bars.
    Bar,
    /// Points alone, with error bars.
    Scatter,
}

/// One axis of a chart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChartAxis {
    /// What it shows.
    pub label: String,
    /// Unit of the numbers (`bytes`, `tokens/s`, `s`, `1` for none).
    pub unit: String,
    /// Whether it is logarithmic.
    pub log: bool,
    /// Which way is good.
    pub direction: Direction,
}

impl ChartAxis {
    /// A linear axis without unit.
    pub fn plain(label: impl Into<String>) -> Self {
        Self { label: label.into(), unit: "1".into(), log: false, direction: Direction::Neutral }
    }
}

/// A place along x.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Place {
    /// A number.
    Number(f64),
    /// A category; categories stand in order of first appearance.
    Category(String),
}

/// One point of a series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Where along x.
    pub x: Place,
    /// The value.
    pub y: f64,
    /// Interval of the value.
    pub interval: Option<(f64, f64)>,
    /// A name to show beside it.
    pub label: Option<String>,
}

/// A point that has no value because its cell failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FailedPoint {
    /// Where along x it would have stood; `None` when that is not known either.
    pub x: Option<Place>,
    /// Why.
    pub reason: String,
}

/// Points of one colour and mark.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Name in the legend. Series of one name have one colour in all facets.
    pub name: String,
    /// Points in order of x.
    pub points: Vec<Point>,
    /// Cells that failed.
    pub failed: Vec<FailedPoint>,
}

/// A horizontal line across a facet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// What it marks.
    pub label: String,
    /// The value.
    pub y: f64,
}

/// One of several small charts with common axes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facet {
    /// What is fixed in it; empty when there is one only.
    pub title: String,
    /// Its series.
    pub series: Vec<Series>,
    /// Its reference lines.
    pub references: Vec<Reference>,
}

/// A chart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chart {
    /// Stem of its file names: lower-case words joined by hyphens.
    pub id: String,
    /// Title.
    pub title: String,
    /// Form.
    pub kind: ChartKind,
    /// Axis across.
    pub x: ChartAxis,
    /// Axis up.
    pub y: ChartAxis,
    /// The small charts, at least one.
    pub facets: Vec<Facet>,
    /// What the reader should know, such as how intervals were made.
    pub note: Option<String>,
}

impl Chart {
    /// Names of all series in order of first appearance.
    pub fn series_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for series in self.facets.iter().flat_map(|facet| &facet.series) {
            if !names.contains(&series.name.as_str()) {
                names.push(&series.name);
            }
        }
        names
    }

    /// Categories along x in order of first appearance.
    pub fn categories(&self) -> Vec<&str> {
        let mut categories: Vec<&str> = Vec::new();
        let series = self.facets.iter().flat_map(|facet| &facet.series);
        for place in series.flat_map(|series| {
            series.points.iter().map(|point| &point.x).chain(series.failed.iter().filter_map(|point| point.x.as_ref()))
        }) {
            if let Place::Category(name) = place
                && !categories.contains(&name.as_str())
            {
                categories.push(name);
            }
        }
        categories
    }

    /// How many cells failed.
    pub fn failed(&self) -> usize {
        self.facets.iter().flat_map(|facet| &facet.series).map(|series| series.failed.len()).sum()
    }
}

/// One column of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Machine name: a metric id or an axis.
    pub name: String,
    /// Heading.
    pub label: String,
    /// Heading over this and the neighbouring columns of the same group; empty for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Unit of its numbers; empty for text.
    pub unit: String,
    /// Which way is good.
    pub direction: Direction,
}

impl Column {
    /// A column of text.
    pub fn text(name: impl Into<String>) -> Self {
        let name = name.into();
        Self { label: name.clone(), name, group: String::new(), unit: String::new(), direction: Direction::Neutral }
    }

    /// Whether it holds numbers.
    pub fn is_number(&self) -> bool {
        !self.unit.is_empty()
    }
}

/// How a number stands among the numbers it is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Not compared, or worse than the best.
    #[default]
    Plain,
    /// The best, and told apart from every other by a test.
    Best,
    /// Not told apart from the best; the best itself where there are such others.
    Tied,
}

/// One entry of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Entry {
    /// Text.
    Text(String),
    /// A number with its interval where it has one.
    Number {
        /// The value.
        value: f64,
        /// Its interval.
        interval: Option<(f64, f64)>,
        /// How it stands among those it is compared with.
        #[serde(default)]
        standing: Standing,
    },
    /// No number, and why.
    Absent(String),
    /// The cell failed, and why.
    Failed(String),
    /// Nothing belongs here.
    Empty,
}

impl Entry {
    /// A number that is compared with nothing.
    pub fn number(value: f64, interval: Option<(f64, f64)>) -> Self {
        Self::Number { value, interval, standing: Standing::Plain }
    }
}

/// How a table writes the interval of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IntervalStyle {
    /// `12.3 [11.9, 12.8]`
    #[default]
    Range,
    /// `12.3 ± 0.5`: the longer of the two sides, so that the interval is never made narrower.
    PlusMinus,
    /// `12.3`
    Hidden,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Table {
    /// Stem of its file names and its anchor.
    pub id: String,
    /// Title.
    pub title: String,
    /// Columns.
    pub columns: Vec<Column>,
    /// Rows, each as long as the columns.
    pub rows: Vec<Vec<Entry>>,
    /// What the reader should know: what is constant, the level of the intervals.
    pub note: Option<String>,
    /// How intervals are written.
    #[serde(default)]
    pub intervals: IntervalStyle,
    /// Id of the cell that each row shows; empty when rows are not cells.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cells: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_in_order_of_first_appearance() {
        let point = |x: &str| Point { x: Place::Category(x.into()), y: 1.0, interval: None, label: None };
        let series = |name: &str, xs: &[&str]| Series {
            name: name.into(),
            points: xs.iter().map(|x| point(x)).collect(),
            failed: vec![FailedPoint { x: Some(Place::Category("z".into())), reason: "NaN".into() }],
        };
        let facet = |series| Facet { title: String::new(), series, references: Vec::new() };
        let chart = Chart {
            id: "c".into(),
            title: "C".into(),
            kind: ChartKind::Bar,
            x: ChartAxis::plain("x"),
            y: ChartAxis::plain("y"),
            facets: vec![facet(vec![series("b", &["q", "p"])]), facet(vec![series("a", &["p"]), series("b", &[])])],
            note: None,
        };
        assert_eq!(chart.series_names(), ["b", "a"]);
        assert_eq!(chart.categories(), ["q", "p", "z"]);
        assert_eq!(chart.failed(), 3);
    }
}
