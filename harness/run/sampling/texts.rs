//! The generate probe: texts that a model writes with a chain, and whether the language allows them.

use harness_core::Arm;
use harness_language::{Language, Start, TruthState};
use harness_methods::sample::Past;
use harness_model::decoder::Decoder;

use crate::sampling::chain;

/// A text and what the language says of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WrittenText {
    /// The tokens behind the begin mark.
    pub tokens: Vec<u32>,
    /// Tokens before the first one that the language does not allow; all of them in a valid text. `None` where the
    /// language is not known.
    pub legal: Option<usize>,
    /// −log p of the legal tokens under the language, summed, in nats.
    pub surprise: f64,
}

/// Writes texts from the begin mark, each with a chain and random numbers of its own, up to the end mark or to so many
/// tokens.
///
/// # Errors
/// The text and why it cannot go on.
pub fn write(
    decoder: &Decoder,
    language: Option<&Language>,
    arms: &[Arm],
    seed: u64,
    (count, length): (usize, usize),
) -> Result<Vec<WrittenText>, String> {
    let config = decoder.config();
    let begin = config.bos.unwrap_or(0);
    let length = length.min(config.max_positions.saturating_sub(1));
    let one = |number: usize| -> Result<WrittenText, String> {
        let failed = |error: &dyn std::fmt::Display| format!("text {number}: {error}");
        let mut chain = chain(arms, seed, &format!("text {number}")).map_err(|error| failed(&error))?;
        let mut cache = decoder.new_cache();
        let mut text = WrittenText { legal: language.map(|_| 0), ..WrittenText::default() };
        let mut truth = match language {
            Some(language) => {
                let mut state = TruthState::new(language, Start::Document);
                state.push(begin).map_err(|error| failed(&error))?;
                Some(state)
            }
            None => None,
        };
        let mut last = begin;
        while text.tokens.len() < length {
            let row = decoder.logits_last(&[last], &mut cache).map_err(|error| failed(&error))?;
            let past = Past { prompt: &[begin], generated: &text.tokens };
            last = chain.next(&row, past).map_err(|error| failed(&error))?.token;
            text.tokens.push(last);
            // The first token that cannot be ends what the language can judge.
            truth = truth.and_then(|mut state| {
                let p = state.push(last).ok()?;
                text.surprise -= p.ln();
                text.legal = text.legal.map(|legal| legal + 1);
                Some(state)
            });
            if config.eos.contains(&last) {
                break;
            }
        }
        Ok(text)
    };
    (0..count).map(one).collect()
}
