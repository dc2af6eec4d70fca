//! A difference in units of its own standard error: the p-value of sampled metrics, which no count of resamples limits.
//!
//! A ratio `D = Σ d / Σ w` over clusters (documents) has the residuals `e = d - D w`. Its variance is estimated by
//! `Σ e² / (W (W - w))`, which is unbiased where the variance of a cluster's difference grows with its weight (CR2, Bell
//! and McCaffrey 2002), and `D` in units of its root follows Student's distribution with Satterthwaite's degrees of
//! freedom under the same law (Imbens and Kolesár 2016). Clusters of equal weight give the one-sample t-test of the
//! clusters' differences, with one degree of freedom less than there are clusters; a cluster that outweighs the rest
//! leaves few degrees of freedom, as it should.

use serde::{Deserialize, Serialize};

use super::student::{student_reach, student_tail};
use super::{Interval, MINIMUM_UNITS};

/// A value with its standard error and the degrees of freedom of that error.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Studentised {
    /// The value.
    pub value: f64,
    /// Its standard error; 0 where all units say the same.
    pub error: f64,
    /// Degrees of freedom of the standard error, at least 1.
    pub freedom: f64,
    /// How many units it comes from.
    pub units: usize,
    /// Skewness of the value itself, `Σ e³ / (Σ e²)^1.5` over the residuals of its units: that of a unit divided by the root
    /// of their number. Beyond [`MOST_SKEWNESS`] Student's distribution is not to be trusted.
    pub skewness: f64,
}

/// The skewness of a value up to which its p-value is trusted: Cochran's rule (1977) of 25 times the square of the units'
/// skewness as the least number of units.
pub const MOST_SKEWNESS: f64 = 0.2;

impl Studentised {
    /// The ratio `Σ difference / Σ weight` of clusters, each given by its two sums. `None` below [`MINIMUM_UNITS`]
    /// clusters with a weight, and where a sum is not finite.
    pub fn of_clusters(clusters: &[(f64, f64)]) -> Option<Self> {
        let weighty = || clusters.iter().filter(|(_, weight)| *weight > 0.0);
        let units = weighty().count();
        let (sum, whole) = weighty().fold((0.0, 0.0), |(sum, whole), (d, w)| (sum + d, whole + w));
        if units < MINIMUM_UNITS || !sum.is_finite() || !whole.is_finite() {
            return None;
        }
        let value = sum / whole;
        let (mut variance, mut squares, mut leverage, mut leverage_squares) = (0.0, 0.0, 0.0, 0.0);
        let (mut second, mut third) = (0.0, 0.0);
        for (difference, weight) in weighty() {
            let residual = difference - value * weight;
            variance += residual * residual / (whole * (whole - weight));
            second += residual * residual;
            third += residual * residual * residual;
            let share = weight / whole;
            let lever = share * share / (1.0 - share);
            squares += share * share;
            leverage += lever;
            leverage_squares += lever * lever;
        }
        let freedom = 1.0 / (squares + leverage * leverage - leverage_squares);
        let error = variance.sqrt();
        let skewness = third / f64::powf(second, 1.5);
        let skewness = if skewness.is_finite() { skewness } else { 0.0 };
        error.is_finite().then_some(Self { value, error, freedom: freedom.max(1.0), units, skewness })
    }

    /// Takes what is below `floor`, the rounding of the sums, for nothing.
    #[must_use]
    pub fn above_rounding(self, floor: f64) -> Self {
        let settle = |number: f64| if number.abs() <= floor { 0.0 } else { number };
        Self { value: settle(self.value), error: settle(self.error), ..self }
    }

    /// Two-sided p-value of the true value being `null`. Where all units say the same, Student's law says nothing, and
    /// the p-value is that of their signs: `2 / 2^units`.
    pub fn probability(&self, null: f64) -> f64 {
        let distance = self.value - null;
        if distance == 0.0 {
            return 1.0;
        }
        if self.error == 0.0 {
            return 2.0_f64.powf(1.0 - self.units as f64);
        }
        student_tail(distance / self.error, self.freedom).max(f64::MIN_POSITIVE)
    }

