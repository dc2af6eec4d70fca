//! UPSCALE: every part of a block reads channels of its own, and the stream is ordered so that they are neighbours.
//!
//! What a normalisation makes of the residual stream is read by maps of one part: those of queries, keys and values, or gate and expansion. A part is a consumer; its columns, those of
//! its maps on top of each other, score `Σ |w|` (`l1`), `√Σ w²` (`l2`) or `w_j² / Σ_{k ≥ j} w_k²` over the columns that are not shorter (`lamp`, of lengths `w`). The lowest go. Unconstrained, each consumer keeps
//! its own channels; constrained, all keep those that score highest over the columns of all of them. Exported, the channels of the stream stand in the order that `width/reorder.rs` finds, and
//! consumers whose channels are neighbours read them without a copy.
//!
//! Source: Wan et al., UPSCALE: Unconstrained Channel Pruning, 2023, and its code; LAMP by Lee et al., Layer-adaptive Sparsity for the Magnitude-based Pruning, 2021.
//!
//! # Difference from the reference
//! There the producers are convolutions; here it is the residual stream of a decoder, one for all consumers. Channels that nobody reads stay in it, because normalisations take
//! the mean square of all and the head reads all: it is no consumer, tied or not. So only columns go, and no rows. Exactly `⌊amount · channels⌋` go of each consumer, of equal scores the first; the code keeps
//! all that equal its threshold. Of each consumer the best channel stays. Scores `fpgm` and `hrank` are not there. Where the paths that the search extends are bounded, and what else it does,
//! `width/reorder.rs` says. A consumer that is no slice is gathered behind its normalisation, not inside it.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};
use rand_chacha::ChaCha8Rng;

use crate::block::Map;
use crate::registry::Method;
use crate::shrink::{Reading, Shorter, Shrink, ShrinkError, Stack};
use crate::width::reorder::order;
use crate::width::units::{stay, stay_of_all};

harness_core::choice! {
    /// What columns score by.
    pub enum Score {
        /// Sizes of weights.
        L1 = "l1",
        /// Length.
        L2 = "l2",
        /// Square of the length, as a share of those of the columns that are not shorter.
        Lamp = "lamp",
    }
}

harness_core::choice! {
    /// What is compared with what.
    pub enum Scope {
        /// The channels of each consumer.
        Segment = "segment",
        /// Those of all consumers.
        Global = "global",
    }
}

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Share of the channels of each consumer, or of all of them together, that goes, rounded down.
        amount: f64 = 0.25, Domain::half_open(0.0, 1.0);
        /// What columns score by.
        score: Score = Score::L1;
        /// What is compared with what.
        scope: Scope = Scope::Segment;
        /// Whether all consumers keep the same channels.
        constrained: bool = false;
        /// Whether the stream is ordered anew.
        reorder: bool = true;
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "upscale",
        axis: Axis::Shrink,
        about: "lets every part of a block read channels of the stream of its own, ordered so that few are copied",
        source: "Wan et al.: UPSCALE: Unconstrained Channel Pruning, 2023, and its code",
        version: 1,
        calibrated: false,
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
    if settings.constrained && settings.scope == Scope::Global {
        return Err(ParameterError::Together(
            "`constrained = true` gives all consumers the same channels, so `scope = global` has nothing to share out; leave one of them out"
                .to_owned(),
        ));
    }
    Ok(Method::Shrink(Box::new(Upscale(settings))))
}

#[derive(Debug)]
struct Upscale(Settings);

/// The maps of the two consumers of a block.
const CONSUMERS: [&[Map]; 2] = [&[Map::Q, Map::K, Map::V], &[Map::Gate, Map::Up]];

const WHAT: &str = "the score of a channel";

impl Upscale {
    /// Of the columns of a consumer, the sums that a score is made of.
    fn sums(&self, model: &mut dyn Stack, block: usize, maps: &[Map]) -> Result<Vec<f64>, ShrinkError> {
        let (width, inner) = (model.width(), model.inner(block));
        let mut sums = vec![0.0; width];
        for map in maps {
            let Some(values) = model.matrix(block, *map)? else { continue };
            let rows = match map {
                Map::Q => inner.groups * inner.group_width(),
                Map::Gate | Map::Up => inner.channels,
                _ => inner.groups * inner.head_dim,
            };
            if values.len() != rows * width {
                return Err(ShrinkError::ReadInPart { block });
            }
            for row in values.chunks_exact(width) {
                for (sum, weight) in sums.iter_mut().zip(row) {
                    let weight = f64::from(*weight);
                    *sum += if self.0.score == Score::L1 { weight.abs() } else { weight * weight };
                }
            }
        }
        Ok(sums)
    }

    /// Scores of columns, of their sums.
    fn scores(&self, sums: Vec<f64>) -> Vec<f64> {
        match self.0.score {
            Score::L1 => sums,
            Score::L2 => sums.into_iter().map(f64::sqrt).collect(),
            Score::Lamp => lamp(&sums),
        }
    }
}

/// Each square as a share of itself and all squares that stand behind it when they are sorted; of equal ones the later stands behind.
pub fn lamp(squares: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..squares.len()).collect();
    order.sort_by(|a, b| squares[*a].total_cmp(&squares[*b]));
    let (mut scores, mut behind) = (vec![0.0; squares.len()], 0.0);
    for at in order.into_iter().rev() {
        behind += squares[at];
        scores[at] = if behind == 0.0 { 0.0 } else { squares[at] / behind };
    }
    scores
}

impl Shrink for Upscale {
    fn shrink(&self, model: &mut dyn Stack, _: &mut ChaCha8Rng) -> Result<Shorter, ShrinkError> {
        let (blocks, width) = (model.blocks(), model.width());
        let mut consumers = Vec::with_capacity(2 * blocks);
        for block in 0..blocks {
            for maps in CONSUMERS {
                consumers.push(self.sums(model, block, maps)?);
            }
        }
        let of = |count: usize| (self.0.amount * count as f64).floor() as usize;
        let kept: Vec<Vec<usize>> = if self.0.constrained {
            let all = (0..width).map(|channel| consumers.iter().map(|sums| sums[channel]).sum()).collect();
            vec![stay(&self.scores(all), of(width), WHAT, 0)?; consumers.len()]
        } else {
            let scores: Vec<Vec<f64>> = consumers.into_iter().map(|sums| self.scores(sums)).collect();
            match self.0.scope {
                Scope::Segment => {
                    let own = scores.iter().enumerate().map(|(at, scores)| stay(scores, of(width), WHAT, at / 2));
                    own.collect::<Result<_, _>>()?
                }
                Scope::Global => stay_of_all(&scores, of(width * scores.len()), WHAT)?,
            }
        };
        let order = if self.0.reorder { order(&kept, width) } else { (0..width).collect() };
        let parts = kept.chunks_exact(2).map(|pair| [pair[0].clone(), pair[1].clone()]).collect();
        Ok(Shorter { reading: Some(Reading { order, parts }), ..Shorter::of_blocks(0..blocks) })
    }
}
