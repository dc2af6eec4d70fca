//! Top-k: the k most probable tokens.
//!
//! Exactly k tokens, or all when there are fewer; of equal logits the lower ids.
//!
//! # Difference from the reference
//! transformers keeps every token tied with the k-th; llama.cpp keeps k with any of the tied ones. Zero means "off" to both and is
//! refused here.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::registry::Method;
use crate::sample::{Candidates, Role, SampleError, Sampler, Step};

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// How many tokens are kept.
        k: usize = 50, Domain::closed(1.0, 4_294_967_295.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "top-k",
        axis: Axis::Sampler,
        about: "keeps the k most probable tokens",
        source: "Fan, Lewis, Dauphin: Hierarchical Neural Story Generation, ACL 2018",
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
    Ok(Method::Sampler(Box::new(TopK(Settings::resolve(arm)?))))
}

struct TopK(Settings);

impl Sampler for TopK {
    fn role(&self) -> Role {
        Role::Truncation
    }

    fn apply(&mut self, candidates: &mut Candidates, _: &mut Step) -> Result<(), SampleError> {
        candidates.keep_largest(self.0.k);
        Ok(())
    }
}
