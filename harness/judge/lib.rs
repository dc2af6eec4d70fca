//! Metrics that judge text: how likely, how varied, how repetitive, how near to a reference, how right.
//!
//! Everything works on plain slices: token ids (`u32`, of a model's tokenizer or of words, see [`words::intern`]),
//! rows of embeddings ([`Rows`]), probabilities and log-probabilities (`f64`, natural logarithms), and strings.
//! Nothing here knows a model, a tensor or a table. Callers leave out the prompt, marks of begin and end, and padding,
//! and say how many samples and tokens stand behind a value; texts too short for a metric are counted in what it
//! returns, never dropped in silence. One file a metric; `harness/METHODOLOGY.md` says where each differs from the
//! programs that made it known.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod coherence;
pub mod detection;
pub mod distinct;
pub mod divergence;
pub mod dna_gpt;
mod error;
pub mod exact_match;
pub mod k_means;
pub mod length_following;
pub mod manifold;
pub mod mauve;
pub mod multiple_choice;
pub mod n_gram;
pub mod pass_at_k;
pub mod perplexity;
pub mod principal;
pub mod repetition;
pub mod retrieval;
mod rows;
pub mod self_bleu;
pub mod step;
pub mod support;
pub mod words;
pub mod zeta;
pub mod zipf;

pub use error::JudgeError;
pub use rows::Rows;

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod property_tests;
