//! Fused operations with gradients, each a candle custom op over the slices of `harness-kernels`.
//!
//! All take contiguous f32 CPU tensors. Inference and training run the same operations; without a variable among the
//! inputs candle keeps no graph.

mod attention;
mod columns;
mod elementwise;
mod embedding;
mod groups;
mod linear;
mod loss;
mod norm;
mod rotary;
mod state_space;

pub use attention::{AttentionShape, ScoreBiases, attention, attention_with_biases, attention_with_matrix};
pub use columns::columns;
pub use elementwise::{activate, add};
pub use embedding::embedding;
pub use groups::{Groups, attention_in_groups};
pub use linear::linear;
pub use loss::cross_entropy;
pub use norm::{layer_norm, layer_norm_part, rms_norm, rms_norm_part};
pub(crate) use rotary::Turns;
pub use rotary::{Places, rotate, rotate_by};
pub use state_space::{ScanInputs, causal_convolution, selective_scan};

use candle_core::{CpuStorage, Result, Shape, Tensor};

use crate::tensor::with_values;

/// The result of a custom operation's forward pass.
fn output(values: Vec<f32>, shape: impl Into<Shape>) -> (CpuStorage, Shape) {
    (CpuStorage::F32(values), shape.into())
}

/// Calls `read` with the values of two tensors.
fn with_two<R>(a: &Tensor, b: &Tensor, read: impl FnOnce(&[f32], &[f32]) -> R) -> Result<R> {
    with_values(a, |a| with_values(b, |b| read(a, b)))?
}

/// Calls `read` with the values of three tensors.
pub(crate) fn with_three<R>(
    a: &Tensor,
    b: &Tensor,
    c: &Tensor,
    read: impl FnOnce(&[f32], &[f32], &[f32]) -> R,
) -> Result<R> {
    with_two(a, b, |a, b| with_values(c, |c| read(a, b, c)))?
}

#[cfg(test)]
mod mod_tests;
