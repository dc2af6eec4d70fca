//! Q8_0: blocks of 32 signed codes of eight bits with one scale.
//!
//! `d = max |w| / 127` in half precision; `q = w / d` to the nearest, ties away from zero. 8.5 bits a weight.
//!
//! The ggml authors: ggml, `quantize_row_q8_0_ref` of `ggml-quants.c`.
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
        id: "q8_0",
        axis: Axis::Quant,
        about: "blocks of 32 weights with one scale, 8 bits each",
        source: "The ggml authors: ggml, quantize_row_q8_0_ref of ggml-quants.c",
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
    fixed(Format::Q8_0, arm)
}
