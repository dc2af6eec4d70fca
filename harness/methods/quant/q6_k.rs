//! Q6_K: super-blocks of 256 codes of six bits, sixteen scales of eight bits.
//!
//! Each sub-block of 16 gets a scale by least squares over 19 roundings, weighted by `w²`; scales are rounded to multiples
//! of one half-precision number, and the codes are taken anew by what was stored. 6.5625 bits a weight.
//!
//! The ggml authors: ggml, `quantize_row_q6_K_ref` of `ggml-quants.c`.
//!
//! # Difference from the reference
//! None in the bytes, which are those of ggml's reference without an importance matrix. Where rows are no multiple of 256,
//! llama.cpp takes q8_0, and f16 where they are no multiple of 32 either; here the first is reported with the result
//! and can be turned off (`fallback = false`), and the second is refused, as are scales beyond half precision.

use harness_core::{Arm, Axis, MethodSpec, ParameterError, Parameters};

use crate::quant::ggml::Format;
use crate::quant::ggml::method::{Super, with_fallback};
use crate::registry::Method;

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "q6_k",
        axis: Axis::Quant,
        about: "super-blocks of 256 weights, 6 bits each; sub-blocks of 16 have scales of 8 bits",
        source: "The ggml authors: ggml, quantize_row_q6_K_ref of ggml-quants.c",
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
    with_fallback(Format::Q6K, arm)
}
