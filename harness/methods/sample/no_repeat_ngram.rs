//! No repeated n-grams: no token may complete an n-gram that the past holds.
//!
//! Banned is every token that followed an earlier occurrence of the last `n − 1` tokens; with `n = 1` every token of the past.
//!
//! # Difference from the reference
//! Where every candidate is banned the step fails; transformers gives a distribution of NaNs.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::registry::Method;
use crate::sample::{Candidates, Past, Role, SampleError, Sampler, Step};

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Length of the n-grams.
        n: usize = 3, Domain::closed(1.0, 1e6);
        /// Whether the prompt belongs to the past.
        include_prompt: bool = true;
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "no-repeat-ngram",
        axis: Axis::Sampler,
        about: "bans tokens that would repeat an n-gram of the past",
        source: "Paulus, Xiong, Socher: A Deep Reinforced Model for Abstractive Summarization, ICLR 2018; transformers",
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
    Ok(Method::Sampler(Box::new(NoRepeatNgram(Settings::resolve(arm)?))))
}

struct NoRepeatNgram(Settings);

impl Sampler for NoRepeatNgram {
    fn role(&self) -> Role {
        Role::Truncation
    }

    fn apply(&mut self, candidates: &mut Candidates, step: &mut Step) -> Result<(), SampleError> {
        let Settings { n, include_prompt } = self.0;
        let past = if include_prompt { step.past } else { Past { prompt: &[], ..step.past } };
        let tokens = past.recent(-1);
        let Some(start) = tokens.len().checked_sub(n - 1) else { return Ok(()) };
        let last = &tokens[start..];
        let mut banned: Vec<u32> =
            tokens.windows(n).filter(|gram| gram[..n - 1] == *last).map(|gram| gram[n - 1]).collect();
        banned.sort_unstable();
        candidates.ban(&banned)?;
        Ok(())
    }
}
