//! Curves and shades along something that runs through a cell: the layers of a model, the places in a window.

use harness_core::chart::{Facet, Place, Point};
use harness_core::metric::Noise;
use harness_core::statistics::Bootstrap;
use harness_suite::{Column, Figure};

use super::{Gathered, series, short_label};
use crate::run::Record;

/// Fewer draws than for a value, since every place has an interval of its own.
const RESAMPLES: usize = 1000;

/// Whether a heat map shows places.
pub fn crosses(figure: &Figure) -> bool {
    matches!(figure.x, Column::Along(_)) || matches!(figure.series, Some(Column::Along(_)))
}

/// Enters the curve of a cell; `false` where it has none. A second cell of one series gets a series of its own.
pub fn enter(gathered: &mut Gathered, record: &Record, title: String, name: String) -> bool {
    let sampled = gathered.metric.noise != Noise::Exact;
    let points = places(record, &gathered.figure.y, sampled);
    if points.is_empty() {
        return false;
    }
    let mut all = gathered.facets.iter().filter(|facet| facet.title == title).flat_map(|facet| &facet.series);
    let taken = all.any(|series| series.name == name && !series.points.is_empty());
    let name = match (taken, name.is_empty()) {
        (false, _) => name,
        (true, true) => short_label(record),
        (true, false) => format!("{name}, {}", short_label(record)),
    };
    series(&mut gathered.facets, title, name).points.extend(points);
    true
}

/// The value at each place, with its interval where the metric has noise.
fn places(record: &Record, metric: &str, sampled: bool) -> Vec<Point> {
    let Some(profile) = record.cell.observation(metric).and_then(|seen| seen.profile.as_ref()) else {
        return Vec::new();
    };
    let bootstrap = Bootstrap { resamples: RESAMPLES, ..Bootstrap::default() };
    let mut points = Vec::new();
    for (place, seen) in profile.by_place(metric) {
        let estimate = if sampled { bootstrap.estimate(&seen) } else { None };
        let value = estimate.as_ref().map(|estimate| estimate.value).or_else(|| seen.value());
        let Some(value) = value.filter(|value| value.is_finite() && place.is_finite()) else { continue };
        let interval = estimate.and_then(|estimate| estimate.interval).map(|interval| (interval.low, interval.high));
        points.push(Point { interval, ..Point::new(Place::Number(place), value) });
    }
    points
}

/// Enters the shades of a cell whose row or column are places; `false` where it has none.
pub fn shade(gathered: &mut Gathered, record: &Record, title: String, name: String) -> bool {
    let points = places(record, &gathered.figure.y, false);
    let across = matches!(gathered.figure.x, Column::Along(_));
    let place = super::place(&gathered.figure.x, record, gathered.figure.kind);
    let mut entered = false;
    for point in points {
        let Place::Number(number) = point.x else { continue };
        let (row, column) = match (across, &place) {
            (true, _) => (name.clone(), Place::Category(number.to_string())),
            (false, Some(place)) => (number.to_string(), place.clone()),
            (false, None) => continue,
        };
        series(&mut gathered.facets, title.clone(), row).points.push(Point::new(column, point.y));
        entered = true;
    }
    entered
}

/// Rows that are numbers stand in their order; all others as they came.
pub fn arrange(facets: &mut [Facet]) {
    for facet in facets {
        if facet.series.iter().all(|series| series.name.parse::<f64>().is_ok()) {
            facet.series.sort_by(|a, b| {
                let number = |name: &str| name.parse::<f64>().unwrap_or_default();
                number(&a.name).total_cmp(&number(&b.name))
            });
        }
    }
}
