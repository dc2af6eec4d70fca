//! From charts to drawings, and the formats of a drawing.

use harness_core::chart::{Chart, ChartKind, Facet, Place, Point, StyleName};

use crate::bars::Bars;
use crate::fit::Fit;
use crate::frame::Frame;
use crate::heat::Heat;
use crate::histogram::Histogram;
use crate::line::Line;
use crate::provenance::Provenance;
use crate::scaling::Scaling;
use crate::scatter::Scatter;
use crate::scene::Scene;
use crate::spread::Spread;
use crate::style::Style;
use crate::svg::{Used, Wrapping};
use crate::{bitmap, pdf, svg};

/// A drawing fault; none is known to happen in memory.
#[derive(Debug, thiserror::Error)]
#[error("the chart could not be drawn: {0}")]
pub struct DrawError(pub String);

/// A laid-out chart. A kind of chart is a type with this trait and a line in [`lay_out`].
pub trait Drawing {
    /// What stands around the panels, and where they are.
    fn frame(&self) -> &Frame;

    /// Draws a panel; its place is `self.frame().panels[index]`.
    fn panel(&self, scene: &mut Scene, facet: &Facet, index: usize);
}

fn lay_out<'a>(chart: &'a Chart, style: Style) -> Box<dyn Drawing + 'a> {
    match chart.kind {
        ChartKind::Line | ChartKind::Profile => Box::new(Line::new(chart, style)),
        ChartKind::Scatter | ChartKind::Pareto => Box::new(Scatter::new(chart, style)),
        ChartKind::Bar => Box::new(Bars::new(chart, style)),
        ChartKind::Box | ChartKind::Violin => Box::new(Spread::new(chart, style)),
        ChartKind::Heat => Box::new(Heat::new(chart, style)),
        ChartKind::Histogram => Box::new(Histogram::new(chart, style)),
        ChartKind::Fit => Box::new(Fit::new(chart, style)),
        ChartKind::Scaling => Box::new(Scaling::new(chart, style)),
    }
}

/// A chart drawn in a style, ready to become files.
pub struct Drawn {
    pub(crate) scene: Scene,
    style: Style,
    provenance: Provenance,
}

impl Drawn {
    /// Draws a chart.
    pub fn new(chart: &Chart, style: StyleName, provenance: Provenance) -> Self {
        let chart = clean(chart);
        let style = Style::of(style);
        let drawing = lay_out(&chart, style);
        let mut scene = drawing.frame().scene();
        for (index, facet) in chart.facets.iter().enumerate() {
            drawing.panel(&mut scene, facet, index);
        }
        let title = chart.title.clone();
        drop(drawing);
        Self { scene, style, provenance: Provenance { title, ..provenance } }
    }

    /// SVG text that is complete in itself: it holds its fonts and says where it came from.
    ///
    /// # Errors
    /// [`DrawError`], as for the other formats.
    pub fn svg(&self) -> Result<String, DrawError> {
        self.wrapped(Some(&self.provenance))
    }

    /// SVG text to stand inside a page that has the fonts and says where everything came from.
    ///
    /// # Errors
    /// [`DrawError`].
    pub fn svg_inside(&self) -> Result<String, DrawError> {
        self.wrapped(None)
    }

    /// The letters in it.
    pub fn used(&self) -> Used {
        svg::used([&self.scene])
    }

    fn wrapped(&self, alone: Option<&Provenance>) -> Result<String, DrawError> {
        svg::write(&self.scene, &Wrapping { title: &self.provenance.title, per_inch: self.style.per_inch, alone })
    }

    /// The bytes of a PNG file with two pixels to one of 1/96 inch.
    ///
    /// # Errors
    /// [`DrawError`].
    pub fn png(&self) -> Result<Vec<u8>, DrawError> {
        bitmap::write(&self.scene, 2.0 * 96.0 / self.style.per_inch, Some(&self.provenance))
    }

    /// The bytes of a PDF file of the size of the style.
    ///
    /// # Errors
    /// [`DrawError`].
    pub fn pdf(&self) -> Result<Vec<u8>, DrawError> {
        pdf::write(&self.scene, 72.0 / self.style.per_inch, &self.provenance)
    }
}

/// Without signs that XML does not allow, and without numbers that are none.
pub fn clean(chart: &Chart) -> Chart {
    let plain =
        |text: &str| -> String { text.chars().map(|sign| if sign.is_control() { '\u{FFFD}' } else { sign }).collect() };
    let place = |place: &mut Place| match place {
        Place::Category(name) => *name = plain(name),
        Place::Number(_) => {}
    };
    let finite = |place: &Place| !matches!(place, Place::Number(number) if !number.is_finite());
    let pair = |pair: Option<(f64, f64)>| pair.filter(|(low, high)| low.is_finite() && high.is_finite());
    let mend = |point: &mut Point| {
        place(&mut point.x);
        point.label = point.label.as_deref().map(plain);
        point.interval = pair(point.interval);
        point.reach = pair(point.reach);
        point.samples.retain(|sample| sample.is_finite());
    };
    let mut chart = chart.clone();
    for text in [&mut chart.title, &mut chart.x.label, &mut chart.y.label, &mut chart.x.unit, &mut chart.y.unit] {
        *text = plain(text);
    }
    chart.series_label = plain(&chart.series_label);
    chart.note = chart.note.as_deref().map(plain);
    for facet in &mut chart.facets {
        facet.title = plain(&facet.title);
        facet.references.retain(|reference| reference.y.is_finite());
        facet.references.iter_mut().for_each(|reference| reference.label = plain(&reference.label));
        for series in &mut facet.series {
            series.name = plain(&series.name);
            series.points.retain(|point| point.y.is_finite() && finite(&point.x));
            series.points.iter_mut().for_each(mend);
            series.fitted.retain(|point| point.y.is_finite() && finite(&point.x));
            series.fitted.iter_mut().for_each(mend);
            if let Some(law) = &mut series.law {
                law.curve.retain(|point| point.y.is_finite() && finite(&point.x));
                law.curve.iter_mut().for_each(mend);
                for number in [&mut law.floor, &mut law.scale, &mut law.exponent] {
                    number.1 = pair(number.1);
                }
            }
            series.law = series.law.take().filter(|law| law.scale.0.is_finite() && law.exponent.0.is_finite());
            series.failed.iter_mut().filter_map(|failed| failed.x.as_mut()).for_each(place);
            series.failed.iter_mut().for_each(|failed| failed.x = failed.x.take().filter(finite));
        }
    }
    chart
}
