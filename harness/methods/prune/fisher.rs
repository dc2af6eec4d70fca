//! The inverse of the empirical Fisher information in blocks of consecutive weights, gradient by gradient, in `f64`.

use rayon::prelude::*;

/// Blocks that one task handles; fixed, so that results do not depend on the number of threads.
const CHUNK: usize = 64;

/// `(λ I + (1/m) Σ g gᵀ)⁻¹` of every block of a flattened matrix; the last block may be shorter.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockFisher {
    weights: usize,
    block: usize,
    samples: f64,
    /// A block's inverse takes `block²` numbers, row-major, also where it is shorter.
    inverse: Vec<f64>,
}

impl BlockFisher {
    /// Without a gradient: `I / λ`. `samples` is how many gradients will be added.
    pub fn new(weights: usize, block: usize, damp: f64, samples: usize) -> Self {
        let blocks = weights.div_ceil(block);
        let mut inverse = vec![0.0; blocks * block * block];
        for one in inverse.chunks_exact_mut(block * block) {
            one.iter_mut().step_by(block + 1).for_each(|entry| *entry = 1.0 / damp);
        }
        Self { weights, block, samples: samples as f64, inverse }
    }

    /// Adds a gradient: `F⁻¹ −= (F⁻¹g)(F⁻¹g)ᵀ / (m + gᵀF⁻¹g)` (Sherman and Morrison).
    pub fn add(&mut self, gradient: &[f64]) {
        let (block, samples) = (self.block, self.samples);
        let chunks = self.inverse.par_chunks_mut(CHUNK * block * block).zip(gradient.par_chunks(CHUNK * block));
        chunks.for_each(|(inverses, gradients)| {
            let mut along = vec![0.0; block];
            for (inverse, gradient) in inverses.chunks_exact_mut(block * block).zip(gradients.chunks(block)) {
                for (along, row) in along.iter_mut().zip(inverse.chunks_exact(block)) {
                    *along = row.iter().zip(gradient).map(|(f, g)| f * g).sum();
                }
                let scale = samples + gradient.iter().zip(&along).map(|(g, a)| g * a).sum::<f64>();
                for (row, &left) in inverse.chunks_exact_mut(block).zip(&along) {
                    row.iter_mut().zip(&along).for_each(|(entry, right)| *entry -= left * right / scale);
                }
            }
        });
    }

    /// `[F⁻¹]_ii` of every weight.
    pub fn diagonal(&self) -> Vec<f64> {
        let blocks = self.inverse.chunks_exact(self.block * self.block);
        blocks.flat_map(|inverse| inverse.iter().step_by(self.block + 1)).take(self.weights).copied().collect()
    }

    /// `F⁻¹ v`.
    pub fn times(&self, vector: &[f64]) -> Vec<f64> {
        let block = self.block;
        let parts = self.inverse.par_chunks_exact(block * block).zip(vector.par_chunks(block));
        let products = parts.flat_map_iter(|(inverse, part)| {
            let row = |row: &[f64]| row.iter().zip(part).map(|(f, v)| f * v).sum::<f64>();
            inverse.chunks_exact(block).take(part.len()).map(row).collect::<Vec<f64>>()
        });
        products.collect()
    }

    /// For every group of `width` consecutive weights `([F⁻¹]_QQ)⁻¹ w_Q`, one number a weight. `width` divides the block and
    /// the number of weights. `None` where a group's part of the inverse is singular.
    pub fn solved(&self, weights: &[f64], width: usize) -> Option<Vec<f64>> {
        let block = self.block;
        let groups = weights.chunks_exact(width).enumerate().map(|(group, own)| {
            let (start, inside) = (group * width / block, group * width % block);
            let inverse = &self.inverse[start * block * block..];
            let mut system: Vec<f64> = Vec::with_capacity(width * (width + 1));
            for (i, value) in own.iter().enumerate() {
                system.extend_from_slice(&inverse[(inside + i) * block + inside..][..width]);
                system.push(*value);
            }
            solve(system, width)
        });
        Some(groups.collect::<Option<Vec<Vec<f64>>>>()?.concat())
    }
}

