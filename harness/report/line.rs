//! Lines with bands: values along x, and profiles.

use harness_core::chart::{Chart, ChartKind, Facet};

use crate::axes::{Axes, Plot, frame};
use crate::draw::Drawing;
use crate::frame::{Frame, Key, keys};
use crate::letters::{self, Weight};
use crate::palette::{GRID, INK, Look, MUTED, PAPER};
use crate::place::spread;
use crate::scene::{Align, Scene};
use crate::style::Style;

/// Marks of a line with more points than this would run into one another; every n-th is drawn.
const MARKS: usize = 12;

pub struct Line<'a> {
    axes: Axes<'a>,
    frame: Frame,
    /// Width of the labels right of the lines; zero when a legend names them.
    margin: f64,
}

impl<'a> Line<'a> {
    pub fn new(chart: &'a Chart, style: Style) -> Self {
        let axes = Axes::new(chart, style);
        let margin = direct_margin(chart, &style);
        let frame = frame(&axes, style, margin > 0.0);
        Self { axes, frame, margin }
    }
}

/// Room for names at the right ends of lines: in a chart of one panel with few, short names.
pub fn direct_margin(chart: &Chart, style: &Style) -> f64 {
    let all = keys(chart);
    let wide = |key: &Key| letters::width(&label(key), style.text(), Weight::Regular);
    let widest = all.iter().map(wide).fold(0.0, f64::max);
    let (_, width) = style.panels(chart, 3);
    let direct = chart.facets.len() == 1 && all.len() <= 12 && widest < 0.3 * width && !all.is_empty();
    if direct { widest + style.u(26.0) } else { 0.0 }
}

/// What stands beside the plot for an item that the legend would have.
fn label(key: &Key) -> String {
    if let Key::Failed(_) = key { format!("× {}", key.text()) } else { key.text() }
}

impl Drawing for Line<'_> {
    fn frame(&self) -> &Frame {
        &self.frame
    }

    fn panel(&self, scene: &mut Scene, facet: &Facet, index: usize) {
        let style = &self.frame.style;
        let plot = self.axes.draw(scene, facet, &self.frame.panels[index], self.margin);
        let profile = self.axes.chart.kind == ChartKind::Profile;
        let styled = || facet.series.iter().map(|series| (series, self.axes.look(&series.name)));
        // Bands first, then lines, then marks: nothing that is read lies under something that is only seen.
        for (series, look) in styled() {
            plot.band(scene, series.points.iter(), look);
        }
        for (series, look) in styled() {
            let path: Vec<(f64, f64)> = series.points.iter().filter_map(|point| plot.spot(point)).collect();
            scene.dashed(&path, look.dash, look.colour, style.u(1.8));
            if !profile {
                series.points.iter().for_each(|point| plot.error_bars(scene, point, look, style));
            }
        }
        for (number, (series, look)) in styled().enumerate() {
            let every = series.points.len().div_ceil(MARKS).max(1);
            // Series start at different points, so that their marks do not lie on one another.
            let marked = series.points.iter().skip(number % every).step_by(every);
            marked.filter_map(|point| plot.spot(point)).for_each(|spot| scene.mark(spot, look, PAPER));
        }
        plot.failures(scene, facet, style);
        if self.margin > 0.0 {
            draw_direct(scene, facet, &plot, style);
        }
    }
}

/// Names at the right ends of the lines, pushed apart, each with a thin line to where it belongs.
pub fn draw_direct(scene: &mut Scene, facet: &Facet, plot: &Plot, style: &Style) {
    let area = plot.area;
    let u = |length: f64| style.u(length);
    let mut labels: Vec<(String, (f64, f64), Option<Look>)> = Vec::new();
    for key in keys(plot.axes.chart) {
        match &key {
            Key::Series(name, look) => {
                let Some(series) = facet.series.iter().find(|series| series.name == *name) else { continue };
                let curve = series.law.as_ref().map_or(&series.points, |law| &law.curve);
                let spot = curve.iter().filter_map(|point| plot.spot(point)).next_back();
                // A series that only failed has no line to be led to.
                match spot {
                    Some(spot) => labels.push((name.clone(), spot, Some(*look))),
                    None => labels.push((name.clone(), (area.right + u(18.0), area.bottom - u(9.0)), None)),
                }
            }
            Key::Reference(label) => {
                for reference in facet.references.iter().filter(|reference| reference.label == *label) {
                    labels.push((label.clone(), (area.right - u(6.0), plot.height(reference.y)), None));
                }
            }
            Key::Front => {}
            Key::Failed(_) => {
                labels.push((label(&key), (area.right - u(6.0), area.bottom - u(9.0)), None));
            }
        }
    }
    let wanted: Vec<f64> = labels.iter().map(|(_, (_, y), _)| *y).collect();
    let places = spread(&wanted, u(15.0), area.top - u(4.0), area.bottom + u(10.0));
    for ((text, (x, y), look), place) in labels.iter().zip(places) {
        let start = area.right + u(22.0);
        let path = [(x + u(7.0), *y), (area.right + u(8.0), *y), (start - u(4.0), place)];
        match look {
            // A name far from its point is led there by dots, which cannot be taken for data.
            Some(_) if area.right - x > u(60.0) => scene.dashed(&path, &[1.2, 3.0], MUTED, u(0.9)),
            Some(look) => scene.line(&path, look.colour, u(0.6)),
            None if text.starts_with('×') || *x > area.right => {}
            None => scene.line(&path, GRID, u(0.8)),
        }
        let ink = look.map_or(MUTED, |_| INK);
        scene.text(text, (start, place), Align::Left, style.text(), Weight::Regular, ink);
    }
}
