//! A softmax that goes on from block to block of keys.

use super::{QUERIES, soften};
use crate::vector::{Vector, WIDTH};

/// Sums of values of a block of queries so far, with what they are to be divided by.
pub(super) struct Online {
    /// `(rows, head_dim)`, weighted by `e^(score − max)`.
    pub output: Vec<f32>,
    max: [f32; QUERIES],
    sum: [f32; QUERIES],
    head_dim: usize,
    /// Whether anything was added.
    pub begun: bool,
}

impl Online {
    pub fn new(rows: usize, head_dim: usize) -> Self {
        Self {
            output: vec![0.0; rows * head_dim],
            max: [f32::NEG_INFINITY; QUERIES],
            sum: [0.0; QUERIES],
            head_dim,
            begun: false,
        }
    }

    /// Turns the first `count` products of a row into weights of values, and brings what was added before to the same scale.
    #[inline(always)]
    pub unsafe fn soften<V: Vector>(&mut self, row: usize, scores: &mut [f32], count: usize, scale: f32) {
        let d = self.head_dim;
        // SAFETY: as the caller's.
        let (largest, total) = unsafe { soften::<V>(scores, count, scale, self.max[row]) };
        if largest > self.max[row] {
            let correction = if self.begun { (self.max[row] - largest).exp() } else { 0.0 };
            self.sum[row] *= correction;
            if self.begun {
                for value in &mut self.output[row * d..(row + 1) * d] {
                    *value *= correction;
                }
            }
            self.max[row] = largest;
        }
        self.sum[row] += total;
    }

    /// Adds a weighted value to a row, after [`Self::soften`].
    #[inline(always)]
    pub unsafe fn add<V: Vector>(&mut self, row: usize, weight: f32, value: &[f32]) {
        let d = self.head_dim;
        let (output, value) = (&mut self.output[row * d..(row + 1) * d], &value[..d]);
        // SAFETY: both slices have as many elements.
        unsafe {
            let weight = V::splat(weight);
            for at in (0..d).step_by(WIDTH) {
                let lanes = (d - at).min(WIDTH);
                let sum = V::load_partial(output.as_ptr().add(at), lanes, 0.0);
                let value = V::load_partial(value.as_ptr().add(at), lanes, 0.0);
                weight.fma(value, sum).store_partial(output.as_mut_ptr().add(at), lanes);
            }
        }
    }

    /// The log-sum-exp of the scores of a row.
    #[inline(always)]
    pub fn log_sum(&self, row: usize) -> f32 {
        self.max[row] + self.sum[row].ln()
    }

    /// Writes the output of a row.
    #[inline(always)]
    pub fn finish(&self, row: usize, out: &mut [f32]) {
        let share = 1.0 / self.sum[row];
        for (out, value) in out.iter_mut().zip(&self.output[row * self.head_dim..(row + 1) * self.head_dim]) {
            *out = value * share;
        }
    }
}
