//! No quantization: the weights as they are stored.
//!
//! # Difference from the reference
//! None; there is nothing to differ in.

use harness_core::{Arm, Axis, MethodSpec, ParameterError};

use crate::prune::{Site, check_weight};
use crate::quant::{Bits, QuantError, Quantized, Quantizer};
use crate::registry::Method;
use crate::statistics::LinearStatistics;

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "none",
        axis: Axis::Quant,
        about: "leaves the weights as they are stored",
        source: "the identity",
        version: 1,
        calibrated: false,
        random: false,
        parameters: Vec::new(),
        check: |_| Ok(()),
    }
}

/// Makes it.
///
/// # Errors
/// None.
pub fn build(_: &Arm) -> Result<Method, ParameterError> {
    Ok(Method::Quantizer(Box::new(Stored)))
}

struct Stored;

impl Quantizer for Stored {
    fn quantize(&self, site: &Site, weight: &[f32], _: Option<&LinearStatistics>) -> Result<Quantized, QuantError> {
        check_weight(site, weight)?;
        let bits = Bits { codes: 32 * weight.len() as u64, ..Bits::default() };
        Ok(Quantized { values: weight.to_vec(), bits, ..Quantized::default() })
    }

    fn is_identity(&self) -> bool {
        true
    }
}
