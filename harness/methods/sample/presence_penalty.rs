//! Presence penalty: a token loses a constant when it stands in the past.
//!
//! `z − α` once for the tokens of the past. A negative penalty rewards.
//!
//! # Difference from the reference
//! llama.cpp takes both penalties after the repetition penalty and looks at the last 64 tokens; here they stand in the chain where
//! they are written.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::registry::Method;
use crate::sample::{Candidates, Role, SampleError, Sampler, Step};

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// What is taken off a logit; 0 changes nothing.
        penalty: f64 = 0.0, Domain::closed(-2.0, 2.0);
        /// Tokens of the past that count, the latest ones; -1 for all, 0 for none.
        last_n: i64 = 64, Domain::closed(-1.0, 9e15);
        /// Whether the prompt belongs to the past.
        include_prompt: bool = true;
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "presence-penalty",
        axis: Axis::Sampler,
        about: "takes a constant off the logit of a token when it stands in the past",
        source: "OpenAI API; llama.cpp, sampler penalties",
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
    Ok(Method::Sampler(Box::new(PresencePenalty(Settings::resolve(arm)?))))
}

struct PresencePenalty(Settings);

impl Sampler for PresencePenalty {
    fn role(&self) -> Role {
        Role::Penalty
    }

    fn apply(&mut self, candidates: &mut Candidates, step: &mut Step) -> Result<(), SampleError> {
        let penalty = self.0.penalty as f32;
        for (token, _) in step.past.counts(self.0.last_n, self.0.include_prompt) {
            candidates.change(token, |logit| logit - penalty);
        }
        Ok(())
    }
}
