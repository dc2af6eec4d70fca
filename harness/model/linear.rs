//! Linear maps: the seam that pruned, quantised and low-rank weights stand behind.

use std::fmt::Debug;
use std::sync::Arc;

use candle_core::{Result, Tensor, Var, bail};
use harness_kernels::bfloat16::{Bf16Linear, bf16_linear};
use harness_kernels::buffer::{filled, filled_each};
use harness_kernels::packed::{PackedLinear, packed_linear};
use harness_kernels::{Linear, add_bias, linear_few, matmul_nt};

use crate::factored::Factored;
use crate::ops;
use crate::packed::Packed;
use crate::tensor::{from_values, with_values};
use crate::weight::Weight;

/// Below this many rows several maps of one input run in one parallel region.
const FEW_ROWS: usize = 8;

/// A linear map `x (…, cols) → (…, rows)`.
pub trait LinearOp: Debug + Send + Sync {
    /// Output dimension.
    fn rows(&self) -> usize;

    /// Input dimension.
    fn cols(&self) -> usize;

    /// Applies the map, bias included.
    ///
    /// # Errors
    /// When the last dimension of `x` is not [`Self::cols`] or the tensor is not contiguous f32 on the CPU.
    fn forward(&self, x: &Tensor) -> Result<Tensor>;

    /// The matrix this map stands for, dequantised where it is packed.
    fn weight(&self) -> Weight;

    /// Added to every output row.
    fn bias(&self) -> Option<Arc<[f32]>>;

    /// Bytes the weight takes as stored, without the bias.
    fn stored_bytes(&self) -> usize;

    /// Numbers the weight is held as, without the bias.
    fn parameters(&self) -> usize {
        self.rows() * self.cols()
    }

    /// The map as factors, when it is held so.
    fn factored(&self) -> Option<&Factored> {
        None
    }

    /// The map as a plain matrix, when it is one: lets maps of one input share a parallel region.
    fn dense(&self) -> Option<Linear<'_>> {
        None
    }

    /// The map as one of packed codes, when it is one.
    fn as_packed(&self) -> Option<&Packed> {
        None
    }

    /// The map as packed codes, when it is one: maps of one input share a parallel region and round it once.
    fn packed(&self) -> Option<PackedLinear<'_>> {
        None
    }

    /// The map as a matrix in bf16, when it multiplies in bf16: maps of one input share a parallel region and round it
    /// once.
    fn bf16(&self) -> Option<Bf16Linear<'_>> {
        None
    }
}

/// A stored matrix, multiplied in f32.
#[derive(Debug, Clone)]
pub struct Dense {
    weight: Weight,
    bias: Option<Arc<[f32]>>,
}

impl Dense {
    /// A map with an optional bias of `weight.rows()` values.
    ///
    /// # Panics
    /// When the bias has another length.
    pub fn new(weight: Weight, bias: Option<Arc<[f32]>>) -> Self {
        assert!(bias.as_ref().is_none_or(|bias| bias.len() == weight.rows()), "one bias a row");
        Self { weight, bias }
    }

    fn view(&self) -> Linear<'_> {
        Linear {
            weight: self.weight.view(),
            bias: self.bias.as_deref(),
            rows: self.weight.rows(),
            cols: self.weight.cols(),
        }
    }
}

pub(crate) fn output_dims(x: &Tensor, rows: usize, cols: usize) -> Result<Vec<usize>> {
    let mut dims = x.dims().to_vec();
    if dims.pop() != Some(cols) {
        bail!("a {rows}x{cols} map cannot take {:?}", x.dims());
    }
    dims.push(rows);
    Ok(dims)
}

/// The map of a plain matrix, of any number of rows.
pub(crate) fn product(x: &Tensor, Linear { weight, bias, rows, cols }: Linear<'_>) -> Result<Tensor> {
    let dims = output_dims(x, rows, cols)?;
    let m = x.elem_count() / cols;
    let values = with_values(x, |x| {
        filled(m * rows, |out| {
            matmul_nt(x, weight, out, m, cols, rows);
            if let Some(bias) = bias {
                add_bias(out, bias);
            }
        })
    })?;
    from_values(values, dims)
}

impl LinearOp for Dense {
    fn rows(&self) -> usize {
        self.weight.rows()
    }

    fn cols(&self) -> usize {
        self.weight.cols()
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        product(x, self.view())
    }

    fn weight(&self) -> Weight {
        self.weight.clone()
    }

    fn bias(&self) -> Option<Arc<[f32]>> {
        self.bias.clone()
    }

    fn stored_bytes(&self) -> usize {
        self.weight.stored_bytes()
    }

    fn dense(&self) -> Option<Linear<'_>> {
        Some(self.view())
    }
}

/// A matrix under training, with gradients of weight and bias.
#[derive(Debug, Clone)]
pub struct Trainable {
    weight: Var,
    bias: Option<Var>,
    shape: (usize, usize),
}

