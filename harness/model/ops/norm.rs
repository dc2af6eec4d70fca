//! Normalisation of the last dimension.

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp2, CustomOp3, D, Layout, Result, Shape, Tensor, bail};
use harness_kernels::normalise;

use super::{output, with_three};
use crate::tensor::{from_values, values};

/// `x / sqrt(mean(x²) + epsilon) · weight` over the last dimension of `x (…, n)`; `weight` is `(n)`.
///
/// # Errors
/// When a tensor is not contiguous f32 on the CPU.
pub fn rms_norm(x: &Tensor, weight: &Tensor, epsilon: f32) -> Result<Tensor> {
    rms_norm_part(x, weight, epsilon, 0..weight.elem_count())
}

/// The places `part` of the last dimension of [`rms_norm`], `(…, part)`: no others are written, and the mean square is that of all.
///
/// # Errors
/// As [`rms_norm`], and for places that are not there.
pub fn rms_norm_part(x: &Tensor, weight: &Tensor, epsilon: f32, part: Range<usize>) -> Result<Tensor> {
    check(&part, weight)?;
    x.apply_op2(weight, RmsNorm { epsilon, part })
}

/// `(x − mean) / sqrt(variance + epsilon) · weight + bias` over the last dimension of `x (…, n)`.
///
/// # Errors
/// When a tensor is not contiguous f32 on the CPU.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, epsilon: f32) -> Result<Tensor> {
    layer_norm_part(x, weight, bias, epsilon, 0..weight.elem_count())
}

/// The places `part` of the last dimension of [`layer_norm`], `(…, part)`.
///
/// # Errors
/// As [`layer_norm`], and for places that are not there.
pub fn layer_norm_part(x: &Tensor, weight: &Tensor, bias: &Tensor, epsilon: f32, part: Range<usize>) -> Result<Tensor> {
    check(&part, weight)?;
    x.apply_op3(weight, bias, LayerNorm { epsilon, part })
}

fn check(part: &Range<usize>, weight: &Tensor) -> Result<()> {
    let count = weight.elem_count();
    if part.start >= part.end || part.end > count {
        bail!("a normalisation over {count} numbers cannot write the places {part:?} of them");
    }
    Ok(())
}

/// The shape of an input whose last dimension became `part`.
fn shape_of(x: &Layout, part: &Range<usize>) -> Vec<usize> {
    let mut dims = x.dims().to_vec();
    if let Some(last) = dims.last_mut() {
        *last = part.len();
    }
    dims
}

/// The gradient of all places, which is zero where nothing was written.
fn widened(grad: &Tensor, part: &Range<usize>, cols: usize) -> Result<Tensor> {
    if part.len() == cols {
        return grad.contiguous();
    }
    grad.pad_with_zeros(D::Minus1, part.start, cols - part.end)?.contiguous()
}

struct RmsNorm {
    epsilon: f32,
    part: Range<usize>,
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, weight) = (values(s1, l1, self.name())?, values(s2, l2, self.name())?);
        let out = normalise::rms_norm_part(x, weight, self.epsilon, self.part.clone());
        Ok(output(out, shape_of(l1, &self.part)))
    }

    fn bwd(&self, x: &Tensor, weight: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = with_three(x, weight, &widened(grad, &self.part, weight.elem_count())?, |x, weight, grad| {
            normalise::rms_norm_gradient(x, weight, self.epsilon, grad)
        })?;
        Ok((Some(from_values(gradient.input, x.shape())?), Some(from_values(gradient.weight, weight.shape())?)))
    }
}

struct LayerNorm {
    epsilon: f32,
    part: Range<usize>,
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight) = (values(s1, l1, self.name())?, values(s2, l2, self.name())?);
        let bias = values(s3, l3, self.name())?;
        let out = normalise::layer_norm_part(x, weight, Some(bias), self.epsilon, self.part.clone());
        Ok(output(out, shape_of(l1, &self.part)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = with_three(x, weight, &widened(grad, &self.part, weight.elem_count())?, |x, weight, grad| {
            normalise::layer_norm_gradient(x, weight, self.epsilon, grad)
        })?;
        Ok((
            Some(from_values(gradient.input, x.shape())?),
            Some(from_values(gradient.weight, weight.shape())?),
            Some(from_values(gradient.bias, bias.shape())?),
        ))
    }
}
