//! The difference between two observations of one metric, and what is known of it.

use serde::{Deserialize, Serialize};

use super::{Discordant, Interval, MOST_SKEWNESS, Power, Refusal, Studentised};
use crate::record::Observation;

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
    /// Two-sided p-value of there being no difference; as small as the data make it, since no resampling limits it.
    pub probability: Option<f64>,
    /// What the p-value was read off; `None` where there is none.
    pub evidence: Option<Evidence>,
    /// How it was found, in words: `paired bootstrap over 24 documents; t, 23.0 degrees`.
    pub test: String,
    /// What the reader should know.
    pub note: Option<String>,
}

/// The scale on which a difference was tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// `b - a`.
    Difference,
    /// `ln(b / a)`.
    LogRatio,
}

/// The test that gave a p-value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Test {
    /// The value in units of its own standard error, by Student's distribution.
    Studentised,
    /// All signs of the clusters' differences.
    Signs,
    /// The exact test of McNemar.
    McNemar(Discordant),
}

/// What a p-value was read off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The test.
    pub test: Test,
    /// On which scale.
    pub scale: Scale,
    /// The difference on that scale, with its standard error.
    pub studentised: Studentised,
    /// What its units are called: `documents`, `rounds`, `items`, `samples`.
    pub unit: String,
}

impl Effect {
    /// Two-sided p-value of the true difference lying within `zone` of zero, `zone >= 0` in the metric's unit. Zones other
    /// than none are judged by Student's distribution, whatever the test of no difference was.
    pub fn probability_beyond(&self, zone: f64) -> Option<f64> {
        if zone == 0.0 {
            return self.probability;
        }
        let Evidence { scale, studentised, .. } = self.evidence.as_ref()?;
        match scale {
            Scale::Difference => Some(studentised.beyond(-zone, zone)),
            Scale::LogRatio => {
                let edge = |shift: f64| (shift / self.a).ln_1p();
                // A zone as wide as the value itself has no lower end on this scale.
                let low = if zone < self.a { edge(-zone) } else { f64::NEG_INFINITY };
                Some(studentised.beyond(low, edge(zone)))
            }
        }
    }

    /// The smallest difference, in the metric's unit, that this comparison would find. `None` where nothing is known of
    /// the noise, and where so few units can never pass the level.
    pub fn detectable(&self, power: Power) -> Option<f64> {
        let Evidence { test, scale, studentised, .. } = self.evidence.as_ref()?;
        match test {
            Test::McNemar(counts) => {
                let size = power.detectable_share(counts.share(), counts.items);
                (size < 1.0).then_some(size)
            }
            Test::Signs if power.alpha < least_of_signs(studentised.units) => None,
            Test::Signs | Test::Studentised => {
                let size = power.detectable(studentised);
                Some(match scale {
                    Scale::Difference => size,
                    Scale::LogRatio => self.a.abs() * size.exp_m1(),
                })
            }
        }
    }

    /// How many units (of [`Evidence::unit`]) it takes to find a true difference of `size`, in the metric's unit. `None`
    /// for no size, and where there is no noise.
    pub fn units_needed(&self, power: Power, size: f64) -> Option<u64> {
        let Evidence { test, scale, studentised, .. } = self.evidence.as_ref()?;
        if let Test::McNemar(counts) = test {
            return power.items_needed(counts.share(), size);
        }
        let size = match scale {
            Scale::Difference => size,
            Scale::LogRatio => (size / self.a).ln_1p(),
        };
        let needed = power.units_needed(studentised, size)?;
        match test {
            Test::Signs => Some(needed.max((1.0 - power.alpha.log2()).ceil() as u64)),
            _ => Some(needed),
        }
    }

    /// Both values and their difference, without noise.
    ///
    /// # Errors
    /// A [`Refusal`] when the two were not measured in the same way, or one has no finite number.
    pub(super) fn bare(a: &Observation, b: &Observation) -> Result<Self, Refusal> {
        if a.metric != b.metric {
            return Err(Refusal::Metric { a: a.metric.clone(), b: b.metric.clone() });
        }
        if a.reduction != b.reduction {
            return Err(Refusal::Reduction { metric: a.metric.clone() });
        }
        let (first, second) = (finite("a", a)?, finite("b", b)?);
        if a.protocol != b.protocol {
            let text = |protocol: &Option<String>| protocol.clone().unwrap_or_else(|| "none".to_owned());
            return Err(Refusal::Protocol { a: text(&a.protocol), b: text(&b.protocol) });
        }
        Ok(Self {
            a: first,
            b: second,
            difference: second - first,
            interval: None,
            relative: (first != 0.0).then(|| second / first - 1.0),
            relative_interval: None,
            probability: None,
            evidence: None,
            test: "exact".to_owned(),
            note: None,
        })
    }

    /// Enters a studentised test.
    pub(super) fn judge(&mut self, scale: Scale, studentised: Studentised, unit: &str) {
        self.probability = Some(studentised.probability(0.0));
        if studentised.error == 0.0 && studentised.value != 0.0 {
            self.add_note(&format!("all {unit} differ by the same, so p is that of their signs"));
        } else {
            self.test += &format!("; t, {:.1} degrees", studentised.freedom);
        }
        if studentised.error > 0.0 && studentised.skewness.abs() > MOST_SKEWNESS {
            self.add_note(&format!("few {unit} decide (skewness {:.2}), so p may be too small", studentised.skewness));
        }
        self.evidence = Some(Evidence { test: Test::Studentised, scale, studentised, unit: unit.to_owned() });
    }

    pub(super) fn add_note(&mut self, text: &str) {
        self.note = Some(self.note.take().map_or_else(|| text.to_owned(), |note| format!("{note}; {text}")));
    }
}

/// The smallest p-value that signs of so many units can have.
fn least_of_signs(units: usize) -> f64 {
    2.0_f64.powf(1.0 - units as f64)
}

/// The value of a side.
fn finite(side: &str, observation: &Observation) -> Result<f64, Refusal> {
    let refused = |what: String| Err(Refusal::NotFinite { side: side.to_owned(), what });
    let bad = || observation.samples.iter().enumerate().filter(|(_, sample)| !sample.is_finite());
    if let Some((index, sample)) = bad().next() {
        return refused(format!(
            "{} of {} samples, the first of them sample {index}, which is {sample}",
            bad().count(),
            observation.samples.len()
        ));
    }
    match observation.value() {
        Some(value) if value.is_finite() => Ok(value),
        Some(value) => refused(format!("its samples are, and come to {value}")),
        None => {
            let reason = observation.absent.clone().unwrap_or_else(|| "it was not measured".to_owned());
            Err(Refusal::Absent { reason })
        }
    }
}
