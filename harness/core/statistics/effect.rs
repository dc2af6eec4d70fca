//! The difference between two observations of one metric.

use serde::{Deserialize, Serialize};

use super::bootstrap::{Bootstrap, note};
use super::units::{UnitKind, Units, membership};
use super::{Interval, quantile};
use crate::metric::Reduction;
use crate::record::Observation;
use crate::seed::stream;

/// How much `b` differs from `a`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// Value of the first.
    pub a: f64,
    /// Value of the second.
    pub b: f64,
    /// `b - a`.
    pub difference: f64,
    /// Interval of the difference; `None` where there is no noise or too few samples.
    pub interval: Option<Interval>,
    /// `b / a - 1`; `None` when `a` is zero.
    pub relative: Option<f64>,
    /// Interval of `b / a - 1`.
    pub relative_interval: Option<Interval>,
    /// Two-sided bootstrap probability of a difference this far from zero when there is none.
    pub probability: Option<f64>,
    /// How it was found, in words: `paired bootstrap over 24 documents`.
    pub test: String,
    /// What the reader should know.
    pub note: Option<String>,
}

/// Why two observations cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// They are of different metrics.
    #[error("`{a}` and `{b}` are different metrics")]
    Metric {
        /// Metric of the first.
        a: String,
        /// Metric of the second.
        b: String,
    },
    /// Their values come about differently.
    #[error("the values of `{metric}` are reduced differently on the two sides; one side is of another version")]
    Reduction {
        /// The metric.
        metric: String,
    },
    /// They were measured differently.
    #[error("different protocols are never subtracted: `{a}` against `{b}`")]
    Protocol {
        /// Protocol of the first.
        a: String,
        /// Protocol of the second.
        b: String,
    },
    /// They have different numbers of samples.
    #[error("{a} samples cannot be paired with {b}")]
    Count {
        /// Samples of the first.
        a: usize,
        /// Samples of the second.
        b: usize,
    },
    /// The samples weigh differently, so they are not of the same text.
    #[error("sample {index} weighs {a} on one side and {b} on the other, so the samples are not of the same items")]
    Weight {
        /// First sample that differs, from 0.
        index: usize,
        /// Its weight in the first, as text.
        a: String,
        /// Its weight in the second, as text.
        b: String,
    },
    /// The samples belong to different documents.
    #[error("sample {index} belongs to different documents on the two sides")]
    Cluster {
        /// First sample that differs, from 0.
        index: usize,
    },
    /// One side has no number.
    #[error("there is no number on one side: {reason}")]
    Absent {
        /// Why.
        reason: String,
    },
    /// Clocks of different machines.
    #[error("times of different machines are never compared: `{a}` against `{b}`")]
    Host {
        /// Host class of the first.
        a: String,
        /// Host class of the second.
        b: String,
    },
    /// Clocks of a build without optimisation.
    #[error("times of a `{profile}` build are never compared; build with --release")]
    Build {
        /// The profile.
        profile: String,
    },
}

impl Bootstrap {
    /// The difference of two observations on the same samples: the same units are drawn for both.
    ///
    /// # Errors
    /// A [`Refusal`] when the two were not measured on the same samples in the same way.
    pub fn paired(&self, a: &Observation, b: &Observation) -> Result<Effect, Refusal> {
        let mut effect = bare_effect(a, b)?;
        if a.samples.len() != b.samples.len() {
            return Err(Refusal::Count { a: a.samples.len(), b: b.samples.len() });
        }
        same_weights(a, b)?;
        let members = membership(a);
        let others = membership(b);
        if let Some(index) = (0..members.unit.len()).find(|index| members.unit[*index] != others.unit[*index]) {
            return Err(Refusal::Cluster { index });
        }
        let named = match members.kind {
            UnitKind::Clusters => "documents",
            UnitKind::Samples => "samples",
        };
        effect.test = format!("paired bootstrap over {} {named}", members.count);
        effect.note = note(&members);
        if a.reduction == Reduction::Single || members.count < 2 {
            "one sample on each side".clone_into(&mut effect.test);
            return Ok(effect);
        }
        let (left, right) = (Units::gather(a, &members), Units::gather(b, &members));
        let smooth = a.reduction != Reduction::Median;
        let mut scratch = Vec::new();
        let mut both = |drawn: &[usize]| {
            let first = left.statistic(drawn.iter().copied(), &mut scratch);
            (first, right.statistic(drawn.iter().copied(), &mut scratch))
        };
        let draws = self.draws(members.count, effect.difference, smooth, |drawn| {
            let (first, second) = both(drawn);
            second - first
        });
        if let Some(relative) = effect.relative {
            effect.relative_interval = self.interval(members.count, relative, smooth, |drawn| {
                let (first, second) = both(drawn);
                second / first - 1.0
            });
        }
        effect.probability = draws.as_ref().map(|draws| draws.tail);
        effect.interval = draws.map(|draws| draws.interval);
        Ok(effect)
    }

