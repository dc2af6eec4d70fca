//! Models of several sizes, a curve for each number of bits, and the curves of one shape fitted to them.

use harness_core::chart::{Chart, Facet};

use crate::axes::{Axes, frame};
use crate::draw::Drawing;
use crate::frame::Frame;
use crate::line::{direct_margin, draw_direct};
use crate::palette::PAPER;
use crate::scene::Scene;
use crate::style::Style;

/// Dots of a fitted curve, which cannot be taken for a measured one.
const DOTS: [f64; 2] = [1.5, 3.0];

pub struct Scaling<'a> {
    axes: Axes<'a>,
    frame: Frame,
    margin: f64,
}

impl<'a> Scaling<'a> {
    pub fn new(chart: &'a Chart, style: Style) -> Self {
        let axes = Axes::new(chart, style);
        let margin = direct_margin(chart, &style);
        let frame = frame(&axes, style, margin > 0.0);
        Self { axes, frame, margin }
    }
}

impl Drawing for Scaling<'_> {
    fn frame(&self) -> &Frame {
        &self.frame
    }

    fn panel(&self, scene: &mut Scene, facet: &Facet, index: usize) {
        let style = &self.frame.style;
        let plot = self.axes.draw(scene, facet, &self.frame.panels[index], self.margin);
        let styled = || facet.series.iter().map(|series| (series, self.axes.look(&series.name)));
        for (series, look) in styled() {
            let fitted: Vec<(f64, f64)> = series.fitted.iter().filter_map(|point| plot.spot(point)).collect();
            scene.dashed(&fitted, &DOTS, look.colour, style.u(1.1));
        }
        for (series, look) in styled() {
            // Nothing is drawn where a size is missing.
            for piece in series.points.split_inclusive(|point| point.gap) {
                let path: Vec<(f64, f64)> = piece.iter().filter_map(|point| plot.spot(point)).collect();
                scene.dashed(&path, look.dash, look.colour, style.u(1.8));
            }
            series.points.iter().for_each(|point| plot.error_bars(scene, point, look, style));
        }
        for (series, look) in styled() {
            series.points.iter().filter_map(|point| plot.spot(point)).for_each(|spot| scene.mark(spot, look, PAPER));
        }
        plot.failures(scene, facet, style);
        if self.margin > 0.0 {
            draw_direct(scene, facet, &plot, style);
        }
    }
}
