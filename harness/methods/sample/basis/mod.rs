//! The basis of a model's head, and what it proves of tokens: the ground of basis-aware samplers.

mod choose;
mod head;
mod lanes;
mod program;
mod simplex;
mod support;

#[cfg(test)]
mod sampler_tests;
#[cfg(test)]
mod tests;

pub use choose::{Chooser, Mode};
pub use head::{Basis, BasisError};
pub use support::{Support, TOLERANCE, Verdict};
