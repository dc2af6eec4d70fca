//! Min-p: the tokens at least a share as probable as the most probable one.
//!
//! `p_i ≥ p · p_max`, that is `z_i ≥ z_max + ln p`: no softmax and no sort. Behind a temperature the kept set grows with it; before a
//! temperature it does not.
//!
//! # Difference from the reference
//! The same set as `MinPLogitsWarper` of transformers and llama.cpp; values above 1, which llama.cpp takes for 1, are refused.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::registry::Method;
use crate::sample::{Candidates, Role, SampleError, Sampler, Step};

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Least probability against that of the most probable token; 0 keeps everything.
        p: f64 = 0.0, Domain::closed(0.0, 1.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "min-p",
        axis: Axis::Sampler,
        about: "keeps tokens at least a share as probable as the most probable one",
        source: "Nguyen et al.: Turning Up the Heat: Min-p Sampling for Creative and Coherent LLM Outputs, ICLR 2025",
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
    Ok(Method::Sampler(Box::new(MinP(Settings::resolve(arm)?))))
}

struct MinP(Settings);

impl Sampler for MinP {
    fn role(&self) -> Role {
        Role::Truncation
    }

    fn apply(&mut self, candidates: &mut Candidates, _: &mut Step) -> Result<(), SampleError> {
        if self.0.p > 0.0 {
            let bound = f64::from(candidates.max()) + self.0.p.ln();
            candidates.keep_above(bound);
        }
        Ok(())
    }
}
