//! No pruning: the identity of the axis, which every other arm is compared with.
//!
//! # Difference from the reference
//! None; there is nothing to differ in.

use harness_core::{Arm, Axis, MethodSpec, ParameterError, Parameters};
use rand_chacha::ChaCha8Rng;

use crate::prune::{Needs, PruneError, Pruner, Site};
use crate::registry::Method;
use crate::statistics::LinearStatistics;

harness_core::parameters! {
    /// It takes no parameters.
    pub struct Settings {}
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "none",
        axis: Axis::Prune,
        about: "the dense model, every weight as it is",
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
    Ok(Method::Pruner(Box::new(Dense)))
}

struct Dense;

impl Pruner for Dense {
    fn needs(&self) -> Needs {
        Needs::NOTHING
    }

    fn prune(
        &self,
        _: &Site,
        _: &mut [f32],
        _: Option<&LinearStatistics>,
        _: Option<usize>,
        _: &mut ChaCha8Rng,
    ) -> Result<(), PruneError> {
        Ok(())
    }

    fn is_identity(&self) -> bool {
        true
    }
}
