//! Rows of a table.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::output;
use crate::tensor::{from_values, values, with_values};

/// The rows `ids` of `table (rows, width)`, as `(ids, width)`.
///
/// # Errors
/// When an id lies outside the table or the table is not contiguous f32 on the CPU.
pub fn embedding(table: &Tensor, ids: &[u32]) -> Result<Tensor> {
    let (rows, _) = table.dims2()?;
    if let Some(id) = ids.iter().find(|id| **id as usize >= rows) {
        bail!("row {id} of a table of {rows}");
    }
    table.apply_op1(Embedding { ids: ids.into() })
}

struct Embedding {
    ids: Arc<[u32]>,
}

impl CustomOp1 for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let table = values(storage, layout, self.name())?;
        let width = layout.dims()[1];
        let mut out = Vec::with_capacity(self.ids.len() * width);
        for &id in self.ids.iter() {
            out.extend_from_slice(&table[id as usize * width..(id as usize + 1) * width]);
        }
        Ok(output(out, (self.ids.len(), width)))
    }

    fn bwd(&self, table: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let width = table.dim(1)?;
        let mut gradient = vec![0.0; table.elem_count()];
        with_values(&grad.contiguous()?, |grad| {
            for (&id, row) in self.ids.iter().zip(grad.chunks_exact(width)) {
                for (sum, value) in gradient[id as usize * width..][..width].iter_mut().zip(row) {
                    *sum += value;
                }
            }
        })?;
        Ok(Some(from_values(gradient, table.shape())?))
    }
}
