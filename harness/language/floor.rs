//! The entropy floor: what the language itself leaves open, so that no model does better.

use std::collections::HashMap;

use crate::emission::Slot;
use crate::truth::{Start, TruthState};
use crate::{Language, LanguageError};

/// How sequences are cut before they are scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Whole documents from their begin mark, at most this many tokens of each.
    Documents(usize),
    /// The split's documents one after another, cut into windows of this many tokens; a trailing partial one is dropped.
    Windows(usize),
}

/// The floor in one context.
#[derive(Debug, Clone, PartialEq)]
pub struct ContextRow {
    /// What is most probably said next.
    pub slot: Slot,
    /// For the name of a role: whether the document has already told it.
    pub recall: bool,
    /// Tokens scored there.
    pub tokens: u64,
    /// Mean −log p of the true next tokens, nats.
    pub surprisal: f64,
    /// Mean exact conditional entropy, nats.
    pub entropy: f64,
}

/// Mean −log `p_true` over a text, the first token of every sequence left out.
#[derive(Debug, Clone, PartialEq)]
pub struct Floor {
    /// Tokens scored.
    pub tokens: u64,
    /// Mean −log `p_true`, nats a token.
    pub nats: f64,
    /// Half width of its 95 % interval, sequences being the unit (ratio estimator).
    pub half_width: f64,
    /// Mean exact conditional entropy over the same positions, nats a token.
    pub entropy: f64,
    /// The same by context, in the order of [`Slot`].
    pub contexts: Vec<ContextRow>,
}

impl Language {
    /// The sequences of a protocol over the first `limit` documents of a split, and where they begin.
    pub fn sequences(&self, split: &str, documents: u64, protocol: Protocol) -> (Start, Vec<Vec<u32>>) {
        let texts = (0..documents).map(|index| self.document(split, index));
        match protocol {
            Protocol::Documents(length) => {
                let cut = |mut document: Vec<u32>| {
                    document.truncate(length);
                    document
                };
                (Start::Document, texts.map(cut).collect())
            }
            Protocol::Windows(length) => {
                let stream: Vec<u32> = texts.flatten().collect();
                (Start::Anywhere, stream.chunks_exact(length.max(1)).map(<[u32]>::to_vec).collect())
            }
        }
    }

    /// −log `p_true` of every token of a sequence but the first, in nats.
    ///
    /// # Errors
    /// A token outside the vocabulary, or one that the language cannot produce there.
    pub fn surprisals(&self, start: Start, tokens: &[u32]) -> Result<Vec<f64>, LanguageError> {
        let mut state = TruthState::new(self, start);
        let mut surprisals = Vec::with_capacity(tokens.len());
        for &token in tokens {
            surprisals.push(-state.push(token)?.ln());
        }
        Ok(surprisals.into_iter().skip(1).collect())
    }

    /// The floor over the first `documents` documents of a split.
    ///
    /// # Errors
    /// None for a text of the language itself; the error type is that of [`TruthState::push`].
    pub fn floor(&self, split: &str, documents: u64, protocol: Protocol) -> Result<Floor, LanguageError> {
        let (start, sequences) = self.sequences(split, documents, protocol);
        let mut rows: HashMap<(Slot, bool), ContextRow> = HashMap::new();
        let mut sums = Vec::with_capacity(sequences.len());
        for sequence in &sequences {
            let mut state = TruthState::new(self, start);
            let mut sum = (0.0, 0u64);
            for (position, &token) in sequence.iter().enumerate() {
                let (slot, recall) = state.context();
                let entropy = if position == 0 { 0.0 } else { state.entropy() };
                let surprisal = -state.push(token)?.ln();
                if position == 0 {
                    continue;
                }
                sum = (sum.0 + surprisal, sum.1 + 1);
                let empty = ContextRow { slot, recall, tokens: 0, surprisal: 0.0, entropy: 0.0 };
                let row = rows.entry((slot, recall)).or_insert(empty);
                row.tokens += 1;
                row.surprisal += surprisal;
                row.entropy += entropy;
            }
            sums.push(sum);
        }
        Ok(summary(rows.into_values().collect(), &sums))
    }
}

fn summary(mut contexts: Vec<ContextRow>, sums: &[(f64, u64)]) -> Floor {
    contexts.sort_by_key(|row| (row.slot as usize, row.recall));
    let tokens: u64 = sums.iter().map(|sum| sum.1).sum();
    let count = tokens.max(1) as f64;
    let nats = sums.iter().map(|sum| sum.0).sum::<f64>() / count;
    let entropy = contexts.iter().map(|row| row.entropy).sum::<f64>() / count;
    let squares: f64 = sums.iter().map(|&(sum, tokens)| (sum - nats * tokens as f64).powi(2)).sum();
    let half_width = 1.96 * squares.sqrt() / count;
    for row in &mut contexts {
        row.surprisal /= row.tokens as f64;
        row.entropy /= row.tokens as f64;
    }
    Floor { tokens, nats, half_width, entropy, contexts }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::document::tests::fables;

    #[test]
    fn surprisal_and_exact_entropy_agree_within_their_interval() {
        let (_, language) = fables();
        for protocol in [Protocol::Documents(256), Protocol::Windows(64)] {
            let floor = language.floor("test", 60, protocol).unwrap();
            assert!((floor.nats - floor.entropy).abs() < 1.5 * floor.half_width, "{protocol:?}");
        }
    }

    #[test]
    fn recalled_names_are_certain_and_new_ones_are_not() {
        let (_, language) = fables();
        let floor = language.floor("test", 60, Protocol::Documents(256)).unwrap();
        let row = |recall| floor.contexts.iter().find(|r| r.slot == Slot::RoleName && r.recall == recall).unwrap();
        assert!(row(true).entropy < 1e-12 && row(true).tokens > 200);
        assert!(row(false).entropy > 2.5);
        // Contexts range from nearly certain to wide open.
        let entropy = |slot| floor.contexts.iter().find(|row| row.slot == slot).unwrap().entropy;
        assert!(entropy(Slot::PlaceDeterminer) < 1.0 && entropy(Slot::Verb) > 3.5);
    }
}
