//! Heat maps: series in rows, places in columns, values as shades with their numbers.

use harness_core::chart::{Chart, Facet, Place};

use crate::draw::Drawing;
use crate::frame::{Frame, Wish, axis_text};
use crate::letters::{self, Weight};
use crate::number::{Scale, format_short};
use crate::palette::{GRID, Hatch, INK, MUTED, ON_DARK, ON_LIGHT, PAPER, lightness, shade};
use crate::place::Area;
use crate::scene::{Align, Scene, Turn};
use crate::style::Style;
use crate::ticks::Range;

/// Height of a row.
const ROW: f64 = 22.0;
/// Panels with more columns than this stand below one another.
const WIDE: usize = 8;
/// The longest column name, where names stand upright because they do not fit level.
const LONGEST: f64 = 150.0;

pub struct Heat<'a> {
    chart: &'a Chart,
    frame: Frame,
    style: Style,
    rows: Vec<&'a str>,
    columns: Vec<&'a str>,
    range: Range,
    scale: Scale,
    /// Room for the names of rows and of columns, captions included.
    left: f64,
    below: f64,
    level: bool,
}

impl<'a> Heat<'a> {
    pub fn new(chart: &'a Chart, style: Style) -> Self {
        let (rows, columns) = (chart.series_names(), chart.categories());
        let range = Range::around(chart.points().map(|point| point.y), chart.y.log, 0.0);
        let scale = Scale::fit(&chart.y.unit, range.low.abs().max(range.high.abs()));
        let small = style.small();
        let wide = |name: &&str| letters::width(name, small, Weight::Regular);
        let most = if columns.len() > WIDE { 1 } else { 2 };
        let (side, width) = style.panels(chart, most);
        let panel = (width - 2.0 * style.edge) / side as f64 - style.u(12.0);
        let left = (rows.iter().map(wide).fold(0.0, f64::max) + style.u(10.0)).min(panel * 0.4);
        let cell = (panel - left) / columns.len().max(1) as f64;
        let widest = columns.iter().map(wide).fold(0.0, f64::max);
        let level = widest + style.u(4.0) <= cell;
        let names = if level { small } else { widest.min(style.u(LONGEST)) };
        let below = names + style.u(26.0);
        let head = style.u(if chart.facets.iter().all(|facet| facet.title.is_empty()) { 2.0 } else { 20.0 });
        let height = head + style.u(ROW) * rows.len().max(1) as f64 + below;
        let constant = move |_: f64| height;
        let caption = axis_text(&chart.y, &scale, range.log);
        let frame = Frame::new(
            chart,
            style,
            &Wish { direct: false, columns: most, height: &constant, caption, extra: style.u(18.0) },
        );
        Self { chart, frame, style, rows, columns, range, scale, left, below, level }
    }

    /// The shades with the values at their ends.
    fn scale_bar(&self, scene: &mut Scene) {
        let style = &self.style;
        let u = |length: f64| style.u(length);
        let (size, y) = (style.small(), self.frame.extra + u(4.0));
        let text = |value: f64| format_short(value / self.scale.divisor);
        let (low, high) = (text(self.range.low), text(self.range.high));
        scene.text(&low, (style.edge, y), Align::Left, size, Weight::Regular, MUTED);
        let left = style.edge + letters::width(&low, size, Weight::Regular) + u(6.0);
        let steps = 24;
        let step = u(110.0) / f64::from(steps);
        for index in 0..steps {
            let x = left + step * f64::from(index);
            let share = (f64::from(index) + 0.5) / f64::from(steps);
            // A little wider than a step, so that no paper shows between.
            scene.rectangle((x, y - u(5.0)), (x + step * 1.15, y + u(5.0)), shade(share), 1.0);
        }
        let right = left + u(110.0) + u(8.0);
        scene.text(&high, (right, y), Align::Left, size, Weight::Regular, MUTED);
    }
}

