//! Top-a: the tokens of at least a share of the squared largest probability.
//!
//! `p_i ≥ a · p_max²`: strict where the model is sure, lenient where it is not.
//!
//! # Difference from the reference
//! None; the set of text-generation-webui.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::registry::Method;
use crate::sample::{Candidates, Role, SampleError, Sampler, Step};

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Factor of the squared largest probability; 0 keeps everything.
        a: f64 = 0.0, Domain::closed(0.0, 1.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "top-a",
        axis: Axis::Sampler,
        about: "keeps tokens of at least a share of the squared largest probability",
        source: "text-generation-webui, TopALogitsWarper",
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
    Ok(Method::Sampler(Box::new(TopA(Settings::resolve(arm)?))))
}

struct TopA(Settings);

impl Sampler for TopA {
    fn role(&self) -> Role {
        Role::Truncation
    }

    fn apply(&mut self, candidates: &mut Candidates, _: &mut Step) -> Result<(), SampleError> {
        if self.0.a > 0.0 {
            let largest = (f64::from(candidates.max()) - candidates.log_sum_exp()).exp();
            candidates.keep_probable(self.0.a * largest * largest);
        }
        Ok(())
    }
}
