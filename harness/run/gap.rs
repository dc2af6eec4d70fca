//! How far a model is from the entropy of the generated text it was trained on.

use harness_language::{LanguageError, Protocol};
use harness_model::decoder::Decoder;
use serde::{Deserialize, Serialize};

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

/// Documents of the test split, and tokens of a window, that the stated quality of an embedded model is measured on.
const DOCUMENTS: u64 = 512;
const WINDOW: usize = 256;

/// What stands in a model's `quality.toml`: its gap on the test split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quality {
    /// Data set and split.
    pub corpus: String,
    /// Documents looked at, from the first.
    pub documents: u64,
    /// On the first tokens of each document.
    pub document_starts: Stated,
    /// On the documents joined and cut.
    pub stream_windows: Stated,
    /// What other seeds of the recipe gave, where they were trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seeds: Option<Seeds>,
}

/// A [`Gap`] as written, to four decimals.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stated {
    /// Nats a token of the language itself.
    pub floor: f64,
    /// Nats a token of the model.
    pub model: f64,
    /// Their difference.
    pub gap: f64,
    /// The difference in per cent of the floor.
    pub gap_percent: f64,
    /// Half width of the 95 % interval of the difference.
    pub half_width: f64,
}

impl From<Gap> for Stated {
    fn from(gap: Gap) -> Self {
        let rounded = |value: f64| (value * 1e4).round() / 1e4;
        Self {
            floor: rounded(gap.floor),
            model: rounded(gap.model),
            gap: rounded(gap.nats()),
            gap_percent: (gap.share() * 1e4).round() / 100.0,
            half_width: rounded(gap.half_width),
        }
    }
}

/// Gaps at document starts of models that differ in the seed of their recipe only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seeds {
    /// The seeds, the committed model's first.
    pub seed: Vec<u64>,
    /// Their gaps.
    pub gap: Vec<f64>,
    /// How far from the first a model trained anew may be.
    pub tolerance: f64,
}

impl Quality {
    /// Measures a model on the test split of `corpus`.
    ///
    /// # Errors
    /// [`GapError`].
    pub fn measure(generated: &Generated, decoder: &Decoder, corpus: &str) -> Result<Self, GapError> {
        let gap = |protocol| gap(generated, decoder, "test", DOCUMENTS, protocol).map(Stated::from);
        Ok(Self {
            corpus: format!("{corpus}/test"),
            documents: DOCUMENTS,
            document_starts: gap(Protocol::Documents(WINDOW))?,
            stream_windows: gap(Protocol::Windows(WINDOW))?,
            seeds: None,
        })
    }

    /// The file `quality.toml`, with what its numbers mean.
    pub fn to_toml(&self) -> String {
        let comment = format!(
            "# Distance from the entropy floor of the language, in nats a token, of the f16 weights in this folder:\n\
             # the language and the model score the same tokens given the same ones before them, {WINDOW} in a window.\n\
             # document_starts: the first {WINDOW} tokens of each document; stream_windows: the documents joined and cut.\n\
             # half_width: of the 95 % interval of the gap, windows being the unit. Checked by harness/run/gap_tests.rs.\n\n"
        );
        // Numbers and short texts in plain structures always serialise.
        comment + &toml::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
#[path = "gap_tests.rs"]
mod tests;
