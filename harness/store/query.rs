//! Figures: from records to the values of a chart.

mod law;
mod lengths;
mod profile;
mod samples;
mod scaling;
mod scaling_text;

use harness_core::chart::{Chart, ChartAxis, Facet, FailedPoint, Place, Point, Reference, Series};
use harness_core::front::dominated;
use harness_core::{Axis, Direction, Value};
use harness_suite::{Column, Condition, Figure, FigureKind};

pub use lengths::table as length_table;
pub use scaling::tables as scaling_tables;

use crate::error::QueryError;
use crate::run::{MetricInfo, Record, Run};

/// The chart of a declared figure. Failed cells are marked, never shown as numbers; cells without the metric, or
/// without a place on x, are left out and counted in the note.
///
/// # Errors
/// [`QueryError`] when nothing is left to show.
pub fn query(run: &Run, figure: &Figure) -> Result<Chart, QueryError> {
    let known = run.metrics.iter().map(|metric| metric.id.as_str()).collect::<Vec<_>>().join(", ");
    let metric = run.metric(&figure.y).ok_or_else(|| QueryError::Metric { metric: figure.y.clone(), known })?;
    let mut gathered =
        Gathered { run, figure, metric, facets: Vec::new(), cells: Vec::new(), left_out: 0, notes: Vec::new() };
    let shown: Vec<&Record> = run.records.iter().filter(|record| shows(figure, record)).collect();
    for record in &shown {
        gathered.cells.push(record.cell.id.to_string());
        gathered.enter(record);
    }
    gathered.finish(&shown);
    for facet in &mut gathered.facets {
        facet.series.retain(|series| !series.points.is_empty() || !series.failed.is_empty());
    }
    gathered.facets.retain(|facet| !facet.series.is_empty());
    if gathered.facets.is_empty() {
        return Err(QueryError::Nothing { what: describe(figure) });
    }
    Ok(gathered.chart(&shown))
}

/// A chart as far as it is gathered.
struct Gathered<'a> {
    run: &'a Run,
    figure: &'a Figure,
    metric: &'a MetricInfo,
    facets: Vec<Facet>,
    cells: Vec<String>,
    left_out: usize,
    notes: Vec<String>,
}

/// Whether a figure shows a cell as one of its points.
fn shows(figure: &Figure, record: &Record) -> bool {
    let cell = &record.cell.cell;
    let is = |reference: &Option<harness_suite::Reference>| {
        reference.as_ref().is_some_and(|reference| reference.matches(cell))
    };
    // Among bars and the points of a front the reference stands as one of them as well. What is subtracted from
    // itself says nothing.
    let among = matches!(figure.kind, FigureKind::Bar | FigureKind::Pareto);
    let as_line = is(&figure.reference) && !among;
    let zero = is(&figure.minus) && record.cell.failure.is_none();
    !as_line && !zero && figure.conditions.iter().all(|condition| condition.holds(cell))
}