    /// The difference of two independent sets of samples, each drawn by itself: for times, whose rounds are not the
    /// same event on both sides. The interval is of the plain quantiles.
    ///
    /// # Errors
    /// A [`Refusal`] when the two were not measured in the same way.
    pub fn unpaired(&self, a: &Observation, b: &Observation) -> Result<Effect, Refusal> {
        let mut effect = bare_effect(a, b)?;
        let (first, second) = (membership(a), membership(b));
        effect.test = match a.reduction {
            Reduction::Median => format!("bootstrap of two medians, {} and {} samples", first.count, second.count),
            _ => format!("unpaired bootstrap, {} and {} units", first.count, second.count),
        };
        if a.reduction == Reduction::Single || first.count < 2 || second.count < 2 {
            "one sample on a side".clone_into(&mut effect.test);
            return Ok(effect);
        }
        let (left, right) = (Units::gather(a, &first), Units::gather(b, &second));
        let mut streams = [stream(self.seed, &["bootstrap", "a"]), stream(self.seed, &["bootstrap", "b"])];
        let mut scratch = Vec::new();
        let (mut differences, mut ratios) = (Vec::new(), Vec::new());
        for _ in 0..self.resamples {
            let [one, two] = &mut streams;
            let x = left.statistic(draw(one, first.count), &mut scratch);
            let y = right.statistic(draw(two, second.count), &mut scratch);
            differences.push(y - x);
            ratios.push(y / x - 1.0);
        }
        let tail = f64::midpoint(1.0, -self.level);
        let interval = |values: &mut Vec<f64>| {
            values.sort_unstable_by(f64::total_cmp);
            let finite = values.iter().all(|value| value.is_finite());
            let ends = quantile(values, tail).zip(quantile(values, 1.0 - tail));
            ends.filter(|_| finite).map(|(low, high)| Interval { low, high, level: self.level })
        };
        effect.interval = interval(&mut differences);
        effect.relative_interval = effect.relative.and_then(|_| interval(&mut ratios));
        let below = differences.iter().filter(|value| **value <= 0.0).count();
        let above = differences.iter().filter(|value| **value >= 0.0).count();
        let share = (below.min(above) + 1) as f64 / (differences.len() + 1) as f64;
        effect.probability = Some((2.0 * share).min(1.0));
        Ok(effect)
    }
}

fn draw(random: &mut impl rand_chacha::rand_core::Rng, count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |_| ((u64::from(random.next_u32()) * count as u64) >> 32) as usize)
}

/// Both values and their difference, without noise.
fn bare_effect(a: &Observation, b: &Observation) -> Result<Effect, Refusal> {
    if a.metric != b.metric {
        return Err(Refusal::Metric { a: a.metric.clone(), b: b.metric.clone() });
    }
    if a.reduction != b.reduction {
        return Err(Refusal::Reduction { metric: a.metric.clone() });
    }
    let number = |observation: &Observation| {
        let reason = || observation.absent.clone().unwrap_or_else(|| "it was not measured".to_owned());
        observation.value().ok_or_else(|| Refusal::Absent { reason: reason() })
    };
    let (first, second) = (number(a)?, number(b)?);
    if a.protocol != b.protocol {
        let text = |protocol: &Option<String>| protocol.clone().unwrap_or_else(|| "none".to_owned());
        return Err(Refusal::Protocol { a: text(&a.protocol), b: text(&b.protocol) });
    }
    Ok(Effect {
        a: first,
        b: second,
        difference: second - first,
        interval: None,
        relative: (first != 0.0).then(|| second / first - 1.0),
        relative_interval: None,
        probability: None,
        test: "exact".to_owned(),
        note: None,
    })
}

fn same_weights(a: &Observation, b: &Observation) -> Result<(), Refusal> {
    let weight = |observation: &Observation, index: usize| observation.weights.get(index).copied();
    let differs = (0..a.samples.len()).find(|index| weight(a, *index) != weight(b, *index));
    let text = |weight: Option<f64>| weight.map_or_else(|| "nothing".to_owned(), |weight| weight.to_string());
    match differs {
        Some(index) => Err(Refusal::Weight { index, a: text(weight(a, index)), b: text(weight(b, index)) }),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "effect_tests.rs"]
mod tests;
