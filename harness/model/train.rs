//! Training a decoder from a recipe: AdamW, warm-up and cosine, clipping, checkpoints that resume bit for bit.
//!
//! Batches are counter-based: window `n` of a run is a function of the recipe's seed and `n`, so a run that was
//! interrupted and resumed sees the same data, and its weights are the same to the last bit. Where windows follow one another in
//! streams, each stream is such a function, and the states behind the last window are in the checkpoint.

mod adamw;
mod checkpoint;
mod error;
mod flow;
mod hook;
mod initial;
mod pass;
mod places;
mod recipe;
mod schedule;
mod start;
mod streams;
mod trainer;
mod tune;

use std::ops::Range;
use std::path::Path;

use crate::config::Config;
use crate::load::Checkpoint;
use crate::tokenizer::Tokenizer;

pub use adamw::{AdamW, Group, Moments};
pub use error::TrainError;
pub use hook::{Hook, StepInfo};
pub use recipe::{ArchitectureRecipe, DataRecipe, Recipe, StateRecipe, StateSpaceRecipe, TrainingRecipe};
pub use schedule::Schedule;
pub use start::{Flowing, Start, Turning};
pub use trainer::Trainer;
pub use tune::{MapGradient, Tuner};

/// Where training text comes from. Implementations are pure functions of their arguments.
pub trait TokenSource {
    /// Name and version of the text, and whatever else decides its content; kept in checkpoints, which refuse to
    /// continue on another text.
    fn identity(&self) -> String;

    /// Number of tokens in the vocabulary.
    fn vocabulary(&self) -> usize;

    /// The token at the beginning of documents, where there is one.
    fn begin(&self) -> Option<u32>;

    /// The token at the end of documents, where there is one.
    fn end(&self) -> Option<u32>;

    /// The tokenizer that belongs to the text, where there is one; it is written beside the weights.
    fn tokenizer(&self) -> Option<Tokenizer>;

    /// Window `index` of a split, exactly `length` tokens. Every index is allowed.
    ///
    /// # Errors
    /// Why the window cannot be made, for people.
    fn window(&self, split: &str, index: u64, length: usize) -> Result<Vec<u32>, String>;

    /// Whether a window is a piece of text that goes on, so that one of any length is a stream and can be cut into windows. A text whose
    /// windows are problems of their own is not.
    fn goes_on(&self) -> bool {
        true
    }

    /// Which tokens of a window are learned: all but the first, where a text does not say that others are given.
    fn scored(&self, window: &[u32]) -> Range<usize> {
        1..window.len()
    }
}

/// What a run reports while it goes on.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The run begins or goes on.
    Started {
        /// Steps that are already done; zero for a new run.
        step: usize,
        /// Steps in all.
        steps: usize,
        /// Parameters of the model; a tied head counts once.
        parameters: usize,
    },
    /// One step is done.
    Step {
        /// Steps done.
        step: usize,
        /// Mean loss over the batch, nats a token.
        loss: f64,
        /// Norm of the gradient before clipping.
        gradient_norm: f64,
        /// Learning rate of the step.
        learning_rate: f64,
        /// Tokens a second since the run began or went on, evaluation left out.
        tokens_per_second: f64,
    },
    /// The validation text was scored.
    Evaluated {
        /// Steps done.
        step: usize,
        /// Mean loss, nats a token.
        loss: f64,
    },
    /// A checkpoint is on disk.
    Saved {
        /// Steps done.
        step: usize,
    },
}

/// One line of the loss curve.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CurvePoint {
    /// Steps done.
    pub step: usize,
    /// Tokens predicted so far.
    pub tokens: u64,
    /// Mean training loss since the point before, nats a token.
    pub train: f64,
    /// Validation loss, nats a token.
    pub valid: f64,
    /// Learning rate of the last step.
    pub learning_rate: f64,
}

/// A finished run.
#[derive(Debug)]
pub struct Trained {
    /// Shape and variant.
    pub config: Config,
    /// The weights in f32, as trained.
    pub checkpoint: Checkpoint,
    /// The loss curve, also in `log.jsonl`.
    pub curve: Vec<CurvePoint>,
    /// Parameters; a tied head counts once.
    pub parameters: usize,
    /// Tokens predicted in all.
    pub tokens: u64,
    /// Tokens a second of this process, evaluation left out; `None` when there was nothing left to do.
    pub tokens_per_second: Option<f64>,
}

/// Trains to the end of the recipe, or goes on from the checkpoint in `out` where there is one of this recipe, and
/// writes into `out`: `checkpoint.safetensors` (weights, optimizer state and step), `log.jsonl` (the loss curve) and
/// `model/` (a Hugging Face folder in f16).
///
/// # Errors
/// [`TrainError`]: a recipe that contradicts itself, a text that does not fit, a checkpoint of another run, a loss
/// that is not finite, a file system that refuses.
pub fn train(
    recipe: &Recipe,
    source: &dyn TokenSource,
    out: &Path,
    progress: &mut dyn FnMut(Event),
) -> Result<Trained, TrainError> {
    train_with(recipe, source, None, out, &mut [], progress)
}

/// As [`train`], from a model where one is given, and with hooks that see and may change every step. Hooks keep no state across a resumption unless they
/// derive it from the step.
///
/// # Errors
/// As [`train`], and whatever a hook returns.
pub fn train_with(
    recipe: &Recipe,
    source: &dyn TokenSource,
    start: Option<&Start>,
    out: &Path,
    hooks: &mut [Box<dyn Hook>],
    progress: &mut dyn FnMut(Event),
) -> Result<Trained, TrainError> {
    let mut trainer = Trainer::open(recipe, source, start, out)?;
    progress(Event::Started { step: trainer.step(), steps: recipe.steps(), parameters: trainer.parameters() });
    while trainer.step() < recipe.steps() {
        trainer.advance(source, hooks, progress)?;
    }
    trainer.finish(source)
}

#[cfg(test)]
#[path = "train/mod_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "train/state_tests.rs"]
mod state_tests;

#[cfg(test)]
#[path = "train/start_tests.rs"]
mod start_tests;