    /// Two-sided p-value of the true value lying in `[low, high]`: that of the nearer end, and 1 inside.
    pub fn beyond(&self, low: f64, high: f64) -> f64 {
        if self.value > high {
            self.probability(high)
        } else if self.value < low {
            self.probability(low)
        } else {
            1.0
        }
    }

    /// The interval that covers the true value at a level.
    pub fn interval(&self, level: f64) -> Interval {
        let reach = student_reach(1.0 - level, self.freedom) * self.error;
        Interval { low: self.value - reach, high: self.value + reach, level }
    }

    /// The difference from an independent value, with the degrees of freedom of Welch and Satterthwaite.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let (mine, theirs) = (self.error * self.error, other.error * other.error);
        let variance = mine + theirs;
        let freedom = variance * variance / (mine * mine / self.freedom + theirs * theirs / other.freedom);
        Self {
            value: self.value - other.value,
            error: variance.sqrt(),
            freedom: if freedom.is_finite() { freedom } else { self.freedom.min(other.freedom) },
            units: self.units.min(other.units),
            // Each side's third moment, on the scale of the difference.
            skewness: if variance > 0.0 {
                (self.skewness * mine.powf(1.5) - other.skewness * theirs.powf(1.5)) / variance.powf(1.5)
            } else {
                0.0
            },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::super::bootstrap::tests::normals;
    use super::*;

    fn equal(differences: &[f64]) -> Vec<(f64, f64)> {
        differences.iter().map(|difference| (*difference, 1.0)).collect()
    }

    /// Student's own sleep data (1908), the extra hours of the second drug: t = 4.0621 with 9 degrees, p = 0.002833.
    #[test]
    fn equal_clusters_give_students_test() {
        let found = Studentised::of_clusters(&equal(&[1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4])).unwrap();
        assert!((found.value - 1.58).abs() < 1e-12 && (found.freedom - 9.0).abs() < 1e-9, "{found:?}");
        assert!((found.value / found.error - 4.062_127_683_382_04).abs() < 1e-9, "{found:?}");
        assert!((found.probability(0.0) - 0.002_832_890_197_384_27).abs() < 1e-12, "{found:?}");
    }

    #[test]
    fn a_cluster_that_outweighs_the_rest_leaves_few_degrees() {
        let mut clusters = equal(&[0.3, -0.1, 0.2, 0.4, -0.3, 0.1, 0.2, -0.2, 0.3, 0.1]);
        clusters[0] = (30.0, 90.0);
        let found = Studentised::of_clusters(&clusters).unwrap();
        assert!(found.freedom < 1.5, "{found:?}");
        // The two weights of two clusters leave one degree, whatever they are; with a third, of none, there are two.
        assert_eq!(Studentised::of_clusters(&[(1.0, 5.0), (1.0, 1.0), (0.0, 0.0)]), None);
    }

    #[test]
    fn clusters_that_all_say_the_same_are_judged_by_their_signs() {
        let same = Studentised::of_clusters(&equal(&[0.5; 12])).unwrap();
        assert_eq!((same.error, same.probability(0.0), same.probability(0.5)), (0.0, 2.0_f64.powi(-11), 1.0));
        let none = Studentised::of_clusters(&equal(&[0.0; 12])).unwrap();
        assert_eq!(none.probability(0.0), 1.0);
        let rounding = Studentised { value: 1e-17, error: 3e-18, freedom: 11.0, units: 12, skewness: 0.0 };
        assert_eq!(rounding.above_rounding(1e-16).probability(0.0), 1.0);
    }

    #[test]
    fn a_few_large_differences_on_one_side_are_seen() {
        // One cluster in ten by 9, the others by -1: a skewness of 8 / 3 each, of 8 / 3 / sqrt(40) of their mean.
        let clusters: Vec<(f64, f64)> = (0..40).map(|i| (if i % 10 == 0 { 9.0 } else { -1.0 }, 1.0)).collect();
        let found = Studentised::of_clusters(&clusters).unwrap();
        assert!((found.skewness - 8.0 / 3.0 / 40.0_f64.sqrt()).abs() < 1e-12, "{found:?}");
        let apart = found.minus(&found);
        assert!(found.skewness > MOST_SKEWNESS && apart.skewness == 0.0, "{apart:?}");
    }

    /// Equal arms of heavy-tailed documents and of very unequal ones raise no more alarms than they may.
    #[test]
    fn equal_arms_raise_alarms_at_the_stated_rate() {
        let mut numbers = normals(31, "alarms");
        let mut heavy = || {
            let square: f64 = numbers.by_ref().take(3).map(|z| z * z).sum();
            numbers.next().unwrap() / (square / 3.0).sqrt()
        };
        for (units, unequal) in [(20, false), (20, true), (100, true)] {
            let trials = 20_000;
            let mut alarms = [0_u32; 3];
            for _ in 0..trials {
                let size = |i: usize| if unequal { (60.0 / (1.0 + i as f64)).ceil() } else { 1.0 };
                let clusters: Vec<(f64, f64)> = (0..units).map(|i| (size(i).sqrt() * heavy(), size(i))).collect();
                let p = Studentised::of_clusters(&clusters).unwrap().probability(0.0);
                for (alarms, level) in alarms.iter_mut().zip([0.05, 0.01, 0.001]) {
                    *alarms += u32::from(p <= level);
                }
            }
            for (alarms, level) in alarms.into_iter().zip([0.05, 0.01, 0.001]) {
                let (expected, alarms) = (f64::from(trials) * level, f64::from(alarms));
                assert!(alarms <= expected + 4.0 * expected.sqrt(), "{units} {unequal} {level}: {alarms}");
                assert!(level < 0.01 || alarms > 0.2 * expected, "{units} {unequal} {level}: {alarms}");
            }
        }
    }

    #[test]
    fn probabilities_go_as_deep_as_the_data() {
        let clusters: Vec<(f64, f64)> = (0..200).map(|i| (1.0 + 0.1 * f64::from(i % 7), 1.0)).collect();
        let found = Studentised::of_clusters(&clusters).unwrap();
        let p = found.probability(0.0);
        assert!(p > 0.0 && p < 1e-100, "{p}");
        assert_eq!(found.beyond(found.value - 0.1, found.value + 0.1), 1.0);
        assert!(found.beyond(-0.5, 0.5) > found.probability(0.0));
    }

    proptest! {
        #[test]
        fn order_sign_and_scale_do_not_matter(
            clusters in prop::collection::vec((-5.0..5.0_f64, 0.5..20.0_f64), 3..40),
            shift in 0_usize..40,
            scale in 0.01..100.0_f64,
        ) {
            let close = |a: f64, b: f64| (a - b).abs() <= 1e-7 * a.abs().max(b.abs()) + 1e-12;
            let found = Studentised::of_clusters(&clusters).unwrap();
            let mut turned = clusters.clone();
            turned.rotate_left(shift % clusters.len());
            let scaled: Vec<_> = clusters.iter().map(|(d, w)| (d * scale, *w)).collect();
            let heavier: Vec<_> = clusters.iter().map(|(d, w)| (d * scale, w * scale)).collect();
            let flipped: Vec<_> = clusters.iter().map(|(d, w)| (-d, *w)).collect();
            for (other, factor) in [(turned, 1.0), (scaled, scale), (heavier, 1.0), (flipped, -1.0)] {
                let other = Studentised::of_clusters(&other).unwrap();
                prop_assert!(close(other.value, factor * found.value));
                prop_assert!(close(other.error, factor.abs() * found.error));
                prop_assert!(close(other.freedom, found.freedom));
                prop_assert!(close(other.probability(0.0), found.probability(0.0)));
            }
        }
    }
}
