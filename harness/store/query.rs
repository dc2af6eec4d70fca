//! Figures: from records to the values of a chart.

use harness_core::chart::{Chart, ChartAxis, ChartKind, Facet, FailedPoint, Place, Point, Reference, Series};
use harness_core::{Direction, Value};
use harness_suite::{Column, Condition, Figure, FigureKind};

use crate::error::QueryError;
use crate::run::{Record, Run};

/// The chart of a declared figure. Failed cells are marked, never shown as numbers; cells without the metric, or
/// without a place on x, are left out and counted in the note.
///
/// # Errors
/// [`QueryError`] when nothing is left to show.
pub fn query(run: &Run, figure: &Figure) -> Result<Chart, QueryError> {
    let known = run.metrics.iter().map(|metric| metric.id.as_str()).collect::<Vec<_>>().join(", ");
    let metric = run.metric(&figure.y).ok_or_else(|| QueryError::Metric { metric: figure.y.clone(), known })?;
    let is_reference =
        |record: &Record| figure.reference.as_ref().is_some_and(|reference| reference.matches(&record.cell.cell));
    let fits = |record: &Record| figure.conditions.iter().all(|condition| condition.holds(&record.cell.cell));
    let shown: Vec<&Record> = run
        .records
        .iter()
        .filter(|record| fits(record) && (!is_reference(record) || figure.kind == FigureKind::Bar))
        .collect();
    let mut facets: Vec<Facet> = Vec::new();
    let mut left_out = 0;
    for record in &shown {
        let title = group(figure.facet.as_ref(), figure, record);
        let name = group(figure.series.as_ref(), figure, record);
        let place = place(&figure.x, record, figure.kind);
        let facet = facet(&mut facets, title);
        let series = series(&mut facet.series, name);
        if let Some(failure) = &record.cell.failure {
            let reason = format!("{}: {}", failure.stage, failure.reason);
            series.failed.push(FailedPoint { x: place, reason });
            continue;
        }
        let estimate = record.estimate(&figure.y).filter(|estimate| estimate.value.is_finite());
        match (place, estimate) {
            (Some(x), Some(estimate)) => series.points.push(Point {
                x,
                y: estimate.value,
                interval: estimate.interval.map(|interval| (interval.low, interval.high)),
                label: (figure.kind == FigureKind::Scatter).then(|| short_label(record)),
            }),
            _ => left_out += 1,
        }
    }
    for facet in &mut facets {
        facet.series.retain(|series| !series.points.is_empty() || !series.failed.is_empty());
    }
    facets.retain(|facet| !facet.series.is_empty());
    if facets.is_empty() {
        return Err(QueryError::Nothing { what: describe(figure) });
    }
    if figure.kind != FigureKind::Bar {
        add_references(run, figure, &mut facets, is_reference);
        facets.iter_mut().flat_map(|facet| &mut facet.series).for_each(|series| series.points.sort_by(by_place));
    }
    let chart_axis = |column: &Column, log| match column {
        Column::Metric(id) => ChartAxis {
            label: id.clone(),
            unit: run.metric(id).map_or_else(|| "1".to_owned(), |metric| metric.unit.clone()),
            log,
            direction: run.metric(id).map_or(Direction::Neutral, |metric| metric.direction),
        },
        other => ChartAxis { log, ..ChartAxis::plain(other.to_string()) },
    };
    let title = figure.title.clone().unwrap_or_else(|| format!("{} against {}", figure.y, figure.x));
    let mut notes = Vec::new();
    let level =
        shown.iter().filter_map(|record| record.estimate(&figure.y)?.interval).map(|interval| interval.level).next();
    if let Some(level) = level {
        notes.push(format!("{:.0} % bootstrap intervals.", level * 100.0));
    }
    if left_out > 0 {
        notes.push(format!("{left_out} cells have no {} or no {} and are left out.", metric.id, figure.x));
    }
    Ok(Chart {
        id: figure.name.clone(),
        title,
        kind: match figure.kind {
            FigureKind::Line => ChartKind::Line,
            FigureKind::Bar => ChartKind::Bar,
            FigureKind::Scatter => ChartKind::Scatter,
        },
        x: chart_axis(&figure.x, figure.log_x),
        y: chart_axis(&Column::Metric(figure.y.clone()), figure.log_y),
        facets,
        note: (!notes.is_empty()).then(|| notes.join(" ")),
    })
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

fn facet(facets: &mut Vec<Facet>, title: String) -> &mut Facet {
    let index = facets.iter().position(|facet| facet.title == title).unwrap_or_else(|| {
        facets.push(Facet { title, series: Vec::new(), references: Vec::new() });
        facets.len() - 1
    });
    &mut facets[index]
}

fn series(all: &mut Vec<Series>, name: String) -> &mut Series {
    let index = all.iter().position(|series| series.name == name).unwrap_or_else(|| {
        all.push(Series { name, points: Vec::new(), failed: Vec::new() });
        all.len() - 1
    });
    &mut all[index]
}

/// Where a cell stands along x. A parameter that the arm leaves unset falls back on the measured metric of its name.
fn place(column: &Column, record: &Record, kind: FigureKind) -> Option<Place> {
    let measured = |id: &str| record.value(id).filter(|value| value.is_finite());
    let asked = |name: &str| Column::Parameter { axis: None, name: name.to_owned() }.of(&record.cell.cell);
    let value = match column {
        // A failed cell has no measured value; what it was asked for is where it would have stood.
        Column::Metric(id) => measured(id).map(Value::Float).or_else(|| asked(id)),
        Column::Parameter { name, .. } => column.of(&record.cell.cell).or_else(|| measured(name).map(Value::Float)),
        other => other.of(&record.cell.cell),
    }?;
    match (value.as_number(), value) {
        (Some(_), value) if kind == FigureKind::Bar => Some(Place::Category(value.to_string())),
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

/// The arm of a point: labels of the axes that hold methods.
fn short_label(record: &Record) -> String {
    let arms = record.cell.cell.coordinates.values().filter(|at| !at.parameters.is_empty() || at.id == "none");
    arms.map(|at| at.label.as_str()).collect::<Vec<_>>().join(" ")
}

fn add_references(run: &Run, figure: &Figure, facets: &mut [Facet], is_reference: impl Fn(&Record) -> bool) {
    let label = match &figure.reference {
        Some(harness_suite::Reference::Arm(_, arm)) => arm.to_string(),
        _ => "dense".to_owned(),
    };
    for record in run.records.iter().filter(|record| is_reference(record)) {
        let title = group(figure.facet.as_ref(), figure, record);
        let hidden = figure.conditions.iter().any(|condition| hides(figure, condition, record));
        let Some(y) = record.value(&figure.y).filter(|_| !hidden) else { continue };
        if let Some(facet) = facets.iter_mut().find(|facet| facet.title == title)
            && facet.references.iter().all(|reference| reference.y != y)
        {
            facet.references.push(Reference { label: label.clone(), y });
        }
    }
}

/// A reference shows whatever the conditions say of the arms it stands beside, but not from another model, data set
/// or bench than the figure's.
fn hides(figure: &Figure, condition: &Condition, record: &Record) -> bool {
    use harness_core::Axis::{Lowrank, Prune, Quant, Train};
    let free = |axis| match &figure.reference {
        Some(harness_suite::Reference::Arm(own, _)) => axis == *own,
        _ => [Train, Lowrank, Prune, Quant].contains(&axis),
    };
    match condition.column {
        Column::Axis(axis) | Column::Method(axis) | Column::Parameter { axis: Some(axis), .. } => {
            !free(axis) && !condition.holds(&record.cell.cell)
        }
        Column::Bench => !condition.holds(&record.cell.cell),
        Column::Metric(_) | Column::Parameter { axis: None, .. } => false,
    }
}

#[cfg(test)]
#[path = "query_tests.rs"]
mod tests;
