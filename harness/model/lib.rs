//! One readable decoder, its loaders, tokenizers and training loop.

pub mod config;
pub mod load;
pub mod tokenizer;
pub mod weight;
pub mod write;
