//! Q4_1: blocks of 32 codes of four bits with a scale and a minimum.
//!
//! `d = (max - min) / 15` and `min` in half precision; `q = min(15, trunc((w - min) / d + 0.5))`; a weight is
//! `d · q + min`. 5 bits a weight.
//!
//! The ggml authors: ggml, `quantize_row_q4_1_ref` of `ggml-quants.c`.
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
        id: "q4_1",
        axis: Axis::Quant,
        about: "blocks of 32 weights with a scale and a minimum, 4 bits each",
        source: "The ggml authors: ggml, quantize_row_q4_1_ref of ggml-quants.c",
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
    fixed(Format::Q4_1, arm)
}
