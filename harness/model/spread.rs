//! How a decoder's attention is spread over what it reads.

use std::ops::Range;

pub use harness_kernels::attention::Spread;
use harness_kernels::attention::{Part, spread};

use candle_core::Tensor;

use crate::config::Projection;
use crate::decoder::Decoder;
use crate::error::{Context, ModelError};
use crate::linear::forward_together;
use crate::ops::{self, AttentionShape};

impl Decoder {
    /// The spread of attention in one block over `hidden (1, positions, hidden)`, whose sequence starts at position 0, for every `(head, position)`;
    /// `first` keys count as the first. Biases, rules of what queries look at and their choices count as in [`Decoder::block`]. Takes memory
    /// in proportion to the positions.
    ///
    /// # Errors
    /// Those of [`Decoder::block`], and [`ModelError::CacheBatch`] for several sequences.
    pub fn attention_spread(&self, layer: usize, hidden: &Tensor, first: usize) -> Result<Vec<Spread>, ModelError> {
        let doing = || format!("attention of block {layer}");
        let (sequences, length, _) = hidden.dims3().doing(doing)?;
        if sequences != 1 {
            return Err(ModelError::CacheBatch { cached: sequences, given: 1 });
        }
        let block = self.block_at(layer)?;
        let normal = block.attention_norm.forward(hidden).doing(doing)?;
        let maps = [block.map(Projection::Q)?, block.map(Projection::K)?];
        let [q, k] = forward_together(maps, &normal).doing(doing)?;
        let q = self.scaled_queries(q, 0).doing(doing)?;
        let shape = self.attention_of_block(layer, length)?;
        if let Some(looks) = self.looks(0..length)? {
            return ops::with_three(&q, &k, &k, |q, k, _| looks.spread(layer, [q, k], first, &shape)).doing(doing);
        }
        let tables = self.tables(length);
        let (q, k) = self.turned([q, k], tables.as_ref(), 0, false).doing(doing)?;
        ops::with_three(&q, &k, &k, |q, k, _| causal(q, k, first, &shape)).doing(doing)
    }
}

/// Of queries that see all keys up to their own.
fn causal(q: &[f32], k: &[f32], first: usize, shape: &AttentionShape) -> Vec<Spread> {
    let positions = q.len() / (shape.heads * shape.head_dim);
    let seen: Vec<Range<usize>> = (0..positions).map(|i| 0..i + 1).collect();
    let places: Vec<f32> = (0..positions).map(|position| position as f32).collect();
    let part = Part { q, k, v: k, seen: &seen, chosen: None, first_query: 0, places: (&places, &places) };
    spread(&[(part, first)], &shape.kernel(1, 0, 0, 0))
}
