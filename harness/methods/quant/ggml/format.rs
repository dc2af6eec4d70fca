//! What is fixed of each block format, and which functions read and write it.

use super::{Decoded, Refused, four_bit, legacy, minima, symmetric};
use crate::quant::Bits;
use crate::quant::small_float::SmallFloat;

/// A block format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// 32 codes of 4 bits about 8, a scale.
    Q4_0,
    /// 32 codes of 4 bits, a scale and a minimum.
    Q4_1,
    /// 32 codes of 5 bits about 16, a scale.
    Q5_0,
    /// 32 codes of 5 bits, a scale and a minimum.
    Q5_1,
    /// 32 signed codes of 8 bits, a scale.
    Q8_0,
    /// 256 codes of 2 bits; 16 scales and minima of 4.
    Q2K,
    /// 256 codes of 3 bits about 4; 16 scales of 6.
    Q3K,
    /// 256 codes of 4 bits; 8 scales and minima of 6.
    Q4K,
    /// 256 codes of 5 bits; 8 scales and minima of 6.
    Q5K,
    /// 256 codes of 6 bits about 32; 16 scales of 8.
    Q6K,
    /// 32 E2M1 and a power of two.
    Mxfp4,
    /// 64 E2M1 and 4 scales E4M3.
    Nvfp4,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
        Self::Mxfp4,
        Self::Nvfp4,
    ];

    /// Its name, lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Q4_0 => "q4_0",
            Self::Q4_1 => "q4_1",
            Self::Q5_0 => "q5_0",
            Self::Q5_1 => "q5_1",
            Self::Q8_0 => "q8_0",
            Self::Q2K => "q2_k",
            Self::Q3K => "q3_k",
            Self::Q4K => "q4_k",
            Self::Q5K => "q5_k",
            Self::Q6K => "q6_k",
            Self::Mxfp4 => "mxfp4",
            Self::Nvfp4 => "nvfp4",
        }
    }

    /// Its number in GGUF files (`ggml_type`).
    pub const fn number(self) -> u32 {
        match self {
            Self::Q4_0 => 2,
            Self::Q4_1 => 3,
            Self::Q5_0 => 6,
            Self::Q5_1 => 7,
            Self::Q8_0 => 8,
            Self::Q2K => 10,
            Self::Q3K => 11,
            Self::Q4K => 12,
            Self::Q5K => 13,
            Self::Q6K => 14,
            Self::Mxfp4 => 39,
            Self::Nvfp4 => 40,
        }
    }

    /// What llama.cpp calls files whose matrices are of it (`general.file_type`, `llama_ftype`).
    pub const fn file_type(self) -> u32 {
        match self {
            Self::Q4_0 => 2,
            Self::Q4_1 => 3,
            Self::Q5_0 => 8,
            Self::Q5_1 => 9,
            Self::Q8_0 => 7,
            Self::Q2K => 10,
            Self::Q3K => 11,
            Self::Q4K => 14,
            Self::Q5K => 16,
            Self::Q6K => 18,
            Self::Mxfp4 => 38,
            Self::Nvfp4 => 39,
        }
    }

    /// Values of a block.
    pub const fn block_values(self) -> usize {
        match self {
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 | Self::Mxfp4 => 32,
            Self::Q2K | Self::Q3K | Self::Q4K | Self::Q5K | Self::Q6K => 256,
            Self::Nvfp4 => 64,
        }
    }

    /// Values that share a scale.
    pub const fn group(self) -> usize {
        match self {
            Self::Q2K | Self::Q3K | Self::Q6K | Self::Nvfp4 => 16,
            Self::Q4K | Self::Q5K => 32,
            _ => self.block_values(),
        }
    }

    /// Bits of a block.
    pub const fn block_bits(self) -> Bits {
        let (codes, scales, zeros) = match self {
            Self::Q4_0 => (32 * 4, 16, 0),
            Self::Q4_1 => (32 * 4, 16, 16),
            Self::Q5_0 => (32 * 5, 16, 0),
            Self::Q5_1 => (32 * 5, 16, 16),
            Self::Q8_0 => (32 * 8, 16, 0),
            Self::Q2K => (256 * 2, 16 * 4 + 16, 16 * 4 + 16),
            Self::Q3K => (256 * 3, 16 * 6 + 16, 0),
            Self::Q4K => (256 * 4, 8 * 6 + 16, 8 * 6 + 16),
            Self::Q5K => (256 * 5, 8 * 6 + 16, 8 * 6 + 16),
            Self::Q6K => (256 * 6, 16 * 8 + 16, 0),
            Self::Mxfp4 => (32 * 4, 8, 0),
            Self::Nvfp4 => (64 * 4, 4 * 8, 0),
        };
        Bits { codes, scales, zeros, codebooks: 0, indices: 0 }
    }

    /// Bytes of a block.
    pub const fn block_bytes(self) -> usize {
        let bits = self.block_bits();
        (bits.codes + bits.scales + bits.zeros) as usize / 8
    }

    /// What llama.cpp takes instead where rows are no multiple of 256.
    pub const fn fallback(self) -> Option<Self> {
        match self {
            Self::Q2K | Self::Q3K => Some(Self::Q4_0),
            Self::Q4K => Some(Self::Q5_0),
            Self::Q5K => Some(Self::Q5_1),
            Self::Q6K => Some(Self::Q8_0),
            _ => None,
        }
    }

    /// What a code stands for before its scale and its minimum.
    pub(super) fn level(self, code: i16) -> f32 {
        match self {
            Self::Q4_1 | Self::Q5_1 | Self::Q8_0 | Self::Q2K | Self::Q4K | Self::Q5K => f32::from(code),
            Self::Q3K => f32::from(code - 4),
            Self::Q4_0 => f32::from(code - 8),
            Self::Q5_0 => f32::from(code - 16),
            Self::Q6K => f32::from(code - 32),
            Self::Mxfp4 | Self::Nvfp4 => SmallFloat::E2M1.decode(code as u8),
        }
    }

    /// Encodes one block.
    pub(super) fn encode_block(self, x: &[f32], bytes: &mut [u8]) -> Result<(), Refused> {
        match self {
            Self::Q4_0 => legacy::encode::<4, false>(x, bytes),
            Self::Q4_1 => legacy::encode::<4, true>(x, bytes),
            Self::Q5_0 => legacy::encode::<5, false>(x, bytes),
            Self::Q5_1 => legacy::encode::<5, true>(x, bytes),
            Self::Q8_0 => legacy::encode_q8(x, bytes),
            Self::Q2K => minima::encode_q2(x, bytes),
            Self::Q3K => symmetric::encode_q3(x, bytes),
            Self::Q4K => minima::encode::<4>(x, bytes),
            Self::Q5K => minima::encode::<5>(x, bytes),
            Self::Q6K => symmetric::encode_q6(x, bytes),
            Self::Mxfp4 => {
                four_bit::encode_mx(x, four_bit::Ties::Ggml, bytes);
                Ok(())
            }
            Self::Nvfp4 => four_bit::encode_nv(x, bytes),
        }
    }

    /// Appends codes, scales and zeros of one block.
    pub(super) fn unpack(self, bytes: &[u8], into: &mut Decoded) -> Result<(), Refused> {
        match self {
            Self::Q4_0 => legacy::unpack::<4, false>(bytes, into),
            Self::Q4_1 => legacy::unpack::<4, true>(bytes, into),
            Self::Q5_0 => legacy::unpack::<5, false>(bytes, into),
            Self::Q5_1 => legacy::unpack::<5, true>(bytes, into),
            Self::Q8_0 => legacy::unpack_q8(bytes, into),
            Self::Q2K => minima::unpack_q2(bytes, into),
            Self::Q3K => symmetric::unpack_q3(bytes, into),
            Self::Q4K => minima::unpack::<4>(bytes, into),
            Self::Q5K => minima::unpack::<5>(bytes, into),
            Self::Q6K => symmetric::unpack_q6(bytes, into),
            Self::Mxfp4 => four_bit::unpack_mx(bytes, into),
            Self::Nvfp4 => four_bit::unpack_nv(bytes, into),
        }
    }
}
