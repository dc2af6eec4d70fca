//! A decoder whose blocks are selective state spaces: no attention, no positions, and a memory that does not grow with the text.
//!
//! A block is `x + out(scan(silu(convolution(in_x))) · silu(in_z))` of the normalised `x`; steps, input and output maps of the scan come
//! from the token (Gu and Dao, 2023). [`Carried`] is all that a text leaves behind. Passing it to the next chunk reads a long text as one
//! pass; in training, chunk after chunk from the states of the chunk before instead of from zero is what LongSSM asks for (2024).
//! Tensors have the names of Hugging Face's Mamba models.
//!
//! # Difference from the reference
//! Sums along the residual stream and states are f32 throughout; the head is the embedding; only the convolution and the steps have a bias.

mod config;

use std::collections::BTreeMap;

use candle_core::{Result as TensorResult, Tensor, Var};

pub use config::StateSpaceConfig;

use crate::config::Activation;
use crate::error::{Context, ModelError};
use crate::ops::{self, ScanInputs};
use crate::tensor::from_values;
use crate::weight::Weight;

/// What sequences leave behind: of each block the last inputs of its convolution and the states of its scan.
#[derive(Debug, Clone, PartialEq)]
pub struct Carried {
    batch: usize,
    tokens: usize,
    blocks: Vec<CarriedBlock>,
}

#[derive(Debug, Clone, PartialEq)]
struct CarriedBlock {
    inputs: Vec<f32>,
    states: Vec<f32>,
}

impl Carried {
    /// Tokens that each sequence has read.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Bytes it takes, the same after any number of tokens.
    pub fn bytes(&self) -> usize {
        let numbers = self.blocks.iter().map(|block| block.inputs.len() + block.states.len());
        numbers.sum::<usize>() * size_of::<f32>()
    }
}

/// The decoder.
#[derive(Debug, Clone)]
pub struct StateSpaceDecoder {
    config: StateSpaceConfig,
    embedding: Tensor,
    blocks: Vec<Block>,
    final_norm: Tensor,
}

#[derive(Debug, Clone)]
struct Block {
    norm: Tensor,
    enter: Tensor,
    convolution: (Tensor, Tensor),
    select: Tensor,
    step: (Tensor, Tensor),
    rate_log: Tensor,
    skip: Tensor,
    leave: Tensor,
}

impl StateSpaceDecoder {
    /// A decoder over named weights.
    ///
    /// # Errors
    /// [`ModelError::Config`], [`ModelError::MissingTensor`] or [`ModelError::TensorShape`].
    pub fn from_weights(config: &StateSpaceConfig, weights: &BTreeMap<String, Weight>) -> Result<Self, ModelError> {
        assemble(config, |name| {
            let Some(weight) = weights.get(name) else { return Ok(None) };
            let tensor = from_values(weight.to_f32(), (weight.rows(), weight.cols()));
            tensor.doing(|| format!("reading {name}")).map(Some)
        })
    }

    /// A decoder whose parameters are variables, matrices `(rows, cols)` and vectors `(n)`. Gradients flow to every one of them.
    ///
    /// # Errors
    /// As [`Self::from_weights`].
    pub fn trainable(config: &StateSpaceConfig, variables: &BTreeMap<String, Var>) -> Result<Self, ModelError> {
        assemble(config, |name| Ok(variables.get(name).map(|variable| variable.as_tensor().clone())))
    }

    /// Its shape.
    pub fn config(&self) -> &StateSpaceConfig {
        &self.config
    }

    /// What `batch` sequences have left behind before their first token: zeros.
    pub fn begin(&self, batch: usize) -> Carried {
        let StateSpaceConfig { channels, states, taps, layers, .. } = self.config;
        let block = CarriedBlock {
            inputs: vec![0.0; batch * (taps - 1) * channels],
            states: vec![0.0; batch * channels * states],
        };
        Carried { batch, tokens: 0, blocks: vec![block; layers] }
    }

    /// Reads the next tokens of every sequence and returns their final hidden states `(batch, tokens, hidden)`. `carried` moves on only
    /// when the whole pass succeeds; no gradient reaches the passes before.
    ///
    /// # Errors
    /// [`ModelError::Windows`], [`ModelError::Token`], [`ModelError::CarriedStates`], or [`ModelError::Compute`].
    pub fn read(&self, windows: &[&[u32]], carried: &mut Carried) -> Result<Tensor, ModelError> {
        let length = windows.first().map_or(0, |window| window.len());
        if length == 0 || windows.iter().any(|window| window.len() != length) {
            return Err(ModelError::Windows(windows.iter().map(|window| window.len()).collect()));
        }
        if carried.batch != windows.len() || carried.blocks.len() != self.blocks.len() {
            return Err(ModelError::CarriedStates { carried: carried.batch, given: windows.len() });
        }
        let ids = windows.concat();
        if let Some(&token) = ids.iter().find(|id| **id as usize >= self.config.vocab_size) {
            return Err(ModelError::Token { token, vocabulary: self.config.vocab_size });
        }
        let embedded = ops::embedding(&self.embedding, &ids);
        let embedded = embedded.and_then(|rows| rows.reshape((windows.len(), length, self.config.hidden_size)));
        let mut hidden = embedded.doing(|| "embedding".to_owned())?;
        let mut next = carried.clone();
        for (layer, (block, carried)) in self.blocks.iter().zip(&mut next.blocks).enumerate() {
            hidden = block.forward(&self.config, &hidden, carried).doing(|| format!("state space of block {layer}"))?;
        }
        next.tokens += length;
        *carried = next;
        ops::rms_norm(&hidden, &self.final_norm, self.config.norm_epsilon as f32)
            .doing(|| "final normalisation".to_owned())
    }

