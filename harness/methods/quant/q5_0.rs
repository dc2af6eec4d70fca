//! Q5_0: blocks of 32 codes of five bits with one scale.
//!
//! As Q4_0 with `d = m / -16` and `q = min(31, trunc(w / d + 16.5))`. 5.5 bits a weight.
//!
//! The ggml authors: ggml, `quantize_row_q5_0_ref` of `ggml-quants.c`.
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
        id: "q5_0",
        axis: Axis::Quant,
        about: "blocks of 32 weights with one scale, 5 bits each; the extreme weight is met exactly",
        source: "The ggml authors: ggml, quantize_row_q5_0_ref of ggml-quants.c",
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
    fixed(Format::Q5_0, arm)
}
