//! Blocks that are selective state spaces: no attention, no positions, and a memory that does not grow with the text.
//!
//! A block is `x + out(scan(silu(convolution(in_x))) · silu(in_z))` of the normalised `x`; steps, input and output maps of the scan come
//! from the token (Gu and Dao, 2023). [`Carried`] is all that a text leaves behind; a [`crate::cache::KvCache`] of such a decoder holds it.
//! Passing it to the next chunk reads a long text as one pass; in training, chunk after chunk from the states of the chunk before instead
//! of from zero is what LongSSM asks for (2024).
//!
//! # Difference from the reference
//! Sums along the residual stream and states are f32 throughout; only the convolution and the steps have a bias.

mod carried;

use std::sync::Arc;

use candle_core::{Result as TensorResult, Tensor};

pub use carried::Carried;
pub(crate) use carried::Sizes;

use crate::cache::KvCache;
use crate::config::{Activation, StateSpaceShape};
use crate::decoder::{Decoder, kept};
use crate::error::{Context, ModelError};
use crate::linear::LinearOp;
use crate::ops::{self, ScanInputs};
use crate::parameter::{Norm, Parameter};
use crate::weight::Weight;

/// All blocks of a decoder.
#[derive(Debug)]
pub(crate) struct StateSpaces {
    pub shape: StateSpaceShape,
    pub channels: usize,
    pub blocks: Vec<ScanBlock>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct ScanBlock {
    pub norm: Norm,
    /// To the channels and their gates `(2 · channels, hidden)`.
    pub enter: Arc<dyn LinearOp>,
    /// To what the steps are made of, how inputs enter and how states are read `(step_rank + 2 · states, channels)`.
    pub select: Arc<dyn LinearOp>,
    /// To the steps, with their bias `(channels, step_rank)`.
    pub step: Arc<dyn LinearOp>,
    /// Back to the residual stream `(hidden, channels)`.
    pub leave: Arc<dyn LinearOp>,
    /// Weights `(channels, taps)` and biases `(channels)`.
    pub convolution: [Tensor; 2],
    /// Logarithms of the negated rates `(channels, states)`.
    pub rate_log: Tensor,
    /// What passes by `(channels)`.
    pub skip: Tensor,
    /// All of these but the normalisation, as they are stored.
    pub parameters: Vec<Parameter>,
}

impl StateSpaces {
    /// What a sequence leaves behind.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            layers: self.blocks.len(),
            inputs: (self.shape.taps - 1) * self.channels,
            states: self.channels * self.shape.states,
        }
    }

    /// Moves the next tokens of every sequence, `hidden (batch, tokens, hidden)`, through all blocks. `carried` moves on only when the
    /// whole pass succeeds; no gradient reaches the passes before.
    ///
    /// # Errors
    /// [`ModelError::CarriedStates`] or [`ModelError::Compute`].
    pub fn forward(&self, hidden: &Tensor, carried: &mut Carried) -> Result<Tensor, ModelError> {
        let (batch, length, _) = hidden.dims3().doing(|| "reading hidden states".to_owned())?;
        if carried.batch() != batch || carried.sizes() != self.sizes() {
            return Err(ModelError::CarriedStates { carried: carried.batch(), given: batch });
        }
        let (mut hidden, mut next) = (hidden.clone(), carried.clone());
        for (layer, (block, [inputs, states])) in self.blocks.iter().zip(next.blocks_mut()).enumerate() {
            let moved = block.forward(self.channels, self.shape, &hidden, inputs, states);
            hidden = moved.doing(|| format!("state space of block {layer}"))?;
        }
        next.advance(length);
        *carried = next;
        Ok(hidden)
    }

    /// Every weight as it is stored.
    pub fn weights(&self) -> impl Iterator<Item = Weight> + '_ {
        self.blocks.iter().flat_map(|block| block.norm.weights().chain(block.parameters.iter().map(Parameter::weight)))
    }
}

impl ScanBlock {
    fn forward(
        &self,
        channels: usize,
        StateSpaceShape { states, step_rank, .. }: StateSpaceShape,
        x: &Tensor,
        last_inputs: &mut [f32],
        last_states: &mut [f32],
    ) -> TensorResult<Tensor> {
        let part = |of: &Tensor, from: usize, width: usize| of.narrow(2, from, width)?.contiguous();
        let both = self.enter.forward(&self.norm.forward(x)?)?;
        let (inner, gate) = (part(&both, 0, channels)?, part(&both, channels, channels)?);
        let [weight, bias] = &self.convolution;
        let mixed = ops::causal_convolution(&inner, weight, bias, last_inputs)?;
        let mixed = ops::activate(Activation::Silu, &mixed, None)?;
        let selected = self.select.forward(&mixed)?;
        let step = self.step.forward(&part(&selected, 0, step_rank)?)?;
        let inputs = ScanInputs {
            x: &mixed,
            delta: &softplus(&step)?,
            rate: &self.rate_log.exp()?.neg()?,
            enter: &part(&selected, step_rank, states)?,
            read: &part(&selected, step_rank + states, states)?,
            skip: &self.skip,
        };
        let scanned = ops::selective_scan(inputs, last_states)?;
        ops::add(x, &self.leave.forward(&ops::activate(Activation::Silu, &gate, Some(&scanned))?)?)
    }
}

/// `ln(1 + e^x)`, written so that nothing overflows.
fn softplus(x: &Tensor) -> TensorResult<Tensor> {
    x.relu()? + ((x.abs()?.neg()?.exp()? + 1.0)?.log())?
}

impl Decoder {
    /// Whether states take the place of keys and values: memory that does not grow, and that no text goes back in.
    pub fn has_states(&self) -> bool {
        self.state_space.is_some()
    }

    /// Embedded windows `(batch, tokens, hidden)` moved through blocks of state spaces behind what the cache holds, or from their
    /// beginning; only the last `keep` positions are given. `None` where blocks attend.
    pub(crate) fn scan(
        &self,
        hidden: &Tensor,
        cache: Option<&mut KvCache>,
        keep: std::ops::Range<usize>,
    ) -> Option<Result<Tensor, ModelError>> {
        let spaces = self.state_space.as_ref()?;
        let batch = hidden.dims().first().copied().unwrap_or(0);
        let mut from_nothing = Carried::begin(spaces.sizes(), batch);
        let carried = match cache.map(KvCache::states_mut) {
            Some(Ok(carried)) => carried,
            Some(Err(error)) => return Some(Err(error)),
            None => &mut from_nothing,
        };
        Some(spaces.forward(hidden, carried).and_then(|hidden| {
            if keep.len() == hidden.dims()[1] {
                return Ok(hidden);
            }
            kept(&hidden, keep).doing(|| "keeping positions".to_owned())
        }))
    }
}

#[cfg(test)]
#[path = "state_space/decoder_tests.rs"]
mod tests;
