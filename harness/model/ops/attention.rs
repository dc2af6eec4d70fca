//! Causal attention without a query-by-key matrix.

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use harness_kernels::attention as kernel;

use super::{output, with_three, with_two};
use crate::tensor::{from_values, values};

/// What attention knows besides its inputs.
#[derive(Debug, Clone)]
pub struct AttentionShape {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Dimensions of a head.
    pub head_dim: usize,
    /// Factor of the scores.
    pub scale: f32,
    /// One linear-bias slope a head.
    pub slopes: Option<Arc<[f32]>>,
    /// Biases by the distance of key and query.
    pub biases: Option<ScoreBiases>,
}

/// Biases of scores by the distance of a key before its query.
#[derive(Debug, Clone)]
pub enum ScoreBiases {
    /// `(heads, distances)`.
    Table(Arc<[f32]>),
    /// Functions that also know where the query stands.
    Progressive(Arc<kernel::Progressive>),
}

impl ScoreBiases {
    fn kernel(&self) -> kernel::Biases<'_> {
        match self {
            Self::Table(biases) => kernel::Biases::Table(biases),
            Self::Progressive(net) => kernel::Biases::Progressive(net),
        }
    }
}

impl AttentionShape {
    /// The kernel's shape for `keys` keys a sequence, `stride` elements apart from sequence to sequence.
    pub(crate) fn kernel(&self, batch: usize, queries: usize, keys: usize, stride: usize) -> kernel::Shape<'_> {
        kernel::Shape {
            batch,
            queries,
            keys,
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            scale: self.scale,
            slopes: self.slopes.as_deref(),
            biases: self.biases.as_ref().map(ScoreBiases::kernel),
            key_batch_stride: stride,
        }
    }
}

/// Attention of `q (batch, queries, heads · head_dim)` over `k` and `v (batch, keys, kv_heads · head_dim)`; the last
/// query stands at the last key.
///
/// # Errors
/// When shapes do not fit or a tensor is not contiguous f32 on the CPU.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, shape: &AttentionShape) -> Result<Tensor> {
    let dims = dims(q, k, v, shape)?;
    q.apply_op3(k, v, Attention { shape: shape.clone(), dims, log_sums: OnceLock::new() })
}

/// As [`attention`], of whole sequences, with biases `(heads, keys)` by distance that have gradients.
///
/// # Errors
/// Those of [`attention`], and when the biases are of other sizes.
pub fn attention_with_biases(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    biases: &Tensor,
    shape: &AttentionShape,
) -> Result<Tensor> {
    let dims = dims(q, k, v, shape)?;
    if biases.dims() != [shape.heads, dims.2] {
        bail!("biases {:?} for {} heads and {} keys", biases.dims(), shape.heads, dims.2);
    }
    // Three inputs at most: keys and values go as one.
    let pair = Tensor::cat(&[k.flatten_all()?, v.flatten_all()?], 0)?;
    let shape = AttentionShape { biases: None, ..shape.clone() };
    q.apply_op3(&pair, biases, Biased(Attention { shape, dims, log_sums: OnceLock::new() }))
}

/// As [`attention`], of whole sequences, with biases `(heads, queries, keys)` that have gradients. Holds a query-by-key matrix: for what
/// no table by distance can say, of the short texts of training.
///
/// # Errors
/// Those of [`attention`], and when the biases are of other sizes.
pub fn attention_with_matrix(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    biases: &Tensor,
    shape: &AttentionShape,
) -> Result<Tensor> {
    let (batch, queries, keys, _) = dims(q, k, v, shape)?;
    let (heads, group) = (shape.heads, shape.heads / shape.kv_heads);
    let of_keys = |x: &Tensor| {
        let x = x.reshape((batch, keys, shape.kv_heads, 1, shape.head_dim))?;
        x.repeat((1, 1, 1, group, 1))?.reshape((batch, keys, heads, shape.head_dim))?.transpose(1, 2)?.contiguous()
    };
    let q = q.reshape((batch, queries, heads, shape.head_dim))?.transpose(1, 2)?.contiguous()?;
    let future =
        (0..queries * keys).map(|at| if at % keys + queries > keys + at / keys { f32::NEG_INFINITY } else { 0.0 });
    let scores = (q.matmul(&of_keys(k)?.t()?)? * f64::from(shape.scale))?.broadcast_add(biases)?;
    let scores = scores.broadcast_add(&from_values(future.collect(), (queries, keys))?)?;
    let weights = scores.broadcast_sub(&scores.max_keepdim(3)?.detach())?.exp()?;
    let weights = weights.broadcast_div(&weights.sum_keepdim(3)?)?;
    weights.matmul(&of_keys(v)?)?.transpose(1, 2)?.contiguous()?.reshape((batch, queries, heads * shape.head_dim))
}

