//! No factors: the identity of the axis, which every other arm is compared with.
//!
//! # Difference from the reference
//! None; there is nothing to differ in.

use harness_core::{Arm, Axis, MethodSpec, ParameterError, Parameters};

use crate::lowrank::{Factorisation, Known, LowRank, LowRankError};
use crate::prune::Site;
use crate::registry::Method;

harness_core::parameters! {
    /// It takes no parameters.
    pub struct Settings {}
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "none",
        axis: Axis::Lowrank,
        about: "every linear map as one matrix, as it is",
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
    Ok(Method::LowRank(Box::new(Whole)))
}

struct Whole;

impl LowRank for Whole {
    fn factorise(&self, _: &Site, _: &[f32], _: Known<'_>) -> Result<Factorisation, LowRankError> {
        Ok(Factorisation::default())
    }

    fn is_identity(&self) -> bool {
        true
    }
}
