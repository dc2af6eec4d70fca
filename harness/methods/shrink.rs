//! What methods of the shrink axis share: what they may ask of a model, what a shorter or narrower model is, and errors.
//!
//! A method says of which of the model's blocks the blocks of a shorter one are made, in order, or which heads and channels stay of
//! each. Nothing is masked: the model that comes of it has fewer, and memory, caches and time are those of that model.

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod invariant_tests;
#[cfg(test)]
pub(crate) mod tables;
#[cfg(test)]
mod width_tests;

use crate::block::Map;
use crate::width::columns::ColumnsError;
use crate::width::evolution::SearchError;
use crate::width::units::{Inner, Narrow};
use harness_core::ParameterError;
use rand_chacha::ChaCha8Rng;

/// Share of the blocks that is removed where nothing is set.
const SHARE: f64 = 0.25;

/// A block of a shorter model.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// The block whose normalisations and biases it has.
    pub base: usize,
    /// Its matrices are the sum of those of these blocks, each times a number.
    pub mix: Vec<(usize, f64)>,
}

impl Layer {
    /// A block as it is.
    pub fn kept(block: usize) -> Self {
        Self { base: block, mix: vec![(block, 1.0)] }
    }

    /// Whether it is one block as it is.
    pub fn is_kept(&self) -> bool {
        matches!(*self.mix, [(block, factor)] if block == self.base && factor == 1.0)
    }
}

/// What parts of blocks read of the residual stream, and in which order it holds its channels.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reading {
    /// The stream's channels in their new order, every one once.
    pub order: Vec<usize>,
    /// Of each block the channels that attention and that the feed-forward part reads, by their places before, rising.
    pub parts: Vec<[Vec<usize>; 2]>,
}

/// A shorter model, and what its method says of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Shorter {
    /// Its blocks, first to last.
    pub layers: Vec<Layer>,
    /// What is left of each of them, where they become narrower; empty where they do not.
    pub widths: Vec<Narrow>,
    /// What the residual stream becomes at each place, before attention and before the feed-forward part of every block and at the end: orthonormal rows
    /// `(left, width)`; empty where it stays as it is.
    pub stream: Vec<Vec<f32>>,
    /// What its parts read of the residual stream, where that is not all of it.
    pub reading: Option<Reading>,
    /// Whether its numbers are those that were trained.
    pub trained: bool,
    /// A number for each block of the whole model, or each depth, and what it is.
    pub scores: Option<(Vec<f64>, &'static str)>,
    /// How like the whole model's its final hidden states are, where the method looks at that.
    pub similarity: Option<f64>,
    /// What was done, step by step.
    pub steps: Vec<String>,
}

impl Shorter {
    /// The blocks that stay, in order.
    pub fn of_blocks(blocks: impl IntoIterator<Item = usize>) -> Self {
        Self { layers: blocks.into_iter().map(Layer::kept).collect(), ..Self::default() }
    }
}

/// Which calibration text is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Samples {
    /// The first so many windows, or all.
    pub windows: usize,
    /// The first token of each that is.
    pub start: usize,
    /// At most so many tokens of each.
    pub tokens: usize,
}

impl Samples {
    /// All of the text.
    pub const ALL: Self = Self { windows: usize::MAX, start: 0, tokens: usize::MAX };
}

/// Weights of one parameter of a block, and the gradient of the loss by them.
pub type WithGradient<'a> = (usize, &'a [f32], &'a [f64]);

/// The window, the block, the map, and the gradient of that window's loss by its matrix.
pub type OfMap<'a> = (usize, usize, Map, &'a [f32]);

/// What the residual stream becomes at a place `(left, width)`, given its second moment there `Σ x xᵀ (width, width)`.
pub type Turning<'a> = &'a mut dyn FnMut(usize, &[f64]) -> Result<Vec<f32>, ShrinkError>;

