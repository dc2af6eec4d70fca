//! Linear maps that multiply in bf16.

use std::sync::Arc;

use candle_core::{Result, Tensor};
use harness_kernels::bfloat16::{Bf16Linear, bf16_linear};
use harness_kernels::buffer::filled;

pub use harness_kernels::bfloat16::Bf16Matrix;

use crate::linear::{LinearOp, output_dims};
use crate::tensor::{from_values, with_values};
use crate::weight::Weight;

/// A matrix in bf16 whose inputs are rounded to bf16 as they come; products, sums and outputs are f32. Cloning shares the
/// weights.
#[derive(Debug, Clone)]
pub struct Bf16 {
    matrix: Arc<Bf16Matrix>,
    bias: Option<Arc<[f32]>>,
}

impl Bf16 {
    /// A map with an optional bias of `matrix.rows()` values, which stays in f32.
    ///
    /// # Panics
    /// When the bias has another length.
    pub fn new(matrix: Arc<Bf16Matrix>, bias: Option<Arc<[f32]>>) -> Self {
        assert!(bias.as_ref().is_none_or(|bias| bias.len() == matrix.rows()), "one bias a row");
        Self { matrix, bias }
    }

    /// The weights of another map, rounded; its bias is shared.
    pub fn of(map: &dyn LinearOp) -> Self {
        let weight = map.weight();
        Self::new(Arc::new(Bf16Matrix::new(weight.rows(), weight.cols(), weight.view())), map.bias())
    }

    fn view(&self) -> Bf16Linear<'_> {
        Bf16Linear { matrix: &self.matrix, bias: self.bias.as_deref() }
    }
}

impl LinearOp for Bf16 {
    fn rows(&self) -> usize {
        self.matrix.rows()
    }

    fn cols(&self) -> usize {
        self.matrix.cols()
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let dims = output_dims(x, self.rows(), self.cols())?;
        let m = x.elem_count() / self.cols();
        let values = with_values(x, |x| filled(m * self.rows(), |out| bf16_linear(x, m, &[self.view()], &mut [out])))?;
        from_values(values, dims)
    }

    fn weight(&self) -> Weight {
        Weight::from_bf16(self.rows(), self.cols(), self.matrix.values())
    }

    fn bias(&self) -> Option<Arc<[f32]>> {
        self.bias.clone()
    }

    fn stored_bytes(&self) -> usize {
        self.matrix.bytes()
    }

    fn bf16(&self) -> Option<Bf16Linear<'_>> {
        Some(self.view())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use half::bf16;

    use super::*;
    use crate::linear::{Dense, forward_together};
    use crate::weight::DType;

    #[test]
    fn maps_in_bf16_are_the_dense_product_of_rounded_weights_and_inputs() {
        let (rows, cols) = (50, 36);
        let values: Vec<f32> = (0..rows * cols).map(|i| (i as f32 * 0.37).sin()).collect();
        let bias: Arc<[f32]> = (0..rows).map(|i| i as f32 * 0.1).collect();
        let dense = Dense::new(Weight::from_f32(rows, cols, values.clone()), Some(bias));
        let rounded = Dense::new(Weight::rounded(rows, cols, &values, DType::Bf16), dense.bias());
        let map = Bf16::of(&dense);
        assert_eq!(map.weight().dtype(), DType::Bf16);
        assert_eq!(map.weight().to_f32(), rounded.weight().to_f32());
        let read = |t: &Tensor| with_values(t, <[f32]>::to_vec).unwrap();
        for m in [1, 5, 40] {
            let x: Vec<f32> = (0..m * cols).map(|i| (i as f32 * 0.11).cos()).collect();
            let near: Vec<f32> = x.iter().map(|value| bf16::from_f32(*value).to_f32()).collect();
            let found = map.forward(&from_values(x.clone(), (1, m, cols)).unwrap()).unwrap();
            assert_eq!(found.dims(), [1, m, rows]);
            let expected = read(&rounded.forward(&from_values(near, (1, m, cols)).unwrap()).unwrap());
            for (a, b) in read(&found).iter().zip(&expected) {
                // 38 additions of magnitudes that sum up to at most 36 + 5, each off by 2^-24 at most, in either product.
                assert!((a - b).abs() <= 2.0 * 38.0 * 41.0 / 16_777_216.0, "{a} for {b} of {m} rows");
            }
            let x = from_values(x, (1, m, cols)).unwrap();
            let [first, second] = forward_together([&map as &dyn LinearOp, &map], &x).unwrap();
            assert_eq!((read(&first), read(&second)), (read(&found), read(&found)));
        }
        assert!(map.forward(&from_values(vec![0.0; 8], (2, 4)).unwrap()).is_err());
    }
}
