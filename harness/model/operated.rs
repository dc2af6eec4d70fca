//! Linear maps that are multiplied by code of their own, on plain rows.

use std::fmt::Debug;
use std::sync::Arc;

use candle_core::{Result, Tensor};
use harness_kernels::add_bias;
use harness_kernels::buffer::filled;

use crate::linear::{LinearOp, output_dims};
use crate::tensor::{from_values, with_values};
use crate::weight::Weight;

/// How such a map multiplies, without its bias.
pub trait Multiply: Debug + Send + Sync {
    /// Writes every element of `out (m, rows)` for `x (m, cols)`.
    fn multiply(&self, x: &[f32], m: usize, out: &mut [f32]);

    /// The matrix that it stands for, `(rows, cols)`.
    fn values(&self) -> Vec<f32>;

    /// Bytes it holds.
    fn bytes(&self) -> usize;
}

/// A linear map that does more with its inputs than multiply them by a matrix.
#[derive(Debug)]
pub struct Operated {
    operator: Arc<dyn Multiply>,
    rows: usize,
    cols: usize,
    bias: Option<Arc<[f32]>>,
}

impl Operated {
    /// A map `(rows, cols)` with an optional bias of `rows` values.
    ///
    /// # Panics
    /// When the bias has another length.
    pub fn new(operator: Arc<dyn Multiply>, rows: usize, cols: usize, bias: Option<Arc<[f32]>>) -> Self {
        assert!(bias.as_ref().is_none_or(|bias| bias.len() == rows), "one bias a row");
        Self { operator, rows, cols, bias }
    }
}

impl LinearOp for Operated {
    fn rows(&self) -> usize {
        self.rows
    }

    fn cols(&self) -> usize {
        self.cols
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let dims = output_dims(x, self.rows, self.cols)?;
        let m = x.elem_count() / self.cols;
        let values = with_values(x, |x| {
            filled(m * self.rows, |out| {
                self.operator.multiply(x, m, out);
                if let Some(bias) = &self.bias {
                    add_bias(out, bias);
                }
            })
        })?;
        from_values(values, dims)
    }

    fn weight(&self) -> Weight {
        Weight::from_f32(self.rows, self.cols, self.operator.values())
    }

    fn bias(&self) -> Option<Arc<[f32]>> {
        self.bias.clone()
    }

    fn stored_bytes(&self) -> usize {
        self.operator.bytes()
    }
}
