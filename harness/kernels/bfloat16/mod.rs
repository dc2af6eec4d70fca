//! Linear maps in bf16: weights and activations rounded to it, products and sums in f32.
//!
//! | instructions | few rows (decode) | many rows (prefill) |
//! |---|---|---|
//! | matrix tiles (`tdpbf16ps`) | widened lanes, fused multiply-add | tiles |
//! | AVX512-BF16 (`vdpbf16ps`) | pairs of products | pairs of products in register tiles |
//! | AVX-512, AVX2, scalar | widened lanes, fused multiply-add | the same in register tiles |
//!
//! A product of two bf16 is exact in f32; what differs between instructions is the order of the additions and that tiles
//! and pairs take subnormal numbers for zero. Every order is fixed: results do not depend on the number of threads, and
//! scalar, AVX2 and AVX-512 give the same bits.

mod block;
mod inputs;
mod matrix;
mod pairs;
mod product;
mod set;
mod stream;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod tile;

pub use matrix::Bf16Matrix;
pub use product::{Bf16Linear, bf16_linear, bf16_linear_on};
pub use set::{Bf16Set, bf16_set};
