//! Every block: the identity of the axis, which every other arm is compared with.
//!
//! # Difference from the reference
//! None; there is nothing to differ in.

use harness_core::{Arm, Axis, MethodSpec, ParameterError, Parameters};
use rand_chacha::ChaCha8Rng;

use crate::registry::Method;
use crate::shrink::{Shorter, Shrink, ShrinkError, Stack};

harness_core::parameters! {
    /// It takes no parameters.
    pub struct Settings {}
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "none",
        axis: Axis::Shrink,
        about: "every block of the model, as it is",
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
    Ok(Method::Shrink(Box::new(Whole)))
}

#[derive(Debug)]
struct Whole;

impl Shrink for Whole {
    fn is_identity(&self) -> bool {
        true
    }

    fn shrink(&self, model: &mut dyn Stack, _: &mut ChaCha8Rng) -> Result<Shorter, ShrinkError> {
        Ok(Shorter::of_blocks(0..model.blocks()))
    }
}
