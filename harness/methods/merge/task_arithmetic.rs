//! Task arithmetic: the weighted sum of what training changed, `λ Σ w_k δ_k`.
//!
//! Gabriel Ilharco et al.: Editing Models with Task Arithmetic, ICLR 2023.
//!
//! # Difference from the reference
//! None known: one factor of each expert stands beside the one of all, which the publication searches.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};
use rand_chacha::ChaCha8Rng;

use crate::merge::{Merge, MergeError, check, factors};
use crate::registry::Method;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// A factor for each expert, in the order they are named; 1 each when left unset.
        weights: Option<Vec<f64>> = None, Domain::closed(0.0, 100.0);
        /// What the merged change is multiplied by.
        scale: f64 = 1.0, Domain::closed(0.0, 100.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "task-arithmetic",
        axis: Axis::Merge,
        about: "adds up what experts learned",
        source: "Ilharco et al., 2023",
        version: 1,
        calibrated: false,
        random: false,
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
    Ok(Method::Merge(Box::new(TaskArithmetic { settings })))
}

#[derive(Debug)]
struct TaskArithmetic {
    settings: Settings,
}

impl Merge for TaskArithmetic {
    fn merge(&self, deltas: &[&[f64]], _: usize, _: &mut [ChaCha8Rng]) -> Result<Vec<f64>, MergeError> {
        let weights = factors(self.settings.weights.as_deref(), deltas.len())?;
        let scaled: Vec<f64> = weights.iter().map(|weight| weight * self.settings.scale).collect();
        task_arithmetic(deltas, &scaled)
    }
}

/// `Σ w_k δ_k`.
///
/// # Errors
/// A [`MergeError`].
pub fn task_arithmetic(deltas: &[&[f64]], weights: &[f64]) -> Result<Vec<f64>, MergeError> {
    check(deltas, Some(weights))?;
    let mut merged = vec![0.0; deltas[0].len()];
    for (delta, weight) in deltas.iter().zip(weights) {
        merged.iter_mut().zip(*delta).for_each(|(sum, d)| *sum += weight * d);
    }
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_weighted_and_experts_must_fit() {
        assert_eq!(task_arithmetic(&[&[1.0, -2.0], &[0.5, 4.0]], &[1.0, 0.5]), Ok(vec![1.25, 0.0]));
        let refused =
            |deltas: &[&[f64]], weights: &[f64]| task_arithmetic(deltas, weights).err().map(|e| e.to_string());
        assert_eq!(refused(&[], &[]), Some("there is no expert to merge; name one at least, `experts = [\"…\"]` of a bench or --experts".to_owned()));
        let error = Some("expert 1 has 1 weights where the first has 2; merge models trained from one base".to_owned());
        assert_eq!(refused(&[&[1.0, 2.0], &[1.0]], &[1.0, 1.0]), error);
        assert_eq!(refused(&[&[1.0]], &[]), Some("0 factors for 1 experts; give one for each".to_owned()));
        assert!(refused(&[&[f64::NAN]], &[1.0]).is_some_and(|error| error.starts_with("weight 0 of expert 0 is NaN")));
    }
}
