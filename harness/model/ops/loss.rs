//! Cross-entropy of logits.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use harness_kernels::logits;

use super::output;
use crate::tensor::{from_values, values, with_values};

/// Mean negative log-likelihood of `targets` under `logits (rows, vocabulary)`, in nats, as a scalar.
///
/// # Errors
/// When the number of targets is not the number of rows, a target lies outside the vocabulary, or the tensor is not
/// contiguous f32 on the CPU.
pub fn cross_entropy(logits: &Tensor, targets: &[u32]) -> Result<Tensor> {
    let (rows, vocabulary) = logits.dims2()?;
    if rows != targets.len() || rows == 0 {
        bail!("{} targets for {rows} rows of logits", targets.len());
    }
    if let Some(target) = targets.iter().find(|target| **target as usize >= vocabulary) {
        bail!("target {target} of a vocabulary of {vocabulary}");
    }
    logits.apply_op1(CrossEntropy { targets: targets.into() })
}

struct CrossEntropy {
    targets: Arc<[u32]>,
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let rows = values(storage, layout, self.name())?;
        Ok(output(vec![logits::cross_entropy(rows, &self.targets, layout.dims()[1]) as f32], ()))
    }

    fn bwd(&self, rows: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let vocabulary = rows.dim(1)?;
        let scale = grad.to_scalar::<f32>()? / self.targets.len() as f32;
        let gradient =
            with_values(rows, |rows| logits::cross_entropy_gradient(rows, &self.targets, vocabulary, scale))?;
        Ok(Some(from_values(gradient, rows.shape())?))
    }
}
