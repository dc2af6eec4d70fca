//! Repetition penalty: tokens of the past become less likely.
//!
//! For every token of the past, once: `z / θ` where `z > 0`, else `z · θ`. A penalty below 1 rewards. It depends on where the zero of
//! the logits lies; `normalise` first turns them into logarithms of probabilities.
//!
//! # Difference from the reference
//! llama.cpp looks at the last 64 tokens, transformers at the whole sequence; transformers' `normalize` is this one.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::registry::Method;
use crate::sample::{Candidates, Role, SampleError, Sampler, Step};

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Factor of the penalty; 1 changes nothing.
        penalty: f64 = 1.0, Domain::open(0.0, f64::INFINITY);
        /// Tokens of the past that count, the latest ones; -1 for all, 0 for none.
        last_n: i64 = 64, Domain::closed(-1.0, 9e15);
        /// Whether the prompt belongs to the past.
        include_prompt: bool = true;
        /// Whether logits first become logarithms of probabilities.
        normalise: bool = false;
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "repetition-penalty",
        axis: Axis::Sampler,
        about: "makes tokens of the past less likely by a factor",
        source: "Keskar, McCann, Varshney, Xiong, Socher: CTRL, 2019",
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
    Ok(Method::Sampler(Box::new(RepetitionPenalty(Settings::resolve(arm)?))))
}

struct RepetitionPenalty(Settings);

impl Sampler for RepetitionPenalty {
    fn role(&self) -> Role {
        Role::Penalty
    }

    fn apply(&mut self, candidates: &mut Candidates, step: &mut Step) -> Result<(), SampleError> {
        if self.0.normalise {
            let total = candidates.log_sum_exp() as f32;
            candidates.change_all(|logit| logit - total);
        }
        let penalty = self.0.penalty as f32;
        for (token, _) in step.past.counts(self.0.last_n, self.0.include_prompt) {
            candidates.change(token, |logit| if logit > 0.0 { logit / penalty } else { logit * penalty });
        }
        Ok(())
    }
}
