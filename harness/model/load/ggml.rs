//! The element types of ggml and their values in f32.

use std::borrow::Cow;

use candle_core::Device;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use rayon::prelude::*;

use crate::weight::DType;

/// How a tensor's values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BlockType {
    /// Plain floats, which stay as they are.
    Plain(DType),
    /// Blocks of quantised values.
    Quantised(GgmlDType),
    /// Blocks of four-bit floating-point numbers.
    FourBit(FourBit),
}

/// Four-bit floating-point numbers (E2M1) with scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FourBit {
    /// 32 with a power of two: a byte of exponent, then 16 bytes of numbers.
    Mxfp4,
    /// 64 with four E4M3 scales: 4 bytes, then 8 bytes of numbers for each.
    Nvfp4,
}

impl FourBit {
    fn values(self) -> usize {
        match self {
            Self::Mxfp4 => 32,
            Self::Nvfp4 => 64,
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::Mxfp4 => 17,
            Self::Nvfp4 => 36,
        }
    }

    /// The values of one block.
    fn read(self, bytes: &[u8], out: &mut [f32]) {
        let (scales, numbers) = bytes.split_at(self.bytes() - self.values() / 2);
        let group = self.values() / scales.len();
        for ((scale, numbers), out) in scales.iter().zip(numbers.chunks(group / 2)).zip(out.chunks_mut(group)) {
            let scale = match self {
                Self::Mxfp4 => power_of_two(*scale),
                Self::Nvfp4 => e4m3(scale & 0x7f),
            };
            let (low, high) = out.split_at_mut(group / 2);
            for ((low, high), byte) in low.iter_mut().zip(high).zip(numbers) {
                *low = scale * E2M1[usize::from(byte & 15)];
                *high = scale * E2M1[usize::from(byte >> 4)];
            }
        }
    }
}

/// Numbers of one sign, two exponent and one mantissa bit.
const E2M1: [f32; 16] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];

/// `2^(byte - 127)`; 255 is no number.
fn power_of_two(byte: u8) -> f32 {
    match byte {
        0 => f32::from_bits(1 << 22),
        255 => f32::NAN,
        byte => f32::from_bits(u32::from(byte) << 23),
    }
}

/// A number of four exponent bits about 7 and three mantissa bits without its sign; 127 is no number.
fn e4m3(byte: u8) -> f32 {
    let mantissa = f32::from(byte & 7);
    match byte >> 3 {
        _ if byte == 127 => f32::NAN,
        0 => mantissa / 512.0,
        exponent => (1.0 + mantissa / 8.0) * power_of_two(exponent + 120),
    }
}

impl BlockType {
    /// By ggml's number. `Q8_1` and the codebook types have no conversion to f32 here.
    pub fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Plain(DType::F32),
            1 => Self::Plain(DType::F16),
            30 => Self::Plain(DType::Bf16),
            2 => Self::Quantised(GgmlDType::Q4_0),
            3 => Self::Quantised(GgmlDType::Q4_1),
            6 => Self::Quantised(GgmlDType::Q5_0),
            7 => Self::Quantised(GgmlDType::Q5_1),
            8 => Self::Quantised(GgmlDType::Q8_0),
            10 => Self::Quantised(GgmlDType::Q2K),
            11 => Self::Quantised(GgmlDType::Q3K),
            12 => Self::Quantised(GgmlDType::Q4K),
            13 => Self::Quantised(GgmlDType::Q5K),
            14 => Self::Quantised(GgmlDType::Q6K),
            15 => Self::Quantised(GgmlDType::Q8K),
            39 => Self::FourBit(FourBit::Mxfp4),
            40 => Self::FourBit(FourBit::Nvfp4),
            _ => return None,
        })
    }

    /// Bytes of `elements` values in rows of `row`, when a row is a whole number of blocks and nothing overflows.
    pub fn bytes(self, elements: usize, row: usize) -> Option<usize> {
        match self {
            Self::Plain(dtype) => elements.checked_mul(dtype.size()),
            Self::Quantised(kind) => row
                .is_multiple_of(kind.block_size())
                .then(|| (elements / kind.block_size()).checked_mul(kind.type_size()))?,
            Self::FourBit(kind) => {
                row.is_multiple_of(kind.values()).then(|| (elements / kind.values()).checked_mul(kind.bytes()))?
            }
        }
    }
}

/// The values of blocks of four-bit floating-point numbers, in file order.
pub(super) fn read_four_bit(kind: FourBit, bytes: &[u8]) -> Vec<f32> {
    let mut values = vec![0.0; bytes.len() / kind.bytes() * kind.values()];
    let blocks = values.par_chunks_mut(kind.values()).zip(bytes.par_chunks(kind.bytes()));
    blocks.with_min_len(1024).for_each(|(out, bytes)| kind.read(bytes, out));
    values
}

/// The values of quantised blocks, in file order. Pieces are converted by several threads; each value depends on its own
/// block only.
///
/// # Errors
/// What candle reports; none is known for whole, aligned blocks.
pub(super) fn dequantise(kind: GgmlDType, bytes: &[u8]) -> Result<Vec<f32>, String> {
    const BLOCKS: usize = 1024;
    let mut values = vec![0.0f32; bytes.len() / kind.type_size() * kind.block_size()];
    values
        .par_chunks_mut(BLOCKS * kind.block_size())
        .zip(bytes.par_chunks(BLOCKS * kind.type_size()))
        .try_for_each(|(out, blocks)| {
            let storage = QStorage::from_data(Cow::Borrowed(blocks), &Device::Cpu, kind)?;
            let part = QTensor::new(storage, out.len())?.dequantize(&Device::Cpu)?;
            out.copy_from_slice(&part.to_vec1::<f32>()?);
            Ok::<_, candle_core::Error>(())
        })
        .map_err(|e| e.to_string())?;
    Ok(values)
}
