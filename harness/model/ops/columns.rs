//! Some numbers of every row, copied together.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use harness_kernels::buffer::filled;

use super::output;
use crate::tensor::{from_values, values, with_values};

/// The numbers at `places` of the last dimension of `x (…, n)`, in their order, `(…, places)`.
///
/// # Errors
/// When a place is not there, there are none, or the tensor is not contiguous f32 on the CPU.
pub fn columns(x: &Tensor, places: &Arc<[usize]>) -> Result<Tensor> {
    let cols = x.dims().last().copied().unwrap_or(0);
    match places.iter().max() {
        Some(most) if *most < cols => x.apply_op1(Columns { places: Arc::clone(places) }),
        Some(most) => bail!("place {most} of rows of {cols}"),
        None => bail!("no places of rows of {cols}"),
    }
}

struct Columns {
    places: Arc<[usize]>,
}

impl CustomOp1 for Columns {
    fn name(&self) -> &'static str {
        "columns"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = values(storage, layout, self.name())?;
        let mut dims = layout.dims().to_vec();
        let Some(last) = dims.last_mut() else { bail!("a number has no columns") };
        let cols = std::mem::replace(last, self.places.len());
        let copied = filled(x.len() / cols * self.places.len(), |out| {
            for (out, row) in out.chunks_exact_mut(self.places.len()).zip(x.chunks_exact(cols)) {
                out.iter_mut().zip(self.places.iter()).for_each(|(out, place)| *out = row[*place]);
            }
        });
        Ok(output(copied, dims))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let cols = x.dims().last().copied().unwrap_or(1);
        let mut gradient = vec![0.0; x.elem_count()];
        with_values(&grad.contiguous()?, |grad| {
            for (row, grad) in gradient.chunks_exact_mut(cols).zip(grad.chunks_exact(self.places.len())) {
                self.places.iter().zip(grad).for_each(|(place, value)| row[*place] += value);
            }
        })?;
        Ok(Some(from_values(gradient, x.shape())?))
    }
}
