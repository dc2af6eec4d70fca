//! A run in memory.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use harness_core::journal::Journal;
use harness_core::statistics::{Bootstrap, Estimate};
use harness_core::{
    Axis, CellId, CellRecord, Direction, Failure, MetricSpec, Noise, Observation, Reduction, Stamp, stamp,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::frames::PROFILES;
use crate::seal::{Layout, Seal};
use crate::{files, frames};

/// What a run knows of a metric: the specification it was measured by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricInfo {
    /// Id.
    pub id: String,
    /// One line: what it is.
    pub about: String,
    /// Unit of the value.
    pub unit: String,
    /// Which way is good.
    pub direction: Direction,
    /// What makes it noisy.
    pub noise: Noise,
    /// How samples become the value.
    pub reduction: Reduction,
    /// Version of its definition.
    pub version: u32,
    /// What it is taken apart along, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub along: Option<AlongInfo>,
}

/// What a metric is taken apart along.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlongInfo {
    /// The word in suites.
    pub word: String,
    /// What stands at the axis of a chart.
    pub label: String,
}

impl From<&MetricSpec> for MetricInfo {
    fn from(spec: &MetricSpec) -> Self {
        Self {
            id: spec.id.to_owned(),
            about: spec.about.to_owned(),
            unit: spec.unit.to_owned(),
            direction: spec.direction,
            noise: spec.noise,
            reduction: spec.reduction,
            version: spec.version,
            along: spec.along.map(|along| AlongInfo { word: along.word.to_owned(), label: along.label.to_owned() }),
        }
    }
}

/// One cell, with its estimates in the order of its observations.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// As it stands in the journal.
    pub cell: CellRecord,
    /// Estimate of each observation; `None` where it has no number.
    pub estimates: Vec<Option<Estimate>>,
}

impl Record {
    /// The estimate of a metric.
    pub fn estimate(&self, metric: &str) -> Option<&Estimate> {
        let index = self.cell.observations.iter().position(|observation| observation.metric == metric)?;
        self.estimates.get(index)?.as_ref()
    }

    /// The value of a metric.
    pub fn value(&self, metric: &str) -> Option<f64> {
        self.estimate(metric).map(|estimate| estimate.value)
    }
}

/// A run: its stamp, the metrics it asked for, and its cells in the order of the plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its folder.
    pub dir: PathBuf,
    /// Where it came from.
    pub stamp: Stamp,
    /// Its metrics, in the order reports show them.
    pub metrics: Vec<MetricInfo>,
    /// Its cells.
    pub records: Vec<Record>,
}

