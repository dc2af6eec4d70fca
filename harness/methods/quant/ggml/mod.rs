//! The block formats of ggml, which GGUF files hold: bytes for values and values for bytes.
//!
//! [`Format::encode`] gives the bytes of ggml's reference (`quantize_row_*_ref` of `ggml-quants.c`, without an
//! importance matrix) bit for bit: `f32` throughout, no fused operations, sums in its order, its rounding.
//! All numbers in a block are little-endian.

mod fit;
mod format;
pub mod four_bit;
mod legacy;
pub mod method;
mod minima;
mod pack;
mod symmetric;

#[cfg(test)]
mod format_tests;
#[cfg(test)]
mod golden_tests;

pub use format::Format;
use half::f16;
use rayon::prelude::*;

/// Blocks taken apart.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decoded {
    /// What the codes stand for: `scale × level + zero`.
    pub values: Vec<f32>,
    /// Codes as they are stored: from 0 but in Q8_0, where they are signed.
    pub codes: Vec<i16>,
    /// The scale of each group of [`Format::group`] values, those of scales multiplied in.
    pub scales: Vec<f32>,
    /// What is added to each group; empty where the format has no minima.
    pub zeros: Vec<f32>,
}

/// Why values were not encoded, or bytes not decoded.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BlockError {
    /// Values that do not fill blocks.
    #[error("{found} values do not fill blocks of {block}; {format} needs a multiple", format = format.name())]
    Values {
        /// The format.
        format: Format,
        /// Number of values.
        found: usize,
        /// Values of a block.
        block: usize,
    },
    /// Bytes that do not fill blocks.
    #[error("{found} bytes are no blocks of {block}; what is to be {format} is cut off or something else", format = format.name())]
    Bytes {
        /// The format.
        format: Format,
        /// Number of bytes.
        found: usize,
        /// Bytes of a block.
        block: usize,
    },
    /// A value that is NaN or infinite.
    #[error("value {index} is {value}; {format} holds finite numbers only", format = format.name())]
    Value {
        /// The format.
        format: Format,
        /// Which, from 0.
        index: usize,
        /// NaN or an infinity.
        value: f32,
    },
    /// A scale or minimum that is too large for its place in the block.
    #[error("block {block} needs {value} for {what}, more than {format} can store; scale the weights down, or take mxfp4 or fp8", format = format.name())]
    Scale {
        /// The format.
        format: Format,
        /// Which block, from 0.
        block: usize,
        /// Scale or minimum.
        what: &'static str,
        /// What it should be.
        value: f32,
    },
    /// A stored scale or minimum that is NaN or infinite.
    #[error("block {block} of {format} has {value} for {what}; the data is damaged", format = format.name())]
    Stored {
        /// The format.
        format: Format,
        /// Which block, from 0.
        block: usize,
        /// Scale or minimum.
        what: &'static str,
        /// NaN or an infinity.
        value: f32,
    },
}

/// A number that a block cannot hold or should not have held.
struct Refused {
    what: &'static str,
    value: f32,
}

/// Blocks that are worked on together.
const TOGETHER: usize = 64;

impl Format {
    /// The blocks of values, one after the other.
    ///
    /// # Errors
    /// [`BlockError::Values`], [`BlockError::Value`] and [`BlockError::Scale`].
    pub fn encode(self, values: &[f32]) -> Result<Vec<u8>, BlockError> {
        self.encode_with(values, |x, bytes| self.encode_block(x, bytes))
    }

    /// The blocks of values by a rule for one of them.
    fn encode_with(
        self,
        values: &[f32],
        rule: impl Fn(&[f32], &mut [u8]) -> Result<(), Refused> + Sync,
    ) -> Result<Vec<u8>, BlockError> {
        let (block, size) = (self.block_values(), self.block_bytes());
        if !values.len().is_multiple_of(block) {
            return Err(BlockError::Values { format: self, found: values.len(), block });
        }
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            return Err(BlockError::Value { format: self, index, value: values[index] });
        }
        let mut bytes = vec![0; values.len() / block * size];
        let refused =
            values.par_chunks(block * TOGETHER).zip(bytes.par_chunks_mut(size * TOGETHER)).enumerate().find_map_first(
                |(chunk, (values, bytes))| {
                    let blocks = values.chunks_exact(block).zip(bytes.chunks_exact_mut(size)).enumerate();
                    let mut refused = blocks.filter_map(|(at, (x, bytes))| Some((at, rule(x, bytes).err()?)));
                    refused.next().map(|(at, Refused { what, value })| BlockError::Scale {
                        format: self,
                        block: chunk * TOGETHER + at,
                        what,
                        value,
                    })
                },
            );
        refused.map_or(Ok(bytes), Err)
    }

    /// What blocks hold.
    ///
    /// # Errors
    /// [`BlockError::Bytes`] and [`BlockError::Stored`].
    pub fn decode(self, bytes: &[u8]) -> Result<Decoded, BlockError> {
        let (block, size) = (self.block_values(), self.block_bytes());
        if !bytes.len().is_multiple_of(size) {
            return Err(BlockError::Bytes { format: self, found: bytes.len(), block: size });
        }
        let parts: Vec<Result<Decoded, BlockError>> = bytes
            .par_chunks(size * TOGETHER)
            .enumerate()
            .map(|(chunk, bytes)| {
                let mut into = Decoded::default();
                for (at, bytes) in bytes.chunks_exact(size).enumerate() {
                    let block = chunk * TOGETHER + at;
                    self.unpack(bytes, &mut into).map_err(|Refused { what, value }| BlockError::Stored {
                        format: self,
                        block,
                        what,
                        value,
                    })?;
                }
                self.values(&mut into);
                Ok(into)
            })
            .collect();
        let mut all = Decoded::default();
        all.values.reserve_exact(bytes.len() / size * block);
        all.codes.reserve_exact(bytes.len() / size * block);
        for part in parts {
            let part = part?;
            all.values.extend(part.values);
            all.codes.extend(part.codes);
            all.scales.extend(part.scales);
            all.zeros.extend(part.zeros);
        }
        Ok(all)
    }

    /// The values of codes, scales and zeros.
    fn values(self, decoded: &mut Decoded) {
        let group = self.group();
        for (at, codes) in decoded.codes.chunks(group).enumerate() {
            let scale = decoded.scales[at];
            let zero = decoded.zeros.get(at);
            decoded.values.extend(codes.iter().map(|&code| {
                let value = scale * self.level(code);
                zero.map_or(value, |zero| value + zero)
            }));
        }
    }
}

/// Stores a number in half precision and gives it as it is stored.
fn put_half(value: f32, what: &'static str, bytes: &mut [u8]) -> Result<f32, Refused> {
    let half = f16::from_f32(value);
    if !half.is_finite() {
        return Err(Refused { what, value });
    }
    bytes.copy_from_slice(&half.to_le_bytes());
    Ok(half.to_f32())
}

/// Reads what [`put_half`] stored.
fn half_of(bytes: &[u8], what: &'static str) -> Result<f32, Refused> {
    finite(f16::from_le_bytes([bytes[0], bytes[1]]).to_f32(), what)
}

/// A number that has to be finite.
fn finite(value: f32, what: &'static str) -> Result<f32, Refused> {
    if value.is_finite() { Ok(value) } else { Err(Refused { what, value }) }
}
