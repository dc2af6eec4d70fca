//! The test of times: trimmed means of logarithms, so that a few disturbed rounds do not decide.

use super::{MINIMUM_UNITS, Studentised};

/// Share of the samples that is trimmed at each end.
pub const TRIM: f64 = 0.2;
/// Fewer samples than this are not trimmed: too few would be left to tell their noise from.
pub const TRIM_FROM: usize = 10;

/// The trimmed mean of samples, for example of the logarithm of the ratio of two arms in each round, with Yuen's variance
/// (1974) from the sum of squares of the winsorised samples. `None` below [`MINIMUM_UNITS`] samples.
pub fn trimmed_mean(samples: &[f64]) -> Option<Studentised> {
    if samples.len() < MINIMUM_UNITS || samples.iter().any(|sample| !sample.is_finite()) {
        return None;
    }
    let mut sorted = samples.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let count = sorted.len();
    let cut = if count < TRIM_FROM { 0 } else { (TRIM * count as f64) as usize };
    let middle = &sorted[cut..count - cut];
    let left = middle.len() as f64;
    let value = middle.iter().sum::<f64>() / left;
    let (low, high) = (sorted[cut], sorted[count - 1 - cut]);
    let winsorised = || sorted.iter().map(|sample| sample.clamp(low, high));
    let centre = winsorised().sum::<f64>() / count as f64;
    let squares: f64 = winsorised().map(|sample| (sample - centre).powi(2)).sum();
    let error = (squares / (left * (left - 1.0))).sqrt();
    let skewness = 0.0; // What trimming leaves has no tail to speak of.
    Some(Studentised { value, error, freedom: left - 1.0, units: count, skewness })
}

/// The difference of the trimmed means of two independent sets of samples, `b - a`, by Yuen's test, which is Welch's
/// where nothing is trimmed. `None` below [`MINIMUM_UNITS`] samples on a side.
pub fn trimmed_difference(a: &[f64], b: &[f64]) -> Option<Studentised> {
    Some(trimmed_mean(b)?.minus(&trimmed_mean(a)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_disturbed_round_does_not_decide() {
        let quiet: Vec<f64> = (0..20).map(|i| 1.0 + 0.001 * f64::from(i * 7 % 20)).collect();
        let mut disturbed = quiet.clone();
        disturbed[3] = 50.0;
        let (clean, found) = (trimmed_mean(&quiet).unwrap(), trimmed_mean(&disturbed).unwrap());
        assert!((clean.value - found.value).abs() < 0.002 && found.error < 2.0 * clean.error, "{found:?}");
        assert_eq!((found.freedom, found.units), (11.0, 20));
    }

    #[test]
    fn few_samples_are_refused_and_equal_ones_have_no_error() {
        assert_eq!(trimmed_mean(&[1.0, 2.0]), None);
        assert_eq!(trimmed_mean(&[1.0, 2.0, f64::NAN]), None);
        let same = trimmed_difference(&[1.0; 5], &[2.0; 5]).unwrap();
        assert_eq!((same.value, same.error, same.freedom), (1.0, 0.0, 4.0));
    }

    proptest! {
        #[test]
        fn swapping_the_sides_turns_the_sign(
            a in prop::collection::vec(-3.0..3.0_f64, 3..30),
            b in prop::collection::vec(-3.0..3.0_f64, 3..30),
        ) {
            let (forth, back) = (trimmed_difference(&a, &b).unwrap(), trimmed_difference(&b, &a).unwrap());
            prop_assert_eq!(forth.value, -back.value);
            prop_assert!((forth.probability(0.0) - back.probability(0.0)).abs() < 1e-12);
        }
    }
}