impl Gathered<'_> {
    /// Puts a cell where it belongs.
    fn enter(&mut self, record: &Record) {
        let figure = self.figure;
        let title = group(figure.facet.as_ref(), figure, record);
        let name = group(figure.series.as_ref(), figure, record);
        let place = place(&figure.x, record, figure.kind);
        if let Some(failure) = &record.cell.failure {
            let reason = format!("{}: {}", failure.stage, failure.reason);
            series(&mut self.facets, title, name).failed.push(FailedPoint { x: place, reason });
            return;
        }
        let entered = match figure.kind {
            FigureKind::Profile => profile::enter(self, record, title, name),
            FigureKind::Heat if profile::crosses(figure) => profile::shade(self, record, title, name),
            FigureKind::Box | FigureKind::Violin | FigureKind::Histogram => {
                samples::enter(self, record, title, name, place)
            }
            _ => self.enter_value(record, title, name, place),
        };
        self.left_out += usize::from(!entered);
    }

    fn enter_value(&mut self, record: &Record, title: String, name: String, place: Option<Place>) -> bool {
        let found = match &self.figure.minus {
            None => record.estimate(&self.figure.y).map(|estimate| (estimate.value, estimate.interval)),
            Some(reference) => samples::difference(self, record, reference),
        };
        let (Some(place), Some((value, interval))) = (place, found.filter(|(value, _)| value.is_finite())) else {
            return false;
        };
        let kind = self.figure.kind;
        let mut point = Point::new(place, value);
        point.interval = interval.map(|interval| (interval.low, interval.high));
        if matches!(kind, FigureKind::Scatter | FigureKind::Pareto) {
            point.label = Some(short_label(record));
            if let Column::Metric(id) = &self.figure.x {
                let interval = record.estimate(id).and_then(|estimate| estimate.interval);
                point.reach = interval.map(|interval| (interval.low, interval.high));
            }
        }
        series(&mut self.facets, title, name).points.push(point);
        true
    }

    /// What can only be done when every cell stands in its place.
    fn finish(&mut self, shown: &[&Record]) {
        let kind = self.figure.kind;
        match kind {
            FigureKind::Pareto => self.mark_fronts(),
            FigureKind::Histogram => samples::count(self),
            FigureKind::Fit => law::fit(self, shown),
            FigureKind::Scaling => scaling::fit(self, shown),
            FigureKind::Heat => profile::arrange(&mut self.facets),
            _ => {}
        }
        if kind != FigureKind::Scaling {
            add_references(self);
        }
        if let Some(rule) = &self.figure.rule {
            let threshold = Reference { label: format!("threshold {}", rule.threshold), y: rule.threshold };
            self.facets.iter_mut().for_each(|facet| facet.references.push(threshold.clone()));
        }
        if !kind.lies() && kind != FigureKind::Heat {
            let all = self.facets.iter_mut().flat_map(|facet| &mut facet.series);
            all.for_each(|series| series.points.sort_by(by_place));
        }
        let crowded: usize = match kind {
            FigureKind::Scatter
            | FigureKind::Pareto
            | FigureKind::Fit
            | FigureKind::Histogram
            | FigureKind::Scaling => 0,
            _ => self.facets.iter().flat_map(|facet| &facet.series).map(repeated).sum(),
        };
        if crowded > 0 {
            self.notes.push(format!(
                "{crowded} cells share their place with another; `series`, `facet` or `where` tells them apart."
            ));
        }
    }

    fn mark_fronts(&mut self) {
        let direction = |column: &Column| match column {
            Column::Metric(id) => self.run.metric(id).map_or(Direction::Neutral, |metric| metric.direction),
            _ => Direction::Neutral,
        };
        let (x, y) = (direction(&self.figure.x), self.metric.direction);
        for facet in &mut self.facets {
            let places = facet.series.iter().flat_map(|series| &series.points).map(|point| match point.x {
                Place::Number(number) => (number, point.y),
                Place::Category(_) => (f64::NAN, point.y),
            });
            let mut beaten = dominated(&places.collect::<Vec<_>>(), x, y).into_iter();
            for point in facet.series.iter_mut().flat_map(|series| &mut series.points) {
                point.dominated = beaten.next().unwrap_or(false);
            }
        }
    }

    fn chart(mut self, shown: &[&Record]) -> Chart {
        let (run, figure, metric) = (self.run, self.figure, self.metric);
        let chart_axis = |column: &Column, log| match column {
            Column::Metric(id) => ChartAxis {
                label: id.clone(),
                unit: run.metric(id).map_or_else(|| "1".to_owned(), |metric| metric.unit.clone()),
                log,
                direction: run.metric(id).map_or(Direction::Neutral, |metric| metric.direction),
            },
            Column::Along(word) => {
                let label = metric.along.as_ref().map_or_else(|| word.clone(), |along| along.label.clone());
                ChartAxis { log, ..ChartAxis::plain(label) }
            }
            other => ChartAxis { log, ..ChartAxis::plain(other.to_string()) },
        };
        let mut y = chart_axis(&Column::Metric(figure.y.clone()), figure.log_y);
        let mut x = chart_axis(&figure.x, figure.log_x);
        let against = if figure.minus.is_some() {
            format!(" − {}", reference_label(figure.minus.as_ref()))
        } else {
            String::new()
        };
        y.label += &against;
        let title = figure.title.clone().unwrap_or_else(|| match figure.kind {
            FigureKind::Heat => format!("{} over {} and {}", figure.y, figure.x, series_label(figure)),
            FigureKind::Histogram => format!("Samples of {}", y.label),
            _ => format!("{} against {}", y.label, figure.x),
        });
        if figure.kind == FigureKind::Histogram {
            x.label += &against;
            y = ChartAxis { log: figure.log_y, ..ChartAxis::plain("samples") };
        }
        let level = shown.iter().find_map(|record| record.estimate(&figure.y)?.interval).map(|interval| interval.level);
        let drawn = self.facets.iter().flat_map(|facet| &facet.series).flat_map(|series| &series.points);
        if let Some(level) = level.filter(|_| drawn.clone().any(|point| point.interval.is_some())) {
            self.notes.insert(0, format!("{:.0} % bootstrap intervals.", level * 100.0));
        }
        if self.left_out > 0 {
            let (cells, are) = if self.left_out == 1 { ("cell has", "is") } else { ("cells have", "are") };
            let (count, y, x) = (self.left_out, &metric.id, &figure.x);
            self.notes.push(format!("{count} {cells} no {y} or no {x} and {are} left out."));
        }
        let mut chart = Chart::new(figure.name.clone(), title, figure.kind, x, y);
        chart.facets = self.facets;
        chart.note = (!self.notes.is_empty()).then(|| self.notes.join(" "));
        chart.series_label = series_label(figure);
        chart.cells = self.cells;
        chart.styles.clone_from(&figure.styles);
        chart
    }
}

