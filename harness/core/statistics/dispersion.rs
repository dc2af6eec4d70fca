//! How much units differ, known before anything is measured: what a plan needs to say what it will be able to find.

use serde::{Deserialize, Serialize};

use super::{Effect, MINIMUM_UNITS, Power, Scale, Studentised, Test};

/// The spread of the differences of two arms from unit to unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dispersion {
    /// On which scale differences are tested.
    pub scale: Scale,
    /// Standard deviation of one unit's difference on that scale: the standard error times the root of the units.
    pub deviation: f64,
    /// Units a sample gives: documents a window, 1 where each sample stands alone.
    pub units_per_sample: f64,
    /// The share of items on which two arms differ, for accuracies of independent items.
    pub discordant: Option<f64>,
    /// What the units are called.
    pub unit: String,
}

impl Dispersion {
    /// What an effect says of its units; `None` where there is no noise. `samples` stand behind each side.
    pub fn of(effect: &Effect, samples: usize) -> Option<Self> {
        let evidence = effect.evidence.as_ref()?;
        let Studentised { error, units, .. } = evidence.studentised;
        (error > 0.0 && samples > 0).then(|| Self {
            scale: evidence.scale,
            deviation: error * (units as f64).sqrt(),
            units_per_sample: units as f64 / samples as f64,
            discordant: match evidence.test {
                Test::McNemar(counts) => Some(counts.share()),
                Test::Signs | Test::Studentised => None,
            },
            unit: evidence.unit.clone(),
        })
    }

    /// The middle one of several, by how much units differ.
    pub fn median(mut several: Vec<Self>) -> Option<Self> {
        several.sort_by(|a, b| a.deviation.total_cmp(&b.deviation));
        let middle = several.len() / 2;
        (!several.is_empty()).then(|| several.swap_remove(middle))
    }

    /// How many units so many samples give.
    pub fn units(&self, samples: usize) -> usize {
        (samples as f64 * self.units_per_sample).round() as usize
    }

    /// The smallest difference that a comparison on `samples` samples finds: in the metric's unit, or as a share of the
    /// value where the scale is [`Scale::LogRatio`]. `None` where so few samples find nothing.
    pub fn detectable(&self, samples: usize, power: Power) -> Option<f64> {
        let units = self.units(samples);
        if let Some(discordant) = self.discordant {
            let size = power.detectable_share(discordant, units as u64);
            return (size < 1.0).then_some(size);
        }
        if units < MINIMUM_UNITS {
            return None;
        }
        let error = self.deviation / (units as f64).sqrt();
        let size =
            power.detectable(&Studentised { value: 0.0, error, freedom: units as f64 - 1.0, units, skewness: 0.0 });
        let size = if self.scale == Scale::LogRatio { size.exp_m1() } else { size };
        size.is_finite().then_some(size)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{Bootstrap, POWER};
    use super::*;
    use crate::metric::Reduction;
    use crate::record::Observation;

    #[test]
    fn the_plan_names_the_difference_that_the_comparison_names() {
        let side = |factor: f64| Observation {
            samples: (0..48).map(|i| 500.0 + factor * f64::from(i * 29 % 17)).collect(),
            weights: vec![255.0; 48],
            clusters: (0..48).map(|i| i / 4).collect(),
            ..Observation::absent("ppl", Reduction::ExpRatio, None)
        };
        let effect = Bootstrap { resamples: 10, ..Bootstrap::default() }.paired(&side(1.0), &side(2.0)).unwrap();
        let power = Power { alpha: 0.01, power: POWER };
        let dispersion = Dispersion::of(&effect, 48).unwrap();
        assert_eq!((dispersion.units(48), dispersion.unit.as_str()), (12, "documents"));
        let (planned, found) = (dispersion.detectable(48, power).unwrap(), effect.detectable(power).unwrap());
        assert!((planned * effect.a - found).abs() < 1e-9 * found, "{planned} {found}");
        // Four times the windows, half the difference, and a little less for the degrees of freedom gained.
        let more = dispersion.detectable(192, power).unwrap();
        assert!(more < 0.5 * planned && more > 0.4 * planned, "{more} {planned}");
        assert_eq!(dispersion.detectable(8, power), None);
    }
}