impl Run {
    /// Opens a sealed run, and checks every file against the hash it was sealed with.
    ///
    /// # Errors
    /// [`StoreError::NoRun`], [`StoreError::Unsealed`], [`StoreError::Newer`], [`StoreError::Damaged`].
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let layout = Layout::new(dir);
        if !layout.stamp().exists() {
            return Err(StoreError::NoRun { dir: dir.to_owned(), missing: "run.json".to_owned() });
        }
        if !layout.seal().exists() {
            return Err(StoreError::Unsealed { dir: dir.to_owned() });
        }
        let seal = Seal::read(dir)?;
        let mut bytes = HashMap::new();
        for (name, hash) in &seal.files {
            let path = dir.join(name);
            let found = fs::read(&path).map_err(StoreError::read(&path))?;
            if files::hash(&found) != *hash {
                return Err(StoreError::damaged(&path, "its content is not what was sealed"));
            }
            bytes.insert(name.as_str(), found);
        }
        let mut frame = |name: &str| {
            let path = dir.join(name);
            let bytes = bytes.remove(name).ok_or_else(|| StoreError::damaged(&path, "it was never sealed"))?;
            files::read_parquet(&path, bytes)
        };
        let tables = [frame("cells.parquet")?, frame("records.parquet")?, frame("samples.parquet")?];
        // Runs of layout 1 have no profiles.
        let profiles = if seal.files.contains_key(PROFILES) { Some(frame(PROFILES)?) } else { None };
        let records = frames::read(dir, &tables, profiles.as_ref())?;
        Ok(Self { dir: dir.to_owned(), stamp: read_stamp(dir)?, metrics: seal.metrics, records })
    }

    /// The run as far as its journal goes, sealed or not. `order` is the order of the plan: cells outside it are left
    /// out, unless it is empty; without it cells stand in the order of their ids. Of several records of one cell the
    /// last counts.
    ///
    /// # Errors
    /// [`StoreError`] where the journal or the stamp cannot be read.
    pub fn from_journal(dir: &Path, metrics: &[MetricInfo], order: &[CellId]) -> Result<Self, StoreError> {
        let journal = Journal::read(&Layout::new(dir).journal())?;
        Ok(Self::from_records(dir, read_stamp(dir)?, metrics, order, journal))
    }

    /// A run of records in memory.
    pub fn from_records(
        dir: &Path,
        stamp: Stamp,
        metrics: &[MetricInfo],
        order: &[CellId],
        journal: Vec<CellRecord>,
    ) -> Self {
        let last: BTreeMap<CellId, CellRecord> =
            journal.into_iter().map(|record| (record.id.clone(), record)).collect();
        let cells = arrange(last, order);
        let bootstrap = Bootstrap::default();
        let records = cells
            .into_par_iter()
            .map(|mut cell| {
                let rank = |observation: &Observation| {
                    metrics.iter().position(|metric| metric.id == observation.metric).unwrap_or(usize::MAX)
                };
                cell.observations.sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| a.metric.cmp(&b.metric)));
                let estimates = cell.observations.iter().map(|observation| bootstrap.estimate(observation)).collect();
                Record { cell, estimates }
            })
            .collect();
        Self { dir: dir.to_owned(), stamp, metrics: metrics.to_vec(), records }
    }

    /// Name of the run: that of its folder.
    pub fn name(&self) -> String {
        self.dir.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }

    /// What is known of a metric.
    pub fn metric(&self, id: &str) -> Option<&MetricInfo> {
        self.metrics.iter().find(|metric| metric.id == id)
    }

    /// Names of the benches in order of first appearance.
    pub fn benches(&self) -> Vec<&str> {
        let mut benches: Vec<&str> = Vec::new();
        for record in &self.records {
            if !benches.contains(&record.cell.cell.bench.as_str()) {
                benches.push(&record.cell.cell.bench);
            }
        }
        benches
    }

    /// Labels on an axis in order of first appearance.
    pub fn labels(&self, axis: Axis) -> Vec<&str> {
        let mut labels = Vec::new();
        for label in self.records.iter().filter_map(|record| record.cell.cell.label(axis)) {
            if !labels.contains(&label) {
                labels.push(label);
            }
        }
        labels
    }

    /// Cells that failed, with their reasons.
    pub fn failed(&self) -> impl Iterator<Item = (&CellRecord, &Failure)> {
        self.records.iter().filter_map(|record| record.cell.failure.as_ref().map(|failure| (&record.cell, failure)))
    }
}

fn arrange(mut cells: BTreeMap<CellId, CellRecord>, order: &[CellId]) -> Vec<CellRecord> {
    if order.is_empty() {
        return cells.into_values().collect();
    }
    order.iter().filter_map(|id| cells.remove(id)).collect()
}

/// Reads `run.json`.
pub fn read_stamp(dir: &Path) -> Result<Stamp, StoreError> {
    let path = Layout::new(dir).stamp();
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(StoreError::NoRun { dir: dir.to_owned(), missing: "run.json".to_owned() });
        }
        Err(error) => return Err(StoreError::read(&path)(error)),
    };
    let found: Stamp = serde_json::from_slice(&bytes).map_err(|error| StoreError::damaged(&path, error))?;
    if found.schema > stamp::SCHEMA {
        return Err(StoreError::Newer { path, found: found.schema, known: stamp::SCHEMA });
    }
    Ok(found)
}

/// All records that must come out the same bits however often the run was killed and resumed: one line of JSON for
/// each failure and each observation of a metric that no clock makes noisy, in the order of the plan.
pub fn exact_records_bytes(run: &Run) -> Vec<u8> {
    #[derive(Serialize)]
    struct Line<'a> {
        id: &'a CellId,
        cell: &'a harness_core::Cell,
        #[serde(skip_serializing_if = "Option::is_none")]
        failure: Option<&'a Failure>,
        #[serde(skip_serializing_if = "Option::is_none")]
        observation: Option<&'a Observation>,
    }
    let mut bytes = Vec::new();
    let mut push = |record: &CellRecord, failure, observation| {
        let line = Line { id: &record.id, cell: &record.cell, failure, observation };
        // Neither a map with odd keys nor a failing writer is involved, so this cannot fail.
        if serde_json::to_writer(&mut bytes, &line).is_ok() {
            bytes.push(b'\n');
        }
    };
    for Record { cell, .. } in &run.records {
        if let Some(failure) = &cell.failure {
            push(cell, Some(failure), None);
        }
        for observation in &cell.observations {
            let timed = run.metric(&observation.metric).is_some_and(|metric| metric.noise == Noise::Timed);
            if !timed {
                push(cell, None, Some(observation));
            }
        }
    }
    bytes
}
