//! What a cell gave: observations, or the reason it failed.

use serde::{Deserialize, Serialize};

use crate::cell::{Cell, CellId};
use crate::metric::Reduction;

/// The raw samples of one metric in one cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// Metric id.
    pub metric: String,
    /// How the samples become the value.
    pub reduction: Reduction,
    /// Raw samples in the order of windows, prompts or rounds.
    pub samples: Vec<f64>,
    /// Weight of each sample (scored tokens); empty where the reduction reads none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weights: Vec<f64>,
    /// Group of each sample that is drawn together in a bootstrap (its document); the round of each time, which arms that
    /// took turns share; empty when each stands alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<u32>,
    /// How it was measured; two observations with different protocols are never subtracted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Why there is no number, when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absent: Option<String>,
}

impl Observation {
    /// One exact number.
    pub fn single(metric: &str, value: f64) -> Self {
        Self { samples: vec![value], ..Self::absent(metric, Reduction::Single, None) }
    }

    /// A metric without a number, and why.
    pub fn absent(metric: &str, reduction: Reduction, reason: Option<String>) -> Self {
        Self {
            metric: metric.to_owned(),
            reduction,
            samples: Vec::new(),
            weights: Vec::new(),
            clusters: Vec::new(),
            protocol: None,
            absent: reason,
        }
    }

    /// The value, `None` when absent.
    pub fn value(&self) -> Option<f64> {
        self.reduction.reduce(&self.samples, &self.weights)
    }
}

/// Why a cell has no result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Which step failed: `load`, `calibrate`, `apply`, a probe.
    pub stage: String,
    /// The whole reason.
    pub reason: String,
}

/// One line of the journal: a finished cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellRecord {
    /// Content name of the cell.
    pub id: CellId,
    /// Where it stands.
    pub cell: Cell,
    /// What was measured; empty when failed.
    pub observations: Vec<Observation>,
    /// Set when the cell failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Advice that belongs to this cell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Seconds the cell took alone.
    pub seconds: f64,
}

impl CellRecord {
    /// The observation of a metric.
    pub fn observation(&self, metric: &str) -> Option<&Observation> {
        self.observations.iter().find(|observation| observation.metric == metric)
    }
}
