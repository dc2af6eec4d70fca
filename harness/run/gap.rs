//! How far a model is from the entropy of the generated text it was trained on.

use harness_language::{LanguageError, Protocol};
use harness_model::decoder::Decoder;

use crate::generated::Generated;
use crate::score::{ScoreError, score};

/// Why the gap could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum GapError {
    /// The text is not one of the language; cannot happen for its own documents.
    #[error(transparent)]
    Language(#[from] LanguageError),
    /// A split that the data set does not have, or one too short for a single window.
    #[error("split `{split}` has no window of {length} tokens in its first {documents} documents")]
    NoWindows {
        /// The split.
        split: String,
        /// Tokens of a window.
        length: usize,
        /// Documents looked at.
        documents: u64,
    },
    /// The model could not be scored.
    #[error(transparent)]
    Score(#[from] ScoreError),
}

/// The distance of a model from the floor, on the same tokens, in nats a token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gap {
    /// Mean −log p of the language, given what the model is given.
    pub floor: f64,
    /// Mean −log p of the model.
    pub model: f64,
    /// Half width of the 95 % interval of their difference, windows being the unit.
    pub half_width: f64,
    /// Windows scored.
    pub windows: usize,
    /// Tokens scored.
    pub tokens: usize,
}

impl Gap {
    /// The difference in nats a token.
    pub fn nats(&self) -> f64 {
        self.model - self.floor
    }

    /// The difference as a share of the floor.
    pub fn share(&self) -> f64 {
        self.nats() / self.floor
    }
}

/// Scores model and language on the first `documents` documents of a split. Sequences shorter than the protocol's
/// length are left out; the first token of each is given, not predicted.
///
/// # Errors
/// [`GapError`].
pub fn gap(
    generated: &Generated,
    decoder: &Decoder,
    split: &str,
    documents: u64,
    protocol: Protocol,
) -> Result<Gap, GapError> {
    let (Protocol::Documents(length) | Protocol::Windows(length)) = protocol;
    let documents = documents.min(generated.dataset().split(split)?.documents);
    let (start, mut windows) = generated.language().sequences(split, documents, protocol);
    windows.retain(|window| window.len() == length && length > 1);
    if windows.is_empty() {
        return Err(GapError::NoWindows { split: split.to_owned(), length, documents });
    }
    let scores = score(decoder, &windows, 0, &mut |_, _| {})?;
    let predicted = (length - 1) as f64;
    let (mut floor, mut model, mut differences) = (0.0, 0.0, Vec::with_capacity(windows.len()));
    for (window, score) in windows.iter().zip(&scores) {
        let least: f64 = generated.language().surprisals(start, window)?.iter().sum();
        floor += least / predicted;
        model += score.nll / predicted;
        differences.push((score.nll - least) / predicted);
    }
    let count = windows.len() as f64;
    let mean = (model - floor) / count;
    let variance = differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
    Ok(Gap {
        floor: floor / count,
        model: model / count,
        half_width: 1.96 * (variance / count).sqrt(),
        windows: windows.len(),
        tokens: windows.len() * (length - 1),
    })
}

#[cfg(test)]
#[path = "gap_tests.rs"]
mod tests;
