//! Plain-slice numeric loops: matrix products, attention, reductions. No tensor library.
//!
//! Every routine works on row-major `f32` slices whose shapes stand in its documentation. The vector loops are written
//! once over [`vector::Vector`](mod@vector) (sixteen lanes) and compiled for AVX-512, AVX2 and plain scalar code; the
//! choice is made at run time and all three give the same bits, because they do the same fused operations on the same
//! sixteen lanes. Work is split over rayon's pool by rows or heads, never inside one reduction, so results do not
//! depend on the number of threads.
//!
//! Wrong slice lengths are programming errors and panic.

// SIMD intrinsics and disjoint writes from several threads need it; each use states why it is sound.
#![allow(unsafe_code)]
// Vector methods must end up inside the function that enables their instruction set; block loops name shapes and
// strides one by one, and index rows and columns of register arrays together.
#![allow(clippy::inline_always, clippy::too_many_arguments, clippy::needless_range_loop)]

pub mod activation;
pub mod allocator;
pub mod attention;
pub mod awake;
pub mod bends;
pub mod bfloat16;
pub mod buffer;
pub mod cache;
pub mod flow;
mod gemv;
mod lines;
pub mod logits;
mod matrix;
pub mod normalise;
pub mod order;
pub mod packed;
mod prefetch;
mod product;
pub mod reach;
pub mod rotary;
pub mod select;
pub mod sort;
pub mod sparse;
pub mod state_space;
pub mod stored;
mod streams;
mod tile;
#[cfg(target_arch = "x86_64")]
mod tiles;
mod vector;

pub use matrix::MatrixRef;
pub use product::{Linear, add, add_bias, linear_few, matmul_nn, matmul_nt, matmul_tn, sum_rows};
pub use vector::{InstructionSet, instruction_set};
