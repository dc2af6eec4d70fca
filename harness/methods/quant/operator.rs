//! Quantized matrices that do more with their inputs than multiply them: rounding, splitting, turning.

use std::fmt::Debug;
use std::sync::Arc;

use super::QuantError;

/// A linear map without its bias.
pub trait Operator: Debug + Send + Sync {
    /// Writes `out (m, rows)` for `x (m, cols)`.
    ///
    /// # Panics
    /// When a slice does not have the length its shape needs.
    fn multiply(&self, x: &[f32], m: usize, out: &mut [f32]);

    /// What its codes stand for, `(rows, cols)`, for inputs as they come.
    fn values(&self) -> Vec<f32>;

    /// Bytes it holds.
    fn bytes(&self) -> usize;

    /// Inputs that lay beyond their range and all inputs that were rounded to a fixed range so far; `None` where ranges
    /// follow the inputs.
    fn saturated(&self) -> Option<(u64, u64)> {
        None
    }
}

/// The two ways of multiplying such a matrix.
pub trait Operators: Debug + Send + Sync {
    /// With f32 numbers that stand for the codes: what the quality is measured with.
    fn fake(&self) -> Arc<dyn Operator>;

    /// With packed codes: what speed and memory are measured with.
    ///
    /// # Errors
    /// [`QuantError::NoKernel`] where no kernel multiplies them.
    fn packed(&self) -> Result<Arc<dyn Operator>, QuantError>;

    /// Bits of both operands of the integer products; `None` where inputs stay floating.
    fn integer_bits(&self) -> Option<u32>;

    /// Products of a weight and an input for each token.
    fn products(&self) -> u64;
}
