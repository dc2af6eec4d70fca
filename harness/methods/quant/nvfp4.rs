//! NVFP4: blocks of 16 four-bit floating-point numbers (E2M1) with an E4M3 scale, and one scale of the matrix.
//!
//! `g = max |W| / (448 · 6)`; the scale of a block is `s = e4m3(max |w| / 6 / g)`; `w / (s · g)` is rounded to one of
//! 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives, ties to even, 6 at most. 4.5 bits a weight and 32 a matrix.
//!
//! NVIDIA: Pretraining Large Language Models with NVFP4, 2025.
//!
//! # Difference from the reference
//! None with `scale_round = rne`. cuDNN rounds the scale of a block up, so that nothing lies beyond 6 (`up`). ggml has
//! blocks of 64 without `g` and takes halves up; its bytes are those of `ggml::Format::Nvfp4`. A block whose scale is
//! rounded to zero, its weights being under two millionths of the largest, becomes zero.

use harness_core::{Arm, Axis, MethodSpec, ParameterError, Parameters, choice};

use crate::prune::{Site, check_weight};
use crate::quant::small_float::{Rounding, SmallFloat};
use crate::quant::{Bits, QuantError, Quantized, Quantizer};
use crate::registry::Method;
use crate::statistics::LinearStatistics;

/// Weights of a block.
const BLOCK: usize = 16;

choice! {
    /// How the scale of a block is rounded.
    pub enum ScaleRound {
        /// To the nearest, ties to even.
        Even = "rne",
        /// Up.
        Up = "up",
    }
}

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// How the scales of blocks are rounded.
        scale_round: ScaleRound = ScaleRound::Even;
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "nvfp4",
        axis: Axis::Quant,
        about: "blocks of 16 four-bit floating-point numbers with an eight-bit one as scale, and a scale of the matrix",
        source: "NVIDIA: Pretraining Large Language Models with NVFP4, 2025",
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
    let Settings { scale_round } = Settings::resolve(arm)?;
    let rounding = match scale_round {
        ScaleRound::Even => Rounding::TiesToEven,
        ScaleRound::Up => Rounding::Up,
    };
    Ok(Method::Quantizer(Box::new(Nvfp4 { rounding })))
}

struct Nvfp4 {
    rounding: Rounding,
}

impl Quantizer for Nvfp4 {
    fn quantize(&self, site: &Site, weight: &[f32], _: Option<&LinearStatistics>) -> Result<Quantized, QuantError> {
        check_weight(site, weight)?;
        if !site.cols.is_multiple_of(BLOCK) {
            let advice = "the blocks of nvfp4 are what they are; fp8 has none".to_owned();
            return Err(QuantError::Group { site: site.name.to_owned(), group: BLOCK, columns: site.cols, advice });
        }
        let largest = |x: &[f32]| x.iter().fold(0.0, |largest: f32, x| largest.max(x.abs()));
        let whole = largest(weight) / (SmallFloat::E4M3.largest() * SmallFloat::E2M1.largest());
        let mut quantized = Quantized::default();
        for block in weight.chunks(BLOCK) {
            let wanted = largest(block) / SmallFloat::E2M1.largest() / whole;
            // Where the scale of the matrix is zero, this is NaN or infinite, and the scale zero all the same.
            let scale = SmallFloat::E4M3.decode(SmallFloat::E4M3.encode(wanted, self.rounding)) * whole;
            quantized.scales.push(scale);
            for x in block {
                let code = if scale == 0.0 { 0 } else { SmallFloat::E2M1.encode(x / scale, Rounding::TiesToEven) };
                quantized.codes.push(i16::from(code));
                quantized.values.push(SmallFloat::E2M1.decode(code) * scale);
            }
        }
        let (codes, blocks) = (weight.len() as u64, quantized.scales.len() as u64);
        quantized.bits = Bits { codes: 4 * codes, scales: 8 * blocks + 32, ..Bits::default() };
        Ok(quantized)
    }
}
