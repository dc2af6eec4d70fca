//! Epsilon sampling: the tokens of at least a probability.
//!
//! `p_i ≥ ε`; where there is none, the most probable token.
//!
//! # Difference from the reference
//! transformers keeps every token tied with the most probable one when none reaches ε; here, as in the authors' warper, the first.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::registry::Method;
use crate::sample::{Candidates, Role, SampleError, Sampler, Step};

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Least probability.
        epsilon: f64 = 3e-4, Domain::open(0.0, 1.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "epsilon",
        axis: Axis::Sampler,
        about: "keeps tokens of at least a probability",
        source: "Hewitt, Manning, Liang: Truncation Sampling as Language Model Desmoothing, Findings of EMNLP 2022",
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
    Ok(Method::Sampler(Box::new(Epsilon(Settings::resolve(arm)?))))
}

struct Epsilon(Settings);

impl Sampler for Epsilon {
    fn role(&self) -> Role {
        Role::Truncation
    }

    fn apply(&mut self, candidates: &mut Candidates, _: &mut Step) -> Result<(), SampleError> {
        candidates.keep_probable(self.0.epsilon);
        Ok(())
    }
}
