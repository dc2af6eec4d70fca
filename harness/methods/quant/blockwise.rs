//! Rounding to a codebook, block by block of the flattened matrix: a block is divided by its largest magnitude.

use std::sync::LazyLock;

use half::f16;
use rayon::prelude::*;

use super::codebook::{Codebook, dynamic};
use super::packing::Packing;
use super::{Bits, QuantError, Quantized};
use crate::prune::{Site, check_weight};

/// How the largest magnitudes of blocks are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Constants {
    /// In single precision.
    F32,
    /// In half precision; codes are those of the stored value.
    F16,
    /// Less their mean, in 8 bits of the dynamic type, with one single-precision constant for each [`DOUBLE_BLOCK`] of
    /// them; codes are those of the value before.
    Double,
}

/// Constants that share one constant of their own.
pub const DOUBLE_BLOCK: usize = 256;

harness_core::choice! {
    /// What is taken from the weights before they are divided.
    pub enum Center {
        /// Nothing.
        Off = "off",
        /// The mean of the matrix.
        Tensor = "tensor",
        /// The mean of each block.
        Block = "block",
    }
}

/// How blocks are rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blockwise {
    /// Weights of a block; the last one may be short.
    pub block: usize,
    /// How the constants are stored.
    pub constants: Constants,
    /// What is taken from the weights first; means are stored in half precision.
    pub center: Center,
}

impl Blockwise {
    /// Quantizes a matrix with a codebook; `codebook_bits` is what storing it takes.
    ///
    /// # Errors
    /// [`QuantError::Input`] for a matrix that is not whole or not finite, [`QuantError::Scale`] for a constant beyond half
    /// precision.
    pub fn quantize(
        &self,
        site: &Site,
        weight: &[f32],
        book: &Codebook,
        code_bits: u32,
        codebook_bits: u64,
    ) -> Result<Quantized, QuantError> {
        check_weight(site, weight)?;
        let means = self.means(weight);
        let mean_of = |block: usize| match means.as_slice() {
            [] => 0.0,
            [whole] => *whole,
            each => each[block],
        };
        let largest: Vec<f32> = weight
            .par_chunks(self.block)
            .enumerate()
            .map(|(at, block)| block.iter().fold(0.0_f32, |most, weight| most.max((weight - mean_of(at)).abs())))
            .collect();
        let (divisors, scales) = match self.constants {
            Constants::F32 => (largest.clone(), largest),
            Constants::F16 => {
                let stored: Vec<f32> = largest.iter().map(|&value| f16::from_f32(value).to_f32()).collect();
                if let Some(at) = stored.iter().position(|value| !value.is_finite()) {
                    return Err(QuantError::Scale { site: site.name.to_owned(), largest: largest[at] });
                }
                (stored.clone(), stored)
            }
            Constants::Double => {
                let restored = through_double(&largest);
                (largest, restored)
            }
        };
        let mut codes = vec![0; weight.len()];
        let mut values = vec![0.0; weight.len()];
        let blocks = codes
            .par_chunks_mut(self.block)
            .zip(values.par_chunks_mut(self.block))
            .zip(weight.par_chunks(self.block))
            .zip(divisors.par_iter().zip(&scales))
            .enumerate();
        blocks.for_each(|(at, (((codes, values), weight), (&divisor, &scale)))| {
            let mean = mean_of(at);
            for ((code, value), &weight) in codes.iter_mut().zip(values).zip(weight) {
                // A block of zeros has no direction: all of it is the code of zero.
                let place = book.nearest(if divisor > 0.0 { (weight - mean) / divisor } else { 0.0 });
                *code = book.code(place);
                *value = if divisor > 0.0 { book.values()[place] * scale + mean } else { mean };
            }
        });
        let blocks = scales.len() as u64;
        let scale_bits = match self.constants {
            Constants::F32 => 32 * blocks,
            Constants::F16 => 16 * blocks,
            Constants::Double => 8 * blocks + 32 * blocks.div_ceil(DOUBLE_BLOCK as u64) + 32,
        };
        let bits = Bits {
            codes: u64::from(code_bits) * weight.len() as u64,
            scales: scale_bits,
            zeros: 16 * means.len() as u64,
            codebooks: codebook_bits,
            indices: 0,
        };
        let packing = match self.center {
            Center::Off => Packing::table(book.pairs(), code_bits, self.block),
            Center::Tensor | Center::Block => None,
        };
        Ok(Quantized { values, codes, scales, zeros: means, bits, fallback: None, packing, operators: None })
    }