fn series_label(figure: &Figure) -> String {
    figure.series.as_ref().map(ToString::to_string).unwrap_or_default()
}

/// How many points of a series stand where another does.
fn repeated(series: &Series) -> usize {
    let mut places: Vec<String> = series
        .points
        .iter()
        .map(|point| match &point.x {
            Place::Number(number) => number.to_string(),
            Place::Category(name) => name.clone(),
        })
        .collect();
    let all = places.len();
    places.sort_unstable();
    places.dedup();
    all - places.len()
}

fn describe(figure: &Figure) -> String {
    if figure.conditions.is_empty() {
        return format!("figure `{}`", figure.name);
    }
    let condition = |condition: &Condition| format!("{} = {}", condition.column, condition.value);
    let all = figure.conditions.iter().map(condition).collect::<Vec<_>>().join(" and ");
    format!("figure `{}` where {all}", figure.name)
}

fn group(column: Option<&Column>, figure: &Figure, record: &Record) -> String {
    column.and_then(|column| column.group(&figure.x, &record.cell.cell)).unwrap_or_default()
}

/// The series of a name in the facet of a title, made where there is none. Cells mostly follow one another in a series,
/// so the last is looked at first.
fn series(facets: &mut Vec<Facet>, title: String, name: String) -> &mut Series {
    let at = facets.iter().rposition(|facet| facet.title == title).unwrap_or_else(|| {
        facets.push(Facet { title, series: Vec::new(), references: Vec::new() });
        facets.len() - 1
    });
    let all = &mut facets[at].series;
    let at = all.iter().rposition(|series| series.name == name).unwrap_or_else(|| {
        all.push(Series::new(name));
        all.len() - 1
    });
    &mut all[at]
}