/// A short training by AdamW.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Training {
    /// Steps.
    pub steps: usize,
    /// Windows of a step; they are read in turn, on from the last training, beginning again behind the last one.
    pub batch: usize,
    /// Learning rate.
    pub rate: f64,
    /// Rank of the factors beside every map of the blocks that alone are trained; `None` where every weight is.
    pub rank: Option<usize>,
    /// Steps of the whole method before these, and all of them.
    pub told: (usize, usize),
}

/// A block under training: its maps, their weights, and the gradients of the loss by them, which may be changed.
pub type Penalty<'a> = &'a mut dyn FnMut(usize, &mut [(Map, &[f32], &mut [f32])]);

/// What a method may ask of a model.
pub trait Stack {
    /// How many blocks it has.
    fn blocks(&self) -> usize;

    /// Numbers of a hidden state.
    fn width(&self) -> usize;

    /// Shows the numbers of every parameter of a block: matrices, normalisations and biases.
    ///
    /// # Errors
    /// [`ShrinkError::Pass`].
    fn weights(&mut self, block: usize, seen: &mut dyn FnMut(&[f32])) -> Result<(), ShrinkError>;

    /// Shows every parameter of every block, with the gradient of the mean loss over all samples by it.
    ///
    /// # Errors
    /// [`ShrinkError::Text`], [`ShrinkError::Pass`].
    fn gradients(&mut self, samples: Samples, seen: &mut dyn FnMut(WithGradient<'_>)) -> Result<(), ShrinkError>;

    /// Shows for each window in turn the hidden states `(tokens, width)` that enter each block, and those that leave the last; behind
    /// the final normalisation where `normalised`.
    ///
    /// # Errors
    /// [`ShrinkError::Text`], [`ShrinkError::Pass`].
    fn states(
        &mut self,
        samples: Samples,
        normalised: bool,
        seen: &mut dyn FnMut(&[Vec<f32>]),
    ) -> Result<(), ShrinkError>;

    /// The mean negative log-likelihood of the samples' tokens by the model without each of its blocks.
    ///
    /// # Errors
    /// [`ShrinkError::Text`], [`ShrinkError::Pass`].
    fn losses_without(&mut self, samples: Samples) -> Result<Vec<f64>, ShrinkError>;

    /// Final hidden states of each window, after the last normalisation, by the model of these blocks.
    ///
    /// # Errors
    /// [`ShrinkError::Text`], [`ShrinkError::Pass`].
    fn final_states(&mut self, layers: &[Layer], samples: Samples) -> Result<Vec<Vec<f32>>, ShrinkError>;

    /// How wide a block is inside.
    fn inner(&self, block: usize) -> Inner;

    /// A matrix of a block, `(outputs, inputs)`, row-major; `None` for a gate that it does not have.
    ///
    /// # Errors
    /// [`ShrinkError::Pass`].
    fn matrix(&mut self, block: usize, map: Map) -> Result<Option<Vec<f32>>, ShrinkError>;

    /// Shows what enters some maps, `(tokens, inputs)`, of every block of the whole model, window by window.
    ///
    /// # Errors
    /// [`ShrinkError::Text`], [`ShrinkError::Pass`].
    fn inputs(
        &mut self,
        samples: Samples,
        maps: &[Map],
        seen: &mut dyn FnMut(usize, Map, &[f32]),
    ) -> Result<(), ShrinkError>;

    /// Shows the gradient of each window's mean loss by every matrix, window by window.
    ///
    /// # Errors
    /// [`ShrinkError::Text`], [`ShrinkError::Pass`].
    fn map_gradients(&mut self, samples: Samples, seen: &mut dyn FnMut(OfMap<'_>)) -> Result<(), ShrinkError>;

    /// The mean over the samples' tokens of the Kullback-Leibler divergence, in nats, of a narrower model's next-token distribution
    /// from the whole model's.
    ///
    /// # Errors
    /// [`ShrinkError::Text`], [`ShrinkError::Pass`].
    fn divergence(&mut self, widths: &[Narrow], samples: Samples) -> Result<f64, ShrinkError>;

    /// Goes through the places of the residual stream in order, each time with the second moment over all samples' tokens of what stands there in the model
    /// whose earlier places are cut to what was given.
    ///
    /// # Errors
    /// [`ShrinkError::Text`], [`ShrinkError::Pass`] and those of `turn`.
    fn residuals(&mut self, samples: Samples, turn: Turning<'_>) -> Result<(), ShrinkError>;

    /// Trains the model, as it was trained and cut before, and says the mean loss of each step before it. It is trained on all windows; the model that
    /// everything else is asked of stays as it was.
    ///
    /// # Errors
    /// [`ShrinkError::Text`], [`ShrinkError::Pass`], [`ShrinkError::Diverged`].
    fn train(
        &mut self,
        training: &Training,
        draw: &mut dyn FnMut() -> f64,
        penalty: Penalty<'_>,
    ) -> Result<Vec<f64>, ShrinkError>;

    /// Cuts the model that is trained to what is left of each block.
    ///
    /// # Errors
    /// [`ShrinkError::Pass`].
    fn cut(&mut self, widths: &[Narrow]) -> Result<(), ShrinkError>;

    /// The mean negative log-likelihood of all windows' tokens by the model as it was trained and cut.
    ///
    /// # Errors
    /// [`ShrinkError::Text`], [`ShrinkError::Pass`].
    fn trained_loss(&mut self) -> Result<f64, ShrinkError>;

    /// Tells whoever waits that so many steps of so many are done.
    fn tell(&mut self, done: usize, total: usize);
}

/// Why no shorter model could be made.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ShrinkError {
    /// More blocks are to go than can.
    #[error("{asked} of the model's {blocks} blocks cannot be removed, {most} at most can: {why}")]
    Blocks {
        /// Blocks to remove.
        asked: usize,
        /// Blocks there are.
        blocks: usize,
        /// Blocks that may be removed.
        most: usize,
        /// What stays and why.
        why: &'static str,
    },
    /// A number that does not fit the number of blocks.
    #[error("`{name} = {value}` must be {allowed} for a model of {blocks} blocks")]
    Fit {
        /// The parameter.
        name: &'static str,
        /// What it is, or what stands in its place.
        value: usize,
        /// What it must be.
        allowed: String,
        /// Blocks there are.
        blocks: usize,
    },
    /// No text, or too little.
    #[error("calibration text: {0}")]
    Text(String),
    /// A group of heads that would be cut.
    #[error(
        "{heads} heads of block {block} cannot go: {shared} query heads share their keys and values and go together; set `heads` to a multiple of {shared}"
    )]
    Group {
        /// Query heads to remove.
        heads: usize,
        /// Query heads of a group.
        shared: usize,
        /// Block from 0.
        block: usize,
    },
    /// A block of which nothing would be left.
    #[error("{asked} of block {block}'s {available} {what} cannot go, {most} at most can: a block keeps one of each; remove fewer", most = available.saturating_sub(1))]
    Nothing {
        /// What is removed.
        what: &'static str,
        /// So many.
        asked: usize,
        /// Of so many.
        available: usize,
        /// Block from 0.
        block: usize,
    },
    /// Blocks that stay whole are all there are.
    #[error(
        "the first {first} and the last {last} blocks stay whole, and the model has {blocks}; set `skip_first` and `skip_last`"
    )]
    Spared {
        /// Blocks at the beginning.
        first: usize,
        /// Blocks at the end.
        last: usize,
        /// Blocks there are.
        blocks: usize,
    },
    /// A search over levels that all blocks have, in a model whose blocks differ.
    #[error(
        "block {block} has another width than block 0; a search over levels needs blocks of one width, so begin with the whole model"
    )]
    Unequal {
        /// Block from 0.
        block: usize,
    },
    /// A model whose parts read less than the whole stream.
    #[error("block {block} reads a part of the residual stream already; begin with the whole model")]
    ReadInPart {
        /// Block from 0.
        block: usize,
    },
    /// Columns could not be removed.
    #[error("block {block}: {source}")]
    Columns {
        /// Block from 0.
        block: usize,
        /// Why not.
        source: ColumnsError,
    },
    /// Nothing could be searched.
    #[error("{0}")]
    Search(SearchError),
    /// A number that is none.
    #[error("{what} of block {block} is not finite; look at the checkpoint and the calibration text")]
    NotFinite {
        /// What was computed.
        what: &'static str,
        /// Block from 0.
        block: usize,
    },
    /// A training whose loss is no number any more.
    #[error("the loss of training step {step} is not finite; set a lower `rate` or `strength`")]
    Diverged {
        /// Step from 0.
        step: usize,
    },
    /// A pass through the model failed.
    #[error("{0}")]
    Pass(String),
}

