//! XTC, exclude top choices: with a probability, of the tokens above a threshold only the least probable stays.
//!
//! With probability `probability` at each step, and where at least two tokens have `p_i ≥ threshold`, all of them but the least probable
//! go; what lies below the threshold stays. Takes one random number a step even when it does nothing. Where a token of `exempt` (ids
//! separated by spaces; ends of lines and of text) would go, nothing does.
//!
//! # Difference from the reference
//! llama.cpp has no exempt tokens; the original proposal has. Of equal tokens the higher id counts as the less probable.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::registry::Method;
use crate::sample::{Candidates, Role, SampleError, Sampler, Step, slack, token_list};

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// How often it acts; 0 is never.
        probability: f64 = 0.0, Domain::closed(0.0, 1.0);
        /// Probability from which a token is a top choice.
        threshold: f64 = 0.1, Domain::above(0.0, 0.5);
        /// Tokens that are never excluded, ids separated by spaces.
        exempt: String = String::new();
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "xtc",
        axis: Axis::Sampler,
        about: "excludes the most probable tokens but the last above a threshold",
        source: "text-generation-webui and llama.cpp, sampler xtc (p-e-w, 2024)",
        version: 1,
        calibrated: false,
        random: true,
        parameters: Settings::specs(),
        check: |arm| build(arm).map(drop),
    }
}

/// Makes it.
///
/// # Errors
/// A parameter that does not fit.
pub fn build(arm: &Arm) -> Result<Method, ParameterError> {
    let Settings { probability, threshold, exempt } = Settings::resolve(arm)?;
    Ok(Method::Sampler(Box::new(Xtc { probability, threshold, exempt: token_list("exempt", &exempt)? })))
}

struct Xtc {
    probability: f64,
    threshold: f64,
    exempt: Vec<u32>,
}

impl Sampler for Xtc {
    fn role(&self) -> Role {
        Role::Truncation
    }

    fn apply(&mut self, candidates: &mut Candidates, step: &mut Step) -> Result<(), SampleError> {
        let acts = (step.uniform)() < self.probability;
        if !acts {
            return Ok(());
        }
        // No more than 1 / threshold tokens can reach it.
        let bound = candidates.log_sum_exp() + self.threshold.ln();
        let bound = bound - slack(bound);
        let mut top = candidates.largest((1.0 / self.threshold) as usize + 2);
        top.retain(|at| f64::from(candidates.logits()[*at as usize]) >= bound);
        top.pop();
        if top.is_empty() || top.iter().any(|at| self.exempt.contains(&candidates.id(*at as usize))) {
            return Ok(());
        }
        let mut tokens: Vec<u32> = top.iter().map(|at| candidates.id(*at as usize)).collect();
        tokens.sort_unstable();
        candidates.ban(&tokens)
    }
}
