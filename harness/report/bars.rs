//! Horizontal bars, so that names of arms are read without turning the head.

use harness_core::chart::{Chart, Facet, Place};
use plotters_backend::DrawingBackend;

use crate::canvas::{Align, Canvas, DrawError};
use crate::frame::{Frame, REFERENCE, SMALL, TEXT, axis_text};
use crate::letters::{self, Weight};
use crate::number::{Scale, format_value};
use crate::palette::{GRID, INK, MUTED, look};
use crate::place::Area;
use crate::ticks::Range;

const BAR: f64 = 13.0;
const SPACE: f64 = 9.0;
/// Room for the number behind a bar.
const NUMBER: f64 = 58.0;

/// A laid-out bar chart.
pub struct Bars<'a> {
    chart: &'a Chart,
    pub frame: Frame,
    names: Vec<&'a str>,
    categories: Vec<&'a str>,
    range: Range,
    scale: Scale,
    /// Room for the titles of panels.
    head: f64,
}

impl<'a> Bars<'a> {
    pub fn new(chart: &'a Chart) -> Self {
        let (names, categories) = (chart.series_names(), chart.categories());
        let points = chart.facets.iter().flat_map(|facet| &facet.series).flat_map(|series| &series.points);
        let ends = points.flat_map(|point| {
            let (low, high) = point.interval.unwrap_or((point.y, point.y));
            [point.y, low, high]
        });
        let references = chart.facets.iter().flat_map(|facet| &facet.references).map(|reference| reference.y);
        let values: Vec<f64> = ends.chain(references).collect();
        let log = chart.y.log && values.iter().all(|value| *value > 0.0);
        // A bar is read by its length, so it starts at zero unless the axis is logarithmic.
        let start = if log { None } else { Some(0.0) };
        let range = Range::around(values.into_iter().chain(start), log, 0.04);
        let scale = Scale::fit(&chart.y.unit, range.low.abs().max(range.high.abs()));
        let group = BAR * names.len().max(1) as f64 + SPACE;
        let head = if chart.facets.iter().all(|facet| facet.title.is_empty()) { 2.0 } else { 20.0 };
        let height = head + group * categories.len().max(1) as f64 + 42.0;
        let frame = Frame::new(chart, false, |_| height, String::new());
        Self { chart, frame, names, categories, range, scale, head }
    }

    pub fn draw<B: DrawingBackend>(&self, canvas: &mut Canvas<B>) -> Result<(), DrawError> {
        self.frame.draw(canvas)?;
        for (facet, panel) in self.chart.facets.iter().zip(&self.frame.panels) {
            self.draw_panel(canvas, facet, panel)?;
        }
        Ok(())
    }

    fn draw_panel<B: DrawingBackend>(
        &self,
        canvas: &mut Canvas<B>,
        facet: &Facet,
        panel: &Area,
    ) -> Result<(), DrawError> {
        let widest = self.categories.iter().map(|name| letters::width(name, TEXT, Weight::Regular)).fold(0.0, f64::max);
        let room = (widest + 10.0).min(panel.width() * 0.42);
        let plot = Area {
            left: panel.left + room,
            top: panel.top + self.head,
            right: panel.right - NUMBER,
            bottom: panel.bottom - 42.0,
        };
        if !facet.title.is_empty() {
            let title = letters::fit(&facet.title, TEXT, Weight::Bold, panel.width());
            canvas.text(&title, (panel.left, panel.top + 7.0), Align::Left, TEXT, Weight::Bold, INK)?;
        }
        let over = self.scale.divisor;
        let shown = Range { low: self.range.low / over, high: self.range.high / over, log: self.range.log };
        let x_at = |value: f64| plot.left + self.range.share(value).clamp(0.0, 1.0) * plot.width();
        for (value, text) in shown.ticks((plot.width() / 90.0).floor().max(2.0) as usize) {
            let x = plot.left + shown.share(value) * plot.width();
            canvas.line(&[(x, plot.top), (x, plot.bottom)], GRID, 0.8)?;
            canvas.text(&text, (x, plot.bottom + 10.0), Align::Centre, SMALL, Weight::Regular, MUTED)?;
        }
        let caption =
            letters::fit(&axis_text(&self.chart.y, &self.scale), TEXT, Weight::Regular, plot.width() + NUMBER);
        canvas.text(&caption, (plot.left, plot.bottom + 28.0), Align::Left, TEXT, Weight::Regular, MUTED)?;
        for reference in &facet.references {
            let x = x_at(reference.y);
            canvas.dashed(&[(x, plot.top), (x, plot.bottom)], REFERENCE, MUTED, 1.2)?;
        }
        let group = BAR * self.names.len().max(1) as f64 + SPACE;
        let base = if self.range.log { plot.left } else { x_at(0.0) };
        for (index, category) in self.categories.iter().enumerate() {
            let top = plot.top + group * index as f64 + SPACE / 2.0;
            let middle = top + (group - SPACE) / 2.0;
            let label = letters::fit(category, TEXT, Weight::Regular, room - 8.0);
            canvas.text(&label, (plot.left - 8.0, middle), Align::Right, TEXT, Weight::Regular, INK)?;
            let here = |place: &Place| matches!(place, Place::Category(name) if name == category);
            for (number, name) in self.names.iter().enumerate() {
                let y = top + BAR * number as f64;
                let centre = y + BAR / 2.0;
                let look = look(number);
                let series = facet.series.iter().filter(|series| series.name == *name);
                for series in series {
                    for point in series.points.iter().filter(|point| here(&point.x)) {
                        let end = x_at(point.y);
                        let (from, to) = (base.min(end), base.max(end));
                        canvas.rectangle((from, y + 1.0), (to, y + BAR - 1.0), look.colour, 1.0)?;
                        let mut last = end;
                        if let Some((low, high)) = point.interval {
                            let (low, high) = (x_at(low), x_at(high));
                            last = last.max(high);
                            if high - low > 1.0 {
                                canvas.line(&[(low, centre), (high, centre)], INK, 1.1)?;
                                for cap in [low, high] {
                                    canvas.line(&[(cap, centre - 3.0), (cap, centre + 3.0)], INK, 1.1)?;
                                }
                            }
                        }
                        let text = format_value(point.y / over);
                        let at = (last.max(base) + 6.0, centre);
                        canvas.text(&text, at, Align::Left, SMALL, Weight::Regular, MUTED)?;
                    }
                    if series.failed.iter().any(|failed| failed.x.as_ref().is_some_and(here)) {
                        canvas.cross((base + 7.0, centre), look.colour)?;
                        canvas.text("failed", (base + 15.0, centre), Align::Left, SMALL, Weight::Regular, MUTED)?;
                    }
                }
            }
        }
        canvas.line(&[(base, plot.top), (base, plot.bottom)], INK, 0.9)
    }
}
