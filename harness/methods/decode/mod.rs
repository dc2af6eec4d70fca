//! Decoders: from a prompt to whole sequences.
//!
//! A sampler looks at one row of logits; a decoder calls the model itself, more than once a token or for more than one
//! sequence at a time, or compares two models. It stands first in a chain; those that draw tokens take the stages behind
//! it. The model is behind [`LanguageModel`], which knows no tensor library.

pub(crate) mod beams;
pub(crate) mod branches;
pub(crate) mod expand;
pub(crate) mod law;
pub(crate) mod model;
pub(crate) mod queue;
pub(crate) mod ranking;

#[cfg(test)]
mod beam_tests;
#[cfg(test)]
mod best_first_tests;
#[cfg(test)]
mod branch_tests;
#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod speculative_tests;
#[cfg(test)]
pub(crate) mod tables;

use harness_core::{Arm, Axis};

pub use beams::{Formula, LengthPenalty, Stop};
pub use law::{Law, tokens_a_round};
pub use model::{Calls, Failure, LanguageModel, Request, Rows};
pub use ranking::Rank;

use crate::registry::{self, BuildError, Method};
use crate::sample::{ChainError, Choice, SampleError};

/// A way to decode.
pub trait Decode: Send {
    /// What it needs beside the model.
    fn needs(&self) -> Needs;

    /// Continues a prompt.
    ///
    /// # Errors
    /// A [`DecodeError`].
    fn decode(&self, models: Models, task: &Task) -> Result<Decoded, DecodeError>;
}

/// What a decoder needs beside the model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// A second model with the same tokens, by what it is called: `draft` or `amateur`.
    pub second: Option<&'static str>,
    /// Hidden states.
    pub states: bool,
    /// Stages of samplers behind it are used; a decoder that draws nothing refuses them.
    pub stages: bool,
    /// A second prompt is used; without one the last token of the prompt stands for it.
    pub other_prompt: bool,
}

/// The models of a decoder.
pub struct Models<'a> {
    /// The one whose text is wanted.
    pub model: &'a mut dyn LanguageModel,
    /// The draft or amateur.
    pub second: Option<&'a mut dyn LanguageModel>,
}

/// What is to be continued.
#[derive(Debug, Clone, Copy, Default)]
pub struct Task<'a> {
    /// The prompt, of one token or more.
    pub prompt: &'a [u32],
    /// The prompt of the unconditional branch, for decoders that compare two; the last token of the prompt when absent.
    pub other_prompt: Option<&'a [u32]>,
    /// At most so many tokens are generated, fewer where the context ends.
    pub tokens: usize,
    /// Samplers behind the decoder.
    pub stages: &'a [Arm],
    /// Seed of what is drawn.
    pub seed: u64,
    /// Name of the sequence; each has its own random numbers.
    pub sequence: &'a str,
}

impl<'a> Task<'a> {
    /// The prompt of the unconditional branch.
    pub(crate) fn other(&self) -> &'a [u32] {
        self.other_prompt.unwrap_or(&self.prompt[self.prompt.len().saturating_sub(1)..])
    }

    /// The same with fewer tokens where the model's context ends, after all that may be wrong with it is excluded.
    pub(crate) fn checked(&self, decoder: &'static str, needs: Needs, models: &Models) -> Result<Self, DecodeError> {
        if self.prompt.is_empty() || self.other_prompt.is_some_and(<[u32]>::is_empty) {
            return Err(DecodeError::EmptyPrompt);
        }
        if self.tokens == 0 {
            return Err(DecodeError::NoTokens);
        }
        if let Some(stage) = self.stages.first().filter(|_| !needs.stages) {
            return Err(DecodeError::Stages { decoder, stage: stage.to_string() });
        }
        let model = &models.model;
        if needs.states && !model.has_states() {
            return Err(DecodeError::NoStates { decoder });
        }
        let mut context = model.context();
        if let Some(what) = needs.second {
            let Some(second) = &models.second else {
                return Err(DecodeError::NoSecond { decoder, what });
            };
            if second.vocabulary() != model.vocabulary() {
                let (second, model) = (second.vocabulary(), model.vocabulary());
                return Err(DecodeError::Vocabulary { what, second, model });
            }
            context = context.min(second.context());
        }
        let longest = if needs.other_prompt { self.prompt.len().max(self.other().len()) } else { self.prompt.len() };
        if longest >= context {
            return Err(DecodeError::PromptTooLong { prompt: longest, context });
        }
        Ok(Self { tokens: self.tokens.min(context - longest), ..*self })
    }
}

