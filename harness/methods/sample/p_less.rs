//! p-less: the tokens at least as probable as two draws are to agree.
//!
//! `p_i ≥ Σ p²`. It has no parameter, and equal candidates all stay.
//!
//! # Difference from the reference
//! None known; the set of llama.cpp's tests.

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
        id: "p-less",
        axis: Axis::Sampler,
        about: "keeps tokens at least as probable as two draws are to agree",
        source: "Tan et al.: p-less Sampling, 2025",
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
    Ok(Method::Sampler(Box::new(PLess)))
}

struct PLess;

impl Sampler for PLess {
    fn role(&self) -> Role {
        Role::Truncation
    }

    fn apply(&mut self, candidates: &mut Candidates, _: &mut Step) -> Result<(), SampleError> {
        let bound = candidates.collision();
        candidates.keep_probable(bound);
        Ok(())
    }
}
