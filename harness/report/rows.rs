//! Charts that lie: categories in rows from top to bottom, so that names of arms are read without turning the head, and
//! values across.

use harness_core::chart::{Chart, ChartKind, Facet, Place, Point, Series};

use crate::frame::{Frame, REFERENCE, Wish, axis_text};
use crate::letters::{self, Weight};
use crate::number::Scale;
use crate::palette::{GRID, INK, Look, MUTED, PAPER, look};
use crate::place::Area;
use crate::scene::{Align, Scene};
use crate::style::Style;
use crate::ticks::Range;

/// Height of a bar or box, and the space between categories.
const BAR: f64 = 13.0;
const BOX: f64 = 17.0;
const SPACE: f64 = 9.0;

/// The layout of such a chart.
pub struct Rows<'a> {
    pub chart: &'a Chart,
    pub frame: Frame,
    pub range: Range,
    pub scale: Scale,
    pub style: Style,
    names: Vec<&'a str>,
    categories: Vec<&'a str>,
    /// Height of one row of one series.
    bar: f64,
    /// Room behind the plot, for numbers.
    behind: f64,
    head: f64,
}

/// One row of one series in one panel.
pub struct Row<'a> {
    pub series: &'a Series,
    pub look: Look,
    pub category: &'a str,
    pub top: f64,
    pub bottom: f64,
}

impl Row<'_> {
    pub fn centre(&self) -> f64 {
        f64::midpoint(self.top, self.bottom)
    }

    fn here(&self, place: &Place) -> bool {
        matches!(place, Place::Category(name) if name == self.category)
    }

    /// The points of the row.
    pub fn points(&self) -> impl Iterator<Item = &Point> {
        self.series.points.iter().filter(|point| self.here(&point.x))
    }

    /// Whether a cell of the row failed.
    pub fn failed(&self) -> bool {
        self.series.failed.iter().any(|failed| failed.x.as_ref().is_some_and(|place| self.here(place)))
    }
}

impl<'a> Rows<'a> {
    /// Lays out a chart whose plots must hold `values`; `behind` is kept free at their right.
    pub fn new(chart: &'a Chart, style: Style, values: Vec<f64>, zero: bool, behind: f64) -> Self {
        let (names, categories) = (chart.series_names(), chart.categories());
        let references = chart.facets.iter().flat_map(|facet| &facet.references).map(|reference| reference.y);
        let values: Vec<f64> = values.into_iter().chain(references).collect();
        let log = chart.y.log && values.iter().all(|value| *value > 0.0);
        let start = (zero && !log).then_some(0.0);
        let range = Range::around(values.into_iter().chain(start), log, 0.04);
        let scale = Scale::fit(&chart.y.unit, range.low.abs().max(range.high.abs()));
        let bar = style.u(if chart.kind == ChartKind::Bar { BAR } else { BOX });
        let group = bar * names.len().max(1) as f64 + style.u(SPACE);
        let head = style.u(if chart.facets.iter().all(|facet| facet.title.is_empty()) { 2.0 } else { 20.0 });
        let height = head + group * categories.len().max(1) as f64 + style.u(42.0);
        let constant = move |_: f64| height;
        let wish = Wish { direct: false, columns: 2, height: &constant, caption: String::new(), extra: 0.0 };
        let frame = Frame::new(chart, style, &wish);
        Self { chart, frame, range, scale, style, names, categories, bar, behind, head }
    }

    /// Where a value lies across.
    pub fn across(&self, plot: &Area, value: f64) -> f64 {
        plot.left + self.range.share(value).clamp(0.0, 1.0) * plot.width()
    }

