//! McNemar's test of two accuracies on the same items.

use serde::{Deserialize, Serialize};

use super::beta::binomial_at_most;

/// Items that one side got right and the other did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discordant {
    /// Right in `a` only.
    pub only_a: u64,
    /// Right in `b` only.
    pub only_b: u64,
    /// All items.
    pub items: u64,
}

impl Discordant {
    /// Counts two rows of zeros and ones; `None` where a value is neither.
    pub fn of(a: &[f64], b: &[f64]) -> Option<Self> {
        let mut counts = Self { only_a: 0, only_b: 0, items: 0 };
        for (a, b) in a.iter().zip(b) {
            match (*a == 1.0, *b == 1.0) {
                (left, right) if (!left && *a != 0.0) || (!right && *b != 0.0) => return None,
                (true, false) => counts.only_a += 1,
                (false, true) => counts.only_b += 1,
                _ => {}
            }
            counts.items += 1;
        }
        Some(counts)
    }

    /// The share of items on which the sides differ.
    pub fn share(&self) -> f64 {
        (self.only_a + self.only_b) as f64 / self.items as f64
    }

    /// Two-sided p-value of the exact test (McNemar 1947 with the binomial distribution in place of the chi-square):
    /// where the sides are equally good, each discordant item falls to either of them like a coin. Items are taken to
    /// be independent.
    pub fn probability(&self) -> f64 {
        (2.0 * binomial_at_most(self.only_a.min(self.only_b), self.only_a + self.only_b, 0.5)).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Discordant;

    #[test]
    fn the_exact_test_has_known_answers() {
        // scipy.stats.binomtest(k, n, 0.5).pvalue
        for (only_a, only_b, p) in [
            (0, 0, 1.0),
            (5, 5, 1.0),
            (0, 5, 0.0625),
            (1, 9, 0.021_484_375),
            (9, 1, 0.021_484_375),
            (0, 20, 2.0_f64.powi(-19)),
        ] {
            let found = Discordant { only_a, only_b, items: 100 }.probability();
            assert!((found - p).abs() < 1e-12 * p, "{only_a} {only_b}: {found}");
        }
    }

    #[test]
    fn only_zeros_and_ones_are_counted() {
        let counts = Discordant::of(&[1.0, 0.0, 1.0, 0.0, 1.0], &[1.0, 1.0, 0.0, 0.0, 0.0]);
        assert_eq!(counts, Some(Discordant { only_a: 2, only_b: 1, items: 5 }));
        assert_eq!(Discordant::of(&[0.5], &[1.0]), None);
        assert_eq!(Discordant::of(&[1.0], &[f64::NAN]), None);
    }
}
