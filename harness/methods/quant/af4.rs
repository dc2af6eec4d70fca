//! AF4: the sixteen values with the least expected absolute error for normal weights in blocks of 64.
//!
//! Davis Yoshida: NF4 Isn't Information Theoretically Optimal (and that's Good), 2023; the values as bitsandbytes has them.
//!
//! # Difference from the reference
//! Codes number the values in ascending order; bitsandbytes lists them the other way round.

use harness_core::{Arm, Axis, MethodSpec, ParameterError, Parameters};

use crate::quant::codebook::{AF4, Codebook};
use crate::quant::lookup::Lookup;
use crate::registry::Method;

/// The block the values are made for.
const BLOCK: usize = 64;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Whether the scales are quantized as well.
        double_quant: bool = false;
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "af4",
        axis: Axis::Quant,
        about: "rounds blocks of 64 weights to the sixteen values with the least expected absolute error",
        source: "Yoshida: NF4 Isn't Information Theoretically Optimal (and that's Good), 2023",
        version: 1,
        calibrated: false,
        random: false,
        parameters: Settings::specs(),
        check: |arm| build(arm).map(drop),
    }
}

/// Makes it.
///
/// # Errors
/// A parameter that does not fit.
pub fn build(arm: &Arm) -> Result<Method, ParameterError> {
    let Settings { double_quant } = Settings::resolve(arm)?;
    Ok(Method::Quantizer(Box::new(Lookup::new(Codebook::ascending(AF4.to_vec()), BLOCK, double_quant)?)))
}
