//! Bars with error bars.

use harness_core::chart::{Chart, Facet};

use crate::draw::Drawing;
use crate::frame::Frame;
use crate::letters::Weight;
use crate::number::format_value;
use crate::palette::{INK, MUTED, PAPER};
use crate::rows::Rows;
use crate::scene::{Align, Scene};
use crate::style::Style;

/// Room for the number behind a bar.
const NUMBER: f64 = 58.0;

pub struct Bars<'a>(Rows<'a>);

impl<'a> Bars<'a> {
    pub fn new(chart: &'a Chart, style: Style) -> Self {
        let ends = chart.points().flat_map(|point| {
            let (low, high) = point.interval.unwrap_or((point.y, point.y));
            [point.y, low, high]
        });
        // A bar is read by its length, so it starts at zero unless the axis is logarithmic.
        Self(Rows::new(chart, style, ends.collect(), true, style.u(NUMBER)))
    }
}

impl Drawing for Bars<'_> {
    fn frame(&self) -> &Frame {
        &self.0.frame
    }

    fn panel(&self, scene: &mut Scene, facet: &Facet, index: usize) {
        let rows = &self.0;
        let style = &rows.style;
        let u = |length: f64| style.u(length);
        let (plot, all) = rows.draw(scene, facet, &rows.frame.panels[index]);
        let base = if rows.range.log { plot.left } else { rows.across(&plot, 0.0) };
        for row in &all {
            for point in row.points() {
                let end = rows.across(&plot, point.y);
                let (from, to) = ((base.min(end), row.top + u(1.0)), (base.max(end), row.bottom - u(1.0)));
                scene.rectangle(from, to, row.look.colour, 1.0);
                scene.hatch(from, to, row.look.hatch, PAPER);
                let mut last = end;
                if let Some((low, high)) = point.interval {
                    let (low, high) = (rows.across(&plot, low), rows.across(&plot, high));
                    last = last.max(high);
                    scene.error_bar(row.centre(), (low, high), false, None, u(1.1));
                }
                let text = format_value(point.y / rows.scale.divisor);
                let at = (last.max(base) + u(6.0), row.centre());
                scene.text(&text, at, Align::Left, style.small(), Weight::Regular, MUTED);
            }
            if row.failed() {
                rows.failure(scene, row, base);
            }
        }
        scene.line(&[(base, plot.top), (base, plot.bottom)], INK, u(0.9));
    }
}
