//! What the verbs on one model share: opening it, and cutting text or given ids into windows.

use std::path::Path;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use harness_run::inputs::{Inputs, LoadedModel};
use harness_run::text::hash_tokens;

use crate::exit::{BAD_INPUT, INPUT_MISSING, OrExit, Refusal, refuse};
use crate::fetch;

/// Which model, and whether it may be fetched.
#[derive(Args)]
pub struct ModelArguments {
    /// A name from `harness list models`, a GGUF file, a llama2.c file, or a Hugging Face folder.
    #[arg(long, short)]
    pub model: String,
    /// Fetch what is missing without asking.
    #[arg(long, short)]
    pub yes: bool,
    /// Fetch nothing.
    #[arg(long)]
    pub offline: bool,
}

impl ModelArguments {
    /// Loads the model, fetching it first where that is needed and allowed.
    pub fn open(&self, inputs: &Inputs) -> Result<LoadedModel, Refusal> {
        self.ensure(inputs, &[])?;
        inputs.model(&self.model).map_err(|error| Refusal { code: error.exit_code(), message: error.to_string() })
    }

    /// Fetches the model and the named corpora where that is needed and allowed.
    pub fn ensure(&self, inputs: &Inputs, corpora: &[&str]) -> Result<(), Refusal> {
        fetch::ensure(inputs, (&[&self.model], corpora, &[]), self.yes, self.offline)
    }
}

/// Whole numbers from `least`.
pub fn at_least(least: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(least..)
}

/// Reads an array of windows of token ids and checks length and range.
pub fn token_windows(path: &Path, window: Option<usize>, vocabulary: usize) -> Result<Vec<Vec<u32>>, Refusal> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))
        .or_exit(INPUT_MISSING)?;
    let windows: Vec<Vec<u32>> = serde_json::from_str(&text)
        .map_err(|error| format!("{} is not an array of arrays of token ids: {error}", path.display()))
        .or_exit(BAD_INPUT)?;
    let length = windows.first().map_or(0, Vec::len);
    if length < 2 {
        return refuse(BAD_INPUT, format!("{} must hold at least one window of at least 2 ids", path.display()));
    }
    for (index, ids) in windows.iter().enumerate() {
        if ids.len() != length {
            return refuse(
                BAD_INPUT,
                format!(
                    "window {index} of {} has {} ids and window 0 has {length}; all must be equally long",
                    path.display(),
                    ids.len()
                ),
            );
        }
        if let Some(id) = ids.iter().find(|id| **id as usize >= vocabulary) {
            return refuse(
                BAD_INPUT,
                format!("window {index} of {} holds id {id}; the model has {vocabulary} tokens", path.display()),
            );
        }
    }
    match window {
        Some(window) if window != length => {
            refuse(BAD_INPUT, format!("--window {window} and the windows of {} ({length} ids) differ", path.display()))
        }
        _ => Ok(windows),
    }
}

/// The protocol of windows that came as ids.
pub fn ids_protocol(path: &Path, windows: &[Vec<u32>], skip_first: usize) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    format!(
        "ids={name}@{} window={} windows={} skip_first={skip_first} unit=token",
        &hash_tokens(windows)[..12],
        windows.first().map_or(0, Vec::len),
        windows.len()
    )
}
