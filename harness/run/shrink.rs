//! The axis of depth and width: what methods ask of a model, and the shorter or narrower model they make of it.

mod candidates;
mod inner;
pub(crate) mod metrics;
mod tuned;

use std::time::Instant;

use harness_core::seed;
use harness_methods::block::Map;
use harness_methods::shrink::{
    Layer, OfMap, Penalty, Reading, Samples, Shorter, Shrink, ShrinkError, Stack, Training, Turning, WithGradient,
};
use harness_methods::width::units::{Inner, Narrow};
use harness_model::decoder::Decoder;
use harness_model::depth;
use harness_model::error::ModelError;
use harness_model::load::Checkpoint;
use harness_model::tensor::with_values;

use crate::calibrate::PrepareError;
use crate::panics::caught;

use candidates::Candidates;

/// A shorter or narrower model.
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
    /// How wide each block was before it became narrower.
    pub(crate) inner: Vec<Inner>,
}

impl Shortened {
    /// The blocks as the model's own crate names them.
    pub fn layers(&self) -> Vec<depth::Layer> {
        self.shorter.layers.iter().map(layer).collect()
    }

    /// What is left of each block as the model's own crate names it; nothing where blocks are as wide as they were.
    pub fn narrow(&self) -> Vec<harness_model::narrow::Narrow> {
        inner::narrow(&self.shorter.widths)
    }

    /// What its parts read as the model's own crate says it; `None` where they read all.
    pub fn reading(&self) -> Option<harness_model::reads::Reading> {
        self.shorter.reading.as_ref().map(reading)
    }

    /// The checkpoint of this model, of that of the whole model.
    pub fn checkpoint(&self, whole: &Checkpoint) -> Checkpoint {
        let shorter = whole.shortened(&self.layers(), &self.decoder);
        if self.shorter.reading.is_some() {
            return shorter.read_by(&self.decoder);
        }
        let made = match (self.shorter.stream.is_empty(), self.shorter.widths.is_empty()) {
            (false, _) => shorter.sliced(&self.decoder),
            (true, false) => shorter.narrowed(&self.decoder),
            (true, true) => shorter,
        };
        if self.shorter.trained { made.with_numbers(&self.decoder) } else { made }
    }

    /// Key-value heads and channels that are left of each block, as shares of the whole model's.
    pub(crate) fn kept(&self) -> Vec<(f64, f64)> {
        let share = |(layer, whole): (usize, &Inner)| {
            let left = self.decoder.config().width(layer);
            let of = |left: usize, whole: usize| left as f64 / whole.max(1) as f64;
            (of(left.kv_heads, whole.groups), of(left.intermediate_size, whole.channels))
        };
        self.inner.iter().enumerate().map(share).collect()
    }
}

fn layer(layer: &Layer) -> depth::Layer {
    depth::Layer { base: layer.base, mix: layer.mix.clone() }
}

fn reading(Reading { order, parts }: &Reading) -> harness_model::reads::Reading {
    harness_model::reads::Reading { order: order.clone(), parts: parts.clone() }
}

/// Makes a shorter or narrower model; the model itself is as it was. `tell` hears of what is done of how much, from methods that search.
///
/// # Errors
/// [`PrepareError::Shrink`], [`PrepareError::NoCalibration`], [`PrepareError::Panic`].
pub fn shortened(
    dense: &Decoder,
    method: &dyn Shrink,
    windows: Option<&[Vec<u32>]>,
    seed: u64,
    tell: &mut dyn FnMut(usize, usize),
) -> Result<Shortened, PrepareError> {
    let windows = windows.unwrap_or_default();
    if method.needs_text() && windows.is_empty() {
        return Err(PrepareError::NoCalibration);
    }
    let started = Instant::now();
    let mut walked = Walked { tell: Some(tell), ..Walked::new(dense, windows) };
    let made = caught(|| {
        let shorter = method.shrink(&mut walked, &mut seed::stream(seed, &["shrink"]))?;
        let layers: Vec<depth::Layer> = shorter.layers.iter().map(layer).collect();
        let mut decoder = dense.of_layers(&layers).map_err(pass)?;
        if !shorter.stream.is_empty() {
            decoder = decoder.sliced(&shorter.stream).map_err(pass)?;
        }
        if let Some(read) = &shorter.reading {
            decoder = decoder.read_by(&reading(read)).map_err(pass)?;
        }
        if !shorter.widths.is_empty() {
            decoder = decoder.narrowed(&inner::narrow(&shorter.widths)).map_err(pass)?;
        }
        if shorter.trained {
            decoder = decoder.with_numbers(&walked.tuned().numbers(), None).map_err(pass)?;
        }
        Ok((decoder, shorter))
    });
    let (decoder, shorter) = made.map_err(PrepareError::Panic)?.map_err(PrepareError::Shrink)?;
    let whole = (dense.config().layers, dense.parameters());
    let seconds = started.elapsed().as_secs_f64();
    let walked = Walked::new(dense, windows);
    let inner = shorter.layers.iter().map(|layer| walked.inner_of(layer.base)).collect();
    Ok(Shortened { decoder, seconds, shorter, whole, inner })
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
    candidates: Candidates,
    /// What was trained and cut so far, in f32.
    tuned: Option<Decoder>,
    /// Windows that trainings have read.
    turned: usize,
    tell: Option<&'a mut dyn FnMut(usize, usize)>,
}

