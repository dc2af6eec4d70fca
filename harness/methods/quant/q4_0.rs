//! Q4_0: blocks of 32 codes of four bits with one scale.
//!
//! `d = m / -8` for the weight `m` of the largest magnitude in the block, stored in half precision;
//! `q = min(15, trunc(w / d + 8.5))`; a weight is `d · (q - 8)`. 4.5 bits a weight.
//!
//! The ggml authors: ggml, `quantize_row_q4_0_ref` of `ggml-quants.c`.
//!
//! # Difference from the reference
//! None in the bytes, which are those of ggml's reference. Scales beyond half precision are refused, where ggml stores an
//! infinity.

use harness_core::{Arm, Axis, MethodSpec, ParameterError, Parameters};

use crate::quant::ggml::Format;
use crate::quant::ggml::method::{Fixed, fixed};
use crate::registry::Method;

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "q4_0",
        axis: Axis::Quant,
        about: "blocks of 32 weights with one scale, 4 bits each; the extreme weight is met exactly",
        source: "The ggml authors: ggml, quantize_row_q4_0_ref of ggml-quants.c",
        version: 1,
        calibrated: false,
        random: false,
        parameters: Fixed::specs(),
        check: |arm| build(arm).map(drop),
    }
}

/// Makes it.
///
/// # Errors
/// A parameter that does not fit.
pub fn build(arm: &Arm) -> Result<Method, ParameterError> {
    fixed(Format::Q4_0, arm)
}
