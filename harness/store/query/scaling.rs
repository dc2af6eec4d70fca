//! Models of several sizes by bits of the whole model: a curve for each number of bits a weight, and the curves of one shape
//! fitted to them.

use harness_core::Axis::{self, Lowrank, Prune, Quant, Train};
use harness_core::chart::{Place, Point, Series, Table};
use harness_core::statistics::{Bootstrap, OffsetCurves, OffsetEstimate, OffsetPoint, OffsetRefusal};
use harness_suite::{Column, Figure};

use super::{Gathered, group, hides, reference_label, scaling_text, shows};
use crate::run::{Record, Run};

/// Bits a weight of the reference: what a weight counts that is not quantized.
pub(super) const REFERENCE_BITS: f64 = 16.0;
/// Fewer draws than for a value, since each is a fit.
const RESAMPLES: usize = 1000;

/// A panel: its points and what was fitted to them.
pub(super) struct Panel<'a> {
    pub(super) title: String,
    pub(super) names: Vec<String>,
    pub(super) curves: OffsetCurves,
    points: Vec<Placed<'a>>,
    pub(super) estimate: Result<OffsetEstimate, OffsetRefusal>,
}

/// A cell on its curve.
#[derive(Clone, Copy)]
struct Placed<'a> {
    curve: usize,
    size: usize,
    x: f64,
    record: &'a Record,
}

/// What the tables beside a figure of scaling say; nothing for other kinds of figures.
pub fn tables(run: &Run, figure: &Figure) -> Vec<Table> {
    if figure.kind != harness_suite::FigureKind::Scaling {
        return Vec::new();
    }
    let shown: Vec<&Record> = run.records.iter().filter(|record| shows(figure, record)).collect();
    let panels = panels(run, figure, &shown);
    let unit = |id: &str| run.metric(id).map_or_else(|| "1".to_owned(), |metric| metric.unit.clone());
    let x = if let Column::Metric(id) = &figure.x { unit(id) } else { String::new() };
    scaling_text::tables(figure, &panels, &x, &unit(&figure.y))
}

/// Lays the curves of every panel, the reference among them, and says which is the lowest.
pub(super) fn fit(gathered: &mut Gathered, shown: &[&Record]) {
    let panels = panels(gathered.run, gathered.figure, shown);
    for panel in &panels {
        let at = gathered.facets.iter().position(|facet| facet.title == panel.title);
        let Some(facet) = at.map(|at| &mut gathered.facets[at]) else { continue };
        let failed: Vec<Series> =
            facet.series.drain(..).map(|series| Series { points: Vec::new(), ..series }).collect();
        for (curve, name) in panel.names.iter().enumerate() {
            let mut series = Series::new(name.clone());
            if let Some(old) = failed.iter().find(|old| old.name == *name) {
                series.failed.clone_from(&old.failed);
            }
            series.points = panel.measured(curve, &gathered.figure.y);
            series.fitted = panel.fitted(curve);
            facet.series.push(series);
        }
        let unnumbered = failed.into_iter().filter(|old| !panel.names.contains(&old.name) && !old.failed.is_empty());
        facet.series.extend(unnumbered);
        let references = panel.points.iter().filter(|point| point.curve == panel.curves.reference);
        for id in references.map(|point| point.record.cell.id.to_string()) {
            if !gathered.cells.contains(&id) {
                gathered.cells.push(id);
            }
        }
    }
    gathered.notes.extend(scaling_text::notes(&panels));
}

impl Panel<'_> {
    fn of(&self, curve: usize) -> impl Iterator<Item = &Placed<'_>> + Clone {
        self.points.iter().filter(move |point| point.curve == curve)
    }

    /// The points of a curve in order of size, with marks where a size is missing behind one.
    fn measured(&self, curve: usize, metric: &str) -> Vec<Point> {
        let own: Vec<&Placed> = self.of(curve).collect();
        let missing = |index: usize| own.get(index + 1).is_some_and(|next| next.size != own[index].size + 1);
        // Texts are harder or easier for all models alike, which an interval of each point alone would show and nothing else.
        let point = |(index, placed): (usize, &&Placed)| {
            let value = placed.record.value(metric)?;
            Some(Point { gap: missing(index), ..Point::new(Place::Number(placed.x), value) })
        };
        own.iter().enumerate().filter_map(point).collect()
    }

    /// The fitted curve over the points: its ends and its bends between.
    fn fitted(&self, curve: usize) -> Vec<Point> {
        let Ok(estimate) = &self.estimate else { return Vec::new() };
        let xs = || self.of(curve).map(|point| point.x);
        let (low, high) = (xs().fold(f64::INFINITY, f64::min), xs().fold(0.0, f64::max));
        let bends = estimate.knots.iter().map(|(x, _)| *x).filter(|x| low < *x && *x < high);
        let all = std::iter::once(low).chain(bends).chain(std::iter::once(high)).filter(|x| x.is_finite() && *x > 0.0);
        all.filter_map(|x| Some(Point::new(Place::Number(x), estimate.at(curve, x)?))).collect()
    }
}

