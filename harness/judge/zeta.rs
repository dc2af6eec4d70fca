//! The zeta law cut off at N, `p(k) = k^−α / H(N, α)` for k = 1..N, and closed forms for its normaliser.
//!
//! `H(N, α) = Σ k^−α` is summed exactly by [`TruncatedZeta::new`]. Naldi (2015, arXiv 1511.01480) proposes three closed
//! forms, an integral, an average of integrals and a trapezoid; only its abstract could be read, so the four below are
//! reconstructions by name. Its claims for the trapezoid (error below 1 %, about 0.1 % for α < 1) are met by
//! [`Approximation::SecondTrapezoid`] up to α = 1.5 and by no other of the three names; [`Approximation::EulerMaclaurin`]
//! is the one to use.
//!
//! Draws are by rejection-inversion (Hörmann and Derflinger 1996), at a cost that does not depend on N.

use rand_chacha::rand_core::Rng;

use crate::JudgeError;
use crate::error::parameter;

/// A zeta law on 1..=N.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TruncatedZeta {
    alpha: f64,
    most: u64,
    normaliser: f64,
}

/// A closed form for H(N, α). `I(a, b) = ∫ₐᵇ x^−α dx`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approximation {
    /// `I(1, N)`, the lower bound less its first term.
    Integral,
    /// `½ (I(1, N + 1) + 1 + I(1, N))`, the mean of both integral bounds.
    Average,
    /// `I(1, N) + ½ (1 + N^−α)`.
    FirstTrapezoid,
    /// `1 + I(2, N) + ½ (2^−α + N^−α)`: the first term exact, trapezoids from the second.
    SecondTrapezoid,
    /// `I(1, N) + ½ (1 + N^−α) + α/12 (1 − N^(−α−1))`.
    EulerMaclaurin,
}

/// `∫ₐᵇ x^−α dx`, stable where α is near 1.
fn integral(from: f64, to: f64, alpha: f64) -> f64 {
    let (one_less, length) = (1.0 - alpha, (to / from).ln());
    let grown = one_less * length;
    // (e^t − 1) / t is 1 at t = 0.
    from.powf(one_less) * length * if grown == 0.0 { 1.0 } else { grown.exp_m1() / grown }
}

impl Approximation {
    /// The closed form.
    ///
    /// # Errors
    /// N = 0, α not finite or not above 0.
    pub fn normaliser(self, alpha: f64, most: u64) -> Result<f64, JudgeError> {
        check(alpha, most)?;
        let n = most as f64;
        let (whole, end) = (integral(1.0, n, alpha), n.powf(-alpha));
        Ok(match self {
            Self::Integral => whole,
            Self::Average => 0.5 * (integral(1.0, n + 1.0, alpha) + 1.0 + whole),
            Self::FirstTrapezoid => whole + 0.5 * (1.0 + end),
            Self::SecondTrapezoid if most == 1 => 1.0,
            Self::SecondTrapezoid => 1.0 + integral(2.0, n, alpha) + 0.5 * (2f64.powf(-alpha) + end),
            Self::EulerMaclaurin => whole + 0.5 * (1.0 + end) + alpha / 12.0 * (1.0 - end / n),
        })
    }
}

fn check(alpha: f64, most: u64) -> Result<(), JudgeError> {
    if !(alpha > 0.0 && alpha.is_finite()) {
        return Err(parameter("alpha", alpha, "finite and above 0"));
    }
    if most == 0 { Err(parameter("N", most, "at least 1")) } else { Ok(()) }
}

impl TruncatedZeta {
    /// The law with its normaliser summed exactly, smallest terms first, in `O(N)`.
    ///
    /// # Errors
    /// N = 0, α not finite or not above 0.
    pub fn new(alpha: f64, most: u64) -> Result<Self, JudgeError> {
        check(alpha, most)?;
        let (mut sum, mut lost) = (0.0f64, 0.0f64);
        for k in (1..=most).rev() {
            // Kahan's compensation: N terms cost no more digits than one.
            let term = (k as f64).powf(-alpha) - lost;
            let next = sum + term;
            lost = (next - sum) - term;
            sum = next;
        }
        Ok(Self { alpha, most, normaliser: sum })
    }

    /// H(N, α).
    pub fn normaliser(&self) -> f64 {
        self.normaliser
    }

