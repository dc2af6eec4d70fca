//! The axis of depth: what methods ask of a model, and the shorter model they make of it.

pub(crate) mod metrics;

use std::time::Instant;

use harness_core::seed;
use harness_methods::shrink::{Layer, Samples, Shorter, Shrink, ShrinkError, Stack, WithGradient};
use harness_model::decoder::Decoder;
use harness_model::depth;
use harness_model::error::ModelError;
use harness_model::tensor::with_values;

use crate::calibrate::PrepareError;
use crate::panics::caught;

/// A shorter model.
#[derive(Debug, Clone)]
pub struct Shortened {
    /// The model.
    pub decoder: Decoder,
    /// Seconds it took.
    pub seconds: f64,
    /// What it is made of, and what its method says.
    pub shorter: Shorter,
    /// Blocks and parameters of the whole model.
    pub whole: (usize, usize),
}

impl Shortened {
    /// The blocks as the model's own crate names them.
    pub fn layers(&self) -> Vec<depth::Layer> {
        self.shorter.layers.iter().map(layer).collect()
    }
}

fn layer(layer: &Layer) -> depth::Layer {
    depth::Layer { base: layer.base, mix: layer.mix.clone() }
}

/// Makes a shorter model; the model itself is as it was.
///
/// # Errors
/// [`PrepareError::Shrink`], [`PrepareError::NoCalibration`], [`PrepareError::Panic`].
pub fn shortened(
    dense: &Decoder,
    method: &dyn Shrink,
    windows: Option<&[Vec<u32>]>,
    seed: u64,
) -> Result<Shortened, PrepareError> {
    let windows = windows.unwrap_or_default();
    if method.needs_text() && windows.is_empty() {
        return Err(PrepareError::NoCalibration);
    }
    let started = Instant::now();
    let mut walked = Walked { decoder: dense, windows };
    let made = caught(|| {
        let shorter = method.shrink(&mut walked, &mut seed::stream(seed, &["shrink"]))?;
        let layers: Vec<depth::Layer> = shorter.layers.iter().map(layer).collect();
        let decoder = dense.of_layers(&layers).map_err(pass)?;
        Ok((decoder, shorter))
    });
    let (decoder, shorter) = made.map_err(PrepareError::Panic)?.map_err(PrepareError::Shrink)?;
    let whole = (dense.config().layers, dense.parameters());
    Ok(Shortened { decoder, seconds: started.elapsed().as_secs_f64(), shorter, whole })
}

fn pass(error: ModelError) -> ShrinkError {
    ShrinkError::Pass(error.to_string())
}

fn failed(error: harness_model::tensor::TensorError) -> ShrinkError {
    ShrinkError::Pass(error.to_string())
}

/// A decoder and calibration text.
struct Walked<'a> {
    decoder: &'a Decoder,
    windows: &'a [Vec<u32>],
}

impl Walked<'_> {
    /// The tokens that are looked at, `least` of each window at least.
    fn cut(&self, samples: Samples, least: usize) -> Result<Vec<Vec<u32>>, ShrinkError> {
        let cut = self.windows.iter().take(samples.windows).map(|window| {
            let start = samples.start.min(window.len());
            window[start..start.saturating_add(samples.tokens).min(window.len())].to_vec()
        });
        let cut: Vec<Vec<u32>> = cut.collect();
        match cut.iter().map(Vec::len).min() {
            None => Err(ShrinkError::Text("there are no windows; give a longer text or more `windows`".to_owned())),
            Some(shortest) if shortest < least => {
                let needed = samples.start + least;
                let length = self.windows.iter().map(Vec::len).min().unwrap_or(0);
                Err(ShrinkError::Text(format!(
                    "windows of {length} tokens are too short, {needed} are needed at least"
                )))
            }
            Some(_) => Ok(cut),
        }
    }

    /// The mean negative log-likelihood of a window's tokens behind blocks `from ..` of hidden states that enter them.
    fn loss(
        &self,
        hidden: harness_model::tensor::Tensor,
        from: usize,
        window: &[u32],
    ) -> Result<(f64, usize), ShrinkError> {
        let mut hidden = hidden;
        for layer in from..self.decoder.config().layers {
            hidden = self.decoder.block(layer, &hidden, None).map_err(pass)?;
        }
        let hidden = self.decoder.final_norm(&hidden).map_err(pass)?.flatten_to(1).map_err(failed)?;
        let logits = self.decoder.logits(&hidden).map_err(pass)?;
        let vocabulary = self.decoder.config().vocab_size;
        let sum = with_values(&logits, |values| {
            let rows = values.chunks_exact(vocabulary).zip(&window[1..]);
            rows.map(|(row, target)| {
                let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let total: f64 = row.iter().map(|value| f64::from(value - most).exp()).sum();
                total.ln() + f64::from(most) - f64::from(row[*target as usize])
            })
            .sum::<f64>()
        });
        Ok((sum.map_err(failed)?, window.len() - 1))
    }
}