    /// Draws grid, names and captions of a panel, and gives its plot and its rows.
    pub fn draw<'f>(&self, scene: &mut Scene, facet: &'f Facet, panel: &Area) -> (Area, Vec<Row<'f>>)
    where
        'a: 'f,
    {
        let style = &self.style;
        let u = |length: f64| style.u(length);
        let widest =
            self.categories.iter().map(|name| letters::width(name, style.text(), Weight::Regular)).fold(0.0, f64::max);
        let room = (widest + u(10.0)).min(panel.width() * 0.45);
        let plot = Area {
            left: panel.left + room,
            top: panel.top + self.head,
            right: panel.right - self.behind,
            bottom: panel.bottom - u(42.0),
        };
        if !facet.title.is_empty() {
            let title = letters::fit(&facet.title, style.text(), Weight::Bold, panel.width());
            scene.text(&title, (panel.left, panel.top + u(7.0)), Align::Left, style.text(), Weight::Bold, INK);
        }
        self.ticks(scene, &plot, panel);
        for reference in &facet.references {
            let x = self.across(&plot, reference.y);
            scene.dashed(&[(x, plot.top), (x, plot.bottom)], REFERENCE, MUTED, u(1.2));
        }
        let group = self.bar * self.names.len().max(1) as f64 + u(SPACE);
        let mut rows = Vec::new();
        for (index, category) in self.categories.iter().enumerate() {
            let top = plot.top + group * index as f64 + u(SPACE) / 2.0;
            let middle = top + (group - u(SPACE)) / 2.0;
            let label = letters::fit(category, style.text(), Weight::Regular, room - u(8.0));
            scene.text(&label, (plot.left - u(8.0), middle), Align::Right, style.text(), Weight::Regular, INK);
            for (number, name) in self.names.iter().enumerate() {
                let top = top + self.bar * number as f64;
                rows.extend(facet.series.iter().filter(|series| series.name == *name).map(|series| Row {
                    series,
                    look: look(number),
                    category,
                    top,
                    bottom: top + self.bar,
                }));
            }
        }
        (plot, rows)
    }

    fn ticks(&self, scene: &mut Scene, plot: &Area, panel: &Area) {
        let style = &self.style;
        let u = |length: f64| style.u(length);
        let over = self.scale.divisor;
        let shown = Range { low: self.range.low / over, high: self.range.high / over, log: self.range.log };
        let mut last = f64::NEG_INFINITY;
        for (value, text) in shown.ticks((plot.width() / u(80.0)).floor().max(2.0) as usize) {
            let x = plot.left + shown.share(value) * plot.width();
            let half = letters::width(&text, style.small(), Weight::Regular) / 2.0;
            scene.line(&[(x, plot.top), (x, plot.bottom)], GRID, u(0.8));
            if x - half > last + u(6.0) && x + half <= panel.right {
                scene.text(&text, (x, plot.bottom + u(10.0)), Align::Centre, style.small(), Weight::Regular, MUTED);
                last = x + half;
            }
        }
        let caption = axis_text(&self.chart.y, &self.scale, self.range.log);
        let wide = letters::width(&caption, style.text(), Weight::Regular);
        // Long captions start further left, where the names of categories end.
        let left = plot.left.min((panel.right - wide).max(panel.left));
        let caption = letters::fit(&caption, style.text(), Weight::Regular, panel.right - left);
        scene.text(&caption, (left, plot.bottom + u(28.0)), Align::Left, style.text(), Weight::Regular, MUTED);
    }

    /// The cross of a failed cell with its word.
    pub fn failure(&self, scene: &mut Scene, row: &Row, x: f64) {
        let style = &self.style;
        scene.cross((x + style.u(7.0), row.centre()), row.look.colour);
        let at = (x + style.u(15.0), row.centre());
        // Lines of the grid must not run through the word.
        let wide = letters::width("failed", style.small(), Weight::Regular);
        let (from, to) = ((at.0, at.1 - style.u(5.0)), (at.0 + wide, at.1 + style.u(5.0)));
        scene.rectangle(from, to, PAPER, 0.85);
        scene.text("failed", at, Align::Left, style.small(), Weight::Regular, MUTED);
    }
}
