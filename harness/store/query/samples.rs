//! Boxes, violins and histograms: from raw samples, each reduced alone.

use harness_core::Axis;
use harness_core::chart::{Place, Point};
use harness_core::statistics::{Bootstrap, Interval, quantile};
use harness_suite::Reference;

use super::{Gathered, series};
use crate::run::Record;

/// Enters the samples of a cell; `false` where it has none.
pub fn enter(gathered: &mut Gathered, record: &Record, title: String, name: String, place: Option<Place>) -> bool {
    let samples = match &gathered.figure.minus {
        None => alone(record, &gathered.figure.y),
        Some(reference) => differences(gathered, record, reference),
    };
    let samples: Vec<f64> = samples.unwrap_or_default().into_iter().filter(|sample| sample.is_finite()).collect();
    // A histogram has no place of its own: its samples are gathered at 0 until they are counted.
    let histogram = gathered.figure.kind == harness_suite::FigureKind::Histogram;
    let place = if histogram { Some(Place::Number(0.0)) } else { place };
    let (Some(place), Some(median)) = (place, median(&samples)) else { return false };
    let series = series(&mut gathered.facets, title, name);
    match series.points.first_mut() {
        Some(point) if histogram => point.samples.extend(samples),
        _ => series.points.push(Point { samples, ..Point::new(place, median) }),
    }
    true
}

fn alone(record: &Record, metric: &str) -> Option<Vec<f64>> {
    let seen = record.cell.observation(metric)?;
    Some(seen.alone().into_iter().map(|sample| sample.unwrap_or(f64::NAN)).collect())
}

fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    quantile(&sorted, 0.5)
}

/// The samples of a cell less those of the reference in the same place on every other axis, pair by pair. `None` where
/// there is no such cell or it was measured otherwise.
fn differences(gathered: &mut Gathered, record: &Record, reference: &Reference) -> Option<Vec<f64>> {
    let other = partner(gathered, record, reference)?;
    let metric = &gathered.figure.y;
    let (mine, theirs) = (record.cell.observation(metric)?, other.cell.observation(metric)?);
    if mine.protocol != theirs.protocol || mine.samples.len() != theirs.samples.len() {
        return None;
    }
    let pairs = mine.alone().into_iter().zip(theirs.alone());
    Some(pairs.map(|(a, b)| a.zip(b).map_or(f64::NAN, |(a, b)| a - b)).collect())
}

/// How far the value of a cell lies above that of the reference beside it, and the interval of that. `None` where there is no
/// such cell or it was measured otherwise.
pub fn difference(gathered: &mut Gathered, record: &Record, reference: &Reference) -> Option<(f64, Option<Interval>)> {
    let other = partner(gathered, record, reference)?;
    let metric = &gathered.figure.y;
    let (mine, theirs) = (record.cell.observation(metric)?, other.cell.observation(metric)?);
    let effect = Bootstrap::default().paired(theirs, mine).ok()?;
    effect.difference.is_finite().then_some((effect.difference, effect.interval))
}

/// The reference cell in the same place as another on every axis that is not its own, which the figure then shows too.
fn partner<'a>(gathered: &mut Gathered<'a>, record: &Record, reference: &Reference) -> Option<&'a Record> {
    let free = |axis: Axis| match reference {
        Reference::Arm(own, _) => axis == *own,
        Reference::Dense => axis.changes_model(),
    };
    let own = &record.cell.cell;
    let other = gathered.run.records.iter().find(|other| {
        let cell = &other.cell.cell;
        cell.bench == own.bench
            && reference.matches(cell)
            && own.coordinates.iter().all(|(axis, at)| free(*axis) || cell.coordinates.get(axis) == Some(at))
    })?;
    let id = other.cell.id.to_string();
    if !gathered.cells.contains(&id) {
        gathered.cells.push(id);
    }
    Some(other)
}

/// Turns the gathered samples into counts in bins that all series of all facets share.
pub fn count(gathered: &mut Gathered) {
    let all = gathered.facets.iter().flat_map(|facet| &facet.series).flat_map(|series| &series.points);
    let mut pooled: Vec<f64> = all.flat_map(|point| point.samples.iter().copied()).collect();
    pooled.sort_unstable_by(f64::total_cmp);
    let log = gathered.figure.log_x && pooled.first().is_some_and(|low| *low > 0.0);
    let edges = edges(&pooled, log);
    for series in gathered.facets.iter_mut().flat_map(|facet| &mut facet.series) {
        let samples: Vec<f64> = series.points.drain(..).flat_map(|point| point.samples).collect();
        let mut counts = vec![0_usize; edges.len().saturating_sub(1)];
        for sample in samples {
            // The last bin holds its upper edge.
            let bin = edges.partition_point(|edge| *edge <= sample).saturating_sub(1).min(counts.len() - 1);
            counts[bin] += 1;
        }
        series.points.extend(counts.into_iter().zip(edges.windows(2)).map(|(count, edge)| Point {
            reach: Some((edge[0], edge[1])),
            ..Point::new(Place::Number(f64::midpoint(edge[0], edge[1])), count as f64)
        }));
    }
}

/// Edges of equally wide bins by the rule of Freedman and Diaconis (`2 · IQR · n^(-1/3)`), between 5 and 60 of them;
/// equally wide in the logarithm where `log`. `sorted` holds all samples, ascending.
fn edges(sorted: &[f64], log: bool) -> Vec<f64> {
    let on = |value: f64| if log { value.ln() } else { value };
    let off = |value: f64| if log { value.exp() } else { value };
    let (Some(low), Some(high)) = (sorted.first().copied(), sorted.last().copied()) else { return vec![0.0, 1.0] };
    if low == high {
        let half = if low == 0.0 { 0.5 } else { 0.05 * low.abs() };
        return vec![low - half, low + half];
    }
    let scaled: Vec<f64> = sorted.iter().map(|sample| on(*sample)).collect();
    let spread = quantile(&scaled, 0.75).zip(quantile(&scaled, 0.25)).map_or(0.0, |(upper, lower)| upper - lower);
    let width = 2.0 * spread / (sorted.len() as f64).cbrt();
    let (low_on, high_on) = (on(low), on(high));
    let count = if width > 0.0 { ((high_on - low_on) / width).ceil() } else { 5.0 };
    let count = count.clamp(5.0, 60.0) as usize;
    let step = (high_on - low_on) / count as f64;
    let mut edges: Vec<f64> = (0..=count).map(|index| off(low_on + step * index as f64)).collect();
    // Rounding must not push the outermost samples out.
    edges[0] = low;
    edges[count] = high;
    edges
}

#[cfg(test)]
mod tests {
    use super::edges;

    #[test]
    fn bins_are_those_of_numpy() {
        // numpy.histogram_bin_edges(numpy.arange(1000.0) ** 2, "fd"): 11 edges, the second at 99800.1.
        let squares: Vec<f64> = (0..1000).map(|i| f64::from(i * i)).collect();
        let found = edges(&squares, false);
        assert_eq!((found.len(), found[0], found[10]), (11, 0.0, 998_001.0));
        assert!((found[1] - 99_800.1).abs() < 1e-6);
        assert_eq!(edges(&[2.0, 2.0], false), [1.9, 2.1]);
        let log = edges(&[1.0, 10.0, 100.0, 1000.0], true);
        assert!((log[1] / log[0] - log[2] / log[1]).abs() < 1e-9);
    }
}
