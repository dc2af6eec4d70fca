//! Laws through the points of each series.

use std::collections::HashMap;

use harness_core::Observation;
use harness_core::chart::{FittedLaw, Place, Point};
use harness_core::statistics::{Bootstrap, Interval, LawForm};

use super::{Gathered, group, place};
use crate::run::Record;

/// Fewer draws than for a value, since each is a fit.
const RESAMPLES: usize = 1000;
/// Points of a drawn curve.
const STEPS: usize = 60;
/// How far a curve reaches beyond the outermost points, as a factor.
const BEYOND: f64 = 1.12;

/// Fits the figure's law to every series that can bear it.
pub fn fit(gathered: &mut Gathered, shown: &[&Record]) {
    let figure = gathered.figure;
    let positive = |point: &Point| point.y > 0.0 && matches!(point.x, Place::Number(x) if x > 0.0);
    let mut without_logarithm = 0;
    for series in gathered.facets.iter_mut().flat_map(|facet| &mut facet.series) {
        let before = series.points.len();
        series.points.retain(positive);
        without_logarithm += before - series.points.len();
    }
    let mut behind: HashMap<(String, String), Vec<(f64, &Observation)>> = HashMap::new();
    for record in shown.iter().filter(|record| record.cell.failure.is_none()) {
        let key = (group(figure.facet.as_ref(), figure, record), group(figure.series.as_ref(), figure, record));
        let seen = record.cell.observation(&figure.y).filter(|seen| seen.value().is_some_and(|value| value > 0.0));
        if let (Some(Place::Number(x)), Some(seen)) = (place(&figure.x, record, figure.kind), seen)
            && x > 0.0
        {
            behind.entry(key).or_default().push((x, seen));
        }
    }
    let bootstrap = Bootstrap { resamples: RESAMPLES, ..Bootstrap::default() };
    let (mut fitted, mut bare) = (0, 0);
    for facet in &mut gathered.facets {
        for series in facet.series.iter_mut().filter(|series| !series.points.is_empty()) {
            let key = (facet.title.clone(), series.name.clone());
            let points = behind.get(&key).map_or(&[][..], Vec::as_slice);
            let low = points.iter().map(|(x, _)| *x).fold(f64::INFINITY, f64::min) / BEYOND;
            let high = points.iter().map(|(x, _)| *x).fold(0.0, f64::max) * BEYOND;
            let xs: Vec<f64> = (0..=STEPS).map(|step| low * (high / low).powf(step as f64 / STEPS as f64)).collect();
            let Some(found) = bootstrap.law(figure.form, points, &xs) else {
                bare += 1;
                continue;
            };
            fitted += 1;
            let pair = |interval: Interval| (interval.low, interval.high);
            let of = |index: usize| found.intervals.map(|all| pair(all[index]));
            let curve = found
                .curve
                .iter()
                .map(|(x, y, interval)| Point { interval: interval.map(pair), ..Point::new(Place::Number(*x), *y) });
            series.law = Some(FittedLaw {
                floor: (found.law.floor, of(0).filter(|_| figure.form == LawForm::PowerFloor)),
                scale: (found.law.scale, of(1)),
                exponent: (found.law.exponent, of(2)),
                curve: curve.collect(),
            });
        }
    }
    if fitted > 0 {
        let law = match figure.form {
            LawForm::Power => "scale · x^exponent",
            LawForm::PowerFloor => "floor + scale · x^exponent",
        };
        gathered.notes.push(format!(
            "Curves: {law} by least squares of the logarithm; their bands cover the choice of documents, not the choice of the law."
        ));
    }
    if bare > 0 {
        gathered.notes.push(format!("{bare} series have too few points for a law."));
    }
    if without_logarithm > 0 {
        gathered.notes.push(format!("{without_logarithm} points at or below 0 are left out."));
    }
}
