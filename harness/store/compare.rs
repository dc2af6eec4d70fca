//! Comparing two runs, or two arms of runs.

use std::collections::{BTreeMap, HashMap};

use harness_core::statistics::{Bootstrap, Effect, Power, Refusal, holm};
use harness_core::verdict::{Margin, corrected, decide};
use harness_core::{Axis, Cell, Direction, Noise, Observation, Verdict};
use rayon::prelude::*;

use crate::advice;
use crate::run::{MetricInfo, Record, Run};

/// One side of a comparison: a run, or the cells of a run with one arm.
#[derive(Debug, Clone, Copy)]
pub struct Selection<'a> {
    /// The run.
    pub run: &'a Run,
    /// The axis and the label that are compared; `None` takes all cells.
    pub arm: Option<(Axis, &'a str)>,
}

impl Selection<'_> {
    fn name(&self) -> String {
        match self.arm {
            Some((_, label)) => format!("{label} ({})", self.run.name()),
            None => self.run.name(),
        }
    }

    /// Records by what pairs them: the bench and all coordinates but the compared one.
    fn records(&self) -> BTreeMap<String, &Record> {
        let chosen = self
            .run
            .records
            .iter()
            .filter(|record| self.arm.is_none_or(|(axis, label)| record.cell.cell.label(axis) == Some(label)));
        chosen.map(|record| (pairing(&record.cell.cell, self.arm.map(|(axis, _)| axis)), record)).collect()
    }
}

fn pairing(cell: &Cell, without: Option<Axis>) -> String {
    let rest = cell.coordinates.iter().filter(|(axis, _)| Some(**axis) != without);
    rest.fold(cell.bench.clone(), |name, (_, at)| format!("{name} / {}", at.label))
}

/// How to compare.
#[derive(Debug, Clone, Default)]
pub struct CompareOptions {
    /// The bootstrap.
    pub bootstrap: Bootstrap,
    /// Differences that do not matter, by metric id; zero where none is given.
    pub margins: BTreeMap<String, Margin>,
}

/// One metric of one pair of cells.
#[derive(Debug, Clone, PartialEq)]
pub struct ComparisonRow {
    /// What the two cells have in common.
    pub cell: String,
    /// Metric id.
    pub metric: String,
    /// Unit of the values.
    pub unit: String,
    /// Value on the reference side.
    pub a: Option<f64>,
    /// Value on the other side.
    pub b: Option<f64>,
    /// Which way is good.
    pub direction: Direction,
    /// What makes the metric noisy.
    pub noise: Noise,
    /// The difference; `None` when it was refused.
    pub effect: Option<Effect>,
    /// The largest difference that does not matter, in the metric's unit.
    pub zone: f64,
    /// Two-sided p-value of the true difference lying within the zone; `None` where nothing was tested.
    pub probability: Option<f64>,
    /// The p-value after Holm's correction for all tests of the comparison.
    pub adjusted: Option<f64>,
    /// The smallest difference that the comparison would find, in the metric's unit; `None` where none would be found, or
    /// nothing was tested.
    pub detectable: Option<f64>,
    /// How many units it takes to find a difference as large as the one seen; set where it could not be told.
    pub needed: Option<u64>,
    /// In one word, after the correction.
    pub verdict: Verdict,
    /// Whether the two sides were measured differently and so never subtracted.
    pub refused: bool,
    /// Why there is no effect, or why it could not be told.
    pub reason: Option<String>,
}

/// The outcome of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The reference side.
    pub a: String,
    /// The other side.
    pub b: String,
    /// One row for each metric of each pair, in the order of the reference run.
    pub rows: Vec<ComparisonRow>,
    /// Level of the intervals.
    pub level: f64,
    /// How often samples were drawn.
    pub resamples: usize,
    /// How many tests the p-values are corrected for.
    pub tests: usize,
}

