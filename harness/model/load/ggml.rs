//! The element types of ggml and their values in f32.

use std::borrow::Cow;

use candle_core::Device;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use rayon::prelude::*;

use crate::weight::DType;

/// How a tensor's values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BlockType {
    /// Plain floats, which stay as they are.
    Plain(DType),
    /// Blocks of quantised values.
    Quantised(GgmlDType),
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
        }
    }
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
