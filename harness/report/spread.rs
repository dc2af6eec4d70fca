//! Boxes and violins of raw samples.

use harness_core::chart::{Chart, ChartKind, Facet};
use harness_core::statistics::{deviation, quantile};

use crate::draw::Drawing;
use crate::frame::{Frame, REFERENCE};
use crate::palette::{INK, MUTED, PAPER};
use crate::place::Area;
use crate::rows::{Row, Rows};
use crate::scene::Scene;
use crate::style::Style;

/// Points of the outline of a violin along one side.
const STEPS: usize = 64;
/// More outliers than this are one smear; only the outermost are drawn.
const OUTLIERS: usize = 200;

/// What a box shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Quartiles {
    pub lower: f64,
    pub median: f64,
    pub upper: f64,
    /// The outermost samples within 1.5 times the distance of the quartiles from them (Tukey 1977).
    pub whiskers: (f64, f64),
    /// Samples beyond the whiskers, ascending.
    pub outliers: Vec<f64>,
}

/// The quartiles of samples; `None` without any.
pub fn quartiles(samples: &[f64]) -> Option<Quartiles> {
    let mut sorted: Vec<f64> = samples.iter().copied().filter(|sample| sample.is_finite()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let (lower, median, upper) = (quantile(&sorted, 0.25)?, quantile(&sorted, 0.5)?, quantile(&sorted, 0.75)?);
    let fence = 1.5 * (upper - lower);
    let inside = |sample: &f64| (lower - fence..=upper + fence).contains(sample);
    let low = sorted.iter().copied().find(|sample| inside(sample)).unwrap_or(lower);
    let high = sorted.iter().rev().copied().find(|sample| inside(sample)).unwrap_or(upper);
    let outliers = sorted.into_iter().filter(|sample| !inside(sample)).collect();
    Some(Quartiles { lower, median, upper, whiskers: (low, high), outliers })
}

/// The Gaussian kernel density of samples at places, with the bandwidth of Scott (1992), `s · n^(-1/5)`; `None` where
/// the samples have no spread.
pub fn density(samples: &[f64], places: &[f64]) -> Option<Vec<f64>> {
    let width = deviation(samples)? * (samples.len() as f64).powf(-0.2);
    if width <= 0.0 || !width.is_finite() {
        return None;
    }
    let height = 1.0 / (samples.len() as f64 * width * std::f64::consts::TAU.sqrt());
    let at = |place: &f64| -> f64 {
        samples.iter().map(|sample| (-0.5 * ((place - sample) / width).powi(2)).exp()).sum::<f64>() * height
    };
    Some(places.iter().map(at).collect())
}

/// The outline of a violin: places across and density there, in the axis' own scale.
pub fn outline(samples: &[f64], log: bool) -> Option<Vec<(f64, f64)>> {
    let on = |value: f64| if log { value.ln() } else { value };
    let off = |value: f64| if log { value.exp() } else { value };
    let scaled: Vec<f64> = samples.iter().map(|sample| on(*sample)).filter(|sample| sample.is_finite()).collect();
    let low = scaled.iter().copied().fold(f64::INFINITY, f64::min);
    let high = scaled.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    // The outline ends with the samples: a tail beyond them is not data.
    let places: Vec<f64> = (0..STEPS).map(|step| low + (high - low) * step as f64 / (STEPS - 1) as f64).collect();
    let heights = density(&scaled, &places)?;
    Some(places.into_iter().map(off).zip(heights).collect())
}

pub struct Spread<'a>(Rows<'a>);

impl<'a> Spread<'a> {
    pub fn new(chart: &'a Chart, style: Style) -> Self {
        let values = chart.points().flat_map(|point| point.samples.iter().copied().chain([point.y]));
        Self(Rows::new(chart, style, values.collect(), false, style.u(10.0)))
    }

