//! Rounding to the nearest value of an even grid, group by group.
//!
//! Every group of a row has its own scale (and zero point): `code = clamp(rne(w / scale) + zero)`, `ŵ = scale · (code −
//! zero)`, with `rne` rounding ties to even. The conventions of `mode` are those in use: that of GPTQ with zero forced
//! into the range and that of AWQ without, that of SmoothQuant, its variant with one code more, and what GPTQ calls symmetric.
//!
//! # Difference from the reference
//! Scales are stored in half precision unless `scales = f32`, and codes are those of the stored scale; the published
//! codes round with the unstored one. A group of zeros has scale 1 and stays zero. In `gptq_sym` the range is that of the
//! largest magnitude also where no weight is negative, where the published code cuts it in half.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::quant::grid::{GridRule, Mode, ScaleType, width};
use crate::quant::{QuantError, Quantized, Quantizer, group_of, rtn_groups};
use crate::prune::Site;
use crate::registry::Method;
use crate::statistics::LinearStatistics;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Bits of a code: 2, 3, 4, 5, 6 or 8.
        bits: usize = 4, Domain::closed(2.0, 8.0);
        /// Weights of a row that share a scale; -1 for whole rows.
        group: i64 = 128, Domain::closed(-1.0, 65536.0);
        /// Where the grid lies.
        mode: Mode = Mode::Asym;
        /// Whether the range is shrunk to where the error to the power 2.4 is least.
        mse_clip: bool = false;
        /// How scales are stored.
        scales: ScaleType = ScaleType::F16;
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "rtn",
        axis: Axis::Quant,
        about: "rounds every weight to the nearest value of its group's grid",
        source: "the conventions of GPTQ, AWQ and SmoothQuant, as their code has them",
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
    let Settings { bits, group, mode, mse_clip, scales } = Settings::resolve(arm)?;
    let rule = GridRule { bits: width(bits)?, mode, scales, mse_clip };
    Ok(Method::Quantizer(Box::new(Rtn { rule, group: group_of(group)? })))
}

struct Rtn {
    rule: GridRule,
    group: Option<usize>,
}

impl Quantizer for Rtn {
    fn quantize(&self, site: &Site, weight: &[f32], _: Option<&LinearStatistics>) -> Result<Quantized, QuantError> {
        rtn_groups(site, weight, self.rule, self.group.unwrap_or(site.cols))
    }
}
