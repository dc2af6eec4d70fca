//! Eta sampling: the tokens of at least a probability that falls with the entropy.
//!
//! `p_i ≥ η = min(ε, √ε · e^{−H})`, with the entropy `H` in nats of the distribution that the stage sees: an absolute bound where the
//! model is sure, one relative to the uniform distribution where it is not.
//!
//! # Difference from the reference
//! The formula of the authors' warper and of the code in transformers, whose documentation has another one, √(ε · e^{−H}).

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::registry::Method;
use crate::sample::{Candidates, Role, SampleError, Sampler, Step};

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// The absolute bound, and the square of the relative one.
        epsilon: f64 = 3e-4, Domain::open(0.0, 1.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "eta",
        axis: Axis::Sampler,
        about: "keeps tokens of at least a probability that falls with the entropy",
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
    Ok(Method::Sampler(Box::new(Eta(Settings::resolve(arm)?))))
}

struct Eta(Settings);

impl Sampler for Eta {
    fn role(&self) -> Role {
        Role::Truncation
    }

    fn apply(&mut self, candidates: &mut Candidates, _: &mut Step) -> Result<(), SampleError> {
        let relative = self.0.epsilon.sqrt() * (-candidates.entropy()).exp();
        candidates.keep_probable(self.0.epsilon.min(relative));
        Ok(())
    }
}
