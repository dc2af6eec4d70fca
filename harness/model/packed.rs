//! Linear maps whose weights stay packed codes.

use std::sync::Arc;

use candle_core::{Result, Tensor};
use harness_kernels::buffer::filled;
use harness_kernels::packed::packed_linear;

pub use harness_kernels::packed::{
    Activations, Bits, Levels, Meaning, PackError, PackedLinear, PackedMatrix, Quantized, Unpacked, rounded_activations,
};

use crate::linear::{LinearOp, output_dims};
use crate::tensor::{from_values, with_values};
use crate::weight::Weight;

/// A matrix of 4- or 8-bit codes, multiplied as it lies packed. Cloning shares the codes.
#[derive(Debug, Clone)]
pub struct Packed {
    matrix: Arc<PackedMatrix>,
    bias: Option<Arc<[f32]>>,
    activations: Activations,
}

impl Packed {
    /// A map with an optional bias of `matrix.rows()` values.
    ///
    /// # Errors
    /// [`PackError`] for a bias of another length, or for 8-bit activations with a look-up table.
    pub fn new(
        matrix: Arc<PackedMatrix>,
        bias: Option<Arc<[f32]>>,
        activations: Activations,
    ) -> std::result::Result<Self, PackError> {
        PackedLinear::new(&matrix, bias.as_deref(), activations)?;
        Ok(Self { matrix, bias, activations })
    }

    /// The packed codes.
    pub fn matrix(&self) -> &PackedMatrix {
        &self.matrix
    }

    /// How activations meet the codes.
    pub fn activations(&self) -> Activations {
        self.activations
    }

    /// The same codes with activations rounded otherwise.
    ///
    /// # Errors
    /// As [`Packed::new`].
    pub fn with_activations(&self, activations: Activations) -> std::result::Result<Self, PackError> {
        Self::new(Arc::clone(&self.matrix), self.bias.clone(), activations)
    }

    fn view(&self) -> std::result::Result<PackedLinear<'_>, PackError> {
        PackedLinear::new(&self.matrix, self.bias.as_deref(), self.activations)
    }
}

impl LinearOp for Packed {
    fn rows(&self) -> usize {
        self.matrix.rows()
    }

    fn cols(&self) -> usize {
        self.matrix.cols()
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let dims = output_dims(x, self.rows(), self.cols())?;
        let m = x.elem_count() / self.cols();
        let view = self.view().map_err(candle_core::Error::wrap)?;
        let values = with_values(x, |x| filled(m * self.rows(), |out| packed_linear(x, m, &[view], &mut [out])))?;
        from_values(values, dims)
    }

    fn weight(&self) -> Weight {
        Weight::from_f32(self.rows(), self.cols(), self.matrix.dequantise())
    }

    fn bias(&self) -> Option<Arc<[f32]>> {
        self.bias.clone()
    }

    fn stored_bytes(&self) -> usize {
        self.matrix.bytes()
    }

    fn packed(&self) -> Option<PackedLinear<'_>> {
        self.view().ok()
    }

    fn as_packed(&self) -> Option<&Packed> {
        Some(self)
    }
}

#[cfg(test)]
#[path = "packed_tests.rs"]
mod tests;

/// A decoder with made-up weights, for the tests of other rooms.
#[cfg(test)]
pub(crate) use tests::decoder as small_decoder;
