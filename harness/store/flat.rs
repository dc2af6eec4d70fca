//! One table that holds a whole run: a row for each metric of each cell, with its raw samples, and a row for each
//! failed cell. It is what `csv`, `jsonl` and `parquet` exports have in common, and loses nothing.

use std::collections::BTreeMap;

use harness_core::statistics::UnitKind;
use harness_core::{Axis, Cell, CellId, Direction, Noise, Profile, Reduction};
use serde::{Deserialize, Serialize};

use crate::export::finite;
use crate::run::{AlongInfo, Record, Run};

/// Whether a row has a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It has.
    Measured,
    /// The metric has none, for `reason`.
    Absent,
    /// The cell failed at `failed_at`, for `reason`.
    Failed,
    /// The cell was asked for no metric.
    Empty,
}

/// A row. Fields that do not apply are null.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Name of the run.
    pub run: String,
    /// Program that measured.
    pub program: String,
    /// Host class of the run.
    pub host: String,
    /// Name of the cell.
    pub id: CellId,
    /// Its bench.
    pub bench: String,
    /// Labels of the axes, in staging order; for people, read back from `cell`.
    #[serde(default)]
    pub labels: BTreeMap<Axis, String>,
    /// Whether there is a number.
    pub status: Status,
    /// Which step failed.
    pub failed_at: Option<String>,
    /// Why there is no number.
    pub reason: Option<String>,
    /// Metric id.
    pub metric: Option<String>,
    /// Its value.
    pub value: Option<f64>,
    /// Lower end of its interval.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
    /// Level of the interval.
    pub level: Option<f64>,
    /// Unit.
    pub unit: Option<String>,
    /// Which way is good.
    pub direction: Option<Direction>,
    /// What makes it noisy.
    pub noise: Option<Noise>,
    /// How many units the interval was drawn from.
    pub units: Option<u64>,
    /// What a unit is.
    pub unit_kind: Option<UnitKind>,
    /// How samples become the value.
    pub reduction: Option<Reduction>,
    /// How samples of this metric usually become its value.
    pub metric_reduction: Option<Reduction>,
    /// Version of the metric.
    pub version: Option<u32>,
    /// What the metric is.
    pub about: Option<String>,
    /// How it was measured.
    pub protocol: Option<String>,
    /// What to know of the interval.
    pub note: Option<String>,
    /// Seconds the cell took.
    pub seconds: f64,
    /// Advice that belongs to the cell.
    pub warnings: Vec<String>,
    /// The cell, from which it is read back exactly.
    pub cell: Cell,
    /// Raw samples.
    pub samples: Vec<f64>,
    /// Weights of the samples.
    pub weights: Vec<f64>,
    /// Groups of the samples.
    pub clusters: Vec<u32>,
    /// What the metric is taken apart along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub along: Option<AlongInfo>,
    /// The samples along it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
}

/// The rows of a run.
pub fn rows(run: &Run) -> Vec<Row> {
    run.records.iter().flat_map(|record| of_cell(run, record)).collect()
}

fn of_cell(run: &Run, record: &Record) -> Vec<Row> {
    let cell = &record.cell;
    let bare = Row {
        run: run.name(),
        program: run.stamp.program(),
        host: run.stamp.host_class(),
        id: cell.id.clone(),
        bench: cell.cell.bench.clone(),
        labels: cell.cell.coordinates.iter().map(|(axis, at)| (*axis, at.label.clone())).collect(),
        status: Status::Empty,
        failed_at: None,
        reason: None,
        metric: None,
        value: None,
        low: None,
        high: None,
        level: None,
        unit: None,
        direction: None,
        noise: None,
        units: None,
        unit_kind: None,
        reduction: None,
        metric_reduction: None,
        version: None,
        about: None,
        protocol: None,
        note: None,
        seconds: cell.seconds,
        warnings: cell.warnings.clone(),
        cell: cell.cell.clone(),
        samples: Vec::new(),
        weights: Vec::new(),
        clusters: Vec::new(),
        along: None,
        profile: None,
    };
    if let Some(failure) = &cell.failure {
        let (failed_at, reason) = (Some(failure.stage.clone()), Some(failure.reason.clone()));
        return vec![Row { status: Status::Failed, failed_at, reason, ..bare }];
    }
    if cell.observations.is_empty() {
        return vec![bare];
    }
    let observed = cell.observations.iter().zip(&record.estimates);
    observed
        .map(|(seen, estimate)| {
            let metric = run.metric(&seen.metric);
            let row = Row {
                metric: Some(seen.metric.clone()),
                unit: metric.map(|metric| metric.unit.clone()),
                direction: metric.map(|metric| metric.direction),
                noise: metric.map(|metric| metric.noise),
                reduction: Some(seen.reduction),
                metric_reduction: metric.map(|metric| metric.reduction),
                version: metric.map(|metric| metric.version),
                about: metric.map(|metric| metric.about.clone()),
                protocol: seen.protocol.clone(),
                along: metric.and_then(|metric| metric.along.clone()),
                profile: seen.profile.clone().filter(Profile::is_sound),
                ..bare.clone()
            };
            match finite(seen, estimate.as_ref()) {
                // A value may overflow where its samples do not; they are kept.
                Err(reason) if seen.samples.iter().chain(&seen.weights).all(|number| number.is_finite()) => Row {
                    status: Status::Absent,
                    reason: Some(reason),
                    samples: seen.samples.clone(),
                    weights: seen.weights.clone(),
                    clusters: seen.clusters.clone(),
                    ..row
                },
                Err(reason) => Row { status: Status::Absent, reason: Some(reason), ..row },
                Ok(estimate) => Row {
                    status: Status::Measured,
                    value: Some(estimate.value),
                    low: estimate.interval.map(|interval| interval.low),
                    high: estimate.interval.map(|interval| interval.high),
                    level: estimate.interval.map(|interval| interval.level),
                    units: Some(estimate.units as u64),
                    unit_kind: Some(estimate.kind),
                    note: estimate.note.clone(),
                    samples: seen.samples.clone(),
                    weights: seen.weights.clone(),
                    clusters: seen.clusters.clone(),
                    ..row
                },
            }
        })
        .collect()
}
