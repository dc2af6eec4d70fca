//! What a foreign format has no field for, kept beside it under the key `harness`: consumers skip the key, and an
//! import finds the cell again by it.

use harness_core::stamp::Source;
use harness_core::{Cell, CellId, CellRecord, Observation, Reduction};
use serde::{Deserialize, Serialize};

use crate::run::{MetricInfo, Run};

/// The key that passports stand under.
pub const KEY: &str = "harness";

/// Everything of one observation but its samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passport {
    /// Version of the program that measured.
    pub program: String,
    /// Host class of the run.
    pub host: String,
    /// Name of the cell.
    pub id: CellId,
    /// The cell.
    pub cell: Cell,
    /// Seconds the cell took.
    pub seconds: f64,
    /// Advice that belongs to the cell.
    pub warnings: Vec<String>,
    /// The metric.
    pub metric: MetricInfo,
    /// How samples become the value.
    pub reduction: Reduction,
    /// How it was measured.
    pub protocol: Option<String>,
    /// Weight of each sample, where the format has no place for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weights: Vec<f64>,
    /// Group of each sample.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<u32>,
}

impl Passport {
    /// The passport of an observation; `weights` says whether the format leaves its weights to the passport.
    pub fn of(run: &Run, cell: &CellRecord, metric: &MetricInfo, seen: &Observation, weights: bool) -> Self {
        Self {
            program: run.stamp.program(),
            host: run.stamp.host_class(),
            id: cell.id.clone(),
            cell: cell.cell.clone(),
            seconds: cell.seconds,
            warnings: cell.warnings.clone(),
            metric: metric.clone(),
            reduction: seen.reduction,
            protocol: seen.protocol.clone(),
            weights: if weights { seen.weights.clone() } else { Vec::new() },
            clusters: seen.clusters.clone(),
        }
    }

    /// Makes the source of an import what it was exported from.
    pub fn names(&self, source: &mut Source) {
        "harness".clone_into(&mut source.tool);
        self.program.trim_start_matches("harness ").clone_into(&mut source.version);
        source.host.clone_from(&self.host);
    }

    /// The cell without observations.
    pub fn record(&self) -> CellRecord {
        CellRecord {
            id: self.id.clone(),
            cell: self.cell.clone(),
            observations: Vec::new(),
            failure: None,
            warnings: self.warnings.clone(),
            seconds: self.seconds,
        }
    }

    /// The observation of samples.
    pub fn observation(&self, samples: Vec<f64>, weights: Vec<f64>) -> Observation {
        Observation {
            samples,
            weights,
            clusters: self.clusters.clone(),
            protocol: self.protocol.clone(),
            ..Observation::absent(&self.metric.id, self.reduction, None)
        }
    }
}
