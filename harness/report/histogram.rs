//! Counts in bins: outlines over pale areas, so that several series can share a plot.

use harness_core::chart::{Chart, Facet, Place};

use crate::axes::{Axes, frame};
use crate::draw::Drawing;
use crate::frame::Frame;
use crate::scene::Scene;
use crate::style::Style;

pub struct Histogram<'a> {
    axes: Axes<'a>,
    frame: Frame,
}

impl<'a> Histogram<'a> {
    pub fn new(chart: &'a Chart, style: Style) -> Self {
        let axes = Axes::new(chart, style);
        let frame = frame(&axes, style, false);
        Self { axes, frame }
    }
}

impl Drawing for Histogram<'_> {
    fn frame(&self) -> &Frame {
        &self.frame
    }

    fn panel(&self, scene: &mut Scene, facet: &Facet, index: usize) {
        let style = &self.frame.style;
        let plot = self.axes.draw(scene, facet, &self.frame.panels[index], 0.0);
        let bottom = plot.area.bottom;
        let mut outlines = Vec::new();
        for series in &facet.series {
            let look = self.axes.look(&series.name);
            let mut path: Vec<(f64, f64)> = Vec::new();
            for point in &series.points {
                let Some((low, high)) = point.reach else { continue };
                let (Some(left), Some(right)) = (plot.across(&Place::Number(low)), plot.across(&Place::Number(high)))
                else {
                    continue;
                };
                // An empty bin of a logarithmic axis has no height, not an endless one.
                let top = if point.y > 0.0 { plot.height(point.y) } else { bottom };
                path.extend([(left, top), (right, top)]);
            }
            if let (Some(first), Some(last)) = (path.first().copied(), path.last().copied()) {
                let area: Vec<(f64, f64)> =
                    std::iter::once((first.0, bottom)).chain(path.iter().copied()).chain([(last.0, bottom)]).collect();
                scene.polygon(&area, look.colour, if facet.series.len() > 1 { 0.12 } else { 0.28 });
                outlines.push((area, look));
            }
        }
        for (path, look) in outlines {
            scene.dashed(&path, look.dash, look.colour, style.u(1.5));
        }
    }
}
