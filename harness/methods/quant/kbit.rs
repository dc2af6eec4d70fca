//! The data types of the k-bit scaling laws: 3 to 8 bits, integer, float, dynamic or quantile codes, in blocks.
//!
//! `code = argmin_j |F_j − w / m|` with a codebook `F` of the unit interval and `m` the largest magnitude of the block of the
//! flattened matrix, stored in half precision. No calibration.
//!
//! Tim Dettmers, Luke Zettlemoyer: The case for 4-bit precision: k-bit Inference Scaling Laws, ICML 2023; quantile codes
//! are placed as the authors' code places them, since the printed formula neither starts nor ends where it should.
//!
//! # Difference from the reference
//! Constants are rounded to half precision before the codes are found, not only billed as 16 bits; so is the quantile
//! codebook, with `16 · 2^k` bits a matrix. With `proxy = p` the share `p` of the inputs whose makers' weights are spread most
//! (rows of the values, of gate or up, of the output or down map before, columns of the embedding before the first block, which
//! the paper leaves open) keep their columns of weights in half precision; those do not count for the blocks' constants.

use half::f16;
use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::quant::blockwise::{Blockwise, Center, Constants};
use crate::quant::codebook::{Codebook, dynamic, floats, integers, quantiles};
use crate::quant::{QuantError, Quantized, Quantizer};
use crate::prune::{Needs, Site, check_weight};
use crate::registry::Method;
use crate::statistics::LinearStatistics;

/// Weights that a quantile codebook needs at least.
const LEAST_WEIGHTS: usize = 256;

harness_core::choice! {
    /// What the codes stand for.
    pub enum DataType {
        /// Evenly spaced values, the most negative whole number left out.
        Int = "int",
        /// Floats with the bits of `exponent`.
        Float = "float",
        /// The dynamic type.
        Dynamic = "dynamic",
        /// Quantiles of the matrix itself.
        Quantile = "quantile",
    }
}

harness_core::choice! {
    /// The bias of the exponent, which moves only what lies below the normal numbers.
    pub enum BiasVariant {
        /// `2^(exponent − 1) + 1`, of the paper's appendix.
        Appendix = "appendix",
        /// `2^(exponent − 1)`, of the paper's body and the authors' code.
        Body = "body",
    }
}

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Bits of a code.
        bits: usize = 4, Domain::closed(3.0, 8.0);
        /// What the codes stand for.
        dtype: DataType = DataType::Float;
        /// Bits of the exponent of floats; unset: 2 for 3 bits, 3 for all others, as in the paper's main runs.
        exponent: Option<usize> = None, Domain::closed(1.0, 7.0);
        /// The bias of the exponent of floats.
        bias: BiasVariant = BiasVariant::Appendix;
        /// Weights of the flattened matrix that share a scale.
        block: usize = 64, Domain::closed(16.0, 4096.0);
        /// What is taken from the weights before they are divided.
        center: Center = Center::Off;
        /// The share of inputs whose weights stay in half precision.
        proxy: f64 = 0.0, Domain::closed(0.0, 0.25);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "kbit",
        axis: Axis::Quant,
        about: "rounds the weights of a block to integers, floats, dynamic or quantile codes of 3 to 8 bits",
        source: "Dettmers, Zettlemoyer: The case for 4-bit precision: k-bit Inference Scaling Laws, ICML 2023",
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
    let Settings { bits, dtype, exponent, bias, block, center, proxy } = Settings::resolve(arm)?;
    if exponent.is_some() && dtype != DataType::Float {
        return Err(ParameterError::Together("`exponent` is of `dtype = float` only".to_owned()));
    }
    let exponent = exponent.unwrap_or(if bits == 3 { 2 } else { 3 });
    if exponent >= bits {
        let why = format!("`exponent = {exponent}` leaves no bit of {bits} for the sign; take at most {}", bits - 1);
        return Err(ParameterError::Together(why));
    }
    let (bits, exponent) = (bits as u32, exponent as u32);
    let bias = (1 << (exponent - 1)) + i32::from(bias == BiasVariant::Appendix);
    let book = match dtype {
        DataType::Int => Some(integers(bits)),
        DataType::Float => Some(floats(bits, exponent, bias)),
        DataType::Dynamic => Some(dynamic(bits)),
        DataType::Quantile => None,
    };
    let rule = Blockwise { block, constants: Constants::F16, center };
    Ok(Method::Quantizer(Box::new(KBit { bits, book, rule, proxy })))
}

struct KBit {
    bits: u32,
    /// `None` for quantiles, which are those of each matrix.
    book: Option<Codebook>,
    rule: Blockwise,
    proxy: f64,
}

impl KBit {
    fn rounded(&self, site: &Site, weight: &[f32]) -> Result<Quantized, QuantError> {
        if let Some(book) = &self.book {
            return self.rule.quantize(site, weight, book, self.bits, 0);
        }
        if weight.len() < LEAST_WEIGHTS {
            let (site, found, least) = (site.name.to_owned(), weight.len(), LEAST_WEIGHTS);
            return Err(QuantError::TooFew { site, found, what: "a codebook of quantiles", least });
        }
        let book = quantiles(self.bits, weight);
        self.rule.quantize(site, weight, &book, self.bits, 16 << self.bits)
    }
}

impl Quantizer for KBit {
    fn needs(&self) -> Needs {
        if self.proxy > 0.0 { Needs::PRODUCERS } else { Needs::NOTHING }
    }

    fn quantize(
        &self,
        site: &Site,
        weight: &[f32],
        statistics: Option<&LinearStatistics>,
    ) -> Result<Quantized, QuantError> {
        check_weight(site, weight)?;
        let count = (self.proxy * site.cols as f64).round() as usize;
        if count == 0 {
            return self.rounded(site, weight);
        }
        let spread = statistics.and_then(LinearStatistics::producer_spread);
        let spread = spread.ok_or_else(|| QuantError::NoProducers { site: site.name.to_owned() })?;
        let mut kept: Vec<usize> = (0..site.cols).collect();
        kept.sort_by(|&a, &b| spread[b].total_cmp(&spread[a]));
        kept.truncate(count);
        let mut rest = weight.to_vec();
        for row in rest.chunks_exact_mut(site.cols) {
            for &column in &kept {
                row[column] = 0.0;
            }
        }
        let mut found = self.rounded(site, &rest)?;
        for (values, weight) in found.values.chunks_exact_mut(site.cols).zip(weight.chunks_exact(site.cols)) {
            for &column in &kept {
                values[column] = f16::from_f32(weight[column]).to_f32();
            }
        }
        found.bits.codes += (16 - u64::from(self.bits)) * (count * site.rows) as u64;
        found.bits.indices = count as u64 * u64::from(usize::BITS - (site.cols - 1).leading_zeros());
        // Two formats in one row have no kernel.
        found.packing = None;
        Ok(found)
    }
}
