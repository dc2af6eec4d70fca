//! Sums of numbers of any length, written down in two ways, for training and for asking.
//!
//! Source: ALGA (arXiv 2406.00075) and its program: a net learns sums of two digits with a carry, 14 tokens in all, and a loop feeds its own
//! last output back from the right digit to the left. The control is the same net on whole sums, `57+68=125`.
//!
//! # Difference from the reference
//! The decoder is this program's (rotary positions, RMSNorm, gated feed-forward part, a prompt that is read causally as well). The loop reads nine
//! tokens at any length, so no scheme of positions is ever asked beyond where it was trained. Padding stands behind what it pads.

pub mod ask;
mod pairs;
pub mod problems;
mod whole;

use std::fmt::Write as _;
use std::ops::Range;

use harness_core::seed::stream;
use harness_model::decoder::Decoder;
use harness_model::tokenizer::{Tokenizer, TokenizerError};
use harness_model::train::TokenSource;
use serde::Deserialize;

use ask::Questions;
pub use problems::{AdditionSelection, Digits, add};

/// Token of padding.
const PAD: u32 = 0;
/// Token that ends an answer.
const STOP: u32 = 1;
/// Token of the digit 0; the others follow.
const ZERO: u32 = 2;
/// The two tokens behind the digits, which a way of writing gives its meaning.
const FIRST_MARK: u32 = 12;
const SECOND_MARK: u32 = 13;

/// How sums are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Pairs of digits from the right, each behind the last output.
    Pairs,
    /// The whole sum at once.
    Whole,
}

impl Protocol {
    /// Its 14 tokens.
    fn tokens(self) -> [&'static str; 14] {
        let marks = match self {
            Self::Pairs => ["\n", "C"],
            Self::Whole => ["+", "="],
        };
        ["P", "S", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", marks[0], marks[1]]
    }

    /// What a tokenizer writes; `None` where it is of no sums.
    pub fn of(tokenizer: &Tokenizer) -> Option<Self> {
        [Self::Pairs, Self::Whole].into_iter().find(|protocol| {
            let tokens = protocol.tokens();
            tokenizer.vocab_size() == tokens.len()
                && (0..).zip(tokens).all(|(id, token)| tokenizer.id(token) == Some(id))
        })
    }

    /// Its tokenizer: every character is a token.
    ///
    /// # Errors
    /// The tokenizer's.
    pub fn tokenizer(self) -> Result<Tokenizer, TokenizerError> {
        let vocabulary: serde_json::Map<String, serde_json::Value> =
            (0..).zip(self.tokens()).map(|(id, token): (u32, _)| (token.to_owned(), id.into())).collect();
        let description = serde_json::json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": null, "post_processor": null, "decoder": {"type": "Fuse"},
            "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
        });
        Tokenizer::from_json(description.to_string().as_bytes(), None, Some(STOP))
    }
}

/// A data set of sums, from its `sums.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sums {
    /// Version of this format; 1.
    format: u32,
    /// Name of the data set.
    name: String,
    /// How sums are written.
    protocol: Protocol,
    /// Digits of a number at most; nothing to pairs, which have one.
    #[serde(default)]
    digits: Option<usize>,
    /// Seed of all draws.
    seed: u64,
}

/// Why a data set of sums cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SumsError {
    /// Not TOML of this format.
    #[error("{0}")]
    Parse(String),
    /// Values that contradict each other.
    #[error("`{key}` is {value}; it must be {allowed}")]
    Value {
        /// The key.
        key: &'static str,
        /// What it is.
        value: String,
        /// What it may be.
        allowed: &'static str,
    },
}

