//! Comparing two runs, or two arms of runs.

use std::collections::BTreeMap;

use harness_core::statistics::{Bootstrap, Effect, Refusal};
use harness_core::verdict::{Margin, decide};
use harness_core::{Axis, Cell, Noise, Observation, Verdict};

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
    /// The difference; `None` when it was refused.
    pub effect: Option<Effect>,
    /// In one word.
    pub verdict: Verdict,
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
}

impl Comparison {
    /// How many rows have a verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.rows.iter().filter(|row| row.verdict == verdict).count()
    }

    /// What stands under the table.
    pub fn about(&self) -> String {
        format!(
            "Differences are b − a with {:.0} % intervals, each from {} draws; no correction for their number.",
            100.0 * self.level,
            self.resamples
        )
    }
}

/// Compares `b` with the reference `a`: sampled metrics paired on their samples, times by the bootstrap of their
/// medians, exact metrics as they are. What was measured differently is refused, with the reason in its row.
pub fn compare(a: &Selection, b: &Selection, options: &CompareOptions) -> Comparison {
    let (first, second) = (a.records(), b.records());
    let mut order: Vec<(usize, &String)> = Vec::new();
    for name in first.keys().chain(second.keys().filter(|name| !first.contains_key(*name))) {
        let place = |records: &[Record], record: &Record| records.iter().position(|other| std::ptr::eq(other, record));
        let rank = match (first.get(name), second.get(name)) {
            (Some(record), _) => place(&a.run.records, record),
            (None, Some(record)) => place(&b.run.records, record).map(|at| at + a.run.records.len()),
            (None, None) => None,
        };
        order.push((rank.unwrap_or(usize::MAX), name));
    }
    order.sort();
    let mut rows = Vec::new();
    for (_, name) in order {
        let (left, right) = (first.get(name).copied(), second.get(name).copied());
        for metric in metrics(a.run, b.run) {
            rows.extend(row(name, metric, (a.run, left), (b.run, right), options));
        }
    }
    let bootstrap = options.bootstrap;
    Comparison { a: a.name(), b: b.name(), rows, level: bootstrap.level, resamples: bootstrap.resamples }
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
        effect: None,
        verdict: Verdict::CannotTell,
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
    let effect = match metric.noise {
        Noise::Timed => comparable_clocks(a.0, b.0).and_then(|()| options.bootstrap.unpaired(left, right)),
        Noise::Exact | Noise::Sampled => same_version(metric, b.0).and_then(|()| options.bootstrap.paired(left, right)),
    };
    match effect {
        Ok(effect) => {
            let margin = options.margins.get(&metric.id).copied().unwrap_or_default();
            row.verdict = decide(metric.direction, metric.noise, &effect, margin);
            if row.verdict == Verdict::CannotTell && effect.interval.is_none() && metric.noise != Noise::Exact {
                row.reason = Some(format!("{}: its noise is not known", effect.test));
            }
            row.effect = Some(effect);
        }
        Err(refusal) => row.reason = Some(refusal.to_string()),
    }
    Some(row)
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
