//! L3Prune: the depth at which a model as it is tells what follows a text from what does not.
//!
//! For each depth ℓ the hidden states behind ℓ blocks, normalised as the last, are pooled with weights that grow along the text,
//! and each text's cosine with all continuations of its batch, times `scale`, is held against its own by cross-entropy. `small` is the depth of the least loss
//! among 1 .. ⌊n/2⌋, `large` among the deeper; the blocks behind go.
//!
//! Source: Lee et al., Large Language Models Are Overparameterized Text Encoders, 2024, and its code.
//!
//! # Difference from the reference
//! The code takes labelled pairs with hard negatives; here a text is the first `tokens` tokens of a calibration window and its pair the next. The
//! selection alone: fine-tuning behind it is not here. The code's simple mode, which keeps a share, is `drop-last`.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};
use rand_chacha::ChaCha8Rng;

use crate::registry::Method;
use crate::shrink::{Samples, Shorter, Shrink, ShrinkError, Stack};

harness_core::choice! {
    /// Which half of the depths is searched.
    pub enum Mode {
        /// The shallower.
        Small = "small",
        /// The deeper.
        Large = "large",
    }
}

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Which half of the depths is searched.
        mode: Mode = Mode::Large;
        /// Tokens of a text, and of what follows it.
        tokens: usize = 64, Domain::closed(1.0, 65536.0);
        /// Texts that are told apart at a time.
        batch: usize = 64, Domain::closed(2.0, 65536.0);
        /// What cosines are multiplied by.
        scale: f64 = 50.0, Domain::above(0.0, 1e4);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "l3prune",
        axis: Axis::Shrink,
        about: "keeps the blocks up to the depth whose states tell best which text follows which",
        source: "Lee et al.: Large Language Models Are Overparameterized Text Encoders, 2024, and its code",
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
    Ok(Method::Shrink(Box::new(Settings::resolve(arm)?)))
}

/// A state `(tokens, width)` pooled with weights 1, 2, 3 … and of length one.
pub(crate) fn pooled(state: &[f32], width: usize) -> Vec<f64> {
    let mut sum = vec![0.0; width];
    for (at, row) in state.chunks_exact(width).enumerate() {
        sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += (at + 1) as f64 * f64::from(*value));
    }
    let length = sum.iter().map(|value| value * value).sum::<f64>().sqrt();
    for value in &mut sum {
        *value /= length;
    }
    sum
}

/// The mean over batches of the cross-entropy of each text's own continuation among those of its batch. A batch of one says nothing.
pub(crate) fn contrast(texts: &[Vec<f64>], next: &[Vec<f64>], batch: usize, scale: f64) -> f64 {
    let batches = texts.chunks(batch).zip(next.chunks(batch)).filter(|(texts, _)| texts.len() > 1);
    let losses: Vec<f64> = batches
        .map(|(texts, next)| {
            let of = |(own, text): (usize, &Vec<f64>)| {
                let scores = next.iter().map(|next| scale * text.iter().zip(next).map(|(a, b)| a * b).sum::<f64>());
                let scores: Vec<f64> = scores.collect();
                let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                most + scores.iter().map(|score| (score - most).exp()).sum::<f64>().ln() - scores[own]
            };
            texts.iter().enumerate().map(of).sum::<f64>() / texts.len() as f64
        })
        .collect();
    losses.iter().sum::<f64>() / losses.len() as f64
}

/// How many blocks stay: the depth of the least loss in a half of them, `losses[0]` being that of one block.
pub(crate) fn depth(losses: &[f64], mode: Mode) -> Option<usize> {
    let half = losses.len() / 2;
    let depths = if mode == Mode::Small { 0..half } else { half..losses.len() };
    depths.min_by(|a, b| losses[*a].total_cmp(&losses[*b])).map(|at| at + 1)
}

impl Shrink for Settings {
    fn needs_text(&self) -> bool {
        true
    }

    fn shrink(&self, model: &mut dyn Stack, _: &mut ChaCha8Rng) -> Result<Shorter, ShrinkError> {
        let (blocks, width) = (model.blocks(), model.width());
        if self.mode == Mode::Small && blocks < 2 {
            let allowed = "`large`, since half of one block is none".to_owned();
            return Err(ShrinkError::Fit { name: "mode", value: 0, allowed, blocks });
        }
        let mut read = |start| -> Result<Vec<Vec<Vec<f64>>>, ShrinkError> {
            let mut depths = vec![Vec::new(); blocks];
            model.states(Samples { windows: usize::MAX, start, tokens: self.tokens }, true, &mut |states| {
                for (depth, state) in depths.iter_mut().zip(&states[1..]) {
                    depth.push(pooled(state, width));
                }
            })?;
            Ok(depths)
        };
        let (texts, next) = (read(0)?, read(self.tokens)?);
        if texts[0].len() < 2 {
            return Err(ShrinkError::Text("at least two windows are needed to tell texts apart".to_owned()));
        }
        let losses: Vec<f64> =
            texts.iter().zip(&next).map(|(texts, next)| contrast(texts, next, self.batch, self.scale)).collect();
        if let Some(block) = losses.iter().position(|loss| !loss.is_finite()) {
            return Err(ShrinkError::NotFinite { what: "the contrastive loss behind the state", block });
        }
        let stay = depth(&losses, self.mode).unwrap_or(blocks);
        Ok(Shorter { scores: Some((losses, "contrastive loss of states behind the block")), ..Shorter::of_blocks(0..stay) })
    }
}