/// The panels of a figure in the order of its cells.
fn panels<'a>(run: &'a Run, figure: &Figure, shown: &[&'a Record]) -> Vec<Panel<'a>> {
    let mut titles: Vec<String> = Vec::new();
    for record in shown {
        let title = group(figure.facet.as_ref(), figure, record);
        if !titles.contains(&title) {
            titles.push(title);
        }
    }
    titles.into_iter().filter_map(|title| panel(run, figure, shown, title)).collect()
}

fn panel<'a>(run: &'a Run, figure: &Figure, shown: &[&'a Record], title: String) -> Option<Panel<'a>> {
    let good = |record: &&'a Record| record.cell.failure.is_none();
    let own: Vec<(f64, &Record)> = shown
        .iter()
        .copied()
        .filter(good)
        .filter(|record| group(figure.facet.as_ref(), figure, record) == title)
        .filter_map(|record| Some((group(figure.series.as_ref(), figure, record).parse().ok()?, record)))
        .collect();
    let reference = figure.reference.as_ref()?;
    let beside = run.records.iter().filter(good).filter(|record| {
        let hidden = figure.conditions.iter().any(|condition| hides(figure, condition, record));
        reference.matches(&record.cell.cell) && !hidden && belongs(figure, record, &title)
    });
    let mut bits: Vec<f64> = own.iter().map(|(bits, _)| *bits).collect();
    bits.sort_by(f64::total_cmp);
    bits.dedup();
    let last = bits.len();
    let mut names: Vec<String> = bits.iter().map(ToString::to_string).collect();
    names.push(format!("{REFERENCE_BITS} ({})", reference_label(Some(reference))));
    bits.push(REFERENCE_BITS);
    let Column::Metric(metric) = &figure.x else { return None };
    let curve = |value: f64| bits[..last].iter().position(|bits| *bits == value);
    let all = own.iter().filter_map(|(value, record)| Some((curve(*value)?, *record)));
    let all = all.chain(beside.map(|record| (last, record)));
    let value = |record: &Record, id: &str| record.value(id).filter(|value| value.is_finite());
    let mut points: Vec<Placed> = all
        .filter_map(|(curve, record)| {
            let x = value(record, metric).filter(|x| *x > 0.0)?;
            value(record, &figure.y)?;
            Some(Placed { curve, size: 0, x, record })
        })
        .collect();
    number_sizes(&mut points, last);
    points.sort_by(|a, b| a.curve.cmp(&b.curve).then(a.size.cmp(&b.size)).then(a.x.total_cmp(&b.x)));
    // The same model may stand in several benches.
    points.dedup_by(|a, b| a.curve == last && b.curve == last && a.size == b.size);
    let curves = OffsetCurves { bits, reference: last };
    let seen: Vec<OffsetPoint> = points
        .iter()
        .filter_map(|point| {
            let seen = point.record.cell.observation(&figure.y)?;
            Some(OffsetPoint { curve: point.curve, size: point.size, x: point.x, seen })
        })
        .collect();
    let estimate = Bootstrap { resamples: RESAMPLES, ..Bootstrap::default() }.offsets(&curves, &seen);
    Some(Panel { title, names, curves, points, estimate })
}

/// Whether the reference cell stands in a panel: in all of them where panels are told by what the reference does not have.
fn belongs(figure: &Figure, record: &Record, title: &str) -> bool {
    let Some(column) = &figure.facet else { return true };
    let quantized = |axis: Axis| [Train, Lowrank, Prune, Quant].contains(&axis);
    match column {
        Column::Axis(axis) | Column::Method(axis) | Column::Parameter { axis: Some(axis), .. } if quantized(*axis) => {
            true
        }
        _ => column.group(&figure.x, &record.cell.cell).is_none_or(|own| own == title),
    }
}

/// Numbers the models by the x of their reference, or by the largest x they have.
fn number_sizes(points: &mut [Placed], reference: usize) {
    let label = |point: &Placed| point.record.cell.cell.label(Axis::Model).unwrap_or_default().to_owned();
    let mut models: Vec<(String, f64)> = Vec::new();
    for point in points.iter() {
        let own = label(point);
        let x = if point.curve == reference { f64::MAX } else { point.x };
        match models.iter_mut().find(|(name, _)| *name == own) {
            Some((_, largest)) => *largest = largest.max(x),
            None => models.push((own, x)),
        }
    }
    for (name, x) in &mut models {
        let own = points.iter().find(|point| point.curve == reference && label(point) == *name);
        *x = own.map_or(*x, |point| point.x);
    }
    models.sort_by(|a, b| a.1.total_cmp(&b.1));
    for point in points.iter_mut() {
        let own = label(point);
        point.size = models.iter().position(|(name, _)| *name == own).unwrap_or_default();
    }
}
