//! Top-nσ: the tokens within a number of standard deviations of the largest logit.
//!
//! `z_i ≥ z_max − n σ` with the population standard deviation `σ` of the logits of all candidates. The set does not depend on a
//! temperature before it. Behind another truncation σ is that of what was left.
//!
//! # Difference from the reference
//! The authors' code for transformers has the sample deviation, which is not a number where a logit is −∞; llama.cpp has this one.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::registry::Method;
use crate::sample::{Candidates, Role, SampleError, Sampler, Step};

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Standard deviations below the largest logit.
        n: f64 = 1.0, Domain::open(0.0, f64::INFINITY);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "top-n-sigma",
        axis: Axis::Sampler,
        about: "keeps tokens within standard deviations of the largest logit",
        source: "Tang, Liu, Xu, Huang, Jiang: Top-nσ: Not All Logits Are You Need, ACL 2025",
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
    Ok(Method::Sampler(Box::new(TopNSigma(Settings::resolve(arm)?))))
}

struct TopNSigma(Settings);

impl Sampler for TopNSigma {
    fn role(&self) -> Role {
        Role::Truncation
    }

    fn apply(&mut self, candidates: &mut Candidates, _: &mut Step) -> Result<(), SampleError> {
        let bound = f64::from(candidates.max()) - self.0.n * candidates.deviation();
        candidates.keep_above(bound);
        Ok(())
    }
}
