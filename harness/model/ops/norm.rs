//! Normalisation of the last dimension.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use harness_kernels::normalise;

use super::{output, with_three};
use crate::tensor::{from_values, values};

/// `x / sqrt(mean(x²) + epsilon) · weight` over the last dimension of `x (…, n)`; `weight` is `(n)`.
///
/// # Errors
/// When a tensor is not contiguous f32 on the CPU.
pub fn rms_norm(x: &Tensor, weight: &Tensor, epsilon: f32) -> Result<Tensor> {
    x.apply_op2(weight, RmsNorm { epsilon })
}

/// `(x − mean) / sqrt(variance + epsilon) · weight + bias` over the last dimension of `x (…, n)`.
///
/// # Errors
/// When a tensor is not contiguous f32 on the CPU.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, epsilon: f32) -> Result<Tensor> {
    x.apply_op3(weight, bias, LayerNorm { epsilon })
}

struct RmsNorm {
    epsilon: f32,
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, weight) = (values(s1, l1, self.name())?, values(s2, l2, self.name())?);
        Ok(output(normalise::rms_norm(x, weight, self.epsilon), l1.shape()))
    }

    fn bwd(&self, x: &Tensor, weight: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = with_three(x, weight, &grad.contiguous()?, |x, weight, grad| {
            normalise::rms_norm_gradient(x, weight, self.epsilon, grad)
        })?;
        Ok((Some(from_values(gradient.input, x.shape())?), Some(from_values(gradient.weight, weight.shape())?)))
    }
}

struct LayerNorm {
    epsilon: f32,
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
        Ok(output(normalise::layer_norm(x, weight, Some(bias), self.epsilon), l1.shape()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = with_three(x, weight, &grad.contiguous()?, |x, weight, grad| {
            normalise::layer_norm_gradient(x, weight, self.epsilon, grad)
        })?;
        Ok((
            Some(from_values(gradient.input, x.shape())?),
            Some(from_values(gradient.weight, weight.shape())?),
            Some(from_values(gradient.bias, bias.shape())?),
        ))
    }
}