impl Trainable {
    /// A map with `weight (rows, cols)` and a bias of `rows` values.
    ///
    /// # Errors
    /// When the weight is no matrix.
    pub fn new(weight: Var, bias: Option<Var>) -> Result<Self> {
        let shape = weight.dims2()?;
        Ok(Self { weight, bias, shape })
    }
}

impl LinearOp for Trainable {
    fn rows(&self) -> usize {
        self.shape.0
    }

    fn cols(&self) -> usize {
        self.shape.1
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::linear(x, self.weight.as_tensor(), self.bias.as_ref().map(Var::as_tensor))
    }

    fn weight(&self) -> Weight {
        // A variable is created contiguous and on the CPU; should that ever change, NaN shows it.
        let count = self.shape.0 * self.shape.1;
        let values = with_values(&self.weight, <[f32]>::to_vec).unwrap_or_else(|_| vec![f32::NAN; count]);
        Weight::from_f32(self.shape.0, self.shape.1, values)
    }

    fn bias(&self) -> Option<Arc<[f32]>> {
        self.bias.as_ref().and_then(|bias| with_values(bias, |values| Arc::from(values)).ok())
    }

    fn stored_bytes(&self) -> usize {
        self.shape.0 * self.shape.1 * size_of::<f32>()
    }
}

/// Applies several maps to one input `(…, cols)`; few rows of plain matrices share one parallel region, so that a
/// single token waits once for all of them. Packed maps and maps in bf16 share one whatever the rows.
///
/// # Errors
/// Those of [`LinearOp::forward`].
pub fn forward_together<const N: usize>(maps: [&dyn LinearOp; N], x: &Tensor) -> Result<[Tensor; N]> {
    let cols = maps.first().map_or(1, |map| map.cols());
    let m = x.elem_count() / cols.max(1);
    let lengths = maps.map(|map| m * map.rows());
    let dense: Vec<Linear<'_>> = maps.iter().filter_map(|map| map.dense()).collect();
    let packed: Vec<PackedLinear<'_>> = maps.iter().filter_map(|map| map.packed()).collect();
    let brain: Vec<Bf16Linear<'_>> = maps.iter().filter_map(|map| map.bf16()).collect();
    let outputs = if maps.iter().any(|map| map.cols() != cols) {
        None
    } else if packed.len() == N {
        output_dims(x, maps.first().map_or(0, |map| map.rows()), cols)?;
        Some(with_values(x, |x| filled_each(lengths, |mut outs| packed_linear(x, m, &packed, &mut outs)))?)
    } else if brain.len() == N {
        output_dims(x, maps.first().map_or(0, |map| map.rows()), cols)?;
        Some(with_values(x, |x| filled_each(lengths, |mut outs| bf16_linear(x, m, &brain, &mut outs)))?)
    } else if dense.len() == N && m < FEW_ROWS {
        output_dims(x, maps.first().map_or(0, |map| map.rows()), cols)?;
        Some(with_values(x, |x| filled_each(lengths, |mut outs| linear_few(x, m, &dense, &mut outs)))?)
    } else {
        None
    };
    let tensors: Vec<Tensor> = match outputs {
        Some(outputs) => outputs
            .into_iter()
            .zip(maps)
            .map(|(values, map)| from_values(values, output_dims(x, map.rows(), cols)?))
            .collect::<Result<_>>()?,
        None => maps.iter().map(|map| map.forward(x)).collect::<Result<_>>()?,
    };
    tensors.try_into().map_err(|_| candle_core::Error::Msg("one output a map".into()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::weight::DType;

    #[test]
    fn maps_together_equal_maps_alone_in_every_storage() {
        let values: Vec<f32> = (0..24 * 20).map(|i| (i as f32 * 0.3).sin()).collect();
        let bias: Arc<[f32]> = (0..24).map(|i| i as f32).collect();
        for dtype in [DType::F32, DType::F16, DType::Bf16] {
            let a = Dense::new(Weight::rounded(24, 20, &values, dtype), Some(bias.clone()));
            let b = Dense::new(Weight::from_f32(7, 20, values[..140].to_vec()), None);
            for rows in [1, 3, 12] {
                let x = from_values((0..rows * 20).map(|i| (i as f32).cos()).collect(), (1, rows, 20)).unwrap();
                let [p, q] = forward_together([&a, &b], &x).unwrap();
                assert_eq!(p.dims(), [1, rows, 24]);
                let read = |t: &Tensor| with_values(t, <[f32]>::to_vec).unwrap();
                assert_eq!(read(&p), read(&a.forward(&x).unwrap()));
                assert_eq!(read(&q), read(&b.forward(&x).unwrap()));
                let (weight, x) = (a.weight().to_f32(), read(&x));
                let exact: f32 = (0..20).map(|c| weight[5 * 20 + c] * x[c]).sum::<f32>() + 5.0;
                assert!((read(&p)[5] - exact).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn a_map_refuses_other_widths() {
        let map = Dense::new(Weight::from_f32(2, 3, vec![0.0; 6]), None);
        let x = from_values(vec![0.0; 8], (2, 4)).unwrap();
        assert!(map.forward(&x).is_err());
    }
}
