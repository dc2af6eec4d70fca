//! The units that a bootstrap draws, with the sums a draw needs.

use serde::{Deserialize, Serialize};

use crate::metric::Reduction;
use crate::record::Observation;

/// What a bootstrap draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnitKind {
    /// Documents, each with all of its samples.
    Clusters,
    /// Single samples.
    Samples,
}

/// Samples gathered by unit.
#[derive(Debug)]
pub(super) enum Units {
    /// Σ sample and Σ weight of each unit: all that a ratio needs.
    Sums { sums: Vec<(f64, f64)>, exponential: bool },
    /// All samples of each unit, for the median.
    Samples(Vec<Vec<f64>>),
}

/// Which unit each sample belongs to, and how many units there are. Numbered in order of first appearance, so that
/// the names of clusters do not matter.
pub(super) struct Membership {
    pub(super) unit: Vec<usize>,
    pub(super) count: usize,
    pub(super) kind: UnitKind,
    /// Said when clusters were given but could not be used.
    pub(super) note: Option<&'static str>,
}

impl Membership {
    /// Whether every sample is a unit of its own.
    pub(super) fn alone(&self) -> bool {
        self.count == self.unit.len()
    }

    /// What the units of an observation are called.
    pub(super) fn noun(&self, observation: &Observation) -> &'static str {
        match (self.kind, observation.reduction) {
            (UnitKind::Clusters, _) => "documents",
            (UnitKind::Samples, Reduction::Median) => "rounds",
            (UnitKind::Samples, _) if right_answers(observation).is_some() => "items",
            (UnitKind::Samples, _) => "samples",
        }
    }
}

/// How many samples are 1, where all are 0 or 1 and weigh the same: the right answers of an accuracy.
pub(super) fn right_answers(observation: &Observation) -> Option<u64> {
    let answers = observation.samples.iter().all(|sample| *sample == 0.0 || *sample == 1.0);
    let single = observation.weights.len() == observation.samples.len()
        && observation.weights.iter().all(|weight| *weight == 1.0);
    (observation.reduction == Reduction::Ratio && answers && single)
        .then(|| observation.samples.iter().filter(|sample| **sample == 1.0).count() as u64)
}

pub(super) fn membership(observation: &Observation) -> Membership {
    let samples = observation.samples.len();
    let alone = |note| Membership { unit: (0..samples).collect(), count: samples, kind: UnitKind::Samples, note };
    if observation.clusters.len() != samples || samples == 0 {
        return alone(None);
    }
    let mut order = std::collections::HashMap::new();
    // Samples of one cluster mostly stand together; the last one saves most look-ups.
    let mut last = None;
    let unit: Vec<usize> = observation
        .clusters
        .iter()
        .map(|cluster| match last {
            Some((same, place)) if same == *cluster => place,
            _ => {
                let next = order.len();
                let place = *order.entry(*cluster).or_insert(next);
                last = Some((*cluster, place));
                place
            }
        })
        .collect();
    match order.len() {
        // The clusters of times are the rounds they were taken in.
        count if count == samples && observation.reduction == Reduction::Median => alone(None),
        0 | 1 => alone(Some("all samples come from one document, so they were drawn singly")),
        count => Membership { unit, count, kind: UnitKind::Clusters, note: None },
    }
}

impl Units {
    pub(super) fn gather(observation: &Observation, membership: &Membership) -> Self {
        if observation.reduction == Reduction::Median || observation.reduction == Reduction::Single {
            let mut samples = vec![Vec::new(); membership.count];
            for (sample, unit) in observation.samples.iter().zip(&membership.unit) {
                samples[*unit].push(*sample);
            }
            return Self::Samples(samples);
        }
        let mut sums = vec![(0.0, 0.0); membership.count];
        for (index, (sample, unit)) in observation.samples.iter().zip(&membership.unit).enumerate() {
            sums[*unit].0 += sample;
            sums[*unit].1 += observation.weights.get(index).copied().unwrap_or(0.0);
        }
        Self::Sums { sums, exponential: observation.reduction == Reduction::ExpRatio }
    }

    /// The statistic of a draw of units.
    pub(super) fn statistic(&self, drawn: impl Iterator<Item = usize>, scratch: &mut Vec<f64>) -> f64 {
        match self {
            Self::Sums { sums, exponential } => {
                let (sum, weight) =
                    drawn.fold((0.0, 0.0), |total, unit| (total.0 + sums[unit].0, total.1 + sums[unit].1));
                if *exponential { (sum / weight).exp() } else { sum / weight }
            }
            Self::Samples(units) => {
                scratch.clear();
                drawn.for_each(|unit| scratch.extend_from_slice(&units[unit]));
                median(scratch)
            }
        }
    }
}

/// The median, in place; NaN without samples.
fn median(samples: &mut [f64]) -> f64 {
    if samples.is_empty() {
        return f64::NAN;
    }
    let (even, middle) = (samples.len().is_multiple_of(2), samples.len() / 2);
    let (below, high, _) = samples.select_nth_unstable_by(middle, f64::total_cmp);
    if even { f64::midpoint(below.iter().copied().fold(f64::NEG_INFINITY, f64::max), *high) } else { *high }
}
