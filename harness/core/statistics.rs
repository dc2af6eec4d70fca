//! Intervals and paired differences, by a bootstrap whose random numbers are fixed: the same samples give the same
//! interval on every machine.
//!
//! What is drawn is a *unit*: all samples of one document together where an observation says which samples belong
//! together, a single sample otherwise.

mod beta;
mod bootstrap;
pub mod change_point;
mod clopper_pearson;
mod detectable;
mod dispersion;
mod effect;
mod effective_length;
pub mod fence;
mod holm;
mod joint;
mod kolmogorov;
mod law;
mod mcnemar;
mod normal;
mod offset;
mod paired;
mod permutation;
mod rank_sum;
mod refusal;
pub mod resample;
mod student;
mod studentised;
mod trimmed;
mod units;
mod unpaired;

pub use beta::binomial_at_least;
pub use bootstrap::{Bootstrap, Estimate, Flavour};
pub use clopper_pearson::clopper_pearson;
pub use detectable::{POWER, Power};
pub use dispersion::Dispersion;
pub use effect::{Effect, Evidence, Scale, Test};
pub use effective_length::{EffectiveLength, LengthRule, TestedLength};
pub use holm::holm;
pub use kolmogorov::{kolmogorov_tail, uniform_distance};
pub use law::{Law, LawEstimate, LawForm};
pub use mcnemar::Discordant;
pub use normal::{normal_cumulative, normal_quantile};
pub use offset::{
    BivariateControl, BudgetChoice, Offset, OffsetCurves, OffsetEstimate, OffsetPoint, OffsetRefusal, Optimum,
    Parallelism,
};
pub use permutation::{Distribution, EXACT_CLUSTERS, EXACT_STEPS, sign_flip};
pub use refusal::Refusal;
pub use student::{student_quantile, student_reach, student_tail};
pub use studentised::{MOST_SKEWNESS, Studentised};
pub use trimmed::{TRIM, TRIM_FROM, trimmed_difference, trimmed_mean};
pub use units::UnitKind;

use serde::{Deserialize, Serialize};

/// Fewer units than this have no interval and no test: nothing is known of their noise.
pub const MINIMUM_UNITS: usize = 3;

/// An interval that covers the true value at a stated level.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// How often such intervals cover the true value, for example 0.95.
    pub level: f64,
}

impl Interval {
    /// Whether a value lies in the interval, ends included.
    pub fn holds(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }

    /// The interval of the negated quantity.
    #[must_use]
    pub fn negated(self) -> Self {
        Self { low: -self.high, high: -self.low, level: self.level }
    }
}

/// The `q` quantile of ascending values by linear interpolation between order statistics (type 7, the default of
/// numpy and R). `None` without values.
pub fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = q.clamp(0.0, 1.0) * last as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(last);
    Some(sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64))
}

/// The mean; `None` without samples.
pub fn mean(samples: &[f64]) -> Option<f64> {
    (!samples.is_empty()).then(|| samples.iter().sum::<f64>() / samples.len() as f64)
}

/// The sample standard deviation, divided by `n - 1`; `None` below two samples.
pub fn deviation(samples: &[f64]) -> Option<f64> {
    let mean = mean(samples)?;
    let squares: f64 = samples.iter().map(|sample| (sample - mean).powi(2)).sum();
    (samples.len() > 1).then(|| (squares / (samples.len() - 1) as f64).sqrt())
}

#[cfg(test)]
#[path = "statistics/golden_tests.rs"]
mod golden_tests;

#[cfg(test)]
mod tests {
    use super::{deviation, quantile};

    #[test]
    fn quantiles_and_deviation_have_known_answers() {
        let sorted = [1.0, 2.0, 3.0, 10.0];
        assert_eq!(quantile(&sorted, 0.5), Some(2.5));
        assert_eq!(quantile(&sorted, 0.25), Some(1.75));
        assert_eq!(quantile(&sorted, 1.0), Some(10.0));
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(deviation(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]), Some((32.0_f64 / 7.0).sqrt()));
        assert_eq!(deviation(&[1.0]), None);
    }
}
