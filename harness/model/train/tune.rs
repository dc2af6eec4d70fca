//! Training a decoder a little on given windows, as a step of a method: AdamW at one rate without decay or clipping, of all weights or of two thin factors
//! beside every map of the blocks.
//!
//! Source of the factors: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, 2021. The gradient of the whole matrix is computed and
//! projected onto them, which costs more than a pass through them does and gives the same numbers.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};
use harness_kernels::allocator::Keeping;

use super::adamw::{AdamW, Group, Moments};
use super::pass::{gradients, publish};
use crate::config::Projection;
use crate::decoder::Decoder;
use crate::error::{Context, ModelError};
use crate::ops::cross_entropy;
use crate::tensor::{from_values, with_values};
use crate::weight::DType;

/// What torch sets where nothing is said, which fine-tuning goes by.
const OPTIMIZER: AdamW = AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
/// What multiplies the product of the factors.
const SCALE: f64 = 2.0;

/// A map of a block, its weights `(outputs, inputs)` and the gradient of the loss by them.
pub type MapGradient<'a> = (Projection, &'a [f32], &'a mut [f32]);

/// Two thin factors beside a matrix.
struct Factors {
    /// The matrix as it was.
    base: Vec<f32>,
    /// `(outputs, rank)`, zero at first.
    up: Vec<f32>,
    /// `(rank, inputs)`.
    down: Vec<f32>,
    rank: usize,
    moments: [Moments; 2],
}

/// A training in progress.
pub struct Tuner {
    /// What it began with.
    begun: Decoder,
    decoder: Decoder,
    variables: BTreeMap<String, Var>,
    values: BTreeMap<String, Vec<f32>>,
    moments: BTreeMap<String, Moments>,
    /// Of each map of the blocks, where only they are trained.
    factors: Option<BTreeMap<String, Factors>>,
    rate: f64,
    step: usize,
    /// A step frees all its activations; giving their pages back each time would cost much of it.
    _keeping: Keeping,
}

impl Decoder {
    /// A training that begins with this decoder, at a learning rate.
    ///
    /// # Errors
    /// [`ModelError`] for a decoder without blocks that attend.
    pub fn tuner(&self, rate: f64) -> Result<Tuner, ModelError> {
        let (variables, decoder) = self.with_gradients()?;
        let values = self.numbers();
        let (moments, keeping) = (BTreeMap::new(), Keeping::begin());
        let begun = self.clone();
        Ok(Tuner { begun, decoder, variables, values, moments, factors: None, rate, step: 0, _keeping: keeping })
    }
}

impl Tuner {
    /// Only factors of this rank beside every map of the blocks are trained. `draw` gives numbers from 0 to 1, from which those that read are drawn, evenly
    /// within one over the root of the inputs; those that write are zero.
    #[must_use]
    pub fn with_factors(mut self, rank: usize, draw: &mut dyn FnMut() -> f64) -> Self {
        let mut factors = BTreeMap::new();
        for (layer, projection) in maps(&self.begun) {
            let Some(map) = self.begun.linear(layer, projection) else { continue };
            let (rows, cols, name) = (map.rows(), map.cols(), projection.tensor(layer));
            let Some(base) = self.values.get(&name).cloned() else { continue };
            let bound = 1.0 / (cols.max(1) as f64).sqrt();
            let down: Vec<f32> = (0..rank * cols).map(|_| (bound * (2.0 * draw() - 1.0)) as f32).collect();
            let moments = [Moments::zeros(rows * rank), Moments::zeros(rank * cols)];
            factors.insert(name, Factors { base, up: vec![0.0; rows * rank], down, rank, moments });
        }
        self.factors = Some(factors);
        self
    }