impl Sums {
    /// Reads a description.
    ///
    /// # Errors
    /// [`SumsError`].
    pub fn parse(text: &str) -> Result<Self, SumsError> {
        let sums: Self = toml::from_str(text).map_err(|error| SumsError::Parse(error.to_string()))?;
        let refuse = |key, value: String, allowed| Err(SumsError::Value { key, value, allowed });
        match (sums.format, sums.protocol, sums.digits) {
            (1, Protocol::Pairs, None) | (1, Protocol::Whole, Some(1..=1000)) => Ok(sums),
            (1, Protocol::Pairs, Some(digits)) => {
                refuse("digits", digits.to_string(), "left out: pairs have one digit of each number")
            }
            (1, Protocol::Whole, digits) => {
                refuse("digits", digits.map_or_else(|| "unset".to_owned(), |digits| digits.to_string()), "1 to 1000")
            }
            (format, ..) => refuse("format", format.to_string(), "1"),
        }
    }

    /// Tokens of a window, all of them of one sum.
    pub fn window_tokens(&self) -> usize {
        match self.protocol {
            Protocol::Pairs => pairs::PROMPT + pairs::ANSWER,
            Protocol::Whole => whole::longest(self.digits.unwrap_or(1)),
        }
    }

    /// The share of right sums of a model by their digits, both numbers having as many: 1 to 10, 20, and where pairs are added 100 and 1000.
    ///
    /// # Errors
    /// The model's.
    pub fn quality(&self, decoder: &Decoder) -> Result<Vec<(usize, f64)>, String> {
        let far: &[usize] = if self.protocol == Protocol::Pairs { &[20, 100, 1000] } else { &[20] };
        let asked = (1..=10).chain(far.iter().copied()).map(|first| {
            let items = if first > 100 { 20 } else { 200 };
            let selection = AdditionSelection { first, second: None, items, carries: problems::Carries::Drawn };
            let found = Questions::from(&selection, self.protocol, self.seed).ask(decoder, &mut |_, _| {})?;
            Ok((first, found.iter().map(|item| item.score).sum::<f64>() / items as f64))
        });
        asked.collect()
    }

    /// These shares as `quality.toml` has them.
    pub fn quality_toml(&self, right: &[(usize, f64)]) -> String {
        let mut text = format!(
            "# Share of sums that the f16 weights in this folder get right, by the digits of both numbers: 200 sums each, 20 beyond 100 digits.\n\ncorpus = \"{}\"\n\n[right]\n",
            self.name
        );
        for (digits, share) in right {
            let _ = writeln!(text, "{digits} = {share}");
        }
        text
    }
}

impl TokenSource for Sums {
    fn identity(&self) -> String {
        format!("{} {:?} {:?} {}", self.name, self.protocol, self.digits, self.seed)
    }

    fn vocabulary(&self) -> usize {
        self.protocol.tokens().len()
    }

    fn begin(&self) -> Option<u32> {
        None
    }

    fn end(&self) -> Option<u32> {
        Some(STOP)
    }

    fn tokenizer(&self) -> Option<Tokenizer> {
        self.protocol.tokenizer().ok()
    }

    fn window(&self, split: &str, index: u64, length: usize) -> Result<Vec<u32>, String> {
        let tokens = self.window_tokens();
        if length != tokens {
            return Err(format!("a sum takes {tokens} tokens; set `data.context` of the recipe to {}", tokens - 1));
        }
        let mut rng = stream(self.seed, &["sums", split, &index.to_string()]);
        Ok(match self.protocol {
            Protocol::Pairs => pairs::example(&mut rng),
            Protocol::Whole => whole::example(self.digits.unwrap_or(1), &mut rng),
        })
    }

    fn goes_on(&self) -> bool {
        false
    }

    fn scored(&self, window: &[u32]) -> Range<usize> {
        match self.protocol {
            Protocol::Pairs => pairs::PROMPT..window.len(),
            Protocol::Whole => whole::answer(window),
        }
    }
}

/// The tokens of digits.
fn tokens_of(digits: &[u8]) -> impl Iterator<Item = u32> + '_ {
    digits.iter().map(|digit| ZERO + u32::from(*digit))
}

/// The digit that a token is.
fn digit_of(token: u32) -> Option<u8> {
    (ZERO..ZERO + 10).contains(&token).then(|| (token - ZERO) as u8)
}

#[cfg(test)]
#[path = "addition_tests.rs"]
mod tests;
