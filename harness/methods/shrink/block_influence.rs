//! Block influence: how far a block turns the residual stream.
//!
//! `BI_i = 1 − mean over tokens of cos(h_i, h_(i+1))`, where `h_i (tokens, width)` enters block i; the blocks of the lowest influence go,
//! all at once (ShortGPT). With `span = contiguous` the distance `arccos(cos(h_i, h_(i+n))) / π` over n blocks is averaged over tokens, and the
//! n blocks behind the least go.
//!
//! Source: Men et al., ShortGPT: Layers in Large Language Models are More Redundant Than You Expect, 2024; the contiguous span: Gromov et al., The
//! Unreasonable Ineffectiveness of the Deeper Layers, 2024.
//!
//! # Difference from the reference
//! A hidden state of nothing has no angle and is an error that names the block; other code puts one half there. The first publication ranks on text of PG-19, the second looks at
//! the last token of a sequence (`tokens = last`); here both look at the suite's calibration text.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};
use rand_chacha::ChaCha8Rng;

use crate::registry::Method;
use crate::shrink::{Removal, Samples, Shorter, Shrink, ShrinkError, Stack, cosine, without_lowest};

harness_core::choice! {
    /// Which blocks may go together.
    pub enum Span {
        /// Any, by the cosine over each.
        Any = "any",
        /// Neighbours, by the angle over all of them.
        Contiguous = "contiguous",
    }
}

harness_core::choice! {
    /// Which tokens are looked at.
    pub enum Tokens {
        /// All of a window.
        All = "all",
        /// The last of a window.
        Last = "last",
    }
}

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Blocks that are removed.
        blocks: Option<usize> = None, Domain::closed(0.0, 65536.0);
        /// Share of the blocks that is removed, rounded down; 0.25 when neither it nor a number is set.
        share: Option<f64> = None, Domain::half_open(0.0, 1.0);
        /// Which blocks may go together.
        span: Span = Span::Any;
        /// Which tokens are looked at.
        tokens: Tokens = Tokens::All;
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "block-influence",
        axis: Axis::Shrink,
        about: "removes the blocks that turn the residual stream least, one by one or as a span",
        source: "Men et al.: ShortGPT: Layers in Large Language Models are More Redundant Than You Expect, 2024; Gromov et al.: The Unreasonable Ineffectiveness of the Deeper Layers, 2024",
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
    let removal = Removal::of(settings.blocks, settings.share)?;
    Ok(Method::Shrink(Box::new(BlockInfluence { removal, span: settings.span, tokens: settings.tokens })))
}

#[derive(Debug)]
struct BlockInfluence {
    removal: Removal,
    span: Span,
    tokens: Tokens,
}

impl Shrink for BlockInfluence {
    fn needs_text(&self) -> bool {
        true
    }

    fn shrink(&self, model: &mut dyn Stack, _: &mut ChaCha8Rng) -> Result<Shorter, ShrinkError> {
        let blocks = model.blocks();
        let count = self.removal.count(blocks)?;
        let distance = |a: &[f32], b: &[f32]| match self.span {
            Span::Any => 1.0 - cosine(a, b),
            Span::Contiguous => cosine(a, b).acos() / std::f64::consts::PI,
        };
        // Over how many blocks, and how many places those have.
        let apart = if self.span == Span::Any { 1 } else { count };
        let places = blocks + 1 - apart;
        let width = model.width();
        let (mut sums, mut seen) = (vec![0.0; places], 0usize);
        model.states(Samples::ALL, false, &mut |states| {
            let rows = states[0].len() / width;
            let first = if self.tokens == Tokens::Last { rows - 1 } else { 0 };
            seen += rows - first;
            for (sum, (before, behind)) in sums.iter_mut().zip(states.iter().zip(&states[apart..])) {
                let pairs = before.chunks_exact(width).zip(behind.chunks_exact(width)).skip(first);
                *sum += pairs.map(|(a, b)| distance(a, b)).sum::<f64>();
            }
        })?;
        let scores: Vec<f64> = sums.iter().map(|sum| sum / seen as f64).collect();
        let stay = match self.span {
            Span::Any => without_lowest(&scores, 0..blocks, count, "the influence")?,
            Span::Contiguous => {
                if let Some(block) = scores.iter().position(|score| score.is_nan()) {
                    return Err(ShrinkError::NotFinite { what: "the angle over blocks", block });
                }
                // Of equal angles the first.
                let start = (0..places).min_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap_or(0);
                (0..blocks).filter(|block| !(start..start + count).contains(block)).collect()
            }
        };
        let what = match self.span {
            Span::Any => "1 - cosine between what a block reads and writes",
            Span::Contiguous => "half turns over the span that begins at a block",
        };
        Ok(Shorter { scores: Some((scores, what)), ..Shorter::of_blocks(stay) })
    }
}