impl Drawing for Heat<'_> {
    fn frame(&self) -> &Frame {
        &self.frame
    }

    fn panel(&self, scene: &mut Scene, facet: &Facet, index: usize) {
        let (style, panel) = (&self.style, &self.frame.panels[index]);
        let u = |length: f64| style.u(length);
        let small = style.small();
        if index == 0 {
            self.scale_bar(scene);
        }
        if !facet.title.is_empty() {
            let title = letters::fit(&facet.title, style.text(), Weight::Bold, panel.width());
            scene.text(&title, (panel.left, panel.top + u(7.0)), Align::Left, style.text(), Weight::Bold, INK);
        }
        let bottom = panel.bottom - self.below;
        let plot = Area {
            left: panel.left + self.left,
            top: bottom - u(ROW) * self.rows.len().max(1) as f64,
            right: panel.right,
            bottom,
        };
        let cell = plot.width() / self.columns.len().max(1) as f64;
        let texts = facet.series.iter().flat_map(|series| &series.points);
        let widest = texts.map(|point| letters::width(&self.number(point.y), small, Weight::Regular));
        let numbered = widest.fold(0.0, f64::max) + u(3.0) <= cell;
        for (row, name) in self.rows.iter().enumerate() {
            let (top, middle) = (plot.top + u(ROW) * row as f64, plot.top + u(ROW) * (row as f64 + 0.5));
            let label = letters::fit(name, small, Weight::Regular, self.left - u(8.0));
            scene.text(&label, (plot.left - u(6.0), middle), Align::Right, small, Weight::Regular, INK);
            for (column, place) in self.columns.iter().enumerate() {
                let left = plot.left + cell * column as f64;
                let (from, to) = ((left, top), (left + cell, top + u(ROW)));
                let here = |other: &Place| matches!(other, Place::Category(name) if name == place);
                let mut series = facet.series.iter().filter(|series| series.name == *name);
                let failed =
                    series.clone().any(|series| series.failed.iter().any(|failed| failed.x.as_ref().is_some_and(here)));
                let point = series.find_map(|series| series.points.iter().find(|point| here(&point.x)));
                let centre = (left + cell / 2.0, middle);
                if let Some(point) = point {
                    let fill = shade(self.range.share(point.y));
                    scene.rectangle(from, to, fill, 1.0);
                    if numbered {
                        let ink = if lightness(fill) > 0.5 { ON_LIGHT } else { ON_DARK };
                        scene.text(&self.number(point.y), centre, Align::Centre, small, Weight::Regular, ink);
                    }
                } else if failed {
                    scene.hatch(from, to, Hatch::Rising, GRID);
                    scene.cross(centre, MUTED);
                }
                scene.outline(from, to, if point.is_some() { PAPER } else { GRID }, u(0.8));
            }
        }
        for (column, name) in self.columns.iter().enumerate() {
            let x = plot.left + cell * (column as f64 + 0.5);
            if self.level {
                let y = plot.bottom + u(10.0);
                scene.text(name, (x, y), Align::Centre, small, Weight::Regular, MUTED);
            } else if cell >= small * 0.75 || column % 2 == 0 {
                let label = letters::fit(name, small, Weight::Regular, u(LONGEST));
                let at = (x, plot.bottom + u(5.0));
                scene.turned(&label, at, Align::Right, small, Weight::Regular, MUTED, Turn::Upward);
            }
        }
        let caption = axis_text(&self.chart.x, &Scale::fit(&self.chart.x.unit, 1.0), false);
        let caption = match self.chart.series_label.as_str() {
            "" => caption,
            rows => format!("{caption} (across), {rows} (down)"),
        };
        let caption = letters::fit(&caption, style.text(), Weight::Regular, panel.width());
        scene.text(&caption, (panel.left, panel.bottom - u(8.0)), Align::Left, style.text(), Weight::Regular, MUTED);
    }
}

impl Heat<'_> {
    fn number(&self, value: f64) -> String {
        format_short(value / self.scale.divisor)
    }
}