/// Batch, queries, keys, and the elements of the keys of a sequence.
fn dims(q: &Tensor, k: &Tensor, v: &Tensor, shape: &AttentionShape) -> Result<(usize, usize, usize, usize)> {
    let (batch, queries, width) = q.dims3()?;
    let (key_batch, keys, key_width) = k.dims3()?;
    if v.dims() != k.dims()
        || batch != key_batch
        || queries > keys
        || width != shape.heads * shape.head_dim
        || key_width != shape.kv_heads * shape.head_dim
    {
        bail!("attention of {:?} over keys {:?} and values {:?} with {shape:?}", q.dims(), k.dims(), v.dims());
    }
    Ok((batch, queries, keys, keys * key_width))
}

struct Attention {
    shape: AttentionShape,
    dims: (usize, usize, usize, usize),
    /// Kept from the forward pass for the backward pass.
    log_sums: OnceLock<Vec<f32>>,
}

impl Attention {
    fn kernel(&self) -> kernel::Shape<'_> {
        let (batch, queries, keys, stride) = self.dims;
        self.shape.kernel(batch, queries, keys, stride)
    }
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "attention"
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
        let (q, k) = (values(s1, l1, self.name())?, values(s2, l2, self.name())?);
        let v = values(s3, l3, self.name())?;
        let (out, log_sums) = kernel::attention(q, k, v, &self.kernel());
        self.log_sums.get_or_init(|| log_sums);
        Ok(output(out, l1.shape()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        result: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let Some(log_sums) = self.log_sums.get() else { bail!("attention's gradient was asked for before its value") };
        let [dq, dk, dv, _] = with_three(q, k, v, |q, k, v| {
            with_two(result, &grad.contiguous()?, |result, grad| {
                kernel::attention_gradient(q, k, v, result, log_sums, grad, &self.kernel())
            })
        })??;
        Ok((Some(from_values(dq, q.shape())?), Some(from_values(dk, k.shape())?), Some(from_values(dv, v.shape())?)))
    }
}

/// Attention of queries, of keys and values as one, and of biases by distance.
struct Biased(Attention);

impl CustomOp3 for Biased {
    fn name(&self) -> &'static str {
        "attention with biases"
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
        let q = values(s1, l1, self.name())?;
        let (k, v) = values(s2, l2, self.name())?.split_at(l2.shape().elem_count() / 2);
        let biases = values(s3, l3, self.name())?;
        let (out, log_sums) = kernel::attention(
            q,
            k,
            v,
            &kernel::Shape { biases: Some(kernel::Biases::Table(biases)), ..self.0.kernel() },
        );
        self.0.log_sums.get_or_init(|| log_sums);
        Ok(output(out, l1.shape()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        pair: &Tensor,
        biases: &Tensor,
        result: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let Some(log_sums) = self.0.log_sums.get() else {
            bail!("attention's gradient was asked for before its value")
        };
        let [dq, mut dk, dv, db] = with_three(q, pair, biases, |q, pair, biases| {
            let (k, v) = pair.split_at(pair.len() / 2);
            let shape = kernel::Shape { biases: Some(kernel::Biases::Table(biases)), ..self.0.kernel() };
            with_two(result, &grad.contiguous()?, |result, grad| {
                kernel::attention_gradient(q, k, v, result, log_sums, grad, &shape)
            })
        })??;
        dk.extend(dv);
        let of = |values, like: &Tensor| from_values(values, like.shape()).map(Some);
        Ok((of(dq, q)?, of(dk, pair)?, of(db, biases)?))
    }
}
