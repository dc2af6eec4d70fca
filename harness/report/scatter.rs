//! Points alone, and Pareto fronts.

use harness_core::Direction;
use harness_core::chart::{Chart, ChartKind, Facet, Place, Point};

use crate::axes::{Axes, Plot, frame};
use crate::draw::Drawing;
use crate::frame::Frame;
use crate::letters::{self, Weight};
use crate::palette::{INK, MUTED, PAPER, pale};
use crate::place::{Area, beside};
use crate::scene::{Align, Scene};
use crate::style::Style;

/// How much of their colour dominated points lose.
const FADED: f64 = 0.62;

pub struct Scatter<'a> {
    axes: Axes<'a>,
    frame: Frame,
}

impl<'a> Scatter<'a> {
    pub fn new(chart: &'a Chart, style: Style) -> Self {
        let axes = Axes::new(chart, style);
        let frame = frame(&axes, style, false);
        Self { axes, frame }
    }

    /// The line along the points that no other beats: from one to the next in steps that stay on the worse side.
    fn front(&self, facet: &Facet, plot: &Plot) -> Vec<(f64, f64)> {
        let points = facet.series.iter().flat_map(|series| &series.points).filter(|point| !point.dominated);
        let mut spots: Vec<(f64, f64)> = points.filter_map(|point| plot.spot(point)).collect();
        spots.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
        let right_is_good = self.axes.chart.x.direction == Direction::Higher;
        let mut path: Vec<(f64, f64)> = Vec::new();
        for spot in spots {
            if let Some(last) = path.last().copied() {
                path.push(if right_is_good { (last.0, spot.1) } else { (spot.0, last.1) });
            }
            path.push(spot);
        }
        path
    }
}

impl Drawing for Scatter<'_> {
    fn frame(&self) -> &Frame {
        &self.frame
    }

    fn panel(&self, scene: &mut Scene, facet: &Facet, index: usize) {
        let style = &self.frame.style;
        let u = |length: f64| style.u(length);
        let plot = self.axes.draw(scene, facet, &self.frame.panels[index], 0.0);
        let front = if self.axes.chart.kind == ChartKind::Pareto { self.front(facet, &plot) } else { Vec::new() };
        scene.line(&front, MUTED, u(1.2));
        // Beaten points first, so that the others lie on top.
        let mut all: Vec<(&Point, crate::palette::Look)> = Vec::new();
        for series in &facet.series {
            let look = self.axes.look(&series.name);
            all.extend(series.points.iter().map(|point| {
                let colour = if point.dominated { pale(look.colour, FADED) } else { look.colour };
                (point, crate::palette::Look { colour, ..look })
            }));
        }
        all.sort_by_key(|(point, _)| !point.dominated);
        for (point, look) in &all {
            plot.error_bars(scene, point, *look, style);
        }
        let mut taken: Vec<Area> = Vec::new();
        for (point, look) in &all {
            let Some((x, y)) = plot.spot(point) else { continue };
            scene.mark((x, y), *look, PAPER);
            let room = u(5.0);
            taken.push(Area { left: x - room, top: y - room, right: x + room, bottom: y + room });
            let thin = u(2.0);
            if let Some((low, high)) = point.interval {
                let (bottom, top) = (plot.height(low), plot.height(high));
                taken.push(Area { left: x - thin, top, right: x + thin, bottom });
            }
            let ends = point.reach.map(|(low, high)| (Place::Number(low), Place::Number(high)));
            if let Some((Some(left), Some(right))) = ends.map(|(low, high)| (plot.across(&low), plot.across(&high))) {
                taken.push(Area { left, top: y - thin, right, bottom: y + thin });
            }
        }
        for pair in front.windows(2) {
            let [(x, y), (to_x, to_y)] = [pair[0], pair[1]];
            taken.push(Area {
                left: x.min(to_x),
                top: y.min(to_y) - 1.0,
                right: x.max(to_x) + 1.0,
                bottom: y.max(to_y) + 1.0,
            });
        }
        for reference in &facet.references {
            let y = plot.height(reference.y);
            taken.push(Area { left: plot.area.left, top: y - 1.0, right: plot.area.right, bottom: y + 1.0 });
        }
        plot.failures(scene, facet, style);
        self.labels(scene, facet, &plot, &mut taken);
    }
}

impl Scatter<'_> {
    /// Names beside the points, as far as there is room; those of a front first.
    fn labels(&self, scene: &mut Scene, facet: &Facet, plot: &Plot, taken: &mut Vec<Area>) {
        let style = &self.frame.style;
        let size = style.small();
        let mut named: Vec<(&Point, &str, &str)> = Vec::new();
        for series in &facet.series {
            named.extend(
                series.points.iter().filter_map(|point| Some((point, point.label.as_deref()?, series.name.as_str()))),
            );
        }
        named.sort_by_key(|(point, ..)| point.dominated);
        let several = facet.series.iter().filter(|series| !series.name.is_empty()).count() > 0;
        for (point, label, series) in named {
            // The legend says the name of the series; the label says the rest.
            let rest = label.strip_prefix(series).filter(|_| several);
            let short = rest.and_then(|rest| rest.strip_prefix('(')?.strip_suffix(')'));
            let label = short.unwrap_or(label);
            let Some(spot) = plot.spot(point) else { continue };
            let room = (letters::width(label, size, Weight::Regular) + style.u(2.0), style.u(12.0));
            if label != series
                && let Some(area) = beside(spot, room, style.u(7.0), &plot.area, taken)
            {
                let middle = f64::midpoint(area.top, area.bottom);
                let ink = if point.dominated { MUTED } else { INK };
                scene.text(label, (area.left + style.u(1.0), middle), Align::Left, size, Weight::Regular, ink);
                taken.push(area);
            }
        }
    }
}
