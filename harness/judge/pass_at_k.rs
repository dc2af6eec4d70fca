//! pass@k without bias (Chen et al. 2021, arXiv 2107.03374): the chance that one of k samples of a problem is right.
//!
//! With c of n samples right, `1 − C(n − c, k) / C(n, k)`; the plain `1 − (1 − c/n)^k` is too low. The mean over problems
//! is the metric, and problems are its units for intervals.

use crate::JudgeError;
use crate::error::{not_empty, parameter};

/// pass@k of one problem, in [0, 1].
///
/// # Errors
/// k = 0, fewer samples than k, or more right than there are.
pub fn of_problem(samples: u64, right: u64, k: u64) -> Result<f64, JudgeError> {
    if k == 0 || k > samples {
        return Err(parameter("k", k, format!("between 1 and the {samples} samples of a problem")));
    }
    if right > samples {
        return Err(parameter("right", right, format!("at most the {samples} samples of a problem")));
    }
    if samples - right < k {
        return Ok(1.0);
    }
    // C(n − c, k) / C(n, k) as a product over n − c < i ≤ n of 1 − k / i.
    let all_wrong: f64 = (samples - right + 1..=samples).map(|i| 1.0 - k as f64 / i as f64).product();
    Ok(1.0 - all_wrong)
}

/// The mean of pass@k over problems, each (samples, right).
///
/// # Errors
/// No problems, or those of [`of_problem`].
pub fn mean(problems: &[(u64, u64)], k: u64) -> Result<f64, JudgeError> {
    not_empty("problems", problems)?;
    let sum = problems.iter().try_fold(0.0, |sum, &(samples, right)| Ok(sum + of_problem(samples, right, k)?))?;
    Ok(sum / problems.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::{mean, of_problem};

    #[test]
    fn the_worked_example() {
        for (k, expected) in [(1, 0.3), (2, 0.533_333), (5, 0.916_667), (8, 1.0)] {
            let found = of_problem(10, 3, k).unwrap();
            assert!((found - expected).abs() < 5e-7, "{k}: {found}");
        }
        assert!((of_problem(10, 3, 5).unwrap() - (1.0 - 0.7f64.powi(5))).abs() > 0.08, "not the biased form");
        assert_eq!(mean(&[(10, 3), (10, 0)], 8).unwrap(), 0.5);
    }

    #[test]
    fn impossible_counts_are_refused() {
        for (samples, right, k) in [(3, 1, 0), (3, 1, 4), (3, 4, 1), (0, 0, 1)] {
            assert!(of_problem(samples, right, k).is_err(), "{samples} {right} {k}");
        }
        assert!(mean(&[], 1).is_err());
    }
}
