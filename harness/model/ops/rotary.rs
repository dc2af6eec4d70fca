//! Rotary position embeddings of queries and keys.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail};
use harness_kernels::rotary::{self, Pairing};

use super::{output, with_three};
use crate::rope::RopeTables;
use crate::tensor::{from_values, values, with_values};

/// Rotates `x (batch, sequence, heads · head_dim)`, whose first token of each sequence stands at position `start`.
///
/// # Errors
/// When the tensor is not contiguous f32 on the CPU or the tables are too short.
pub fn rotate(x: &Tensor, tables: &Arc<RopeTables>, start: usize, head_dim: usize) -> Result<Tensor> {
    x.apply_op1(Rotate { tables: Arc::clone(tables), start, head_dim })
}

struct Rotate {
    tables: Arc<RopeTables>,
    start: usize,
    head_dim: usize,
}

impl Rotate {
    fn run(&self, x: &[f32], dims: &[usize], inverse: bool) -> Result<Vec<f32>> {
        let [.., sequence, width] = *dims else { bail!("rotation needs (batch, sequence, width), not {dims:?}") };
        let half = self.tables.rotary / 2;
        let range = self.start * half..(self.start + sequence) * half;
        let (Some(cos), Some(sin)) = (self.tables.cos.get(range.clone()), self.tables.sin.get(range)) else {
            bail!("rotary tables end before position {}", self.start + sequence)
        };
        let rotation = rotary::Rotation {
            cos,
            sin,
            rotary: self.tables.rotary,
            head_dim: self.head_dim,
            heads: width / self.head_dim,
            sequence,
            pairing: self.tables.pairing,
            inverse,
        };
        Ok(rotary::rotate(x, &rotation))
    }
}

impl CustomOp1 for Rotate {
    fn name(&self) -> &'static str {
        "rotate"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(output(self.run(values(storage, layout, self.name())?, layout.dims(), false)?, layout.shape()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        // A rotation's transpose is its inverse.
        let gradient = with_values(&grad.contiguous()?, |grad| self.run(grad, x.dims(), true))??;
        Ok(Some(from_values(gradient, x.shape())?))
    }
}

/// How tokens at places of their own are turned.
#[derive(Debug, Clone)]
pub(crate) enum Turns {
    /// By a row of tables each.
    Tables(Arc<RopeTables>),
    /// By frequencies `(pairs)` that have gradients.
    Learned(Tensor, Arc<Places>),
}

impl Turns {
    /// Queries or keys `(batch, sequence, width)` turned to the places.
    pub(crate) fn turn(&self, x: &Tensor, head_dim: usize) -> Result<Tensor> {
        let (batch, sequence, width) = x.dims3()?;
        let all = x.reshape((1, batch * sequence, width))?;
        let turned = match self {
            Self::Tables(tables) => rotate(&all, tables, 0, head_dim)?,
            Self::Learned(frequencies, places) => rotate_by(&all, frequencies, places, head_dim)?,
        };
        turned.reshape((batch, sequence, width))
    }
}

/// Where tokens stand, and which dimensions turn together.
#[derive(Debug, Clone)]
pub struct Places {
    /// One place for each token.
    pub places: Arc<[f32]>,
    /// Pairing of dimensions.
    pub pairing: Pairing,
}

/// Rotates `x (1, tokens, heads · head_dim)` by each token's place times `frequencies (pairs)`, with gradients of both.
///
/// # Errors
/// When a tensor is not contiguous f32 on the CPU or there are not as many places as tokens.
pub fn rotate_by(x: &Tensor, frequencies: &Tensor, places: &Arc<Places>, head_dim: usize) -> Result<Tensor> {
    if x.dims().get(1) != Some(&places.places.len()) {
        bail!("{} places for tokens of {:?}", places.places.len(), x.dims());
    }
    x.apply_op2(frequencies, RotateBy { places: Arc::clone(places), head_dim })
}

struct RotateBy {
    places: Arc<Places>,
    head_dim: usize,
}

impl RotateBy {
    fn run(&self, x: &[f32], frequencies: &[f32], width: usize, inverse: bool) -> Vec<f32> {
        let angles = || self.places.places.iter().flat_map(|place| frequencies.iter().map(move |f| place * f));
        let (cos, sin): (Vec<f32>, Vec<f32>) =
            angles().map(|angle| (f64::from(angle).cos() as f32, f64::from(angle).sin() as f32)).unzip();
        let rotation = rotary::Rotation {
            cos: &cos,
            sin: &sin,
            rotary: 2 * frequencies.len(),
            head_dim: self.head_dim,
            heads: width / self.head_dim,
            sequence: self.places.places.len(),
            pairing: self.places.pairing,
            inverse,
        };
        rotary::rotate(x, &rotation)
    }

    /// Turning a pair further moves it at a right angle to itself: `∂y₀ = −y₁`, `∂y₁ = y₀`.
    fn slope(&self, y: &[f32], grad: &[f32], pairs: usize, width: usize) -> Vec<f32> {
        let mut slopes = vec![0.0; pairs];
        let tokens = y.chunks_exact(width).zip(grad.chunks_exact(width)).zip(self.places.places.iter());
        for ((y, grad), place) in tokens {
            let mut of_token = vec![0.0; pairs];
            for (y, grad) in y.chunks_exact(self.head_dim).zip(grad.chunks_exact(self.head_dim)) {
                for (i, slope) in of_token.iter_mut().enumerate() {
                    let (a, b) = match self.places.pairing {
                        Pairing::HalfSplit => (i, i + pairs),
                        Pairing::Interleaved => (2 * i, 2 * i + 1),
                    };
                    *slope += f64::from(grad[b] * y[a] - grad[a] * y[b]);
                }
            }
            slopes.iter_mut().zip(of_token).for_each(|(sum, slope)| *sum += f64::from(*place) * slope);
        }
        slopes.into_iter().map(|slope: f64| slope as f32).collect()
    }
}

impl CustomOp2 for RotateBy {
    fn name(&self) -> &'static str {
        "rotate by frequencies"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, frequencies) = (values(s1, l1, self.name())?, values(s2, l2, self.name())?);
        let width = l1.dims().last().copied().unwrap_or(1);
        Ok(output(self.run(x, frequencies, width, false), l1.shape()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        frequencies: &Tensor,
        result: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (pairs, width) = (frequencies.elem_count(), x.dims().last().copied().unwrap_or(1));
        let [dx, slope] = with_three(frequencies, result, &grad.contiguous()?, |frequencies, y, grad| {
            [self.run(grad, frequencies, width, true), self.slope(y, grad, pairs, width)]
        })?;
        Ok((Some(from_values(dx, x.shape())?), Some(from_values(slope, frequencies.shape())?)))
    }
}
