//! Text to token ids and back, by the `tokenizers` crate.
//!
//! A tokenizer comes from a `tokenizer.json`, or is rebuilt from what GGUF and llama2.c files hold; either way it can be
//! saved as a `tokenizer.json` that other programs read.

pub(crate) mod byte_level;
pub(crate) mod sentence_piece;
pub(crate) mod tables;

use std::path::{Path, PathBuf};

use tokenizers::Tokenizer as Inner;
use tokenizers::processors::template::TemplateProcessing;

/// Why a tokenizer could not be built or used.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The file system refused.
    #[error("cannot access {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The description contradicts itself.
    #[error("{0}")]
    Malformed(String),
    /// A kind of tokenizer, or of splitting text into words, that is not known here.
    #[error("{what} \"{name}\" is not supported; known are {known}")]
    Unsupported {
        /// What kind of thing.
        what: &'static str,
        /// Its name in the file.
        name: String,
        /// The names that would do.
        known: &'static str,
    },
    /// A text that cannot be turned into ids, or ids that cannot be turned into text.
    #[error("{0}")]
    Text(String),
}

impl TokenizerError {
    fn malformed(error: impl ToString) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// A tokenizer with its special tokens. Cloning copies the vocabulary; share it by reference.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: Inner,
    bos: Option<u32>,
    eos: Option<u32>,
    size: usize,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`. The special tokens are those of the model's configuration.
    ///
    /// # Errors
    /// When the bytes are not a tokenizer description or it contradicts itself.
    pub fn from_json(bytes: &[u8], bos: Option<u32>, eos: Option<u32>) -> Result<Self, TokenizerError> {
        check_json(bytes)?;
        let contradiction = || TokenizerError::Malformed("the tokenizer description contradicts itself".to_owned());
        let inner =
            guarded(|| Inner::from_bytes(bytes)).ok_or_else(contradiction)?.map_err(TokenizerError::malformed)?;
        let tokenizer = Self::from_inner(inner, bos, eos);
        // Some contradictions show only in use, whatever the text is.
        let _ = guarded(|| tokenizer.inner.encode_fast("a", true)).ok_or_else(contradiction)?;
        Ok(tokenizer)
    }

    /// Reads a `tokenizer.json` file.
    ///
    /// # Errors
    /// As [`Self::from_json`], and when the file cannot be read.
    pub fn from_file(path: &Path, bos: Option<u32>, eos: Option<u32>) -> Result<Self, TokenizerError> {
        let bytes = std::fs::read(path).map_err(|source| TokenizerError::Io { path: path.to_owned(), source })?;
        Self::from_json(&bytes, bos, eos)
    }

    pub(crate) fn from_inner(mut inner: Inner, bos: Option<u32>, eos: Option<u32>) -> Self {
        // Windows are cut by the caller; a file must not shorten or fill them silently.
        let _ = inner.with_truncation(None);
        inner.with_padding(None);
        let size = inner.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1);
        Self { inner, bos, eos, size }
    }

    /// The ids of a text. With `add_special`, the special tokens that the model's own tokenizer adds (often a
    /// beginning-of-sequence token, often none) are added; names of special tokens inside the text count as those tokens.
    ///
    /// # Errors
    /// When the tokenizer has no way to express a part of the text.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, TokenizerError> {
        let fault = |why: &dyn std::fmt::Display| {
            TokenizerError::Text(format!("a text of {} bytes cannot be tokenized: {why}", text.len()))
        };
        let encoding = guarded(|| self.inner.encode_fast(text, add_special))
            .ok_or_else(|| fault(&"the tokenizer contradicts itself"))?
            .map_err(|e| fault(&e))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of some ids, without special tokens. Ids outside the vocabulary are left out.
    ///
    /// # Errors
    /// When the tokenizer's decoder refuses.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        let fault = |why: &dyn std::fmt::Display| {
            TokenizerError::Text(format!("{} ids cannot be turned into text: {why}", ids.len()))
        };
        guarded(|| self.inner.decode(ids, true))
            .ok_or_else(|| fault(&"the tokenizer contradicts itself"))?
            .map_err(|e| fault(&e))
    }

    /// The largest id plus one: the rows an embedding matrix needs.
    pub fn vocab_size(&self) -> usize {
        self.size
    }

    /// Beginning-of-sequence token.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// End-of-sequence token.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// The written form of one token.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The id of a token by its written form.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The description in `tokenizer.json` form. The same tokenizer gives the same text.
    ///
    /// # Errors
    /// When the tokenizer has a part that cannot be described.
    pub fn to_json(&self) -> Result<String, TokenizerError> {
        self.inner.to_string(true).map_err(TokenizerError::malformed)
    }

    /// Writes `tokenizer.json`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), TokenizerError> {
        std::fs::write(path, self.to_json()?).map_err(|source| TokenizerError::Io { path: path.to_owned(), source })
    }
}

/// Runs a part of the tokenizers crate, which indexes without checking in places: a hostile tokenizer.json must not end the
/// program. `None` when it panicked.
fn guarded<T>(work: impl FnOnce() -> T) -> Option<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).ok()
}

/// Refuses what the crate would index out of range on: merges whose result is not a token.
fn check_json(bytes: &[u8]) -> Result<(), TokenizerError> {
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(TokenizerError::malformed)?;
    check_templates(&value["post_processor"])?;
    let model = &value["model"];
    let Some(vocabulary) = model["vocab"].as_object() else { return Ok(()) };
    let most = u64::from(u32::MAX / 2);
    let added = value["added_tokens"].as_array().into_iter().flatten().map(|token| &token["id"]);
    for id in vocabulary.values().chain(added) {
        if id.as_u64().is_none_or(|id| id > most) {
            return Err(TokenizerError::Malformed(format!("{id} is not a token id")));
        }
    }
    let prefix = model["continuing_subword_prefix"].as_str().unwrap_or_default();
    for merge in model["merges"].as_array().into_iter().flatten() {
        let pair = match merge {
            serde_json::Value::String(text) => text.split_once(' '),
            _ => merge[0].as_str().zip(merge[1].as_str()),
        };
        let Some((left, right)) = pair else {
            return Err(TokenizerError::Malformed(format!("{merge} is not a pair of tokens to merge")));
        };
        let tail = right.get(prefix.len()..).filter(|_| right.len() >= prefix.len());
        if tail.is_none_or(|tail| !vocabulary.contains_key(&format!("{left}{tail}"))) {
            return Err(TokenizerError::Malformed(format!("merging \"{left}\" and \"{right}\" gives no known token")));
        }
    }
    Ok(())
}

/// Refuses templates that add a token they do not define.
fn check_templates(processor: &serde_json::Value) -> Result<(), TokenizerError> {
    for inner in processor["processors"].as_array().into_iter().flatten() {
        check_templates(inner)?;
    }
    let pieces = ["single", "pair"].into_iter().filter_map(|form| processor[form].as_array()).flatten();
    for name in pieces.filter_map(|piece| piece["SpecialToken"]["id"].as_str()) {
        if !processor["special_tokens"][name].is_object() {
            let what = format!("the template adds the special token \"{name}\", which it does not define");
            return Err(TokenizerError::Malformed(what));
        }
    }
    Ok(())
}

/// A post-processor that puts the beginning-of-sequence token in front and the end-of-sequence token behind.
pub(crate) fn special_template(
    bos: Option<(&str, u32)>,
    eos: Option<(&str, u32)>,
) -> Result<TemplateProcessing, TokenizerError> {
    // Pieces are given one by one: a token's name may hold characters that the one-string form would split on.
    let piece = |name: &str| serde_json::json!({ "SpecialToken": { "id": name, "type_id": 0 } });
    let (front, back) = (bos.map(|(name, _)| piece(name)), eos.map(|(name, _)| piece(name)));
    let sequence = |id: &str| serde_json::json!({ "Sequence": { "id": id, "type_id": 0 } });
    let list = |sequences: &[&str]| -> Vec<serde_json::Value> {
        sequences.iter().flat_map(|id| front.clone().into_iter().chain([sequence(id)]).chain(back.clone())).collect()
    };
    let tokens: serde_json::Map<String, serde_json::Value> = bos
        .into_iter()
        .chain(eos)
        .map(|(name, id)| (name.to_owned(), serde_json::json!({ "id": name, "ids": [id], "tokens": [name] })))
        .collect();
    serde_json::from_value(serde_json::json!({
        "type": "TemplateProcessing", "single": list(&["A"]), "pair": list(&["A", "B"]), "special_tokens": tokens,
    }))
    .map_err(TokenizerError::malformed)
}

#[cfg(test)]
#[path = "tokenizer/mod_tests.rs"]
mod tests;
