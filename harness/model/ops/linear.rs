//! Linear maps with gradients of the input, the weight and the bias.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};
use harness_kernels::{MatrixRef, add_bias, buffer::filled, matmul_nn, matmul_nt, matmul_tn, sum_rows};

use super::{output, with_two};
use crate::tensor::{from_values, values, with_values};

/// `x (…, in) · weightᵀ + bias`, with `weight (out, in)` and `bias (out)`.
///
/// # Errors
/// When shapes do not fit or a tensor is not contiguous f32 on the CPU.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (rows, cols) = weight.dims2()?;
    if x.dims().last() != Some(&cols) || bias.is_some_and(|bias| bias.elem_count() != rows) {
        bail!("a {rows}x{cols} map of {:?} with bias {:?}", x.dims(), bias.map(Tensor::dims));
    }
    match bias {
        None => x.apply_op2(weight, Linear),
        Some(bias) => x.apply_op3(weight, bias, Linear),
    }
}

struct Linear;

fn forward(x: &[f32], x_layout: &Layout, weight: &[f32], bias: Option<&[f32]>) -> (CpuStorage, Shape) {
    let mut dims = x_layout.dims().to_vec();
    let cols = dims.pop().unwrap_or(1);
    let (m, rows) = (x.len() / cols, weight.len() / cols);
    dims.push(rows);
    let out = filled(m * rows, |out| {
        matmul_nt(x, MatrixRef::F32(weight), out, m, cols, rows);
        if let Some(bias) = bias {
            add_bias(out, bias);
        }
    });
    output(out, dims)
}

fn backward(x: &Tensor, weight: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
    let (rows, cols) = weight.dims2()?;
    let m = x.elem_count() / cols;
    // Inputs that no variable leads to need no gradient.
    let input = if x.track_op() {
        let values = with_two(grad, weight, |grad, weight| {
            filled(m * cols, |out| matmul_nn(grad, weight, out, m, rows, cols, false))
        })?;
        Some(from_values(values, x.shape())?)
    } else {
        None
    };
    let parameter = if weight.track_op() {
        let values =
            with_two(grad, x, |grad, x| filled(rows * cols, |out| matmul_tn(grad, x, out, rows, m, cols, false)))?;
        Some(from_values(values, weight.shape())?)
    } else {
        None
    };
    Ok((input, parameter))
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(forward(values(s1, l1, "linear")?, l1, values(s2, l2, "linear")?, None))
    }

    fn bwd(&self, x: &Tensor, weight: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        backward(x, weight, &grad.contiguous()?)
    }
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
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
        let bias = values(s3, l3, "linear")?;
        Ok(forward(values(s1, l1, "linear")?, l1, values(s2, l2, "linear")?, Some(bias)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let (input, parameter) = backward(x, weight, &grad)?;
        let sums = with_values(&grad, |grad| sum_rows(grad, bias.elem_count()))?;
        Ok((input, parameter, Some(from_values(sums, bias.shape())?)))
    }
}