/// Where a cell stands along x. A parameter that the arm leaves unset falls back on the measured metric of its name.
fn place(column: &Column, record: &Record, kind: FigureKind) -> Option<Place> {
    let measured = |id: &str| record.value(id).filter(|value| value.is_finite());
    let asked = |name: &str| Column::Parameter { axis: None, name: name.to_owned() }.of(&record.cell.cell);
    if kind == FigureKind::Histogram {
        return None;
    }
    let value = match column {
        // A failed cell has no measured value; what it was asked for is where it would have stood.
        Column::Metric(id) => measured(id).map(Value::Float).or_else(|| asked(id)),
        Column::Parameter { name, .. } => column.of(&record.cell.cell).or_else(|| measured(name).map(Value::Float)),
        other => other.of(&record.cell.cell),
    }?;
    match (value.as_number(), value) {
        (Some(_), value) if kind.lies() || kind == FigureKind::Heat => Some(Place::Category(value.to_string())),
        (Some(number), _) => Some(Place::Number(number)),
        (None, Value::Text(text)) => Some(Place::Category(text)),
        (None, other) => Some(Place::Category(other.to_string())),
    }
}

fn by_place(a: &Point, b: &Point) -> std::cmp::Ordering {
    match (&a.x, &b.x) {
        (Place::Number(x), Place::Number(y)) => x.total_cmp(y),
        _ => std::cmp::Ordering::Equal,
    }
}

/// The arm of a point: the labels of its methods, those that change nothing left out beside others.
fn short_label(record: &Record) -> String {
    let coordinates = record.cell.cell.coordinates.iter();
    let methods = coordinates.filter(|(axis, _)| !matches!(axis, Axis::Model | Axis::Data | Axis::Seed));
    let labels: Vec<&str> = methods.map(|(_, at)| at.label.as_str()).collect();
    let changing: Vec<&str> = labels.iter().copied().filter(|label| *label != "none").collect();
    if changing.is_empty() { labels.first().copied().unwrap_or_default().to_owned() } else { changing.join(" ") }
}

fn reference_label(reference: Option<&harness_suite::Reference>) -> String {
    match reference {
        Some(harness_suite::Reference::Arm(_, arm)) => arm.to_string(),
        _ => "dense".to_owned(),
    }
}

fn add_references(gathered: &mut Gathered) {
    let Gathered { run, figure, .. } = *gathered;
    let Some(reference) = &figure.reference else { return };
    let label = reference_label(Some(reference));
    for record in run.records.iter().filter(|record| reference.matches(&record.cell.cell)) {
        let title = group(figure.facet.as_ref(), figure, record);
        let hidden = figure.conditions.iter().any(|condition| hides(figure, condition, record));
        let Some(y) = record.value(&figure.y).filter(|y| !hidden && y.is_finite()) else { continue };
        if let Some(facet) = gathered.facets.iter_mut().find(|facet| facet.title == title)
            && facet.references.iter().all(|reference| reference.y != y)
        {
            facet.references.push(Reference { label: label.clone(), y });
            let id = record.cell.id.to_string();
            if !gathered.cells.contains(&id) {
                gathered.cells.push(id);
            }
        }
    }
}

/// A reference shows whatever the conditions say of the arms it stands beside, but not from another model, data set
/// or bench than the figure's.
fn hides(figure: &Figure, condition: &Condition, record: &Record) -> bool {
    let free = |axis: harness_core::Axis| match &figure.reference {
        Some(harness_suite::Reference::Arm(own, _)) => axis == *own,
        _ => axis.changes_model(),
    };
    match condition.column {
        Column::Axis(axis) | Column::Method(axis) | Column::Parameter { axis: Some(axis), .. } => {
            !free(axis) && !condition.holds(&record.cell.cell)
        }
        Column::Bench => !condition.holds(&record.cell.cell),
        Column::Metric(_) | Column::Along(_) | Column::Parameter { axis: None, .. } => false,
    }
}

#[cfg(test)]
#[path = "query_tests.rs"]
mod tests;
