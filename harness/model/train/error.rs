//! What can go wrong while training.

use std::path::PathBuf;

use crate::error::ModelError;
use crate::load::LoadError;
use crate::write::WriteError;

/// Why a model could not be trained.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The recipe is not TOML, or has an unknown or missing key.
    #[error("the recipe cannot be read: {0}")]
    Parse(String),
    /// A value of the recipe outside its range.
    #[error("`{key}` of the recipe is {value}; it must be {allowed}")]
    Recipe {
        /// Key, with its table.
        key: &'static str,
        /// What was given.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// The model that training begins from does not fit.
    #[error("`start = \"{start}\"`: the model {reason}")]
    Start {
        /// The model as the recipe names it.
        start: String,
        /// What does not fit.
        reason: String,
    },
    /// The text could not give a window.
    #[error("window {index} of split `{split}`: {reason}")]
    Source {
        /// Split.
        split: String,
        /// Window.
        index: u64,
        /// Why.
        reason: String,
    },
    /// The decoder refused.
    #[error("step {step}: {source}")]
    Model {
        /// Steps done before.
        step: usize,
        /// Why.
        source: ModelError,
    },
    /// The loss or a gradient is NaN or infinite.
    #[error(
        "step {step}: the {what} is {value}; lower `learning_rate` or `clip`, or resume from an earlier checkpoint"
    )]
    NotFinite {
        /// Steps done before.
        step: usize,
        /// Loss or gradient norm.
        what: &'static str,
        /// Its value.
        value: f64,
    },
    /// A checkpoint that is not one of this run.
    #[error("{path} {reason}; choose another folder or remove it")]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file system refused.
    #[error("cannot write {path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The finished model could not be put together.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The finished model could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A hook refused.
    #[error("step {step}: {reason}")]
    Hook {
        /// Steps done before.
        step: usize,
        /// Why.
        reason: String,
    },
}
