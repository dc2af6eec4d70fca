//! Linear maps whose weights are 4- or 8-bit codes, multiplied as they lie packed.
//!
//! | weights | activations | few rows (decode) | many rows (prefill) |
//! |---|---|---|---|
//! | 4 or 8 bits, or a table of 16 values | [`Activations::Full`] | codes to f32 lanes, fused multiply-add | tiles of codes to f32, dense product |
//! | 4 or 8 bits | [`Activations::Int8`] | sums of byte products in 32 bits | the same, in register or matrix tiles |
//!
//! The integer kernels add up exactly within a group of columns and scale the sum in f32, group by group in order;
//! their results are the same bits for every instruction set, number of threads and number of rows.

mod activations;
#[cfg(target_arch = "x86_64")]
mod amx;
mod block_full;
mod block_int8;
mod dot;
mod error;
mod lanes;
mod matrix;
pub mod nibble;
mod product;
mod scaling;
mod storage;
mod stream_full;
mod stream_int8;
#[cfg(test)]
mod tests;

pub use activations::{Bytes, rounded_activations};
pub use dot::{IntegerSet, integer_set};
pub use error::PackError;
pub use matrix::{Bits, Levels, Meaning, PackedMatrix, Quantized, Unpacked};
pub use product::{Activations, PackedLinear, packed_linear, packed_linear_on, packed_linear_rounded};
