//! Parameters outside the linear maps: embeddings and norms, stored or under training.

use std::ops::Range;

use candle_core::{Result, Tensor, Var};
use harness_kernels::buffer::filled;

use crate::ops;
use crate::tensor::{from_values, with_values};
use crate::weight::Weight;

/// A matrix or vector, as stored or as a variable.
#[derive(Debug, Clone)]
pub(crate) enum Parameter {
    Stored(Weight),
    Trained(Var),
}

impl Parameter {
    /// The rows `ids`, `(ids, cols)` in f32. The ids must lie inside the table.
    pub fn rows(&self, ids: &[u32]) -> Result<Tensor> {
        match self {
            Self::Stored(weight) => {
                let cols = weight.cols();
                let view = weight.view();
                let values = filled(ids.len() * cols, |out| {
                    for (row, &id) in out.chunks_exact_mut(cols).zip(ids) {
                        view.row_to_f32(cols, id as usize, row);
                    }
                });
                from_values(values, (ids.len(), cols))
            }
            Self::Trained(table) => ops::embedding(table, ids),
        }
    }

    /// The values as they are now.
    pub fn weight(&self) -> Weight {
        match self {
            Self::Stored(weight) => weight.clone(),
            Self::Trained(variable) => {
                let values =
                    with_values(variable, <[f32]>::to_vec).unwrap_or_else(|_| vec![f32::NAN; variable.elem_count()]);
                let cols = variable.dims().last().copied().unwrap_or(1);
                Weight::from_f32(values.len() / cols, cols, values)
            }
        }
    }

    /// A vector as a tensor `(n)`.
    pub fn vector(&self) -> Result<Tensor> {
        match self {
            Self::Stored(weight) => from_values(weight.to_f32(), weight.rows() * weight.cols()),
            Self::Trained(variable) => Ok(variable.as_tensor().clone()),
        }
    }
}

/// A normalisation with its parameters.
#[derive(Debug, Clone)]
pub(crate) struct Norm {
    weight: Tensor,
    /// Present for layer normalisation.
    bias: Option<Tensor>,
    epsilon: f32,
    parameters: Vec<Parameter>,
}

impl Norm {
    pub fn new(weight: Parameter, bias: Option<Parameter>, epsilon: f64) -> Result<Self> {
        let (scale, shift) = (weight.vector()?, bias.as_ref().map(Parameter::vector).transpose()?);
        let parameters = std::iter::once(weight).chain(bias).collect();
        Ok(Self { weight: scale, bias: shift, epsilon: epsilon as f32, parameters })
    }

    /// Normalises the last dimension of `x`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match &self.bias {
            None => ops::rms_norm(x, &self.weight, self.epsilon),
            Some(bias) => ops::layer_norm(x, &self.weight, bias, self.epsilon),
        }
    }

    /// The places `part` of what [`Self::forward`] gives, `(…, part)`; no others are written.
    pub fn forward_part(&self, x: &Tensor, part: Range<usize>) -> Result<Tensor> {
        match &self.bias {
            None => ops::rms_norm_part(x, &self.weight, self.epsilon, part),
            Some(bias) => ops::layer_norm_part(x, &self.weight, bias, self.epsilon, part),
        }
    }

    /// The same normalisation with outputs divided by a factor each.
    pub fn divided(&self, factors: &[f32]) -> Result<Self> {
        self.with(|stored| {
            let values = stored.to_f32().iter().zip(factors).map(|(value, factor)| value / factor).collect();
            Weight::from_f32(stored.rows(), stored.cols(), values)
        })
    }

    /// A normalisation of other numbers.
    pub fn with(&self, change: impl Fn(&Weight) -> Weight) -> Result<Self> {
        let mut parameters = self.parameters.iter().map(|parameter| Parameter::Stored(change(&parameter.weight())));
        let Some(weight) = parameters.next() else { candle_core::bail!("a normalisation has a scale") };
        Self::new(weight, parameters.next(), f64::from(self.epsilon))
    }

    /// Scale and shift as they are now.
    pub fn weights(&self) -> impl Iterator<Item = Weight> + '_ {
        self.parameters.iter().map(Parameter::weight)
    }
}
