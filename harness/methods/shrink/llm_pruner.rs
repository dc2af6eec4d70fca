//! LLM-Pruner: coupled groups of weights that the loss hardly depends on go.
//!
//! With g the gradient of the mean loss over all samples and `g_n` that of one, a row or column of a map scores
//!
//! - `vectorize`: `|Σ w g|`;
//! - `first`: `Σ |w g|`;
//! - `second`: `Σ w² mean_n(g_n²)`;
//! - `mixed`: `Σ |w g − ½ w² mean_n(g_n²)|`.
//!
//! A dimension of a head is a row of queries, of keys and of values and a column of the output map; a channel a row of gate and expansion and
//! a column of the contraction. `reduction` puts their scores together, and a head adds up its dimensions. The lowest of each block go, or of all
//! blocks together (`ranking = model`). The first and the last blocks stay whole.
//!
//! Source: Ma et al., LLM-Pruner: On the Structural Pruning of Large Language Models, 2023, and its code.
//!
//! # Difference from the reference
//! Where several query heads read one key-value head they are one group with it, whose rows of queries and columns of the output map are added up by dimension. The
//! code's branch of `mixed` for attention fails and its test for `first` is never true there; here all criteria treat heads and channels alike. Its reductions to the
//! first or last member of a group depend on how it walks a graph and are not here. Samples are the first windows of the calibration text, ten of
//! 128 tokens where that has so many. The low-rank adaptation that follows in the paper is not part of it.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};
use rand_chacha::ChaCha8Rng;

use crate::block::Map;
use crate::registry::Method;
use crate::shrink::{Samples, Shorter, Shrink, ShrinkError, Stack};
use crate::width::coupled::{Criterion, Gradients, Reduction, coupled};
use crate::width::units::{BlockScores, Going, Narrow, stay, stay_of_all};

harness_core::choice! {
    /// What is compared with what.
    pub enum Ranking {
        /// Units of one block.
        Block = "block",
        /// Units of all blocks that are pruned.
        Model = "model",
    }
}

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Share of the key-value heads, each with its query heads, and of the channels of every pruned block that goes, rounded down; 0.25
        /// when neither it nor a number is set.
        ratio: Option<f64> = None, Domain::half_open(0.0, 1.0);
        /// Query heads of every pruned block that go, whole groups of those that share keys and values.
        heads: Option<usize> = None, Domain::closed(0.0, 65536.0);
        /// Channels of every pruned block's feed-forward part that go.
        channels: Option<usize> = None, Domain::closed(0.0, 16_777_216.0);
        /// What a row or column scores.
        criterion: Criterion = Criterion::First;
        /// How scores of what goes together become one.
        reduction: Reduction = Reduction::Sum;
        /// What is compared with what.
        ranking: Ranking = Ranking::Block;
        /// Blocks at the beginning that stay whole.
        skip_first: usize = 4, Domain::closed(0.0, 65536.0);
        /// Blocks at the end that stay whole.
        skip_last: usize = 2, Domain::closed(0.0, 65536.0);
        /// Calibration windows that are looked at, at most.
        samples: usize = 10, Domain::closed(1.0, 65536.0);
        /// Tokens of each that are, at most.
        tokens: usize = 128, Domain::closed(2.0, 65536.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "llm-pruner",
        axis: Axis::Shrink,
        about: "removes the heads and channels that the loss depends on least by its gradients, as coupled groups",
        source: "Ma et al.: LLM-Pruner: On the Structural Pruning of Large Language Models, 2023, and its code",
        version: 1,
        calibrated: true,
        random: false,
        parameters: Settings::specs(),
        check: |arm| build(arm).map(drop),
    }
}

/// Makes it.
///
/// # Errors
/// A parameter that does not fit.
pub fn build(arm: &Arm) -> Result<Method, ParameterError> {
    let settings = Settings::resolve(arm)?;
    let going = Going::of(settings.ratio, settings.heads, settings.channels)?;
    Ok(Method::Shrink(Box::new(LlmPruner { going, settings })))
}

#[derive(Debug)]
struct LlmPruner {
    going: Going,
    settings: Settings,
}

impl LlmPruner {
    /// Scores of the blocks from `first` to before `end`.
    fn scores(&self, model: &mut dyn Stack, first: usize, end: usize) -> Result<Vec<BlockScores>, ShrinkError> {
        let Settings { criterion, reduction, samples, tokens, .. } = self.settings;
        let mut sums: Vec<[Gradients; 7]> = (first..end).map(|_| Default::default()).collect();
        model.map_gradients(Samples { windows: samples, start: 0, tokens }, &mut |(_, block, map, gradient)| {
            if let Some(own) = block.checked_sub(first).and_then(|at| sums.get_mut(at)) {
                own[map as usize].add(gradient, criterion);
            }
        })?;
        let mut scores = Vec::with_capacity(sums.len());
        for (at, own) in sums.iter().enumerate() {
            let mut matrices = Vec::with_capacity(7);
            for map in Map::ALL {
                if let Some(weights) = model.matrix(first + at, map)? {
                    matrices.push((map, weights, &own[map as usize]));
                }
            }
            scores.push(coupled(model.inner(first + at), model.width(), &matrices, criterion, reduction));
        }
        Ok(scores)
    }
}

impl Shrink for LlmPruner {
    fn needs_text(&self) -> bool {
        true
    }

    fn shrink(&self, model: &mut dyn Stack, _: &mut ChaCha8Rng) -> Result<Shorter, ShrinkError> {
        const WHAT: &str = "the change of the loss";
        let Settings { skip_first, skip_last, ranking, .. } = self.settings;
        let blocks = model.blocks();
        let (first, end) = (skip_first, blocks.saturating_sub(skip_last));
        if first >= end {
            return Err(ShrinkError::Spared { first: skip_first, last: skip_last, blocks });
        }
        let counts = (first..end).map(|block| self.going.of_block(model.inner(block), block));
        let counts = counts.collect::<Result<Vec<_>, _>>()?;
        let scores = self.scores(model, first, end)?;
        let mut widths: Vec<Narrow> = (0..blocks).map(|block| {
            let inner = model.inner(block);
            Narrow::of((0..inner.groups).collect(), (0..inner.channels).collect())
        }).collect();
        match ranking {
            Ranking::Block => {
                for (at, ((groups, channels), (first_count, second_count))) in scores.iter().zip(counts).enumerate() {
                    let block = first + at;
                    widths[block] =
                        Narrow::of(stay(groups, first_count, WHAT, block)?, stay(channels, second_count, WHAT, block)?);
                }
            }
            Ranking::Model => {
                let (groups, channels): (Vec<_>, Vec<_>) = scores.into_iter().unzip();
                let going: (usize, usize) = counts.iter().fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
                let (groups, channels) = (stay_of_all(&groups, going.0, WHAT)?, stay_of_all(&channels, going.1, WHAT)?);
                for (at, (groups, channels)) in groups.into_iter().zip(channels).enumerate() {
                    widths[first + at] = Narrow::of(groups, channels);
                }
            }
        }
        Ok(Shorter::of_widths(widths))
    }
}
