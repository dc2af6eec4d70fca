//! FP8: eight-bit floating-point numbers, E4M3 or E5M2, with a scale of the matrix or of each row.
//!
//! `s = max |w| / 448` (57344 for E5M2) over the matrix or row, in `f32`; `w / s` is rounded to the nearest number of the
//! format, ties to even, the largest finite one at most. 8 bits a weight and 32 for each scale.
//!
//! Micikevicius et al.: FP8 Formats for Deep Learning, 2022.
//!
//! # Difference from the reference
//! None; E4M3 is the variant without infinities, as in the specification of the Open Compute Project. A matrix or row of
//! zeros has the scale 1, as has one so small that its scale would be zero; the codes of both are zero.

use harness_core::{Arm, Axis, MethodSpec, ParameterError, Parameters, choice};

use crate::prune::{Site, check_weight};
use crate::quant::small_float::{Rounding, SmallFloat};
use crate::quant::{Bits, QuantError, Quantized, Quantizer};
use crate::registry::Method;
use crate::statistics::LinearStatistics;

choice! {
    /// Which eight-bit numbers.
    pub enum Eight {
        /// Four bits of exponent, three of mantissa.
        E4M3 = "e4m3",
        /// Five bits of exponent, two of mantissa.
        E5M2 = "e5m2",
    }
}

choice! {
    /// What shares a scale.
    pub enum Shared {
        /// The matrix.
        Tensor = "tensor",
        /// Each row.
        Row = "row",
    }
}

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Which eight-bit numbers: four bits of exponent or five.
        format: Eight = Eight::E4M3;
        /// What shares a scale: the whole matrix or each of its rows.
        scale: Shared = Shared::Tensor;
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "fp8",
        axis: Axis::Quant,
        about: "eight-bit floating-point numbers with a scale of the matrix or of each row",
        source: "Micikevicius et al.: FP8 Formats for Deep Learning, 2022",
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
    let Settings { format, scale } = Settings::resolve(arm)?;
    let format = match format {
        Eight::E4M3 => SmallFloat::E4M3,
        Eight::E5M2 => SmallFloat::E5M2,
    };
    Ok(Method::Quantizer(Box::new(Fp8 { format, scale })))
}

struct Fp8 {
    format: SmallFloat,
    scale: Shared,
}

impl Quantizer for Fp8 {
    fn quantize(&self, site: &Site, weight: &[f32], _: Option<&LinearStatistics>) -> Result<Quantized, QuantError> {
        check_weight(site, weight)?;
        let group = match self.scale {
            Shared::Tensor => weight.len(),
            Shared::Row => site.cols,
        };
        let mut quantized = Quantized::default();
        for group in weight.chunks(group.max(1)) {
            let largest = group.iter().fold(0.0, |largest: f32, x| largest.max(x.abs()));
            let scale = largest / self.format.largest();
            let scale = if scale == 0.0 { 1.0 } else { scale };
            quantized.scales.push(scale);
            for x in group {
                let code = self.format.encode(x / scale, Rounding::TiesToEven);
                quantized.codes.push(i16::from(code));
                quantized.values.push(self.format.decode(code) * scale);
            }
        }
        let (codes, scales) = (quantized.codes.len() as u64, quantized.scales.len() as u64);
        quantized.bits = Bits { codes: 8 * codes, scales: 32 * scales, ..Bits::default() };
        Ok(quantized)
    }
}
