//! Greedy decoding: the most probable token.
//!
//! `argmax z`; the lowest id wins ties. Draws nothing at random. Penalties and biases before it still count.
//!
//! # Difference from the reference
//! None; llama.cpp and torch take the first maximum as well.

use harness_core::{Arm, Axis, MethodSpec, ParameterError, Parameters};

use crate::registry::Method;
use crate::sample::{Candidates, Role, SampleError, Sampler, Step};

harness_core::parameters! {
    /// Nothing to set.
    pub struct Settings {}
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "greedy",
        axis: Axis::Sampler,
        about: "chooses the most probable token",
        source: "the limit of temperature at zero",
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
    Settings::resolve(arm)?;
    Ok(Method::Sampler(Box::new(Greedy)))
}

struct Greedy;

impl Sampler for Greedy {
    fn role(&self) -> Role {
        Role::Last
    }

    fn apply(&mut self, candidates: &mut Candidates, _: &mut Step) -> Result<(), SampleError> {
        let best = candidates.argmax() as u32;
        candidates.keep_places(&[best]);
        Ok(())
    }
}