    /// One step on windows of one length: their mean negative log-likelihood a token before it. `change` may change the gradients of the maps of
    /// every block before they are used.
    ///
    /// # Errors
    /// [`ModelError::Windows`], [`ModelError::Compute`].
    pub fn step(
        &mut self,
        windows: &[Vec<u32>],
        change: &mut dyn FnMut(usize, &mut [MapGradient<'_>]),
    ) -> Result<f64, ModelError> {
        if windows.is_empty() || windows.iter().any(|window| window.len() < 2) {
            return Err(ModelError::Windows(windows.iter().map(Vec::len).collect()));
        }
        let doing = || "computing the loss".to_owned();
        let inputs: Vec<&[u32]> = windows.iter().map(|window| &window[..window.len() - 1]).collect();
        let targets: Vec<u32> = windows.iter().flat_map(|window| &window[1..]).copied().collect();
        let hidden = self.decoder.hidden(&inputs)?.flatten_to(1).doing(doing)?;
        let loss = cross_entropy(&self.decoder.logits(&hidden)?, &targets).doing(doing)?;
        let (loss, mut found) = gradients(&loss, &self.variables)?;
        for layer in 0..self.begun.config().layers {
            // Taken out so that all maps of a block can be changed together.
            let taken = Projection::ALL.map(|projection| found.remove_entry(&projection.tensor(layer)));
            let mut taken: Vec<_> = Projection::ALL.into_iter().zip(taken).filter_map(|(p, t)| Some((p, t?))).collect();
            let mut shown: Vec<MapGradient<'_>> = taken
                .iter_mut()
                .filter_map(|(projection, (name, gradient))| {
                    Some((*projection, &**self.values.get(name)?, &mut **gradient))
                })
                .collect();
            change(layer, &mut shown);
            found.extend(taken.into_iter().map(|(_, entry)| entry));
        }
        match &mut self.factors {
            Some(factors) => {
                for (name, factors) in factors {
                    let (Some(gradient), Some(values)) = (found.get(name), self.values.get_mut(name)) else { continue };
                    factors.update(self.step, self.rate, gradient, values).doing(|| format!("tuning {name}"))?;
                }
            }
            None => {
                for (name, values) in &mut self.values {
                    let Some(gradient) = found.get(name) else { continue };
                    let moments = self.moments.entry(name.clone()).or_insert_with(|| Moments::zeros(values.len()));
                    OPTIMIZER.update(self.step, self.rate, ALIKE, 1.0, gradient, moments, values);
                }
            }
        }
        publish(&self.values, &self.variables)?;
        self.step += 1;
        Ok(loss)
    }

    /// The decoder as it is now, in f32.
    ///
    /// # Errors
    /// [`ModelError`] of putting it together.
    pub fn into_decoder(self) -> Result<Decoder, ModelError> {
        self.begun.with_numbers(&self.values, Some(DType::F32))
    }
}

/// Every parameter is treated alike.
const ALIKE: Group = Group { rate: 1.0, decay: 0.0 };

/// Every map of every block that there could be.
fn maps(decoder: &Decoder) -> impl Iterator<Item = (usize, Projection)> + use<> {
    (0..decoder.config().layers).flat_map(|layer| Projection::ALL.map(|projection| (layer, projection)))
}

impl Factors {
    fn update(
        &mut self,
        step: usize,
        rate: f64,
        gradient: &[f32],
        values: &mut Vec<f32>,
    ) -> Result<(), candle_core::Error> {
        let rank = self.rank;
        let (rows, cols) = (self.up.len() / rank.max(1), self.down.len() / rank.max(1));
        let up = from_values(self.up.clone(), (rows, rank))?;
        let down = from_values(self.down.clone(), (rank, cols))?;
        let gradient = (from_values(gradient.to_vec(), (rows, cols))? * SCALE)?;
        let of_up = gradient.matmul(&down.t()?)?;
        let of_down = up.t()?.matmul(&gradient)?;
        let [first, second] = &mut self.moments;
        let change = |found: &Tensor, moments: &mut Moments, values: &mut [f32]| {
            with_values(found, |found| OPTIMIZER.update(step, rate, ALIKE, 1.0, found, moments, values))
        };
        change(&of_up, first, &mut self.up)?;
        change(&of_down, second, &mut self.down)?;
        let up = from_values(self.up.clone(), (rows, rank))?;
        let down = from_values(self.down.clone(), (rank, cols))?;
        let base = from_values(self.base.clone(), (rows, cols))?;
        *values = with_values(&(base + (up.matmul(&down)? * SCALE)?)?, <[f32]>::to_vec)?;
        Ok(())
    }
}
