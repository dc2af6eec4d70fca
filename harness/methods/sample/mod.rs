//! Samplers: what stands between a row of logits and the next token.
//!
//! A sampler changes logits or removes candidates, never both; survivors keep their logits, and every stage of a
//! [`Chain`] sees the distribution renormalised over what earlier stages left. At least one candidate always survives.
//! Thresholds keep what is equal to them, within [`slack`]; prefixes and counts break ties by the lower id.

use harness_core::ParameterError;

use basis::Basis;

pub mod basis;
pub(crate) mod bends;
mod candidates;
mod chain;
mod history;
mod prefix;

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod law_tests;

pub use candidates::Candidates;
pub(crate) use chain::uniform;
pub use chain::{Chain, ChainError, Choice};
pub use history::Past;

/// A stage of a chain.
pub trait Sampler: Send {
    /// What it does to a step; decides where in a chain it may stand.
    fn role(&self) -> Role;

    /// How many directions of the model's head it judges tokens by, see [`basis`]; such a stage has to see the model's own
    /// distribution, so nothing before it may change logits.
    fn needs_basis(&self) -> Option<usize> {
        None
    }

    /// Changes or removes candidates.
    ///
    /// # Errors
    /// A [`SampleError`] when the step cannot be taken.
    fn apply(&mut self, candidates: &mut Candidates, step: &mut Step) -> Result<(), SampleError>;

    /// Hears which candidate was drawn.
    fn drawn(&mut self, _drawn: &Drawn) {}

    /// Tokens that the accuracy of numbers did not let it judge since it was made, and that it kept.
    fn undecided(&self) -> usize {
        0
    }

    /// Forgets the sequence: the next step is the first of another one.
    fn reset(&mut self) {}
}

/// What a stage does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Changes logits in view of the past.
    Penalty,
    /// Divides logits.
    Temperature,
    /// Removes candidates.
    Truncation,
    /// Chooses by itself and learns from the draw: has to be the last stage.
    Last,
}

/// What a stage may look at beside the candidates.
pub struct Step<'a> {
    /// The tokens so far.
    pub past: Past<'a>,
    /// Uniform numbers in [0, 1), of a stream that is the stages' own: a stage that takes none shifts nobody's draw.
    pub uniform: &'a mut dyn FnMut() -> f64,
    /// The basis of the model's head, where it is known.
    pub basis: Option<&'a Basis>,
}

/// The token that a step ended with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drawn {
    /// Its id.
    pub token: u32,
    /// Its logit as the last stage left it.
    pub logit: f32,
    /// Its probability among the candidates that were left.
    pub probability: f64,
}

/// Why a step cannot be taken.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SampleError {
    /// There is no row.
    #[error("no logits: the row is empty")]
    EmptyLogits,
    /// A NaN, as a broken model gives.
    #[error("the logit of token {index} is not a number; the model that gave it is broken at this step")]
    NanLogit {
        /// The first such token.
        index: usize,
    },
    /// A positive infinity.
    #[error("the logit of token {index} is infinite, as half precision gives when it overflows")]
    PositiveInfinity {
        /// The first such token.
        index: usize,
    },
    /// Every candidate is banned.
    #[error(
        "every token is banned (logit -inf): the list of banned tokens, the grammar or the n-gram rule is too strict"
    )]
    NoFiniteLogit,
    /// A stage judges by the head, which is not known.
    #[error(
        "the chain judges tokens by {directions} directions of the model's head, and was given no head with as many"
    )]
    NoHead {
        /// Directions needed.
        directions: usize,
    },
    /// The head is not that of the model.
    #[error("the head has {head} tokens and the row {vocabulary}; give the head of the model that made the row")]
    OtherHead {
        /// Tokens of the head.
        head: usize,
        /// Tokens of the row.
        vocabulary: usize,
    },
    /// A token that the model does not have.
    #[error("{what} names token {token}, but the model has {vocabulary} tokens")]
    UnknownToken {
        /// Who names it.
        what: &'static str,
        /// The token.
        token: u32,
        /// Tokens of the model.
        vocabulary: usize,
    },
}

/// How far below a threshold a logit still counts as equal to it: logits are f32, and what is computed from them is
/// known no better.
pub fn slack(threshold: f64) -> f64 {
    1e-6 * threshold.abs().max(1.0)
}

/// Ids of tokens separated by spaces.
pub(crate) fn token_list(name: &'static str, text: &str) -> Result<Vec<u32>, ParameterError> {
    text.split_whitespace().map(str::parse).collect::<Result<_, _>>().map_err(|_| {
        ParameterError::Together(format!(
            "`{name} = {text}` is not a list of ids of tokens; write ids separated by spaces, for example 198 628"
        ))
    })
}
