//! How much rounding changes the outputs of a map, and whether it changes them little enough.

/// Bins of a histogram of outputs.
const BINS: usize = 2048;

/// What empty bins count as, so that logarithms are finite.
const EMPTY: f64 = 1e-10;

harness_core::choice! {
    /// How the bits of a matrix are decided.
    pub enum Criterion {
        /// By the divergence of the histogram of outputs: four bits where it is at most `gamma` times that of eight.
        KlRatio = "kl_ratio",
        /// By the mean squared change of outputs, in the same way.
        MseRatio = "mse_ratio",
        /// Four bits where outputs are at least so many decibels above their change.
        Decibels = "sqnr_db",
        /// Four bits for all.
        AllFour = "all4",
        /// Eight bits for all.
        AllEight = "all8",
    }
}

impl Criterion {
    /// Whether four bits are enough.
    pub fn allows(self, four: &OutputChange, eight: &OutputChange, gamma: f64, decibels: f64) -> bool {
        match self {
            Self::KlRatio => four.divergence <= gamma * eight.divergence,
            Self::MseRatio => four.squared <= gamma * eight.squared,
            Self::Decibels => four.decibels() >= decibels,
            Self::AllFour => true,
            Self::AllEight => false,
        }
    }
}

/// Outputs before and after, compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OutputChange {
    /// `KL(before ‖ after)` of histograms with 2048 bins over the range before, in nats.
    pub divergence: f64,
    /// Mean squared change.
    pub squared: f64,
    /// Mean square before.
    pub power: f64,
}

impl OutputChange {
    /// Of outputs in the same order.
    pub fn of(before: &[f32], after: &[f32]) -> Self {
        let (low, high) =
            before.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &y| (low.min(y), high.max(y)));
        let width = (f64::from(high) - f64::from(low)).max(f64::MIN_POSITIVE);
        let histogram = |values: &[f32]| {
            let mut counts = vec![0.0; BINS];
            for &value in values {
                let place = (f64::from(value) - f64::from(low)) / width * BINS as f64;
                counts[(place.max(0.0) as usize).min(BINS - 1)] += 1.0;
            }
            let all = values.len().max(1) as f64;
            for count in &mut counts {
                *count = *count / all + EMPTY;
            }
            counts
        };
        let (p, q) = (histogram(before), histogram(after));
        let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / before.len().max(1) as f64;
        Self {
            divergence: p.iter().zip(q).map(|(p, q)| p * (p / q).ln()).sum(),
            squared: mean(&mut before.iter().zip(after).map(|(a, b)| f64::from(a - b).powi(2))),
            power: mean(&mut before.iter().map(|&y| f64::from(y).powi(2))),
        }
    }

    /// The mean square of outputs over that of their change, in decibels.
    pub fn decibels(&self) -> f64 {
        10.0 * (self.power / self.squared).log10()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_outputs_do_not_differ_and_shifted_ones_do() {
        let before: Vec<f32> = (0..4096).map(|i| i as f32).collect();
        let same = OutputChange::of(&before, &before);
        assert_eq!((same.divergence, same.squared, same.decibels()), (0.0, 0.0, f64::INFINITY));
        // All outputs at one place: ln(2048) of the bin they are in less what the empty bins cost.
        let flat = OutputChange::of(&before, &[0.0; 4096]);
        let p = 1.0 / 2048.0 + EMPTY;
        let expected = p * (p / (1.0 + EMPTY)).ln() + 2047.0 * p * (p / EMPTY).ln();
        assert!((flat.divergence - expected).abs() < 1e-9, "{}", flat.divergence);
        let loud: Vec<f32> = before.iter().map(|y| y * 1.1).collect();
        assert!((OutputChange::of(&before, &loud).decibels() - 20.0).abs() < 1e-3);
    }

    #[test]
    fn criteria_compare_what_they_say() {
        let change = |divergence, squared| OutputChange { divergence, squared, power: 1.0 };
        let (four, eight) = (change(0.2, 0.01), change(0.01, 0.001));
        assert!(
            Criterion::KlRatio.allows(&four, &eight, 20.0, 0.0) && !Criterion::KlRatio.allows(&four, &eight, 19.0, 0.0)
        );
        assert!(
            Criterion::MseRatio.allows(&four, &eight, 10.1, 0.0)
                && !Criterion::MseRatio.allows(&four, &eight, 9.9, 0.0)
        );
        assert!(
            Criterion::Decibels.allows(&four, &eight, 1.0, 19.9)
                && !Criterion::Decibels.allows(&four, &eight, 1.0, 20.1)
        );
        assert!(
            Criterion::AllFour.allows(&four, &eight, 1.0, 0.0) && !Criterion::AllEight.allows(&four, &eight, 9e9, 0.0)
        );
    }
}