    /// The means that are taken away, as they are stored.
    fn means(&self, weight: &[f32]) -> Vec<f32> {
        let mean = |values: &[f32]| {
            let sum: f64 = values.iter().map(|&value| f64::from(value)).sum();
            f16::from_f64(sum / values.len().max(1) as f64).to_f32()
        };
        match self.center {
            Center::Off => Vec::new(),
            Center::Tensor => vec![mean(weight)],
            Center::Block => weight.chunks(self.block).map(mean).collect(),
        }
    }
}

/// What is left of constants after double quantization.
fn through_double(constants: &[f32]) -> Vec<f32> {
    static DYNAMIC: LazyLock<Codebook> = LazyLock::new(|| dynamic(8));
    let mean = (constants.iter().map(|&value| f64::from(value)).sum::<f64>() / constants.len().max(1) as f64) as f32;
    let mut restored = Vec::with_capacity(constants.len());
    for block in constants.chunks(DOUBLE_BLOCK) {
        let most = block.iter().fold(0.0_f32, |most, value| most.max((value - mean).abs()));
        restored.extend(block.iter().map(|value| {
            let place = DYNAMIC.nearest(if most > 0.0 { (value - mean) / most } else { 0.0 });
            DYNAMIC.values()[place] * most + mean
        }));
    }
    restored
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::codebook::NF4;
    use super::*;

    const BLOCK: [f32; 8] = [0.1, -0.5, 0.02, 0.9, -2.0, 1.3, 0.0, -0.07];

    fn quantize(rule: Blockwise, weight: &[f32]) -> Quantized {
        let site = Site { name: "w", layer: 0, rows: 1, cols: weight.len() };
        rule.quantize(&site, weight, &Codebook::ascending(NF4.to_vec()), 4, 0).unwrap()
    }

    fn plain(block: usize) -> Blockwise {
        Blockwise { block, constants: Constants::F32, center: Center::Off }
    }

    #[test]
    fn eight_weights_by_hand() {
        let found = quantize(plain(64), &BLOCK);
        assert_eq!(found.codes, [8, 4, 7, 12, 0, 14, 7, 7]);
        let expected = [0.159_161, -0.568_883, 0.0, 0.881_420, -2.0, 1.445_914, 0.0, 0.0];
        assert!(found.values.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{:?}", found.values);
        assert_eq!((found.scales.as_slice(), found.bits.total()), ([2.0].as_slice(), 4 * 8 + 32));
    }

    #[test]
    fn blocks_run_over_the_ends_of_rows_and_the_last_may_be_short() {
        let weight: Vec<f32> = (0..2 * 33).map(|i| if i < 64 { 0.5 } else { 8.0 }).collect();
        let found = quantize(plain(64), &weight);
        assert_eq!((found.scales, found.values == weight), (vec![0.5, 8.0], true));
    }

    #[test]
    fn zeros_stay_zero_beside_anything() {
        for constants in [Constants::F32, Constants::F16, Constants::Double] {
            let mut weight = vec![0.0; 96];
            weight[40] = 1e-3;
            for center in [Center::Off, Center::Block] {
                let found = quantize(Blockwise { block: 32, constants, center }, &weight);
                assert!(
                    found.values[..32].iter().chain(&found.values[64..]).all(|value| *value == 0.0),
                    "{constants:?}"
                );
                assert!(found.values.iter().all(|value| value.is_finite()));
            }
        }
    }

    #[test]
    fn double_quantization_takes_what_it_says() {
        let weight: Vec<f32> = (0..64 * 512).map(|i| ((i * 37 % 1001) as f32 - 500.0) / 300.0).collect();
        let rule = Blockwise { constants: Constants::Double, ..plain(64) };
        let found = quantize(rule, &weight);
        // 4 + 8 / 64 + 32 / (64 · 256) bits a weight, and the mean of the constants.
        assert_eq!(found.bits.total() - 32, (4.126_953_125 * weight.len() as f64) as u64);
        let single = quantize(plain(64), &weight);
        assert_eq!(found.codes, single.codes);
        let apart = found.scales.iter().zip(&single.scales).map(|(a, b)| ((a - b) / b).abs()).fold(0.0, f32::max);
        assert!(apart > 0.0 && apart < 0.02, "{apart}");
    }

    #[test]
    fn centering_moves_a_constant_to_zero() {
        let weight = vec![0.75; 64];
        let found = quantize(Blockwise { center: Center::Tensor, ..plain(32) }, &weight);
        assert_eq!((found.values, found.zeros, found.bits.zeros), (weight, vec![0.75], 16));
    }
}
