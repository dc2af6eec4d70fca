//! LaCo, layer collapse: blocks are folded into one before them as long as the model's final hidden states stay like those it had.
//!
//! `θ*_l = θ_l + Σ_(k = 1..m) (θ_(l+k) − θ_l)` for the matrices of block l and the m behind it, which then go; block l keeps its
//! normalisations. From `l = high − C` down to `low`: the cosine between the final hidden states of the candidate and of the whole model,
//! each window's as one vector, averaged over windows, must be above the threshold T; then `l` falls by `interval`, or to `n − 1 − C` where
//! it is behind the last of the n blocks left; otherwise by one. C blocks become one at a time, fewer where fewer are left.
//!
//! Source: Yang, Cao, Zhao, LaCo: Large Language Model Pruning via Layer Collapse, 2024.
//!
//! # Difference from the reference
//! The published formula (`merge = rdsc`). The released notebooks subtract a base that changes as they go, so that the sum is the last block's matrices
//! (`merge = notebook`). Biases stay those of block l. Windows are the first of the calibration text, five of ten tokens unless set otherwise. `layers_per_merge`
//! is 3, as for Baichuan2-13B; for Llama2-13B it is 7.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};
use rand_chacha::ChaCha8Rng;

use crate::registry::Method;
use crate::shrink::{Layer, Samples, Shorter, Shrink, ShrinkError, Stack, cosine};

harness_core::choice! {
    /// What the matrices of several blocks become.
    pub enum Merge {
        /// The first's, and the difference of every other from it.
        Rdsc = "rdsc",
        /// The last's, as released notebooks compute it.
        Notebook = "notebook",
    }
}

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Blocks that become one at a time.
        layers_per_merge: usize = 3, Domain::closed(2.0, 65536.0);
        /// Blocks to go on by behind a merge.
        interval: usize = 1, Domain::closed(1.0, 65536.0);
        /// The first block that others may be folded into.
        low: usize = 0, Domain::closed(0.0, 65536.0);
        /// The last block that may be folded into another; the last of the model where it is not set.
        high: Option<usize> = None, Domain::closed(1.0, 65536.0);
        /// What the similarity of final hidden states has to be above.
        threshold: f64 = 0.45, Domain::open(-1.0, 1.0);
        /// What the matrices of several blocks become.
        merge: Merge = Merge::Rdsc;
        /// Calibration windows that are looked at, at most.
        samples: usize = 5, Domain::closed(1.0, 65536.0);
        /// Tokens of each that are, at most.
        tokens: usize = 10, Domain::closed(1.0, 65536.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "laco",
        axis: Axis::Shrink,
        about: "folds blocks into one before them as long as final hidden states stay like the whole model's",
        source: "Yang, Cao, Zhao: LaCo: Large Language Model Pruning via Layer Collapse, 2024, and its code",
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
    if let Some(high) = settings.high.filter(|high| *high < settings.low) {
        let text = format!("`low = {}` must not be above `high = {high}`", settings.low);
        return Err(ParameterError::Together(text));
    }
    Ok(Method::Shrink(Box::new(settings)))
}

/// Blocks `at .. at + followers` folded into `at`.
pub fn merged(layers: &[Layer], at: usize, followers: usize, merge: Merge) -> Vec<Layer> {
    let parts: Vec<(&Layer, f64)> = match merge {
        Merge::Rdsc => std::iter::once((&layers[at], 1.0 - followers as f64))
            .chain(layers[at + 1..=at + followers].iter().map(|layer| (layer, 1.0)))
            .collect(),
        Merge::Notebook => vec![(&layers[at + followers], 1.0)],
    };
    let mut mix: Vec<(usize, f64)> = Vec::new();
    for (block, factor) in parts.iter().flat_map(|(layer, by)| layer.mix.iter().map(move |(at, own)| (*at, own * by))) {
        match mix.iter_mut().find(|(known, _)| *known == block) {
            Some((_, sum)) => *sum += factor,
            None => mix.push((block, factor)),
        }
    }
    mix.retain(|(_, factor)| *factor != 0.0);
    mix.sort_unstable_by_key(|(block, _)| *block);
    let mut left = layers[..at].to_vec();
    left.push(Layer { base: layers[at].base, mix });
    left.extend_from_slice(&layers[at + followers + 1..]);
    left
}

/// The walk of the method; `similar` says how like the whole model a candidate is that block `at` has been folded into.
pub(crate) fn collapse(
    settings: &Settings,
    blocks: usize,
    threshold: f64,
    similar: &mut dyn FnMut(usize, &[Layer]) -> Result<f64, ShrinkError>,
) -> Result<Shorter, ShrinkError> {
    let (per, low, high) = (settings.layers_per_merge, settings.low, settings.high.unwrap_or(blocks.saturating_sub(1)));
    if per > blocks {
        let allowed = format!("2 to {blocks}");
        return Err(ShrinkError::Fit { name: "layers_per_merge", value: per, allowed, blocks });
    }
    if high >= blocks || low > high {
        let (name, value) = if high >= blocks { ("high", high) } else { ("low", low) };
        return Err(ShrinkError::Fit { name, value, allowed: format!("at most {}", blocks - 1), blocks });
    }
    let mut layers: Vec<Layer> = (0..blocks).map(Layer::kept).collect();
    let mut shorter = Shorter { similarity: Some(1.0), ..Shorter::default() };
    let mut at = high as isize - per as isize;
    while at >= low as isize {
        let here = at.unsigned_abs();
        let followers = (per - 1).min((layers.len() - 1).saturating_sub(here));
        if followers > 0 {
            let candidate = merged(&layers, here, followers, settings.merge);
            let similarity = similar(here, &candidate)?;
            if similarity.is_nan() {
                return Err(ShrinkError::NotFinite { what: "the final hidden state behind a merge", block: here });
            }
            let accepted = similarity > threshold;
            let word = if accepted { "folded" } else { "left" };
            shorter.steps.push(format!("{here}+{followers} {word} at {similarity:.4}"));
            if accepted {
                layers = candidate;
                shorter.similarity = Some(similarity);
                at -= settings.interval as isize;
                if at >= layers.len() as isize {
                    at = layers.len() as isize - 1 - per as isize;
                }
                continue;
            }
        }
        at -= 1;
    }
    shorter.layers = layers;
    Ok(shorter)
}

impl Shrink for Settings {
    fn needs_text(&self) -> bool {
        true
    }

    fn shrink(&self, model: &mut dyn Stack, _: &mut ChaCha8Rng) -> Result<Shorter, ShrinkError> {
        let samples = Samples { windows: self.samples, start: 0, tokens: self.tokens };
        let blocks = model.blocks();
        let mut whole: Option<Vec<Vec<f32>>> = None;
        collapse(self, blocks, self.threshold, &mut |_, candidate| {
            if whole.is_none() {
                let layers: Vec<Layer> = (0..blocks).map(Layer::kept).collect();
                whole = Some(model.final_states(&layers, samples)?);
            }
            let found = model.final_states(candidate, samples)?;
            let pairs = whole.iter().flatten().zip(&found);
            Ok(pairs.map(|(whole, found)| cosine(whole, found)).sum::<f64>() / found.len().max(1) as f64)
        })
    }
}
