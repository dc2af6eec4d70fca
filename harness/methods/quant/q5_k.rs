//! Q5_K: super-blocks of 256 codes of five bits, eight scales and minima of six bits.
//!
//! As Q4_K with 16 roundings. 5.5 bits a weight.
//!
//! The ggml authors: ggml, `quantize_row_q5_K_ref` of `ggml-quants.c`.
//!
//! # Difference from the reference
//! None in the bytes, which are those of ggml's reference without an importance matrix. Where rows are no multiple of 256,
//! llama.cpp takes q5_1, and f16 where they are no multiple of 32 either; here the first is reported with the result
//! and can be turned off (`fallback = false`), and the second is refused, as are scales beyond half precision.

use harness_core::{Arm, Axis, MethodSpec, ParameterError, Parameters};

use crate::quant::ggml::Format;
use crate::quant::ggml::method::{Super, with_fallback};
use crate::registry::Method;

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "q5_k",
        axis: Axis::Quant,
        about: "super-blocks of 256 weights, 5 bits each; sub-blocks of 32 have scales and minima of 6 bits",
        source: "The ggml authors: ggml, quantize_row_q5_K_ref of ggml-quants.c",
        version: 1,
        calibrated: false,
        random: false,
        parameters: Super::specs(),
        check: |arm| build(arm).map(drop),
    }
}

/// Makes it.
///
/// # Errors
/// A parameter that does not fit.
pub fn build(arm: &Arm) -> Result<Method, ParameterError> {
    with_fallback(Format::Q5K, arm)
}
