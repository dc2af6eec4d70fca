//! What a cell gave: observations, or the reason it failed.

use serde::{Deserialize, Serialize};

use crate::cell::{Cell, CellId};
use crate::metric::Reduction;

/// The samples of a metric taken apart along something that runs through a cell: the layers of a model, the places in
/// a window. Each sample has a place; several may share one, and together they give the value there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// How the samples of one place become its value.
    pub reduction: Reduction,
    /// Place of each sample.
    pub places: Vec<f64>,
    /// Raw samples.
    pub samples: Vec<f64>,
    /// Weight of each sample; empty where the reduction reads none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weights: Vec<f64>,
    /// Group of each sample that is drawn together in a bootstrap; empty when each stands alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<u32>,
}

impl Profile {
    /// Whether every sample has a place, weights and groups are there for all or for none, and all are numbers.
    pub fn is_sound(&self) -> bool {
        let fits = |length: usize| length == 0 || length == self.samples.len();
        self.places.len() == self.samples.len()
            && fits(self.weights.len())
            && fits(self.clusters.len())
            && self.places.iter().chain(&self.samples).chain(&self.weights).all(|number| number.is_finite())
    }

    /// The samples of each place as an observation of their own, places ascending.
    pub fn by_place(&self, metric: &str) -> Vec<(f64, Observation)> {
        let mut order: Vec<usize> = (0..self.samples.len().min(self.places.len())).collect();
        order.sort_by(|a, b| self.places[*a].total_cmp(&self.places[*b]));
        let mut found: Vec<(f64, Observation)> = Vec::new();
        for index in order {
            let place = self.places[index];
            if found.last().is_none_or(|(last, _)| *last != place) {
                found.push((place, Observation::absent(metric, self.reduction, None)));
            }
            if let Some((_, seen)) = found.last_mut() {
                seen.samples.push(self.samples[index]);
                seen.weights.extend(self.weights.get(index));
                seen.clusters.extend(self.clusters.get(index));
            }
        }
        found
    }
}

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
    /// The same metric along something that runs through the cell, where it was taken apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
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
            profile: None,
        }
    }

    /// The value, `None` when absent.
    pub fn value(&self) -> Option<f64> {
        self.reduction.reduce(&self.samples, &self.weights)
    }

    /// Each sample reduced alone, in the unit of the value: the perplexity of one window, the speed of one round.
    /// `None` for a sample without weight.
    pub fn alone(&self) -> Vec<Option<f64>> {
        let weight = |index: usize| self.weights.get(index).map_or(&[][..], std::slice::from_ref);
        self.samples
            .iter()
            .enumerate()
            .map(|(index, sample)| self.reduction.reduce(std::slice::from_ref(sample), weight(index)))
            .collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_alone_have_the_unit_of_the_value() {
        let seen = Observation {
            samples: vec![0.0, 4.0 * 2.0_f64.ln(), 1.0],
            weights: vec![4.0, 4.0, 0.0],
            ..Observation::absent("ppl", Reduction::ExpRatio, None)
        };
        assert_eq!(seen.alone(), [Some(1.0), Some(2.0), None]);
        let speeds = Observation { samples: vec![3.0, 5.0], ..Observation::absent("tps", Reduction::Median, None) };
        assert_eq!(speeds.alone(), [Some(3.0), Some(5.0)]);
    }

    #[test]
    fn a_profile_is_gathered_by_place() {
        let profile = Profile {
            reduction: Reduction::Ratio,
            places: vec![2.0, 1.0, 2.0],
            samples: vec![6.0, 5.0, 2.0],
            weights: vec![2.0, 1.0, 2.0],
            clusters: vec![0, 0, 1],
        };
        let found: Vec<(f64, Option<f64>)> =
            profile.by_place("nll").iter().map(|(place, seen)| (*place, seen.value())).collect();
        assert_eq!(found, [(1.0, Some(5.0)), (2.0, Some(2.0))]);
        assert_eq!(profile.by_place("nll")[1].1.clusters, [0, 1]);
    }
}
