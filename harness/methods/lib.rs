//! The registered methods, one file each.
//!
//! A method is a file under the folder of its axis and a line in [`registry`]; what methods of an axis share stands in
//! the axis' own module. Methods work on plain row-major slices: none knows a tensor library or a model.

// Names such as SparseGPT and NeurIPS are names, not code.
#![allow(clippy::doc_markdown)]

pub mod block;
pub mod decode;
pub mod lowrank;
pub mod merge;
pub mod position;
pub mod prune;
pub mod quant;
pub mod receptive_field;
pub mod registry;
pub mod sample;
pub mod select_context;
pub mod shrink;
pub mod statistics;
pub mod width;

#[cfg(test)]
mod golden_tests;
