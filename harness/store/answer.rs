//! What a table comes to: the best of each set of arms that were compared, and how far it is from the reference.

use harness_core::chart::{IntervalStyle, Standing};
use harness_core::statistics::Bootstrap;
use harness_core::{Axis, Direction, Noise};
use harness_suite::{Column, Reference, TableRequest};
use rayon::prelude::*;

use crate::grid::{Grid, Set, key};
use crate::rank::difference;
use crate::run::{MetricInfo, Record, Run};

/// How far a value is from that of the reference.
#[derive(Debug, Clone, PartialEq)]
pub struct Against {
    /// The reference, as printed.
    pub label: String,
    /// `value / reference - 1`.
    pub relative: f64,
    /// Its interval.
    pub interval: Option<(f64, f64)>,
}

/// The best of one set of arms.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// What the arms have in common: column and value, without those that are unset.
    pub place: Vec<(String, String)>,
    /// The best; several where they cannot be told apart, best value first.
    pub best: Vec<String>,
    /// Whether the best was told apart from every other.
    pub sure: bool,
    /// How many were compared.
    pub compared: usize,
    /// The best value.
    pub value: f64,
    /// Its interval.
    pub interval: Option<(f64, f64)>,
    /// How far it is from the reference.
    pub against: Option<Against>,
    /// Id of the cell with the best value.
    pub cell: String,
}

/// The metric by which a table is answered: its first with a good side.
pub fn leading_metric<'a>(run: &'a Run, request: &TableRequest) -> Option<&'a MetricInfo> {
    let mut metrics = request.metrics.iter().filter_map(|id| run.metric(id));
    metrics.find(|metric| metric.direction != Direction::Neutral)
}

/// The best of each set of a table by its leading metric; sets without a number are left out. Nothing where there are
/// more than `most` sets: a reader is then better served by the table.
pub fn findings(run: &Run, request: &TableRequest, most: usize) -> Vec<Finding> {
    let (Ok(grid), Some(metric)) = (Grid::of(run, request), leading_metric(run, request)) else { return Vec::new() };
    if grid.sets.len() > most {
        return Vec::new();
    }
    let within = request.compared_within();
    let own: Vec<Column> = request.rows.iter().filter(|column| !within.contains(column)).cloned().collect();
    let headings: Vec<String> = request.columns.iter().chain(within).map(ToString::to_string).collect();
    let of_set = |set: &Set| {
        let ranking = grid.rank(set, metric);
        let best = ranking.best?;
        let record = set.members[best].1;
        let estimate = record.estimate(&metric.id)?;
        let mut tied: Vec<(f64, String)> = set
            .members
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != best && ranking.standings[*at] == Standing::Tied)
            .filter_map(|(_, (_, record))| Some((record.value(&metric.id)?, named(&key(&own, record)))))
            .collect();
        tied.sort_by(|a, b| a.0.total_cmp(&b.0));
        if metric.direction == Direction::Higher {
            tied.reverse();
        }
        let values = grid.groups[set.group].iter().chain(&set.common);
        Some(Finding {
            place: headings.iter().cloned().zip(values.cloned()).filter(|(_, value)| !value.is_empty()).collect(),
            best: std::iter::once(named(&key(&own, record))).chain(tied.into_iter().map(|(_, name)| name)).collect(),
            sure: ranking.standings[best] == Standing::Best,
            compared: set.members.len(),
            value: estimate.value,
            interval: estimate.interval.map(|interval| (interval.low, interval.high)),
            against: request.reference.as_ref().and_then(|reference| against(run, reference, record, metric)),
            cell: record.cell.id.to_string(),
        })
    };
    let found: Vec<Option<Finding>> = grid.sets.par_iter().map(of_set).collect();
    found.into_iter().flatten().collect()
}

/// How far a cell is from the reference of its bench, model, text and seed.
fn against(run: &Run, reference: &Reference, record: &Record, metric: &MetricInfo) -> Option<Against> {
    let free = |axis: Axis| match reference {
        Reference::Dense => axis.changes_model(),
        Reference::Arm(own, _) => axis == *own,
    };
    let (cell, bench) = (&record.cell.cell, &record.cell.cell.bench);
    let other = run.records.iter().find(|other| {
        let theirs = &other.cell.cell;
        theirs.bench == *bench
            && reference.matches(theirs)
            && Axis::ALL.into_iter().filter(|axis| !free(*axis)).all(|axis| theirs.label(axis) == cell.label(axis))
    })?;
    if other.cell.id == record.cell.id {
        return None;
    }
    let (theirs, ours) = (other.cell.observation(&metric.id)?, record.cell.observation(&metric.id)?);
    if metric.noise == Noise::Timed && !run.stamp.is_release() {
        return None;
    }
    let effect = difference(Bootstrap::default(), metric.noise, theirs, ours).ok()?;
    Some(Against {
        label: match reference {
            Reference::Dense => "dense".to_owned(),
            Reference::Arm(_, arm) => arm.to_string(),
        },
        relative: effect.relative.filter(|relative| relative.is_finite())?,
        interval: effect.relative_interval.map(|interval| (interval.low, interval.high)),
    })
}

/// The table that answers for a bench whose suite declares none: one row for each arm, compared at equal model, text
/// and seed, by the first metric with a good side. `None` where there is nothing to compare.
pub fn default_request(run: &Run, bench: &str) -> Option<TableRequest> {
    let records: Vec<&Record> = run.records.iter().filter(|record| record.cell.cell.bench == bench).collect();
    let varies = |axis: &Axis| {
        let mut labels = records.iter().filter_map(|record| record.cell.cell.label(*axis));
        labels.next().is_some_and(|first| labels.any(|label| label != first))
    };
    let axes: Vec<Axis> = Axis::ALL.into_iter().filter(varies).collect();
    let (shared, own): (Vec<Axis>, Vec<Axis>) =
        axes.into_iter().partition(|axis| matches!(axis, Axis::Model | Axis::Data | Axis::Seed));
    let measured = |metric: &&MetricInfo| {
        metric.direction != Direction::Neutral && records.iter().any(|record| record.value(&metric.id).is_some())
    };
    let metric = run.metrics.iter().find(measured)?;
    (!own.is_empty()).then(|| TableRequest {
        name: format!("answer-{bench}"),
        title: None,
        rows: shared.iter().chain(&own).map(|axis| Column::Axis(*axis)).collect(),
        columns: Vec::new(),
        metrics: vec![metric.id.clone()],
        conditions: vec![harness_suite::Condition {
            column: Column::Bench,
            value: harness_core::Value::Text(bench.to_owned()),
        }],
        within: Some(shared.into_iter().map(Column::Axis).collect()),
        reference: Some(Reference::Dense),
        intervals: IntervalStyle::PlusMinus,
    })
}

/// What tells an arm from the others; columns that it does not have say nothing.
fn named(key: &[String]) -> String {
    key.iter().filter(|part| !part.is_empty()).map(String::as_str).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
