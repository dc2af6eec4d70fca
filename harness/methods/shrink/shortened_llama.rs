//! Shortened LLaMA: blocks go at once by a score of each.
//!
//! - `taylor`: `Σ |w · g|^p` over all weights of a block, normalisations included, where g is the gradient of the mean loss over all
//!   samples. The product is signed until the samples are added up, so what helps one sample and harms another counts for nothing.
//! - `magnitude`: `Σ |w|^p`.
//! - `ppl`: the perplexity of the model without that block alone.
//!
//! The lowest go; with `plus` the first four blocks and the last two stay whatever they score.
//!
//! Source: Kim et al., Shortened LLaMA: A Simple Depth Pruning for Large Language Models, 2024, and its code.
//!
//! # Difference from the reference
//! The code's other ways to add up a matrix (mean, maximum, product) are not here. Samples are the first windows of the calibration text, ten of 128 tokens where that
//! has so many; the code draws them from BookCorpus. As in the code, `plus` holds for every criterion. Fine-tuning behind it is not part of it.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};
use rand_chacha::ChaCha8Rng;

use crate::registry::Method;
use crate::shrink::{Removal, Samples, Shorter, Shrink, ShrinkError, Stack, without_lowest};

/// Blocks at the beginning and at the end that `plus` keeps.
const PLUS: (usize, usize) = (4, 2);

harness_core::choice! {
    /// What blocks are scored by.
    pub enum Criterion {
        /// First-order change of the loss.
        Taylor = "taylor",
        /// Size of the weights.
        Magnitude = "magnitude",
        /// Perplexity without the block.
        Ppl = "ppl",
    }
}

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Blocks that are removed.
        blocks: Option<usize> = None, Domain::closed(0.0, 65536.0);
        /// Share of the blocks that is removed, rounded down; 0.25 when neither it nor a number is set.
        share: Option<f64> = None, Domain::half_open(0.0, 1.0);
        /// What blocks are scored by.
        criterion: Criterion = Criterion::Taylor;
        /// Whether the first four and the last two blocks stay.
        plus: bool = true;
        /// The power of a weight's score.
        power: usize = 1, Domain::closed(1.0, 2.0);
        /// Calibration windows that are looked at, at most.
        samples: usize = 10, Domain::closed(1.0, 65536.0);
        /// Tokens of each that are, at most.
        tokens: usize = 128, Domain::closed(2.0, 65536.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "shortened-llama",
        axis: Axis::Shrink,
        about: "removes the blocks of the lowest score: first-order change of the loss, magnitude, or perplexity without them",
        source: "Kim et al.: Shortened LLaMA: A Simple Depth Pruning for Large Language Models, 2024, and its code",
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
    Ok(Method::Shrink(Box::new(Shortened { removal, settings })))
}

#[derive(Debug)]
struct Shortened {
    removal: Removal,
    settings: Settings,
}

impl Shortened {
    fn scores(&self, model: &mut dyn Stack) -> Result<(Vec<f64>, &'static str), ShrinkError> {
        let Settings { criterion, power, samples, tokens, .. } = self.settings;
        let samples = Samples { windows: samples, start: 0, tokens };
        let raised = |value: f64| value.abs().powi(power as i32);
        let mut scores = vec![0.0; model.blocks()];
        match criterion {
            Criterion::Taylor => {
                model.gradients(samples, &mut |(block, weights, gradients)| {
                    let products = weights.iter().zip(gradients).map(|(w, g)| raised(f64::from(*w) * g));
                    scores[block] += products.sum::<f64>();
                })?;
                Ok((scores, "first-order change of the loss"))
            }
            Criterion::Magnitude => {
                for (block, score) in scores.iter_mut().enumerate() {
                    model.weights(block, &mut |weights| {
                        *score += weights.iter().map(|w| raised(f64::from(*w))).sum::<f64>();
                    })?;
                }
                Ok((scores, "magnitude of the weights"))
            }
            Criterion::Ppl => {
                let losses = model.losses_without(samples)?;
                Ok((losses.into_iter().map(f64::exp).collect(), "perplexity without the block"))
            }
        }
    }
}

impl Shrink for Shortened {
    fn needs_text(&self) -> bool {
        self.settings.criterion != Criterion::Magnitude
    }

    fn shrink(&self, model: &mut dyn Stack, _: &mut ChaCha8Rng) -> Result<Shorter, ShrinkError> {
        let blocks = model.blocks();
        let (front, back) = if self.settings.plus { PLUS } else { (0, 0) };
        let (most, why) = if self.settings.plus {
            (blocks.saturating_sub(front + back), "the first four and the last two stay; set `plus = false`")
        } else {
            (blocks.saturating_sub(1), "a model has at least one block")
        };
        let count = self.removal.count_of(blocks, most, why)?;
        let (scores, what) = self.scores(model)?;
        let candidates = front.min(blocks)..blocks.saturating_sub(back).max(front.min(blocks));
        let stay = without_lowest(&scores, candidates, count, "the score")?;
        Ok(Shorter { scores: Some((scores, what)), ..Shorter::of_blocks(stay) })
    }
}
