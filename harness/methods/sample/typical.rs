//! Locally typical sampling: the tokens whose surprise is nearest to the expected one.
//!
//! By rising `|−ln p_i − H|` up to the first at which the sum of probabilities reaches `tau`; of equal ones the lower ids first. The
//! most probable token may be left out.
//!
//! # Difference from the reference
//! transformers keeps every token tied with the last one; llama.cpp takes one more where the sum meets tau exactly.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};
use harness_kernels::order::Order;

use crate::registry::Method;
use crate::sample::{Candidates, Role, SampleError, Sampler, Step};

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Share of the probability that is kept; 1 keeps everything.
        tau: f64 = 1.0, Domain::above(0.0, 1.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "typical",
        axis: Axis::Sampler,
        about: "keeps the tokens whose surprise is nearest to the entropy",
        source: "Meister, Pimentel, Wiher, Cotterell: Locally Typical Sampling, TACL 2023",
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
    Ok(Method::Sampler(Box::new(Typical(Settings::resolve(arm)?))))
}

struct Typical(Settings);

impl Sampler for Typical {
    fn role(&self) -> Role {
        Role::Truncation
    }

    fn apply(&mut self, candidates: &mut Candidates, _: &mut Step) -> Result<(), SampleError> {
        if self.0.tau < 1.0 {
            // One pass for the entropy and for the weights that the share is summed from.
            candidates.weigh();
            let expected = (candidates.log_sum_exp() - candidates.entropy()) as f32;
            candidates.keep_share(Order::Nearest(expected), self.0.tau);
        }
        Ok(())
    }
}
