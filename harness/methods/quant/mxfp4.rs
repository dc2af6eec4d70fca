//! MXFP4: blocks of 32 four-bit floating-point numbers (E2M1) with a power of two as scale.
//!
//! `2^e` with `e = floor(log2 max |w|) - 2` within [-127, 127] is the scale of a block; `w / 2^e` is rounded to one of
//! 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives. What lies beyond 6 becomes 6, up to a quarter off: that is the
//! format's own. 4.25 bits a weight.
//!
//! Open Compute Project: Microscaling Formats (MX) Specification, 2023.
//!
//! # Difference from the reference
//! None with `round = rne`. Emulations such as Microsoft's microxcaling take ties away from zero (`nearest_away`);
//! ggml takes them towards zero, never stores a negative zero, and takes a maximum within about 10⁻⁷ of the next power
//! of two for that power (`ggml`). All three have the layout of ggml's blocks.

use harness_core::{Arm, Axis, MethodSpec, ParameterError, Parameters};

use crate::prune::{Site, check_weight};
use crate::quant::ggml::Format;
use crate::quant::ggml::four_bit::{Ties, encode_mxfp4};
use crate::quant::ggml::method::{MakesBlocks, check_blocks, refused, taken_apart};
use crate::quant::{QuantError, Quantized, Quantizer};
use crate::registry::Method;
use crate::statistics::LinearStatistics;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Where ties between two numbers of the format go.
        round: Ties = Ties::Even;
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "mxfp4",
        axis: Axis::Quant,
        about: "blocks of 32 four-bit floating-point numbers with a power of two as scale",
        source: "Open Compute Project: Microscaling Formats (MX) Specification, 2023",
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
    let Settings { round } = Settings::resolve(arm)?;
    Ok(Method::Quantizer(Box::new(Mxfp4 { round })))
}

struct Mxfp4 {
    round: Ties,
}

impl Quantizer for Mxfp4 {
    fn quantize(&self, site: &Site, weight: &[f32], _: Option<&LinearStatistics>) -> Result<Quantized, QuantError> {
        taken_apart(site, Format::Mxfp4, &self.encode(site, weight)?)
    }

    fn blocks(&self) -> Option<&dyn MakesBlocks> {
        Some(self)
    }
}

impl MakesBlocks for Mxfp4 {
    fn asked(&self) -> Format {
        Format::Mxfp4
    }

    fn encode(&self, site: &Site, weight: &[f32]) -> Result<Vec<u8>, QuantError> {
        check_weight(site, weight)?;
        check_blocks(site, Format::Mxfp4)?;
        encode_mxfp4(weight, self.round).map_err(|source| refused(site, Format::Mxfp4, source))
    }
}
