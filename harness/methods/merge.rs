//! Merging models that were trained from one base: arithmetic on what training changed, on plain slices.
//!
//! `δ_k = θ_k − θ_0` is what expert `k` differs from the base by; a merged model is `θ_0 + λ · merge(δ)`. Which stretch of weights is taken at once, a tensor or
//! all of them, is up to the method.

#[cfg(test)]
mod golden_tests;

use harness_core::ParameterError;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

/// How what experts learned becomes one model.
pub trait Merge: std::fmt::Debug + Send + Sync {
    /// Whether it leaves the base as it is.
    fn is_identity(&self) -> bool {
        false
    }

    /// Whether it looks at all weights of a model together instead of at one tensor after the other.
    fn whole(&self) -> bool {
        false
    }

    /// What is added to the base, of what each expert differs from it by, in rows of `columns`; a vector is one row. `random` has a
    /// stream for each expert.
    ///
    /// # Errors
    /// A [`MergeError`].
    fn merge(&self, deltas: &[&[f64]], columns: usize, random: &mut [ChaCha8Rng]) -> Result<Vec<f64>, MergeError>;
}

/// One factor for each expert; ones where none are set.
///
/// # Errors
/// [`MergeError::Weights`].
pub(crate) fn factors(weights: Option<&[f64]>, experts: usize) -> Result<Vec<f64>, MergeError> {
    match weights {
        None => Ok(vec![1.0; experts]),
        Some(weights) if weights.len() == experts => Ok(weights.to_vec()),
        Some(weights) => Err(MergeError::Weights { weights: weights.len(), experts }),
    }
}

/// Weights that add up to nothing cannot be divided by.
///
/// # Errors
/// A parameter that does not fit.
pub(crate) fn positive(weights: Option<&[f64]>) -> Result<(), ParameterError> {
    match weights {
        Some(weights) if weights.iter().sum::<f64>() <= 0.0 => {
            Err(ParameterError::Together("`weights` add up to nothing; give one expert a weight above 0".to_owned()))
        }
        _ => Ok(()),
    }
}

/// Why experts cannot be merged.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum MergeError {
    /// No expert.
    #[error("there is no expert to merge; name one at least, `experts = [\"…\"]` of a bench or --experts")]
    Empty,
    /// Experts of other shapes.
    #[error("expert {expert} has {found} weights where the first has {expected}; merge models trained from one base")]
    Shape {
        /// Expert from 0.
        expert: usize,
        /// Its weights.
        found: usize,
        /// Those of the first.
        expected: usize,
    },
    /// As many factors as there are not experts.
    #[error("{weights} factors for {experts} experts; give one for each")]
    Weights {
        /// Factors.
        weights: usize,
        /// Experts.
        experts: usize,
    },
    /// A weight that is NaN or infinite.
    #[error("weight {at} of expert {expert} is {value}; the checkpoint is damaged")]
    Value {
        /// Expert from 0.
        expert: usize,
        /// Place of the weight.
        at: usize,
        /// NaN or an infinity.
        value: f64,
    },
    /// A share outside its range.
    #[error("`{name} = {value}` is outside {range}")]
    Share {
        /// What it is called.
        name: &'static str,
        /// What was asked for.
        value: f64,
        /// Where it may lie.
        range: &'static str,
    },
    /// Probabilities that leave (0, 1).
    #[error(
        "`density = {density}` and `window = {window}` keep weights with probabilities outside (0, 1); narrow the window"
    )]
    Window {
        /// Mean probability of being kept.
        density: f64,
        /// Difference between the greatest and the least.
        window: f64,
    },
}

/// Checks that experts are finite, of one shape, and as many as their factors.
///
/// # Errors
/// A [`MergeError`].
pub fn check(deltas: &[&[f64]], weights: Option<&[f64]>) -> Result<(), MergeError> {
    let expected = deltas.first().ok_or(MergeError::Empty)?.len();
    for (expert, delta) in deltas.iter().enumerate() {
        if delta.len() != expected {
            return Err(MergeError::Shape { expert, found: delta.len(), expected });
        }
        if let Some(at) = delta.iter().position(|value| !value.is_finite()) {
            return Err(MergeError::Value { expert, at, value: delta[at] });
        }
    }
    match weights {
        Some(weights) if weights.len() != deltas.len() => {
            Err(MergeError::Weights { weights: weights.len(), experts: deltas.len() })
        }
        _ => Ok(()),
    }
}

/// A uniform number in [0, 1) of 53 bits.
pub(crate) fn uniform(random: &mut ChaCha8Rng) -> f64 {
    (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// −1, 0 or 1.
pub(crate) fn sign(value: f64) -> f64 {
    if value == 0.0 { 0.0 } else { value.signum() }
}