/// A continuation.
#[derive(Debug, Clone, PartialEq)]
pub struct Hypothesis {
    /// Its tokens, without the prompt, with the end token where it has one.
    pub tokens: Vec<u32>,
    /// Whether an end token ends it, rather than the number of tokens.
    pub finished: bool,
    /// Logarithm of its probability under the model, in nats.
    pub log_probability: f64,
    /// What it is ranked by.
    pub score: f64,
}

/// What a decoder gives.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Decoded {
    /// Continuations, best first; at least one.
    pub hypotheses: Vec<Hypothesis>,
    /// Calls of the model.
    pub calls: Calls,
    /// Calls of the second model.
    pub second_calls: Calls,
    /// What happened on the way.
    pub statistics: Statistics,
}

/// What happened on the way to the continuations; what a decoder does not have is empty.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Statistics {
    /// Steps at which a token was drawn or chosen from a set of candidates.
    pub choices: Vec<Choice>,
    /// Rounds of drafting and checking.
    pub rounds: Vec<Round>,
    /// Hypotheses taken up at every length, from that of no token.
    pub pops: Vec<usize>,
    /// Hypotheses deleted for want of memory. With none the search kept its guarantee.
    pub deleted: usize,
}

/// A round of speculative sampling.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Round {
    /// Tokens drafted.
    pub drafted: usize,
    /// Of them accepted.
    pub accepted: usize,
    /// The summed overlap `Σ min(p, q)` of both laws at the drafted positions that were looked at, which is the number
    /// of them expected to be accepted.
    pub overlap: f64,
    /// Drafted positions looked at: up to the first that was rejected.
    pub checked: usize,
}

/// Why nothing could be decoded.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// A row that nothing can be chosen from.
    #[error("after {generated} generated tokens: {source}")]
    Sample {
        /// Tokens generated before.
        generated: usize,
        /// What is wrong with the row.
        source: SampleError,
    },
    /// The stages behind the decoder make no chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The model failed.
    #[error("the model failed: {0}")]
    Model(Failure),
    /// A model that does not answer what it was asked.
    #[error("the model answered {found} {what} where {expected} were asked for")]
    Answer {
        /// Of what.
        what: &'static str,
        /// Asked for.
        expected: usize,
        /// Answered.
        found: usize,
    },
    /// No second model.
    #[error("`{decoder}` needs {what} model: a smaller one with the same tokens", what = article(.what))]
    NoSecond {
        /// The decoder.
        decoder: &'static str,
        /// What the second model is called.
        what: &'static str,
    },
    /// The second model has other tokens.
    #[error("the {what} model has {second} tokens and the model {model}; both need the same vocabulary")]
    Vocabulary {
        /// What the second model is called.
        what: &'static str,
        /// Its tokens.
        second: usize,
        /// The model's.
        model: usize,
    },
    /// A model without hidden states.
    #[error("`{decoder}` compares hidden states, and this model gives none")]
    NoStates {
        /// The decoder.
        decoder: &'static str,
    },
    /// A chain behind a decoder that draws nothing.
    #[error("`{decoder}` draws nothing, so `{stage}` behind it would have no effect; leave it out")]
    Stages {
        /// The decoder.
        decoder: &'static str,
        /// The first of the stages.
        stage: String,
    },
    /// A stage that learns from what was drawn, where drafts are taken back.
    #[error(
        "`{stage}` learns from every token that is drawn, and drafted tokens may be taken back; use another sampler"
    )]
    Learns {
        /// The stage.
        stage: String,
    },
    /// No prompt.
    #[error("a prompt is empty; decoders continue at least one token, for example the beginning-of-sequence token")]
    EmptyPrompt,
    /// Nothing to do.
    #[error("no tokens are asked for; ask for at least 1")]
    NoTokens,
    /// A prompt without room behind it.
    #[error("the prompt has {prompt} tokens; the context of the models is {context}")]
    PromptTooLong {
        /// Tokens of the prompt.
        prompt: usize,
        /// The shortest context of the models.
        context: usize,
    },
}

fn article(what: &str) -> String {
    format!("{} {what}", if what.starts_with('a') { "an" } else { "a" })
}

/// The decoder that stands first in a chain, and the stages behind it; `None` for a chain of samplers.
///
/// # Errors
/// A [`BuildError`] of the first arm.
pub fn first(arms: &[Arm]) -> Result<Option<(Box<dyn Decode>, &[Arm])>, BuildError> {
    let Some((first, rest)) = arms.split_first() else { return Ok(None) };
    Ok(match registry::build(Axis::Sampler, first)? {
        Method::Decoder(decoder) => Some((decoder, rest)),
        _ => None,
    })
}
