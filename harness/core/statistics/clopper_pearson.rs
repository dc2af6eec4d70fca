//! Intervals of a share.

use super::Interval;
use super::beta::beta_quantile;

/// The interval of Clopper and Pearson (1934) of a share, from its successes in independent trials. It covers at least
/// at its level, whatever the share is; without trials it is everything.
pub fn clopper_pearson(successes: u64, trials: u64, level: f64) -> Interval {
    let (k, n) = (successes.min(trials) as f64, trials as f64);
    let tail = f64::midpoint(1.0, -level);
    let low = if successes == 0 { 0.0 } else { beta_quantile(tail, k, n - k + 1.0) };
    let high = if successes >= trials { 1.0 } else { beta_quantile(1.0 - tail, k + 1.0, n - k) };
    Interval { low, high, level }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::beta::{binomial_at_least, binomial_at_most};
    use super::clopper_pearson;

    #[test]
    fn nothing_and_everything_have_closed_forms() {
        let none = clopper_pearson(0, 60, 0.95);
        assert!(none.low == 0.0 && (none.high - (1.0 - 0.025_f64.powf(1.0 / 60.0))).abs() < 1e-12, "{none:?}");
        let all = clopper_pearson(60, 60, 0.95);
        assert!(all.high == 1.0 && (all.low - 0.025_f64.powf(1.0 / 60.0)).abs() < 1e-12, "{all:?}");
        let empty = clopper_pearson(0, 0, 0.95);
        assert_eq!((empty.low, empty.high), (0.0, 1.0));
    }

    proptest! {
        #[test]
        fn each_end_leaves_its_tail(trials in 2_u64..500, share in 0.0..1.0_f64) {
            let successes = 1 + (share * (trials - 1) as f64) as u64;
            prop_assume!(successes < trials);
            let interval = clopper_pearson(successes, trials, 0.9);
            prop_assert!((binomial_at_least(successes, trials, interval.low) - 0.05).abs() < 1e-9);
            prop_assert!((binomial_at_most(successes, trials, interval.high) - 0.05).abs() < 1e-9);
            let mirrored = clopper_pearson(trials - successes, trials, 0.9);
            prop_assert!((mirrored.low - (1.0 - interval.high)).abs() < 1e-12);
        }
    }
}