    fn boxed(&self, scene: &mut Scene, plot: &Area, row: &Row, found: &Quartiles) {
        let rows = &self.0;
        let u = |length: f64| rows.style.u(length);
        let x = |value: f64| rows.across(plot, value);
        let (top, bottom, centre) = (row.top + u(2.5), row.bottom - u(2.5), row.centre());
        let colour = row.look.colour;
        scene.line(&[(x(found.whiskers.0), centre), (x(found.lower), centre)], colour, u(1.2));
        scene.line(&[(x(found.upper), centre), (x(found.whiskers.1), centre)], colour, u(1.2));
        for end in [found.whiskers.0, found.whiskers.1] {
            scene.line(&[(x(end), centre - u(3.5)), (x(end), centre + u(3.5))], colour, u(1.2));
        }
        let (from, to) = ((x(found.lower), top), (x(found.upper), bottom));
        scene.rectangle(from, to, PAPER, 1.0);
        scene.rectangle(from, to, colour, 0.28);
        scene.hatch(from, to, row.look.hatch, colour);
        scene.outline(from, to, colour, u(1.2));
        scene.line(&[(x(found.median), top), (x(found.median), bottom)], INK, u(2.0));
        let beyond = found.outliers.len();
        let kept = found
            .outliers
            .iter()
            .enumerate()
            .filter(|(index, _)| *index < OUTLIERS / 2 || *index + OUTLIERS / 2 >= beyond);
        for (_, outlier) in kept {
            scene.circle((x(*outlier), centre), u(1.7), colour, 0.7);
        }
    }

    fn violin(&self, scene: &mut Scene, plot: &Area, row: &Row, samples: &[f64], found: &Quartiles) {
        let rows = &self.0;
        let u = |length: f64| rows.style.u(length);
        let x = |value: f64| rows.across(plot, value);
        let centre = row.centre();
        let half = (row.bottom - row.top) / 2.0 - u(0.5);
        match outline(samples, rows.range.log) {
            Some(points) => {
                let highest = points.iter().map(|(_, height)| *height).fold(0.0, f64::max);
                let upper = points.iter().map(|(at, height)| (x(*at), centre - half * height / highest));
                let lower = points.iter().rev().map(|(at, height)| (x(*at), centre + half * height / highest));
                let path: Vec<(f64, f64)> = upper.chain(lower).collect();
                scene.polygon(&path, row.look.colour, 0.32);
                let closed: Vec<(f64, f64)> = path.iter().copied().chain(path.first().copied()).collect();
                scene.dashed(&closed, row.look.dash, row.look.colour, u(1.0));
            }
            // All samples are one number.
            None => scene.line(
                &[(x(found.median), centre - half), (x(found.median), centre + half)],
                row.look.colour,
                u(1.5),
            ),
        }
        scene.line(&[(x(found.lower), centre), (x(found.upper), centre)], INK, u(2.6));
        scene.circle((x(found.median), centre), u(2.6), PAPER, 1.0);
        scene.circle((x(found.median), centre), u(1.6), INK, 1.0);
    }
}

impl Drawing for Spread<'_> {
    fn frame(&self) -> &Frame {
        &self.0.frame
    }

    fn panel(&self, scene: &mut Scene, facet: &Facet, index: usize) {
        let rows = &self.0;
        let (plot, all) = rows.draw(scene, facet, &rows.frame.panels[index]);
        // Differences are read against zero.
        if rows.range.low < 0.0 && rows.range.high > 0.0 {
            let zero = rows.across(&plot, 0.0);
            scene.dashed(&[(zero, plot.top), (zero, plot.bottom)], REFERENCE, MUTED, rows.style.u(1.0));
        }
        for row in &all {
            for point in row.points() {
                let Some(found) = quartiles(&point.samples) else { continue };
                if rows.chart.kind == ChartKind::Violin {
                    self.violin(scene, &plot, row, &point.samples, &found);
                } else {
                    self.boxed(scene, &plot, row, &found);
                }
            }
            if row.failed() {
                rows.failure(scene, row, plot.left);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_are_those_of_matplotlib() {
        // matplotlib.cbook.boxplot_stats([1, 2, 3, 4, 5, 6, 7, 30])
        let found = quartiles(&[7.0, 1.0, 30.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let wanted = Quartiles { lower: 2.75, median: 4.5, upper: 6.25, whiskers: (1.0, 7.0), outliers: vec![30.0] };
        assert_eq!(found, Some(wanted));
        assert_eq!(quartiles(&[]), None);
        assert_eq!(quartiles(&[2.0]).map(|found| found.whiskers), Some((2.0, 2.0)));
    }

    #[test]
    fn the_density_is_that_of_scipy() {
        // scipy.stats.gaussian_kde([1, 2, 4, 8])([1, 3, 9])
        let found = density(&[1.0, 2.0, 4.0, 8.0], &[1.0, 3.0, 9.0]).unwrap_or_default();
        let wanted = [0.100_595_883_843, 0.111_586_571_689, 0.043_830_095_515];
        assert!(found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-9), "{found:?}");
        assert_eq!(density(&[1.0, 1.0], &[1.0]), None);
    }
}
