//! Feed-forward non-linearities and sums.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail};
use harness_kernels::activation::{self, Activation as Kind};

use super::{output, with_three, with_two};
use crate::config::Activation;
use crate::tensor::{from_values, values};

/// `activation(x)`, or `activation(x) · up` when `up` is given.
///
/// # Errors
/// When shapes differ or a tensor is not contiguous f32 on the CPU.
pub fn activate(kind: Activation, x: &Tensor, up: Option<&Tensor>) -> Result<Tensor> {
    let kind = match kind {
        Activation::Silu => Kind::Silu,
        Activation::Gelu => Kind::Gelu,
        Activation::GeluTanh => Kind::GeluTanh,
    };
    match up {
        Some(up) if up.dims() != x.dims() => bail!("gate {:?} and up {:?} differ in shape", x.dims(), up.dims()),
        Some(up) => x.apply_op2(up, Gated(kind)),
        None => x.apply_op1(Plain(kind)),
    }
}

/// `a + b` of equal shapes, several threads at once.
///
/// # Errors
/// When shapes differ or a tensor is not contiguous f32 on the CPU.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.dims() != b.dims() {
        bail!("sum of {:?} and {:?}", a.dims(), b.dims());
    }
    a.apply_op2(b, Add)
}

struct Plain(Kind);

impl CustomOp1 for Plain {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(output(activation::activate(self.0, values(storage, layout, self.name())?, None), layout.shape()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (gradient, _) =
            with_two(x, &grad.contiguous()?, |x, grad| activation::activate_gradient(self.0, x, None, grad))?;
        Ok(Some(from_values(gradient, x.shape())?))
    }
}

struct Gated(Kind);

impl CustomOp2 for Gated {
    fn name(&self) -> &'static str {
        "gated-activation"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (gate, up) = (values(s1, l1, self.name())?, values(s2, l2, self.name())?);
        Ok(output(activation::activate(self.0, gate, Some(up)), l1.shape()))
    }

    fn bwd(&self, gate: &Tensor, up: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (gate_gradient, up_gradient) = with_three(gate, up, &grad.contiguous()?, |gate, up, grad| {
            activation::activate_gradient(self.0, gate, Some(up), grad)
        })?;
        let up_gradient = up_gradient.map(|values| from_values(values, up.shape())).transpose()?;
        Ok((Some(from_values(gate_gradient, gate.shape())?), up_gradient))
    }
}

struct Add;

impl CustomOp2 for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (a, b) = (values(s1, l1, self.name())?, values(s2, l2, self.name())?);
        Ok(output(harness_kernels::add(a, b), l1.shape()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(grad.clone()), Some(grad.clone())))
    }
}
