//! Charts and tables as pure values: what is shown, without how it is drawn.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::metric::Direction;

/// The form of a chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChartKind {
    /// Points joined along x, with a band of their intervals.
    Line,
    /// One bar a category and series, with error bars.
    Bar,
    /// Points alone, with error bars.
    Scatter,
    /// Points alone; those that no other beats are joined, the others faded.
    Pareto,
    /// A shade for each category and series: series are rows.
    Heat,
    /// Quartiles, whiskers and outliers of raw samples.
    Box,
    /// The density of raw samples, with their quartiles.
    Violin,
    /// Counts of raw samples in bins.
    Histogram,
    /// Values along something that runs through a cell, such as the layers of a model.
    Profile,
    /// Points with a law fitted through them.
    Fit,
    /// Points of several sizes joined by precision, with curves of one shape at heights of their own.
    Scaling,
}

impl ChartKind {
    /// All kinds, as written in suites.
    pub const ALL: [(&'static str, Self); 11] = [
        ("line", Self::Line),
        ("bar", Self::Bar),
        ("scatter", Self::Scatter),
        ("pareto", Self::Pareto),
        ("heat", Self::Heat),
        ("box", Self::Box),
        ("violin", Self::Violin),
        ("histogram", Self::Histogram),
        ("profile", Self::Profile),
        ("fit", Self::Fit),
        ("scaling", Self::Scaling),
    ];

    /// The word in a suite.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(word, _)| word)
    }

    /// Whether categories stand in rows from top to bottom and values run across.
    pub fn lies(self) -> bool {
        matches!(self, Self::Bar | Self::Box | Self::Violin)
    }
}

/// Where a chart is meant to be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StyleName {
    /// On a page on a screen, with title and notes.
    #[default]
    Web,
    /// One column of a paper, 3.3 inches.
    #[serde(rename = "paper-1col")]
    Paper1Col,
    /// Both columns of a paper, 6.9 inches.
    #[serde(rename = "paper-2col")]
    Paper2Col,
    /// A slide of 10 by 5.6 inches.
    Slides,
}

impl StyleName {
    /// All styles, as written.
    pub const ALL: [(&'static str, Self); 4] = [
        ("web", Self::Web),
        ("paper-1col", Self::Paper1Col),
        ("paper-2col", Self::Paper2Col),
        ("slides", Self::Slides),
    ];

    /// The word in a suite and in file names.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(_, style)| *style == self).map_or("", |(word, _)| word)
    }
}

impl std::str::FromStr for StyleName {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let known = || Self::ALL.map(|(word, _)| word).join(", ");
        let found = Self::ALL.iter().find(|(known, _)| *known == word).map(|(_, style)| *style);
        found.ok_or_else(|| format!("`{word}` is no style of a figure; there is {}", known()))
    }
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
    /// Whether a point that belongs between it and the next one of its series is missing, so that they are not joined.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gap: bool,
    /// How far it reaches along x: the interval of a measured x, or the edges of a bin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reach: Option<(f64, f64)>,
    /// The raw samples behind it, each reduced alone, where the form of the chart shows them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<f64>,
    /// Whether another point is at least as good in both directions and better in one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dominated: bool,
}

impl Point {
    /// A bare value.
    pub fn new(x: Place, y: f64) -> Self {
        Self { x, y, interval: None, label: None, gap: false, reach: None, samples: Vec::new(), dominated: false }
    }
}

/// A point that has no value because its cell failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FailedPoint {
    /// Where along x it would have stood; `None` when that is not known either.
    pub x: Option<Place>,
    /// Why.
    pub reason: String,
}

/// A law through the points of a series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FittedLaw {
    /// Floor, scale and exponent of `y = floor + scale · x^exponent`, each with its interval where it has one; a floor
    /// of a law without one is 0 and has none.
    pub floor: (f64, Option<(f64, f64)>),
    /// See `floor`.
    pub scale: (f64, Option<(f64, f64)>),
    /// See `floor`.
    pub exponent: (f64, Option<(f64, f64)>),
    /// The curve in order of x, with intervals where there are any.
    pub curve: Vec<Point>,
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
    /// The law through the points, in charts of fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub law: Option<FittedLaw>,
    /// The curve fitted to it, in charts of scaling.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fitted: Vec<Point>,
}

impl Series {
    /// A series without points.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), points: Vec::new(), failed: Vec::new(), law: None, fitted: Vec::new() }
    }
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
    /// What makes a series, in words; the rows of a heat map. Empty where there is one series only.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub series_label: String,
    /// Ids of the cells it shows, failed ones included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cells: Vec<String>,
    /// Where it is to be seen besides the page of the report.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub styles: Vec<StyleName>,
}

impl Chart {
    /// A chart of nothing, for building on.
    pub fn new(id: impl Into<String>, title: impl Into<String>, kind: ChartKind, x: ChartAxis, y: ChartAxis) -> Self {
        Self {
            id: id.into(),
            title: title.into(),
            kind,
            x,
            y,
            facets: Vec::new(),
            note: None,
            series_label: String::new(),
            cells: Vec::new(),
            styles: Vec::new(),
        }
    }

    /// Every series of every facet.
    pub fn series(&self) -> impl Iterator<Item = &Series> + Clone {
        self.facets.iter().flat_map(|facet| &facet.series)
    }

    /// Every point that has a value.
    pub fn points(&self) -> impl Iterator<Item = &Point> + Clone {
        self.series().flat_map(|series| &series.points)
    }

    /// Names of all series in order of first appearance.
    pub fn series_names(&self) -> Vec<&str> {
        let mut seen = HashSet::new();
        self.series().map(|series| series.name.as_str()).filter(|name| seen.insert(*name)).collect()
    }

    /// Categories along x in order of first appearance.
    pub fn categories(&self) -> Vec<&str> {
        let mut seen = HashSet::new();
        let places = self.series().flat_map(|series| {
            series.points.iter().map(|point| &point.x).chain(series.failed.iter().filter_map(|point| point.x.as_ref()))
        });
        let names =
            places.filter_map(|place| if let Place::Category(name) = place { Some(name.as_str()) } else { None });
        names.filter(|name| seen.insert(*name)).collect()
    }

    /// How many cells failed.
    pub fn failed(&self) -> usize {
        self.series().map(|series| series.failed.len()).sum()
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
        let point = |x: &str| Point::new(Place::Category(x.into()), 1.0);
        let series = |name: &str, xs: &[&str]| Series {
            name: name.into(),
            points: xs.iter().map(|x| point(x)).collect(),
            failed: vec![FailedPoint { x: Some(Place::Category("z".into())), reason: "NaN".into() }],
            law: None,
            fitted: Vec::new(),
        };
        let facet = |series| Facet { title: String::new(), series, references: Vec::new() };
        let mut chart = Chart::new("c", "C", ChartKind::Bar, ChartAxis::plain("x"), ChartAxis::plain("y"));
        chart.facets = vec![facet(vec![series("b", &["q", "p"])]), facet(vec![series("a", &["p"]), series("b", &[])])];
        assert_eq!(chart.series_names(), ["b", "a"]);
        assert_eq!(chart.categories(), ["q", "p", "z"]);
        assert_eq!(chart.failed(), 3);
    }

    #[test]
    fn styles_are_read_as_they_are_written() {
        for (word, style) in StyleName::ALL {
            assert_eq!((word.parse(), style.word()), (Ok(style), word));
            assert_eq!(serde_json::to_string(&style).ok(), Some(format!("\"{word}\"")));
        }
        assert!("paper".parse::<StyleName>().is_err_and(|error| error.contains("paper-2col")));
    }
}
