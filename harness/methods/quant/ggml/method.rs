//! Quantizers that are a block format: a matrix is encoded row by row and decoded again.

use harness_core::{Arm, ParameterError, Parameters};

use super::{BlockError, Decoded, Format};
use crate::prune::{Site, check_weight};
use crate::quant::packing::{Meaning, Packing};
use crate::quant::small_float::SmallFloat;
use crate::quant::{Bits, QuantError, Quantized, Quantizer};
use crate::registry::Method;
use crate::statistics::LinearStatistics;

harness_core::parameters! {
    /// Nothing to set.
    pub struct Fixed {}
}

harness_core::parameters! {
    /// What a format with blocks of 256 is set to.
    pub struct Super {
        /// Whether a matrix whose rows are no multiple of 256 takes the format that llama.cpp gives it instead; else it
        /// is refused.
        fallback: bool = true;
    }
}

/// The quantizer of a format with blocks of 32.
///
/// # Errors
/// A parameter that does not fit.
pub fn fixed(format: Format, arm: &Arm) -> Result<Method, ParameterError> {
    Fixed::resolve(arm)?;
    Ok(Method::Quantizer(Box::new(Blocks { format, fallback: None })))
}

/// The quantizer of a format with blocks of 256.
///
/// # Errors
/// A parameter that does not fit.
pub fn with_fallback(format: Format, arm: &Arm) -> Result<Method, ParameterError> {
    let Super { fallback } = Super::resolve(arm)?;
    Ok(Method::Quantizer(Box::new(Blocks { format, fallback: format.fallback().filter(|_| fallback) })))
}

/// A quantizer whose matrices are blocks of ggml, as GGUF files hold them.
pub trait MakesBlocks {
    /// The format it was asked for.
    fn asked(&self) -> Format;

    /// The format of matrices with rows of `cols` values.
    fn format(&self, cols: usize) -> Format {
        let _ = cols;
        self.asked()
    }

    /// The bytes of a matrix.
    ///
    /// # Errors
    /// A [`QuantError`].
    fn encode(&self, site: &Site, weight: &[f32]) -> Result<Vec<u8>, QuantError>;
}

struct Blocks {
    format: Format,
    fallback: Option<Format>,
}

impl MakesBlocks for Blocks {
    fn asked(&self) -> Format {
        self.format
    }

    fn format(&self, cols: usize) -> Format {
        match self.fallback {
            Some(fallback) if !cols.is_multiple_of(self.format.block_values()) => fallback,
            _ => self.format,
        }
    }

    fn encode(&self, site: &Site, weight: &[f32]) -> Result<Vec<u8>, QuantError> {
        check_weight(site, weight)?;
        let format = self.format(site.cols);
        check_blocks(site, format)?;
        format.encode(weight).map_err(|source| refused(site, format, source))
    }
}

impl Quantizer for Blocks {
    fn quantize(&self, site: &Site, weight: &[f32], _: Option<&LinearStatistics>) -> Result<Quantized, QuantError> {
        let format = self.format(site.cols);
        let mut quantized = taken_apart(site, format, &self.encode(site, weight)?)?;
        quantized.fallback = (format != self.format).then_some(format.name());
        Ok(quantized)
    }

    fn blocks(&self) -> Option<&dyn MakesBlocks> {
        Some(self)
    }
}

/// Checks that rows are of whole blocks.
///
/// # Errors
/// [`QuantError::Group`].
pub fn check_blocks(site: &Site, format: Format) -> Result<(), QuantError> {
    let group = format.block_values();
    if site.cols.is_multiple_of(group) {
        return Ok(());
    }
    let advice = match format.fallback().filter(|other| site.cols.is_multiple_of(other.block_values())) {
        Some(other) => format!("`fallback = true` takes {} instead, as llama.cpp does", other.name()),
        None => format!("the blocks of {} are what they are; fp8 has none", format.name()),
    };
    Err(QuantError::Group { site: site.name.to_owned(), group, columns: site.cols, advice })
}

/// A matrix that blocks cannot hold.
pub fn refused(site: &Site, format: Format, source: BlockError) -> QuantError {
    let at = match source {
        BlockError::Scale { block, .. } | BlockError::Stored { block, .. } => block * format.block_values(),
        BlockError::Value { index, .. } => index,
        BlockError::Values { .. } | BlockError::Bytes { .. } => 0,
    };
    let (row, column) = (at / site.cols.max(1), at % site.cols.max(1));
    QuantError::Block { site: site.name.to_owned(), row, column, source }
}

/// A matrix as its bytes say.
///
/// # Errors
/// [`QuantError::Block`] when they hold no finite numbers.
pub fn taken_apart(site: &Site, format: Format, bytes: &[u8]) -> Result<Quantized, QuantError> {
    let decoded = format.decode(bytes).map_err(|source| refused(site, format, source))?;
    let Decoded { values, codes, scales, zeros } = decoded;
    let blocks = bytes.len() / format.block_bytes();
    let of = format.block_bits();
    let times = |bits: u64| bits * blocks as u64;
    let bits = Bits { codes: times(of.codes), scales: times(of.scales), zeros: times(of.zeros), ..Bits::default() };
    Ok(Quantized { values, codes, scales, zeros, bits, fallback: None, packing: packing(format), operators: None })
}

/// How kernels read the codes of a format, where its groups are long enough for one.
fn packing(format: Format) -> Option<Packing> {
    let (bits, level) = match format {
        Format::Q4_0 => (4, 8.0),
        Format::Q4_1 | Format::Q4K => (4, 0.0),
        Format::Q5_0 => (8, 16.0),
        Format::Q5_1 | Format::Q5K | Format::Q8_0 => (8, 0.0),
        Format::Mxfp4 => {
            let value = |code: u8| (i16::from(code), SmallFloat::E2M1.decode(code));
            return Packing::table((0..16).map(value), 4, format.group());
        }
        _ => return None,
    };
    Some(Packing { bits, block: format.group(), meaning: Meaning::Added(level) })
}
