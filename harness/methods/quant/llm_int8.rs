//! LLM.int8(): rows of weights and tokens of inputs in eight bits, but for inputs where some token is loud.
//!
//! Inputs with a magnitude of `threshold` or more in any token of what is multiplied together are outliers: their columns are
//! multiplied in floating point. Of the others a token's codes are `127 x / c` rounded, `c` the largest magnitude of the token below
//! the threshold. Because the outliers are those of all tokens together, what a token gives depends on what it is
//! batched with.
//!
//! Tim Dettmers, Mike Lewis, Younes Belkada, Luke Zettlemoyer: LLM.int8(): 8-bit Matrix Multiplication for Transformers at Scale,
//! NeurIPS 2022; the details are those of the authors' library.
//!
//! # Difference from the reference
//! Outliers are multiplied in f32, not f16. With `outlier_weight = fp16` a copy of the whole matrix in half precision is kept
//! and billed, because any column can be one.

use std::sync::Arc;

use half::f16;
use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::quant::grid::{GridRule, Mode, ScaleType, rtn_groups};
use crate::quant::outliers::Mixed;
use crate::quant::rounded::{InputRule, RoundedMap};
use crate::quant::{QuantError, Quantized, Quantizer};
use crate::prune::Site;
use crate::registry::Method;
use crate::statistics::LinearStatistics;

/// Bits of weights and inputs.
const BITS: u32 = 8;

harness_core::choice! {
    /// What the weights of outliers are.
    pub enum OutlierWeight {
        /// What their codes stand for.
        Dequantized = "int8_dequant",
        /// Half precision.
        Half = "fp16",
    }
}

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// From what magnitude on an input is an outlier; 0 for none ever.
        threshold: f64 = 6.0, Domain::closed(0.0, 1e9);
        /// What the weights of outliers are.
        outlier_weight: OutlierWeight = OutlierWeight::Dequantized;
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "llm-int8",
        axis: Axis::Quant,
        about: "multiplies in eight bits, but columns of outlier inputs in floating point",
        source: "Dettmers, Lewis, Belkada, Zettlemoyer: LLM.int8(): 8-bit Matrix Multiplication for Transformers at Scale, NeurIPS 2022",
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
    Ok(Method::Quantizer(Box::new(LlmInt8(Settings::resolve(arm)?))))
}

struct LlmInt8(Settings);

impl Quantizer for LlmInt8 {
    fn quantize(&self, site: &Site, weight: &[f32], _: Option<&LinearStatistics>) -> Result<Quantized, QuantError> {
        let rule = GridRule { bits: BITS, mode: Mode::Sym, scales: ScaleType::F32, mse_clip: false };
        let mut found = rtn_groups(site, weight, rule, site.cols)?;
        let half = (self.0.outlier_weight == OutlierWeight::Half)
            .then(|| weight.iter().map(|&weight| f16::from_f32(weight)).collect::<Arc<[f16]>>());
        found.bits.indices = half.as_ref().map_or(0, |half| 16 * half.len() as u64);
        let map = RoundedMap::of(site, &found.codes, &found.scales, BITS, InputRule::Token);
        let mixed = Mixed { site: site.name.to_owned(), map, threshold: self.0.threshold as f32, half };
        found.packing = None;
        found.operators = Some(Arc::new(mixed));
        Ok(found)
    }
}
