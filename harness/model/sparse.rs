//! Linear maps that hold their zeros no more.

use std::sync::Arc;

use candle_core::{Result, Tensor};
use harness_kernels::buffer::filled;
pub use harness_kernels::sparse::{Format, SparseError, SparseMatrix};
use harness_kernels::{Linear, MatrixRef};

use crate::linear::{LinearOp, output_dims, product};
use crate::tensor::{from_values, with_values};
use crate::weight::Weight;

/// From so many rows on, products read each weight often enough that spreading the matrix out first costs less.
const MANY_ROWS: usize = 16;

/// A pruned matrix, multiplied as it lies for few rows. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Sparse {
    matrix: Arc<SparseMatrix>,
    bias: Option<Arc<[f32]>>,
}

impl Sparse {
    /// A map of a matrix in the format that takes the fewest bytes; `None` where the matrix itself takes no more.
    pub fn of(map: &dyn LinearOp) -> Option<Self> {
        let weight = map.weight();
        let (rows, cols, values) = (weight.rows(), weight.cols(), weight.to_f32());
        let formats = [Format::TwoOfFour, Format::Bitmap, Format::Csr];
        let made = formats.into_iter().filter_map(|format| SparseMatrix::of(&values, rows, cols, format).ok());
        let least = made.min_by_key(SparseMatrix::bytes)?;
        (least.bytes() < map.stored_bytes()).then(|| Self { matrix: Arc::new(least), bias: map.bias() })
    }

    /// How it is held.
    pub fn format(&self) -> Format {
        self.matrix.format()
    }
}

impl LinearOp for Sparse {
    fn rows(&self) -> usize {
        self.matrix.rows()
    }

    fn cols(&self) -> usize {
        self.matrix.cols()
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (rows, cols) = (self.rows(), self.cols());
        let m = x.elem_count() / cols;
        if m >= MANY_ROWS {
            let dense = self.matrix.dense();
            let weight = MatrixRef::F32(&dense);
            return product(x, Linear { weight, bias: self.bias.as_deref(), rows, cols });
        }
        let dims = output_dims(x, rows, cols)?;
        let values = with_values(x, |x| filled(m * rows, |out| self.matrix.linear(x, m, self.bias.as_deref(), out)))?;
        from_values(values, dims)
    }

    fn weight(&self) -> Weight {
        Weight::from_f32(self.rows(), self.cols(), self.matrix.dense())
    }

    fn bias(&self) -> Option<Arc<[f32]>> {
        self.bias.clone()
    }

    fn stored_bytes(&self) -> usize {
        self.matrix.bytes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::linear::Dense;

    fn dense(rows: usize, cols: usize, kept: impl Fn(usize) -> bool) -> Dense {
        let value = |at: usize| if kept(at) { (at as f32 * 0.37).sin() + 1.5 } else { 0.0 };
        let bias: Arc<[f32]> = (0..rows).map(|at| at as f32 * 0.1).collect();
        Dense::new(Weight::from_f32(rows, cols, (0..rows * cols).map(value).collect()), Some(bias))
    }

    #[test]
    fn products_are_those_of_the_whole_matrix_in_fewer_bytes() {
        let (rows, cols) = (40, 64);
        for (map, format) in [
            (dense(rows, cols, |at| at % 4 < 2), Format::TwoOfFour),
            (dense(rows, cols, |at| (at * 7) % 10 < 3), Format::Bitmap),
            (dense(rows, cols, |at| at % 61 == 0), Format::Csr),
        ] {
            let sparse = Sparse::of(&map).unwrap();
            assert_eq!(sparse.format(), format);
            assert!(sparse.stored_bytes() < map.stored_bytes());
            assert_eq!(sparse.weight().to_f32(), map.weight().to_f32());
            for m in [1, 5, 16, 33] {
                let x = from_values((0..m * cols).map(|at| (at as f32 * 0.11).cos()).collect(), (m, cols)).unwrap();
                let [a, b] = [map.forward(&x), sparse.forward(&x)].map(|y| y.unwrap().to_vec2::<f32>().unwrap());
                let apart = a.concat().iter().zip(b.concat()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(apart < 1e-4, "{format:?} of {m} rows: {apart}");
            }
        }
    }

    #[test]
    fn what_would_not_become_smaller_stays() {
        assert!(Sparse::of(&dense(8, 16, |_| true)).is_none());
    }
}