/// A method that makes a model of fewer or narrower blocks.
pub trait Shrink: std::fmt::Debug + Send + Sync {
    /// Whether it leaves every model as it is.
    fn is_identity(&self) -> bool {
        false
    }

    /// Whether it looks at calibration text.
    fn needs_text(&self) -> bool {
        false
    }

    /// Tokens that it reads beside passes over the calibration text, whose windows have `window` tokens; those of a step of training count three times.
    fn reads(&self, window: usize) -> usize {
        let _ = window;
        0
    }

    /// Says what a shorter or narrower model is made of.
    ///
    /// # Errors
    /// [`ShrinkError`]; the model is as it was.
    fn shrink(&self, model: &mut dyn Stack, random: &mut ChaCha8Rng) -> Result<Shorter, ShrinkError>;
}

/// How many blocks go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Removal {
    Blocks(usize),
    Share(f64),
}

impl Removal {
    /// Of the two parameters that say it.
    pub fn of(blocks: Option<usize>, share: Option<f64>) -> Result<Self, ParameterError> {
        match (blocks, share) {
            (Some(_), Some(_)) => {
                Err(ParameterError::Together("`blocks` and `share` say the same; set one of them".to_owned()))
            }
            (Some(blocks), None) => Ok(Self::Blocks(blocks)),
            (None, share) => Ok(Self::Share(share.unwrap_or(SHARE))),
        }
    }