impl Comparison {
    /// How many rows have a verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.rows.iter().filter(|row| row.verdict == verdict).count()
    }

    /// The first reason for which a row was refused, when every row that stands on both sides was.
    pub fn refusal(&self) -> Option<&str> {
        let mut refused = None;
        for row in self.rows.iter().filter(|row| !matches!(row.verdict, Verdict::New | Verdict::Gone | Verdict::Failed))
        {
            if !row.refused {
                return None;
            }
            refused = refused.or(row.reason.as_deref());
        }
        refused
    }

    /// What stands under the table.
    pub fn about(&self) -> String {
        let level = 100.0 * self.level;
        format!(
            "Differences are b − a with {level:.0} % intervals, each from {} draws. Better and worse need the whole interval \
             beyond the margin and a p-value of at most {:.3} after Holm's correction for {}; finds is the smallest \
             difference found with a chance of {:.0} % at the strictest step of that correction. Times that were not taken \
             in the same rounds are independent samples: drift of the machine between them counts as a difference.",
            self.resamples,
            1.0 - self.level,
            if self.tests == 1 { "1 test".to_owned() } else { format!("{} tests", self.tests) },
            100.0 * harness_core::statistics::POWER,
        )
    }
}

/// Compares `b` with the reference `a`: sampled metrics paired on their samples, times paired on their rounds where they
/// were taken together and by the bootstrap of their medians otherwise, exact metrics as they are. What was measured
/// differently is refused, with the reason in its row.
pub fn compare(a: &Selection, b: &Selection, options: &CompareOptions) -> Comparison {
    let (first, second) = (a.records(), b.records());
    let place = |run: &Run| -> HashMap<*const Record, usize> {
        run.records.iter().enumerate().map(|(place, record)| (std::ptr::from_ref(record), place)).collect()
    };
    let (mine, theirs) = (place(a.run), place(b.run));
    let mut order: Vec<(usize, &String)> = Vec::new();
    for name in first.keys().chain(second.keys().filter(|name| !first.contains_key(*name))) {
        let rank = match (first.get(name), second.get(name)) {
            (Some(record), _) => mine.get(&std::ptr::from_ref(*record)).copied(),
            (None, Some(record)) => theirs.get(&std::ptr::from_ref(*record)).map(|at| at + a.run.records.len()),
            (None, None) => None,
        };
        order.push((rank.unwrap_or(usize::MAX), name));
    }
    order.sort();
    let metrics: Vec<&MetricInfo> = metrics(a.run, b.run).collect();
    let pairs: Vec<(&String, &MetricInfo)> =
        order.iter().flat_map(|(_, name)| metrics.iter().map(move |metric| (*name, *metric))).collect();
    let mut rows: Vec<ComparisonRow> = pairs
        .par_iter()
        .filter_map(|(name, metric)| {
            let (left, right) = (first.get(*name).copied(), second.get(*name).copied());
            row(name, metric, (a.run, left), (b.run, right), options)
        })
        .collect();
    let tests = correct(&mut rows, options.bootstrap.level);
    let bootstrap = options.bootstrap;
    Comparison { a: a.name(), b: b.name(), rows, level: bootstrap.level, resamples: bootstrap.resamples, tests }
}

/// Corrects the verdicts for the number of tests, and says what could be told; returns that number.
fn correct(rows: &mut [ComparisonRow], level: f64) -> usize {
    let alpha = 1.0 - level;
    let adjusted = holm(&rows.iter().map(|row| row.probability.unwrap_or(f64::NAN)).collect::<Vec<f64>>());
    let tests = adjusted.iter().filter(|p| !p.is_nan()).count();
    let power = Power::among(alpha, tests);
    rows.par_iter_mut().zip(adjusted).for_each(|(row, adjusted)| {
        row.adjusted = (!adjusted.is_nan()).then_some(adjusted);
        row.verdict = corrected(row.verdict, row.adjusted, alpha);
        let Some(effect) = &row.effect else { return };
        row.detectable = effect.detectable(power);
        if row.verdict == Verdict::CannotTell {
            row.needed = effect.units_needed(power, effect.difference);
            row.reason = row.reason.take().or_else(|| Some(advice::cannot_tell(row, effect, tests, alpha)));
        }
    });
    tests
}

