//! Q4_K: super-blocks of 256 codes of four bits, eight scales and minima of six bits.
//!
//! Each sub-block of 32 gets a scale and a minimum by least squares over 21 roundings, weighted by `rms + |w|`; both are
//! rounded to multiples of one half-precision number, and the codes are taken anew by what was stored. 4.5 bits a
//! weight. Files called Q4_K_M mix it with Q6_K and take more.
//!
//! The ggml authors: ggml, `quantize_row_q4_K_ref` of `ggml-quants.c`.
//!
//! # Difference from the reference
//! None in the bytes, which are those of ggml's reference without an importance matrix. Where rows are no multiple of 256,
//! llama.cpp takes q5_0, and f16 where they are no multiple of 32 either; here the first is reported with the result
//! and can be turned off (`fallback = false`), and the second is refused, as are scales beyond half precision.

use harness_core::{Arm, Axis, MethodSpec, ParameterError, Parameters};

use crate::quant::ggml::Format;
use crate::quant::ggml::method::{Super, with_fallback};
use crate::registry::Method;

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "q4_k",
        axis: Axis::Quant,
        about: "super-blocks of 256 weights, 4 bits each; sub-blocks of 32 have scales and minima of 6 bits",
        source: "The ggml authors: ggml, quantize_row_q4_K_ref of ggml-quants.c",
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
    with_fallback(Format::Q4K, arm)
}
