//! Quantizers that are no more than a fixed codebook of four bits.

use harness_core::ParameterError;

use super::blockwise::{Blockwise, Center, Constants};
use super::codebook::Codebook;
use super::{QuantError, Quantized, Quantizer};
use crate::prune::Site;
use crate::statistics::LinearStatistics;

/// A fixed codebook of four bits.
pub struct Lookup {
    book: Codebook,
    rule: Blockwise,
}

impl Lookup {
    /// A codebook in blocks of a power of two.
    ///
    /// # Errors
    /// [`ParameterError::Together`] for another block.
    pub fn new(book: Codebook, block: usize, double_quant: bool) -> Result<Self, ParameterError> {
        if !block.is_power_of_two() {
            let why = format!("`block = {block}` is no power of two; take {}", block.next_power_of_two().min(4096));
            return Err(ParameterError::Together(why));
        }
        let constants = if double_quant { Constants::Double } else { Constants::F32 };
        Ok(Self { book, rule: Blockwise { block, constants, center: Center::Off } })
    }
}

impl Quantizer for Lookup {
    fn quantize(&self, site: &Site, weight: &[f32], _: Option<&LinearStatistics>) -> Result<Quantized, QuantError> {
        self.rule.quantize(site, weight, &self.book, 4, 0)
    }
}