fn metrics<'a>(a: &'a Run, b: &'a Run) -> impl Iterator<Item = &'a MetricInfo> {
    a.metrics.iter().chain(b.metrics.iter().filter(|metric| a.metric(&metric.id).is_none()))
}

type Side<'a> = (&'a Run, Option<&'a Record>);

fn row(cell: &str, metric: &MetricInfo, a: Side, b: Side, options: &CompareOptions) -> Option<ComparisonRow> {
    let failed = |record: Option<&Record>| record.and_then(|record| record.cell.failure.clone());
    let value = |side: Side| side.1.and_then(|record| record.value(&metric.id));
    let mut row = ComparisonRow {
        cell: cell.to_owned(),
        metric: metric.id.clone(),
        unit: metric.unit.clone(),
        a: value(a),
        b: value(b),
        direction: metric.direction,
        noise: metric.noise,
        effect: None,
        zone: 0.0,
        probability: None,
        adjusted: None,
        detectable: None,
        needed: None,
        verdict: Verdict::CannotTell,
        refused: false,
        reason: None,
    };
    if let Some(failure) = failed(b.1).or_else(|| failed(a.1)) {
        let side = if failed(b.1).is_some() { "b" } else { "a" };
        row.verdict = Verdict::Failed;
        row.reason = Some(format!("{side} failed: {}: {}", failure.stage, failure.reason));
        return Some(row);
    }
    let (left, right) = match (seen(a.1, metric), seen(b.1, metric)) {
        (None, None) => return None,
        (None, Some(_)) => {
            row.verdict = Verdict::New;
            return Some(row);
        }
        (Some(_), None) => {
            row.verdict = Verdict::Gone;
            return Some(row);
        }
        (Some(left), Some(right)) => (left, right),
    };
    let bootstrap = options.bootstrap;
    let effect = same_version(metric, b.0).and_then(|()| match metric.noise {
        Noise::Timed => comparable_clocks(a.0, b.0).and_then(|()| {
            if same_rounds((a.0, left), (b.0, right)) {
                bootstrap.paired(left, right)
            } else {
                bootstrap.unpaired(left, right)
            }
        }),
        Noise::Exact | Noise::Sampled => bootstrap.paired(left, right),
    });
    match effect {
        Ok(effect) => {
            let margin = options.margins.get(&metric.id).copied().unwrap_or_default();
            row.zone = margin.around(effect.a);
            row.probability = effect.probability_beyond(row.zone);
            row.verdict = decide(metric.direction, metric.noise, &effect, margin);
            row.effect = Some(effect);
        }
        Err(refusal) => {
            row.refused = true;
            row.reason = Some(refusal.to_string());
        }
    }
    Some(row)
}

/// Whether two times were taken in the same rounds of one run, one arm after the other.
fn same_rounds(a: (&Run, &Observation), b: (&Run, &Observation)) -> bool {
    let one_run = a.0.dir == b.0.dir && a.0.stamp == b.0.stamp;
    one_run && !a.1.clusters.is_empty() && a.1.clusters == b.1.clusters
}

fn seen<'a>(record: Option<&'a Record>, metric: &MetricInfo) -> Option<&'a Observation> {
    record.and_then(|record| record.cell.observation(&metric.id))
}

fn same_version(metric: &MetricInfo, other: &Run) -> Result<(), Refusal> {
    match other.metric(&metric.id) {
        Some(theirs) if theirs.version != metric.version => Err(Refusal::Reduction { metric: metric.id.clone() }),
        _ => Ok(()),
    }
}

fn comparable_clocks(a: &Run, b: &Run) -> Result<(), Refusal> {
    let (first, second) = (a.stamp.host_class(), b.stamp.host_class());
    if first != second {
        return Err(Refusal::Host { a: first, b: second });
    }
    match [&a.stamp, &b.stamp].into_iter().find(|stamp| !stamp.is_release()) {
        Some(stamp) => Err(Refusal::Build { profile: stamp.profile.clone() }),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
