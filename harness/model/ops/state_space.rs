//! The scan of a selective state space and the short convolution before it. States are slices, not tensors: no gradient leaves a pass
//! through them.

use std::sync::{Arc, Mutex};

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use harness_kernels::state_space::{Convolution, Inputs, Scan};

use super::{output, with_three, with_two};
use crate::tensor::{from_values, values, with_values};

/// Tensors that a scan reads; shapes as in [`Inputs`].
#[derive(Debug, Clone, Copy)]
pub struct ScanInputs<'a> {
    /// Inputs `(batch, length, channels)`.
    pub x: &'a Tensor,
    /// Positive steps, of the same shape.
    pub delta: &'a Tensor,
    /// Negative rates `(channels, states)`.
    pub rate: &'a Tensor,
    /// How inputs enter `(batch, length, states)`.
    pub enter: &'a Tensor,
    /// How states are read, of the same shape.
    pub read: &'a Tensor,
    /// What passes by `(channels)`.
    pub skip: &'a Tensor,
}

/// Outputs `(batch, length, channels)` of a selective scan from the states `carried (batch, channels, states)`, which become those after
/// the last token.
///
/// # Errors
/// When shapes do not fit or a tensor is not contiguous f32 on the CPU.
pub fn selective_scan(inputs: ScanInputs, carried: &mut [f32]) -> Result<Tensor> {
    let ScanInputs { x, delta, rate, enter, read, skip } = inputs;
    let (batch, length, channels) = x.dims3()?;
    let states = rate.dims2()?.1;
    let shape = Scan { batch, length, channels, states };
    if delta.dims() != x.dims()
        || rate.dims() != [channels, states]
        || enter.dims() != [batch, length, states]
        || read.dims() != enter.dims()
        || skip.dims() != [channels]
        || carried.len() != shape.carried()
    {
        bail!(
            "scan of {:?} by {:?}, {:?}, {:?} from {} states",
            x.dims(),
            rate.dims(),
            enter.dims(),
            read.dims(),
            carried.len()
        );
    }
    // Three inputs at most: what has one shape goes as one.
    let pair = |a: &Tensor, b: &Tensor| Tensor::cat(&[a.flatten_all()?, b.flatten_all()?], 0);
    let after = Mutex::new(Vec::new());
    let op = SelectiveScan { shape, before: carried.to_vec(), after: Arc::new(after) };
    let kept = Arc::clone(&op.after);
    let out = pair(x, delta)?.apply_op3(&pair(enter, read)?, &pair(rate, skip)?, op)?;
    leave(&kept, carried)?;
    Ok(out)
}

/// Outputs of a causal convolution of each channel of `x (batch, length, channels)` by `weight (channels, taps)` and `bias (channels)`,
/// behind the inputs `carried (batch, taps − 1, channels)`, which become the last ones.
///
/// # Errors
/// When shapes do not fit or a tensor is not contiguous f32 on the CPU.
pub fn causal_convolution(x: &Tensor, weight: &Tensor, bias: &Tensor, carried: &mut [f32]) -> Result<Tensor> {
    let (batch, length, channels) = x.dims3()?;
    let (rows, taps) = weight.dims2()?;
    let shape = Convolution { batch, length, channels, taps };
    if rows != channels || taps == 0 || bias.dims() != [channels] || carried.len() != shape.carried() {
        bail!("convolution of {:?} by {:?} behind {} inputs", x.dims(), weight.dims(), carried.len());
    }
    let op = CausalConvolution { shape, before: carried.to_vec(), after: Arc::new(Mutex::new(Vec::new())) };
    let kept = Arc::clone(&op.after);
    let out = x.apply_op3(weight, bias, op)?;
    leave(&kept, carried)?;
    Ok(out)
}

/// What a forward pass left behind.
type After = Arc<Mutex<Vec<f32>>>;

fn leave(after: &After, carried: &mut [f32]) -> Result<()> {
    let Ok(after) = after.lock() else { bail!("another thread failed in the middle of a scan") };
    carried.copy_from_slice(&after);
    Ok(())
}

fn keep(after: &After, carried: Vec<f32>) -> Result<()> {
    let Ok(mut after) = after.lock() else { bail!("another thread failed in the middle of a scan") };
    *after = carried;
    Ok(())
}

struct SelectiveScan {
    shape: Scan,
    before: Vec<f32>,
    after: After,
}

fn inputs<'a>(wide: &'a [f32], narrow: &'a [f32], rates: &'a [f32], channels: usize) -> Inputs<'a> {
    let (x, delta) = wide.split_at(wide.len() / 2);
    let (enter, read) = narrow.split_at(narrow.len() / 2);
    let (rate, skip) = rates.split_at(rates.len() - channels);
    Inputs { x, delta, rate, enter, read, skip }
}

impl CustomOp3 for SelectiveScan {
    fn name(&self) -> &'static str {
        "selective scan"
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
        let Scan { batch, length, channels, .. } = self.shape;
        let (wide, narrow) = (values(s1, l1, self.name())?, values(s2, l2, self.name())?);
        let mut carried = self.before.clone();
        let out = self.shape.forward(&inputs(wide, narrow, values(s3, l3, self.name())?, channels), &mut carried);
        keep(&self.after, carried)?;
        Ok(output(out, (batch, length, channels)))
    }

    fn bwd(
        &self,
        wide: &Tensor,
        narrow: &Tensor,
        rates: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let found = with_three(wide, narrow, rates, |wide, narrow, rates| {
            let inputs = inputs(wide, narrow, rates, self.shape.channels);
            with_values(&grad.contiguous()?, |grad| self.shape.gradient(&inputs, &self.before, grad))
        })??;
        let of = |a: Vec<f32>, b: Vec<f32>, like: &Tensor| from_values([a, b].concat(), like.shape()).map(Some);
        Ok((of(found.x, found.delta, wide)?, of(found.enter, found.read, narrow)?, of(found.rate, found.skip, rates)?))
    }
}

struct CausalConvolution {
    shape: Convolution,
    before: Vec<f32>,
    after: After,
}

impl CustomOp3 for CausalConvolution {
    fn name(&self) -> &'static str {
        "causal convolution"
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
        let mut carried = self.before.clone();
        let out = self.shape.forward(x, weight, values(s3, l3, self.name())?, &mut carried);
        keep(&self.after, carried)?;
        Ok(output(out, l1.shape()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let found = with_two(x, weight, |x, weight| {
            with_values(&grad.contiguous()?, |grad| self.shape.gradient(x, weight, &self.before, grad))
        })??;
        let of = |values, like: &Tensor| from_values(values, like.shape()).map(Some);
        Ok((of(found.x, x)?, of(found.weight, weight)?, of(found.bias, bias)?))
    }
}
