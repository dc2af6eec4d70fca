//! Top-p, or nucleus sampling: the fewest tokens that hold a share of the probability.
//!
//! Tokens by falling probability up to the first at which the sum reaches `p`; of equal logits the lower ids first.
//!
//! # Difference from the reference
//! Where the sum meets `p` exactly the set ends there, as in transformers and llama.cpp; Hewitt's published warper keeps one token
//! more. Sums are f64: over 150,000 tokens an f32 sum is off by 1e-4.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};
use harness_kernels::order::Order;

use crate::registry::Method;
use crate::sample::{Candidates, Role, SampleError, Sampler, Step};

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Share of the probability that is kept; 1 keeps everything.
        p: f64 = 1.0, Domain::above(0.0, 1.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "top-p",
        axis: Axis::Sampler,
        about: "keeps the fewest tokens that hold a share of the probability",
        source: "Holtzman, Buys, Du, Forbes, Choi: The Curious Case of Neural Text Degeneration, ICLR 2020",
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
    Ok(Method::Sampler(Box::new(TopP(Settings::resolve(arm)?))))
}

struct TopP(Settings);

impl Sampler for TopP {
    fn role(&self) -> Role {
        Role::Truncation
    }

    fn apply(&mut self, candidates: &mut Candidates, _: &mut Step) -> Result<(), SampleError> {
        if self.0.p < 1.0 {
            candidates.keep_share(Order::Largest, self.0.p);
        }
        Ok(())
    }
}