    /// Logits `(…, vocabulary)` of final hidden states `(…, hidden)`.
    ///
    /// # Errors
    /// [`ModelError::Compute`] when the shape does not fit.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor, ModelError> {
        ops::linear(hidden, &self.embedding, None).doing(|| "logits".to_owned())
    }
}

impl Block {
    fn forward(&self, config: &StateSpaceConfig, x: &Tensor, carried: &mut CarriedBlock) -> TensorResult<Tensor> {
        let StateSpaceConfig { channels, states, step_rank, .. } = *config;
        let part = |of: &Tensor, from: usize, width: usize| of.narrow(2, from, width)?.contiguous();
        let both = ops::linear(&ops::rms_norm(x, &self.norm, config.norm_epsilon as f32)?, &self.enter, None)?;
        let (inner, gate) = (part(&both, 0, channels)?, part(&both, channels, channels)?);
        let mixed = ops::causal_convolution(&inner, &self.convolution.0, &self.convolution.1, &mut carried.inputs)?;
        let mixed = ops::activate(Activation::Silu, &mixed, None)?;
        let selected = ops::linear(&mixed, &self.select, None)?;
        let step = ops::linear(&part(&selected, 0, step_rank)?, &self.step.0, Some(&self.step.1))?;
        let inputs = ScanInputs {
            x: &mixed,
            delta: &softplus(&step)?,
            rate: &self.rate_log.exp()?.neg()?,
            enter: &part(&selected, step_rank, states)?,
            read: &part(&selected, step_rank + states, states)?,
            skip: &self.skip,
        };
        let scanned = ops::selective_scan(inputs, &mut carried.states)?;
        ops::add(x, &ops::linear(&ops::activate(Activation::Silu, &gate, Some(&scanned))?, &self.leave, None)?)
    }
}

/// `ln(1 + e^x)`, written so that nothing overflows.
fn softplus(x: &Tensor) -> TensorResult<Tensor> {
    x.relu()? + ((x.abs()?.neg()?.exp()? + 1.0)?.log())?
}

fn assemble(
    config: &StateSpaceConfig,
    find: impl Fn(&str) -> Result<Option<Tensor>, ModelError>,
) -> Result<StateSpaceDecoder, ModelError> {
    config.check()?;
    let mut found = BTreeMap::new();
    for spec in config.tensors() {
        let tensor = find(&spec.name)?.ok_or_else(|| ModelError::MissingTensor { name: spec.name.clone() })?;
        let shape = match *tensor.dims() {
            [n] => (1, n),
            [rows, cols] => (rows, cols),
            ref other => (other.len(), 0),
        };
        if shape != (spec.rows, spec.cols) {
            return Err(ModelError::TensorShape { name: spec.name, found: shape, expected: (spec.rows, spec.cols) });
        }
        let tensor = if spec.vector { tensor.flatten_all() } else { Ok(tensor) };
        let tensor = tensor.doing(|| format!("reading {}", spec.name))?;
        found.insert(spec.name, tensor);
    }
    let take = |name: String| found.get(&name).cloned().ok_or(ModelError::MissingTensor { name });
    let blocks = (0..config.layers).map(|layer| {
        let own = |part: &str| take(format!("backbone.layers.{layer}.{part}"));
        Ok(Block {
            norm: own("norm.weight")?,
            enter: own("mixer.in_proj.weight")?,
            convolution: (own("mixer.conv1d.weight")?, own("mixer.conv1d.bias")?),
            select: own("mixer.x_proj.weight")?,
            step: (own("mixer.dt_proj.weight")?, own("mixer.dt_proj.bias")?),
            rate_log: own("mixer.A_log")?,
            skip: own("mixer.D")?,
            leave: own("mixer.out_proj.weight")?,
        })
    });
    Ok(StateSpaceDecoder {
        config: config.clone(),
        embedding: take("backbone.embeddings.weight".to_owned())?,
        blocks: blocks.collect::<Result<_, ModelError>>()?,
        final_norm: take("backbone.norm_f.weight".to_owned())?,
    })
}

#[cfg(test)]
#[path = "state_space/decoder_tests.rs"]
mod tests;
