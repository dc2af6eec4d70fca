//! Logit bias: constants added to the logits of tokens; -inf bans.
//!
//! `tokens` lists them as `ID:BIAS`, separated by spaces, for example `tokens = "50256:-inf 13:0.5"`.
//!
//! # Difference from the reference
//! None.

use harness_core::{Arm, Axis, MethodSpec, ParameterError, Parameters};

use crate::registry::Method;
use crate::sample::{Candidates, Role, SampleError, Sampler, Step};

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Tokens and what is added to their logits, `ID:BIAS` separated by spaces.
        tokens: String = String::new();
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "logit-bias",
        axis: Axis::Sampler,
        about: "adds constants to the logits of tokens, or bans them",
        source: "OpenAI API; llama.cpp, sampler logit-bias",
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
    Ok(Method::Sampler(Box::new(LogitBias(read(&Settings::resolve(arm)?.tokens)?))))
}

struct LogitBias(Vec<(u32, f32)>);

fn read(text: &str) -> Result<Vec<(u32, f32)>, ParameterError> {
    let wrong = |item: &str, why: &str| {
        ParameterError::Together(format!("`tokens`: `{item}` {why}; write ID:BIAS, for example 13:0.5 or 13:-inf"))
    };
    text.split_whitespace()
        .map(|item| {
            let (token, bias) = item.split_once(':').ok_or_else(|| wrong(item, "has no bias"))?;
            let token = token.parse().map_err(|_| wrong(item, "does not begin with the id of a token"))?;
            let bias: f32 = bias.parse().map_err(|_| wrong(item, "does not end with a number"))?;
            if bias.is_nan() || bias == f32::INFINITY {
                return Err(wrong(item, "is not a finite bias or -inf"));
            }
            Ok((token, bias))
        })
        .collect()
}

impl Sampler for LogitBias {
    fn role(&self) -> Role {
        Role::Penalty
    }

    fn apply(&mut self, candidates: &mut Candidates, _: &mut Step) -> Result<(), SampleError> {
        let mut banned = Vec::new();
        for (token, bias) in &self.0 {
            if *token as usize >= candidates.vocabulary() {
                let vocabulary = candidates.vocabulary();
                return Err(SampleError::UnknownToken { what: "logit-bias", token: *token, vocabulary });
            }
            if bias.is_finite() {
                candidates.change(*token, |logit| logit + bias);
            } else {
                banned.push(*token);
            }
        }
        banned.sort_unstable();
        candidates.ban(&banned)
    }
}
