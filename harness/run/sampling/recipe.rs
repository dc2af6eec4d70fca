//! Chains as a bench needs them: the same stages for many sequences.

use std::sync::Arc;

use harness_core::Arm;
use harness_methods::decode::{self, Decode};
use harness_methods::sample::Chain;
use harness_methods::sample::basis::Basis;

/// What a cell's chains are built of.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// The stages.
    pub arms: Vec<Arm>,
    /// The seed of the cell.
    pub seed: u64,
    /// The basis of the model's head, where a stage judges tokens by it.
    pub basis: Option<Arc<Basis>>,
}

impl Recipe {
    /// A chain of one sequence, with random numbers of its own.
    ///
    /// # Errors
    /// What is wrong with the stages.
    pub fn chain(&self, sequence: &str) -> Result<Chain, String> {
        let chain = Chain::build(&self.arms, self.seed, sequence).map_err(|error| error.to_string())?;
        match &self.basis {
            Some(basis) => chain.with_basis(basis).map_err(|error| error.to_string()),
            None => Ok(chain),
        }
    }

    /// The decoder that stands first, and the stages behind it; `None` for a chain of samplers.
    pub fn decoder(&self) -> Option<(Box<dyn Decode>, &[Arm])> {
        decode::first(&self.arms).ok().flatten()
    }
}
