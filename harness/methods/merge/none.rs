//! The base as it is: the identity of the axis, which every other arm is compared with.
//!
//! # Difference from the reference
//! None; there is nothing to differ in.

use harness_core::{Arm, Axis, MethodSpec, ParameterError, Parameters};
use rand_chacha::ChaCha8Rng;

use crate::merge::{Merge, MergeError};
use crate::registry::Method;

harness_core::parameters! {
    /// It takes no parameters.
    pub struct Settings {}
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "none",
        axis: Axis::Merge,
        about: "the base without what experts learned",
        source: "control",
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
/// A parameter, since it takes none.
pub fn build(arm: &Arm) -> Result<Method, ParameterError> {
    Settings::resolve(arm)?;
    Ok(Method::Merge(Box::new(Base)))
}

#[derive(Debug)]
struct Base;

impl Merge for Base {
    fn is_identity(&self) -> bool {
        true
    }

    fn merge(&self, deltas: &[&[f64]], _: usize, _: &mut [ChaCha8Rng]) -> Result<Vec<f64>, MergeError> {
        Ok(vec![0.0; deltas.first().map_or(0, |delta| delta.len())])
    }
}