    /// p(k); 0 outside 1..=N.
    pub fn probability(&self, k: u64) -> f64 {
        if (1..=self.most).contains(&k) { (k as f64).powf(-self.alpha) / self.normaliser } else { 0.0 }
    }

    /// How many values min-p keeps: those with p(k) ≥ c p(1), that is `k ≤ c^(−1/α)`.
    ///
    /// # Errors
    /// c outside (0, 1].
    pub fn kept_by_min_p(&self, share: f64) -> Result<u64, JudgeError> {
        if !(share > 0.0 && share <= 1.0) {
            return Err(parameter("share", share, "in (0, 1]"));
        }
        Ok(self.kept_where(|k| (k as f64).powf(-self.alpha) >= share))
    }

    /// How many values epsilon sampling keeps: those with p(k) ≥ ε, and always the first.
    ///
    /// # Errors
    /// ε outside (0, 1).
    pub fn kept_by_epsilon(&self, epsilon: f64) -> Result<u64, JudgeError> {
        if !(epsilon > 0.0 && epsilon < 1.0) {
            return Err(parameter("epsilon", epsilon, "in (0, 1)"));
        }
        Ok(self.kept_where(|k| self.probability(k) >= epsilon).max(1))
    }

    /// The number of first values for which a condition holds that holds for no value after one it fails for.
    fn kept_where(&self, holds: impl Fn(u64) -> bool) -> u64 {
        let (mut low, mut high) = (0, self.most);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if holds(middle) { low = middle } else { high = middle - 1 }
        }
        low
    }

    /// One draw.
    pub fn draw(&self, random: &mut impl Rng) -> u64 {
        // The hat is ∫ x^−α over (k − ½, k + ½), which is never below k^−α; its inverse is closed.
        let hat = |x: f64| integral(1.0, x, self.alpha);
        let inverse = |area: f64| {
            let t = area * (1.0 - self.alpha);
            (area * if t.abs() < 1e-300 { 1.0 } else { t.max(-1.0).ln_1p() / t }).exp()
        };
        let power = |x: f64| x.powf(-self.alpha);
        let (first, last) = (hat(1.5) - 1.0, hat(self.most as f64 + 0.5));
        let near = 2.0 - inverse(hat(2.5) - power(2.0));
        loop {
            let uniform = (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
            let area = last + uniform * (first - last);
            let x = inverse(area);
            let k = x.round().clamp(1.0, self.most as f64);
            if k - x <= near || area >= hat(k + 0.5) - power(k) {
                return k as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Approximation::{Average, EulerMaclaurin, FirstTrapezoid, Integral, SecondTrapezoid};
    use super::TruncatedZeta;

    /// N, α, H, and the error of each form in percent, as in the definitions.
    const TABLE: [(u64, f64, f64, [f64; 5]); 8] = [
        (100, 0.5, 18.589_604, [-3.1717, -0.2137, -0.2130, -0.0779, 0.0109]),
        (1000, 0.5, 61.801_009, [-0.8988, -0.0642, -0.0641, -0.0235, 0.0033]),
        (1000, 0.8, 15.469_810, [-3.6487, -0.4038, -0.4038, -0.1214, 0.0272]),
        (1000, 1.0, 7.485_471, [-7.7178, -1.0315, -1.0315, -0.2720, 0.0817]),
        (1000, 1.2, 4.335_765, [-13.6471, -2.1123, -2.1123, -0.4888, 0.1941]),
        (1000, 1.5, 2.549_146, [-24.0234, -4.4084, -4.4084, -0.8389, 0.4953]),
        (1000, 2.0, 1.643_935, [-39.2312, -8.8163, -8.8163, -1.2126, 1.3220]),
        (100_000, 1.0, 12.090_146, [-4.7743, -0.6387, -0.6387, -0.1684, 0.0506]),
    ];

    #[test]
    fn closed_forms_err_as_the_table_says() {
        for (most, alpha, exact, errors) in TABLE {
            let law = TruncatedZeta::new(alpha, most).unwrap();
            assert!((law.normaliser() - exact).abs() < 5e-7, "{most} {alpha}: {}", law.normaliser());
            for (form, expected) in
                [Integral, Average, FirstTrapezoid, SecondTrapezoid, EulerMaclaurin].into_iter().zip(errors)
            {
                let error = 100.0 * (form.normaliser(alpha, most).unwrap() / law.normaliser() - 1.0);
                assert!((error - expected).abs() < 6e-5, "{most} {alpha} {form:?}: {error} {expected}");
            }
        }
    }

    #[test]
    fn the_worked_example_and_the_sum_to_twelve_digits() {
        let law = TruncatedZeta::new(1.0, 10).unwrap();
        for (k, expected) in [(1, 0.341_417), (2, 0.170_709), (10, 0.034_142), (0, 0.0), (11, 0.0)] {
            assert!((law.probability(k) - expected).abs() < 5e-7, "{k}");
        }
        assert!((law.normaliser() - 7381.0 / 2520.0).abs() < 1e-12);
        // ζ(2) less its tail: 1/N − 1/(2N²) + 1/(6N³) …
        let n = 1e6f64;
        let tail = 1.0 / n - 0.5 / (n * n) + 1.0 / (6.0 * n * n * n);
        let zeta = std::f64::consts::PI.powi(2) / 6.0 - tail;
        assert!((TruncatedZeta::new(2.0, 1_000_000).unwrap().normaliser() - zeta).abs() < 1e-12);
        // Near α = 1 the forms pass smoothly over the pole.
        let (near, at) =
            (EulerMaclaurin.normaliser(1.0 + 1e-12, 1000).unwrap(), EulerMaclaurin.normaliser(1.0, 1000).unwrap());
        assert!((near - at).abs() < 1e-9, "{near} {at}");
        assert_eq!(SecondTrapezoid.normaliser(0.7, 1).unwrap(), 1.0);
    }

    #[test]
    fn thresholds_keep_what_counting_keeps() {
        let law = TruncatedZeta::new(1.3, 500).unwrap();
        for share in [1.0, 0.5, 0.05, 1e-3, 1e-9] {
            let counted =
                (1..=500).filter(|&k| law.probability(k) >= share * law.probability(1) * (1.0 - 1e-12)).count();
            assert_eq!(law.kept_by_min_p(share).unwrap(), counted as u64, "{share}");
        }
        for epsilon in [0.9, 0.1, 1e-3, 1e-9] {
            let counted = (1..=500).filter(|&k| law.probability(k) >= epsilon).count().max(1);
            assert_eq!(law.kept_by_epsilon(epsilon).unwrap(), counted as u64, "{epsilon}");
        }
        assert!(law.kept_by_min_p(0.0).is_err() && law.kept_by_epsilon(1.0).is_err());
    }

    #[test]
    fn bad_parameters_are_refused() {
        for (alpha, most) in [(0.0, 10), (-1.0, 10), (f64::NAN, 10), (f64::INFINITY, 10), (1.0, 0)] {
            assert!(TruncatedZeta::new(alpha, most).is_err() && Integral.normaliser(alpha, most).is_err());
        }
    }

    #[test]
    fn draws_follow_the_law() {
        for (index, (alpha, most)) in [(0.5, 30), (1.0, 30), (1.7, 30), (3.0, 12), (1.0, 1)].into_iter().enumerate() {
            let law = TruncatedZeta::new(alpha, most).unwrap();
            let mut random = harness_core::seed::stream(index as u64, &["zeta", "draws"]);
            let draws = 100_000u32;
            let mut counts = vec![0u64; most as usize];
            for _ in 0..draws {
                counts[law.draw(&mut random) as usize - 1] += 1;
            }
            let chi: f64 = counts
                .iter()
                .zip(1..)
                .map(|(&count, k)| {
                    let expected = f64::from(draws) * law.probability(k);
                    (count as f64 - expected).powi(2) / expected
                })
                .sum();
            // Wilson and Hilferty's normal approximation of χ²; 3.72 deviations are p = 1e-4.
            let freedom = most.max(2) as f64 - 1.0;
            let normal = ((chi / freedom).cbrt() - 1.0 + 2.0 / (9.0 * freedom)) / (2.0 / (9.0 * freedom)).sqrt();
            assert!(normal < 3.72, "alpha {alpha}: χ² {chi} with {freedom} degrees");
        }
        // A million values cost what thirty cost, and none falls outside.
        let wide = TruncatedZeta::new(1.1, 1_000_000).unwrap();
        let mut random = harness_core::seed::stream(9, &["zeta", "wide"]);
        let ones = (0..20_000).map(|_| wide.draw(&mut random)).inspect(|k| assert!((1..=1_000_000).contains(k)));
        let share = ones.filter(|&k| k == 1).count() as f64 / 20_000.0;
        assert!((share - wide.probability(1)).abs() < 0.012, "{share}");
    }
}
