//! One readable decoder, its loaders, tokenizers and training loop.

mod assemble;
pub mod bfloat16;
mod biases;
mod block;
pub mod cache;
pub mod config;
pub mod decoder;
pub mod depth;
pub mod error;
pub mod factored;
mod gradients;
pub mod linear;
pub mod load;
#[cfg(test)]
mod made;
mod named;
pub mod narrow;
pub mod operated;
pub mod ops;
pub mod packed;
mod packed_layout;
mod parameter;
pub mod reach;
pub mod reads;
pub mod replace;
pub mod rope;
mod scaling;
pub mod slice;
pub mod sparse;
pub mod spread;
pub mod state_space;
pub mod tensor;
mod together;
pub mod tokenizer;
pub mod train;
pub mod weight;
pub mod write;