impl Stack for Walked<'_> {
    fn blocks(&self) -> usize {
        self.decoder.config().layers
    }

    fn width(&self) -> usize {
        self.decoder.config().hidden_size
    }

    fn weights(&mut self, block: usize, seen: &mut dyn FnMut(&[f32])) -> Result<(), ShrinkError> {
        for weight in self.decoder.block_parameters(block).map_err(pass)? {
            seen(&weight.to_f32());
        }
        Ok(())
    }

    fn gradients(&mut self, samples: Samples, seen: &mut dyn FnMut(WithGradient<'_>)) -> Result<(), ShrinkError> {
        let windows = self.cut(samples, 2)?;
        let found = self.decoder.mean_gradients(&windows).map_err(pass)?;
        for (block, parameters) in found.iter().enumerate() {
            for (weights, gradients) in parameters {
                seen((block, weights, gradients));
            }
        }
        Ok(())
    }

    fn states(
        &mut self,
        samples: Samples,
        normalised: bool,
        seen: &mut dyn FnMut(&[Vec<f32>]),
    ) -> Result<(), ShrinkError> {
        for window in self.cut(samples, 1)? {
            let mut states = Vec::with_capacity(self.blocks() + 1);
            let mut hidden = self.decoder.embed(&[&window]).map_err(pass)?;
            for layer in 0..=self.blocks() {
                let read = if normalised { self.decoder.final_norm(&hidden).map_err(pass)? } else { hidden.clone() };
                states.push(with_values(&read, <[f32]>::to_vec).map_err(failed)?);
                if layer < self.blocks() {
                    hidden = self.decoder.block(layer, &hidden, None).map_err(pass)?;
                }
            }
            seen(&states);
        }
        Ok(())
    }

    fn losses_without(&mut self, samples: Samples) -> Result<Vec<f64>, ShrinkError> {
        let (mut sums, mut tokens) = (vec![0.0; self.blocks()], 0);
        for window in self.cut(samples, 2)? {
            // What enters a block is the same whichever block behind it is left out.
            let mut hidden = self.decoder.embed(&[&window[..window.len() - 1]]).map_err(pass)?;
            let mut seen = 0;
            for (block, sum) in sums.iter_mut().enumerate() {
                let (loss, count) = self.loss(hidden.clone(), block + 1, &window)?;
                *sum += loss;
                seen = count;
                hidden = self.decoder.block(block, &hidden, None).map_err(pass)?;
            }
            tokens += seen;
        }
        Ok(sums.into_iter().map(|sum| sum / tokens as f64).collect())
    }

    fn final_states(&mut self, layers: &[Layer], samples: Samples) -> Result<Vec<Vec<f32>>, ShrinkError> {
        let layers: Vec<depth::Layer> = layers.iter().map(layer).collect();
        let candidate = self.decoder.of_layers(&layers).map_err(pass)?;
        let windows = self.cut(samples, 1)?;
        let read = |window: &Vec<u32>| {
            let hidden = candidate.hidden(&[window]).map_err(pass)?;
            with_values(&hidden, <[f32]>::to_vec).map_err(failed)
        };
        windows.iter().map(read).collect()
    }
}

#[cfg(test)]
#[path = "shrink/tests.rs"]
mod tests;
