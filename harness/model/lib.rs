//! One readable decoder, its loaders, tokenizers and training loop.

mod assemble;
pub mod bfloat16;
mod biases;
pub mod cache;
pub mod config;
pub mod decoder;
pub mod depth;
pub mod error;
pub mod factored;
mod gradients;
pub mod linear;
pub mod load;
pub mod operated;
pub mod ops;
pub mod packed;
mod packed_layout;
mod parameter;
pub mod reach;
pub mod replace;
pub mod rope;
mod scaling;
pub mod tensor;
mod together;
pub mod tokenizer;
pub mod train;
pub mod weight;
pub mod write;
