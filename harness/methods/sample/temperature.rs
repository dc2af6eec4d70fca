//! Temperature: logits divided by a number.
//!
//! `q ∝ exp(z / T)`. Below 1 the distribution sharpens, above 1 it flattens; the order of the tokens stays. A temperature of
//! zero is `greedy` and has to be called so.
//!
//! # Difference from the reference
//! llama.cpp takes a temperature of zero or less for greedy decoding; here it is refused.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::registry::Method;
use crate::sample::{Candidates, Role, SampleError, Sampler, Step};

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// What logits are divided by; zero is `greedy`.
        t: f64 = 1.0, Domain::open(0.0, f64::INFINITY);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "temperature",
        axis: Axis::Sampler,
        about: "divides logits by a temperature",
        source: "Ackley, Hinton, Sejnowski: A Learning Algorithm for Boltzmann Machines, Cognitive Science 1985",
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
    Ok(Method::Sampler(Box::new(Temperature(Settings::resolve(arm)?))))
}

struct Temperature(Settings);

impl Sampler for Temperature {
    fn role(&self) -> Role {
        Role::Temperature
    }

    fn apply(&mut self, candidates: &mut Candidates, _: &mut Step) -> Result<(), SampleError> {
        candidates.divide(self.0.t);
        Ok(())
    }
}