impl<'a> Walked<'a> {
    /// The model as it was trained and cut so far.
    fn tuned(&self) -> &Decoder {
        self.tuned.as_ref().unwrap_or(self.decoder)
    }

    fn new(decoder: &'a Decoder, windows: &'a [Vec<u32>]) -> Self {
        Self { decoder, windows, candidates: Candidates::default(), tuned: None, turned: 0, tell: None }
    }

    /// The tokens that are looked at, `least` of each window at least.
    fn cut_text(&self, samples: Samples, least: usize) -> Result<Vec<Vec<u32>>, ShrinkError> {
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
        let sum = with_values(&logits, |values| summed_loss(values, vocabulary, &window[1..]));
        Ok((sum.map_err(failed)?, window.len() - 1))
    }
}

/// The summed negative log-likelihood of targets, by one row of logits each.
pub(crate) fn summed_loss(logits: &[f32], vocabulary: usize, targets: &[u32]) -> f64 {
    let of = |(row, target): (&[f32], &u32)| {
        let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let total: f64 = row.iter().map(|value| f64::from(value - most).exp()).sum();
        total.ln() + f64::from(most) - f64::from(row[*target as usize])
    };
    logits.chunks_exact(vocabulary).zip(targets).map(of).sum()
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
        let windows = self.cut_text(samples, 2)?;
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
        for window in self.cut_text(samples, 1)? {
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
        for window in self.cut_text(samples, 2)? {
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
        let windows = self.cut_text(samples, 1)?;
        let read = |window: &Vec<u32>| {
            let hidden = candidate.hidden(&[window]).map_err(pass)?;
            with_values(&hidden, <[f32]>::to_vec).map_err(failed)
        };
        windows.iter().map(read).collect()
    }

    fn inner(&self, block: usize) -> Inner {
        self.inner_of(block)
    }

    fn matrix(&mut self, block: usize, map: Map) -> Result<Option<Vec<f32>>, ShrinkError> {
        Ok(self.matrix_of(block, map))
    }

    fn inputs(
        &mut self,
        samples: Samples,
        maps: &[Map],
        seen: &mut dyn FnMut(usize, Map, &[f32]),
    ) -> Result<(), ShrinkError> {
        self.show_inputs(samples, maps, seen)
    }

    fn map_gradients(&mut self, samples: Samples, seen: &mut dyn FnMut(OfMap<'_>)) -> Result<(), ShrinkError> {
        self.show_gradients(samples, seen)
    }

    fn divergence(&mut self, widths: &[Narrow], samples: Samples) -> Result<f64, ShrinkError> {
        let windows = self.cut_text(samples, 1)?;
        self.candidates.divergence(self.decoder, widths, (samples.start, &windows))
    }

    fn residuals(&mut self, samples: Samples, turn: Turning<'_>) -> Result<(), ShrinkError> {
        self.turn_stream(samples, turn)
    }

    fn train(
        &mut self,
        training: &Training,
        draw: &mut dyn FnMut() -> f64,
        penalty: Penalty<'_>,
    ) -> Result<Vec<f64>, ShrinkError> {
        self.tune(training, draw, penalty)
    }

    fn cut(&mut self, widths: &[Narrow]) -> Result<(), ShrinkError> {
        self.cut_tuned(widths)
    }

    fn trained_loss(&mut self) -> Result<f64, ShrinkError> {
        self.tuned_loss()
    }

    fn tell(&mut self, done: usize, total: usize) {
        if let Some(tell) = &mut self.tell {
            tell(done, total);
        }
    }
}

#[cfg(test)]
#[path = "shrink/tests.rs"]
mod tests;
#[cfg(test)]
#[path = "shrink/tuned_tests.rs"]
mod tuned_tests;
#[cfg(test)]
#[path = "shrink/width_tests.rs"]
mod width_tests;
