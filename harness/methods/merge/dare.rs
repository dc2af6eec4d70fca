//! DARE: changes are dropped at random and those that stay are scaled up, so that the mean is kept.
//!
//! Each entry of `δ` is dropped with probability `p`, the others become `δ / (1 − p)`. Only changes are dropped, never weights.
//!
//! Le Yu, Bowen Yu, Haiyang Yu, Fei Huang, Yongbin Li: Language Models are Super Mario: Absorbing Abilities from Homologous Models as a Free Lunch, ICML 2024.
//!
//! # Difference from the reference
//! The published code leaves survivors unscaled at `p = 1`, where there are none; here the result is zero. What is left is added up, the
//! publication's simplest use; its default share was not at hand, so that ours is a choice.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};
use rand_chacha::ChaCha8Rng;

use crate::merge::{Merge, MergeError, check, factors, uniform};
use crate::registry::Method;
use crate::registry::task_arithmetic::task_arithmetic;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Probability that a change is dropped.
        drop: f64 = 0.5, Domain::closed(0.0, 1.0);
        /// A factor for each expert, in the order they are named; 1 each when left unset.
        weights: Option<Vec<f64>> = None, Domain::closed(0.0, 100.0);
        /// What the merged change is multiplied by.
        scale: f64 = 1.0, Domain::closed(0.0, 100.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "dare",
        axis: Axis::Merge,
        about: "drops changes at random, scales the others up and adds them",
        source: "Yu et al., 2024",
        version: 1,
        calibrated: false,
        random: true,
        parameters: Settings::specs(),
        check: |arm| build(arm).map(drop),
    }
}

/// Makes it.
///
/// # Errors
/// A parameter that does not fit.
pub fn build(arm: &Arm) -> Result<Method, ParameterError> {
    let settings = Settings::resolve(arm)?;
    Ok(Method::Merge(Box::new(Dare { settings })))
}

#[derive(Debug)]
struct Dare {
    settings: Settings,
}

impl Merge for Dare {
    fn merge(&self, deltas: &[&[f64]], _: usize, random: &mut [ChaCha8Rng]) -> Result<Vec<f64>, MergeError> {
        let weights = factors(self.settings.weights.as_deref(), deltas.len())?;
        let scaled: Vec<f64> = weights.iter().map(|weight| weight * self.settings.scale).collect();
        let left = deltas.iter().zip(random).map(|(delta, random)| dare(delta, self.settings.drop, random));
        let left = left.collect::<Result<Vec<_>, _>>()?;
        task_arithmetic(&left.iter().map(Vec::as_slice).collect::<Vec<_>>(), &scaled)
    }
}

/// Drops and scales the entries of one expert.
///
/// # Errors
/// A [`MergeError`]; `drop` outside [0, 1].
pub fn dare(delta: &[f64], drop: f64, random: &mut ChaCha8Rng) -> Result<Vec<f64>, MergeError> {
    check(&[delta], None)?;
    if !(0.0..=1.0).contains(&drop) {
        return Err(MergeError::Share { name: "drop", value: drop, range: "[0, 1]" });
    }
    let keep = 1.0 - drop;
    let each = |value: &f64| if uniform(random) < keep { value / keep } else { 0.0 };
    Ok(delta.iter().map(each).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use harness_core::seed;

    use super::*;

    #[test]
    fn the_mean_over_draws_is_the_change_and_the_density_is_kept() {
        let delta: Vec<f64> = (0..200).map(|at| f64::from(at) / 100.0 - 1.0).collect();
        assert_eq!(dare(&delta, 0.0, &mut seed::stream(0, &["dare"])).unwrap(), delta);
        assert!(dare(&delta, 1.0, &mut seed::stream(0, &["dare"])).unwrap().iter().all(|value| *value == 0.0));
        let draws = 4000u32;
        let (mut mean, mut left) = (vec![0.0; delta.len()], 0usize);
        for draw in 0..draws {
            let dropped = dare(&delta, 0.9, &mut seed::stream(u64::from(draw), &["dare"])).unwrap();
            left += dropped.iter().zip(&delta).filter(|(new, old)| **new != 0.0 && **old != 0.0).count();
            mean.iter_mut().zip(dropped).for_each(|(sum, value)| *sum += value / f64::from(draws));
        }
        // The standard deviation of a mean is |δ| √(p / ((1 − p) draws)), at most 0.0475.
        assert!(mean.iter().zip(&delta).all(|(mean, delta)| (mean - delta).abs() < 5.0 * 0.0475));
        let (trials, share) = (199.0 * f64::from(draws), 0.1);
        assert!((left as f64 - share * trials).abs() < 5.0 * (trials * share * (1.0 - share)).sqrt());
        assert!(dare(&delta, 1.5, &mut seed::stream(0, &[])).is_err());
    }
}