/// Solves a positive definite system of rows `[A | b]` by elimination.
fn solve(mut system: Vec<f64>, size: usize) -> Option<Vec<f64>> {
    let wide = size + 1;
    for pivot in 0..size {
        let (above, below) = system.split_at_mut((pivot + 1) * wide);
        let row = &above[pivot * wide..];
        if row[pivot] <= 0.0 || !row[pivot].is_finite() {
            return None;
        }
        for other in below.chunks_exact_mut(wide) {
            let factor = other[pivot] / row[pivot];
            other[pivot..].iter_mut().zip(&row[pivot..]).for_each(|(a, b)| *a -= factor * b);
        }
    }
    let mut found = vec![0.0; size];
    for i in (0..size).rev() {
        let row = &system[i * wide..(i + 1) * wide];
        let known: f64 = (i + 1..size).map(|j| row[j] * found[j]).sum();
        found[i] = (row[size] - known) / row[i];
    }
    found.iter().all(|value| value.is_finite()).then_some(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use faer::Mat;
    use faer::linalg::solvers::{DenseSolveCore, Llt};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn two_gradients_of_two_weights() {
        let mut fisher = BlockFisher::new(2, 2, 0.1, 2);
        fisher.add(&[1.0, 0.5]);
        fisher.add(&[0.0, 2.0]);
        let expected = [1.748_527, -0.196_464, -0.196_464, 0.471_513];
        assert!(fisher.inverse.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{:?}", fisher.inverse);
        let scores: Vec<f64> = [0.4, 0.3].iter().zip(fisher.diagonal()).map(|(w, f)| w * w / (2.0 * f)).collect();
        assert!((scores[0] - 0.045_753).abs() < 1e-6 && (scores[1] - 0.095_438).abs() < 1e-6);
        let moved = fisher.times(&[0.4 / fisher.diagonal()[0], 0.0]);
        assert!((0.4 - moved[0]).abs() < 1e-12 && (0.3 - moved[1] - 0.344_944).abs() < 1e-6);
    }

    proptest! {
        #[test]
        fn the_streaming_inverse_is_the_direct_one(
            gradients in prop::collection::vec(prop::collection::vec(-2.0..2.0f64, 10), 1..12),
            damp in 0.01..1.0f64,
        ) {
            let mut fisher = BlockFisher::new(10, 4, damp, gradients.len());
            for gradient in &gradients {
                fisher.add(gradient);
            }
            for (start, width) in [(0, 4), (4, 4), (8, 2)] {
                let direct = Mat::from_fn(width, width, |i, j| {
                    let sum: f64 = gradients.iter().map(|g| g[start + i] * g[start + j]).sum();
                    sum / gradients.len() as f64 + if i == j { damp } else { 0.0 }
                });
                let direct = Llt::new(direct.as_ref(), faer::Side::Lower).unwrap().inverse();
                for (i, j) in (0..width).flat_map(|i| (0..width).map(move |j| (i, j))) {
                    let found = fisher.inverse[start * 4 + i * 4 + j];
                    prop_assert!((found - direct[(i, j)]).abs() < 1e-6 * direct[(i, i)].abs().max(1.0));
                }
            }
            // A group's solution, multiplied by its part of the inverse, gives its weights back.
            let weights: Vec<f64> = (0..8).map(|i| f64::from(i) - 3.5).collect();
            let solved = fisher.solved(&weights, 2).unwrap();
            let mut alone = vec![0.0; 10];
            alone[2..4].copy_from_slice(&solved[2..4]);
            let back = fisher.times(&alone);
            prop_assert!((back[2] - weights[2]).abs() < 1e-9 && (back[3] - weights[3]).abs() < 1e-9);
        }
    }
}