    /// Of so many blocks, none of them spared.
    pub fn count(self, blocks: usize) -> Result<usize, ShrinkError> {
        self.count_of(blocks, blocks.saturating_sub(1), "a model has at least one block")
    }

    /// Of so many blocks, of which `most` may go.
    pub fn count_of(self, blocks: usize, most: usize, why: &'static str) -> Result<usize, ShrinkError> {
        let asked = match self {
            Self::Blocks(asked) => asked,
            Self::Share(share) => (share * blocks as f64).floor() as usize,
        };
        if asked > most { Err(ShrinkError::Blocks { asked, blocks, most, why }) } else { Ok(asked) }
    }
}

/// The blocks that stay when the `count` of the lowest scores among `candidates` go; of equal scores the lower block goes first.
pub(crate) fn without_lowest(
    scores: &[f64],
    candidates: impl Iterator<Item = usize>,
    count: usize,
    what: &'static str,
) -> Result<Vec<usize>, ShrinkError> {
    if let Some(block) = scores.iter().position(|score| score.is_nan()) {
        return Err(ShrinkError::NotFinite { what, block });
    }
    let mut order: Vec<usize> = candidates.collect();
    order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    let gone = &order[..count.min(order.len())];
    Ok((0..scores.len()).filter(|block| !gone.contains(block)).collect())
}

/// The cosine between two vectors, in f64; NaN where one of them is nothing.
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    (dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()).clamp(-1.0, 1.0)
}
