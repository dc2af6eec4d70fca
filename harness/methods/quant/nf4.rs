//! NF4: sixteen quantiles of the normal distribution, in blocks.
//!
//! `code = argmin_j |C_j − w / m|` with `m` the largest magnitude of the block of the flattened matrix, `ŵ = C_code · m`. With
//! double quantization the magnitudes, less their mean, take 8 bits of the dynamic type each, 256 of them sharing a
//! constant.
//!
//! Tim Dettmers, Artidoro Pagnoni, Ari Holtzman, Luke Zettlemoyer: QLoRA: Efficient Finetuning of Quantized LLMs, NeurIPS
//! 2023; codes and tie rule as bitsandbytes has them.
//!
//! # Difference from the reference
//! None in the values. The mean of the magnitudes is billed with 32 bits a matrix.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::quant::codebook::{Codebook, NF4};
use crate::quant::lookup::Lookup;
use crate::registry::Method;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Weights of the flattened matrix that share a scale: a power of two from 32 to 4096.
        block: usize = 64, Domain::closed(32.0, 4096.0);
        /// Whether the scales are quantized as well.
        double_quant: bool = false;
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "nf4",
        axis: Axis::Quant,
        about: "rounds the weights of a block to sixteen quantiles of the normal distribution",
        source: "Dettmers, Pagnoni, Holtzman, Zettlemoyer: QLoRA: Efficient Finetuning of Quantized LLMs, NeurIPS 2023",
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
    let Settings { block, double_quant } = Settings::resolve(arm)?;
    Ok(Method::Quantizer(Box::new(Lookup::new(Codebook::ascending(NF4.to_vec()), block, double_quant)?)))
}
