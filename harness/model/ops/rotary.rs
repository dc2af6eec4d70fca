//! Rotary position embeddings of queries and keys.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use harness_kernels::rotary;

use super::output;
use crate::rope::RopeTables;
use crate::tensor::{from_values, values, with_values};

/// Rotates `x (batch, sequence, heads · head_dim)`, whose first token of each sequence stands at position `start`.
///
/// # Errors
/// When the tensor is not contiguous f32 on the CPU or the tables are too short.
pub fn rotate(x: &Tensor, tables: &Arc<RopeTables>, start: usize, head_dim: usize) -> Result<Tensor> {
    x.apply_op1(Rotate { tables: Arc::clone(tables), start, head_dim })
}

struct Rotate {
    tables: Arc<RopeTables>,
    start: usize,
    head_dim: usize,
}

impl Rotate {
    fn run(&self, x: &[f32], dims: &[usize], inverse: bool) -> Result<Vec<f32>> {
        let [.., sequence, width] = *dims else { bail!("rotation needs (batch, sequence, width), not {dims:?}") };
        let half = self.tables.rotary / 2;
        let range = self.start * half..(self.start + sequence) * half;
        let (Some(cos), Some(sin)) = (self.tables.cos.get(range.clone()), self.tables.sin.get(range)) else {
            bail!("rotary tables end before position {}", self.start + sequence)
        };
        let rotation = rotary::Rotation {
            cos,
            sin,
            rotary: self.tables.rotary,
            head_dim: self.head_dim,
            heads: width / self.head_dim,
            sequence,
            pairing: self.tables.pairing,
            inverse,
        };
        Ok(rotary::rotate(x, &rotation))
    }
}

impl CustomOp1 for Rotate {
    fn name(&self) -> &'static str {
        "rotate"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(output(self.run(values(storage, layout, self.name())?, layout.dims(), false)?, layout.shape()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        // A rotation's transpose is its inverse.
        let gradient = with_values(&grad.contiguous()?, |grad| self.run(grad, x.dims(), true))??;
        Ok(Some(from_values(gradient, x.shape())?))
    }
}
