//! What quantizers of weights share: the trait, what a quantized matrix is, what it takes, and errors.

pub(crate) mod activation_aware;
pub mod blockwise;
pub mod codebook;
pub mod feedback;
pub(crate) mod flatten;
pub mod ggml;
pub mod grid;
pub mod hadamard;
pub mod half_quadratic;
pub mod lookup;
pub mod mixture;
pub mod operator;
pub(crate) mod outliers;
pub(crate) mod output_change;
pub mod packing;
pub(crate) mod rounded;
pub mod small_float;
pub(crate) mod smoothing;
pub mod turned;

#[cfg(test)]
mod block_tests;
#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod invariant_tests;

use std::sync::Arc;

use harness_core::ParameterError;

pub use self::grid::rtn_groups;
use self::operator::Operators;
use crate::block::{CalibratedBlock, Fold};
use crate::prune::{Needs, PruneError, Site, check_statistics, check_weight};
use crate::statistics::LinearStatistics;

/// Bits that a quantized matrix takes, by what they are for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bits {
    /// Codes of the weights.
    pub codes: u64,
    /// Scales, those of scales included.
    pub scales: u64,
    /// Zero points, offsets and means.
    pub zeros: u64,
    /// Codebooks that are not fixed by the format.
    pub codebooks: u64,
    /// Places: permutations and which weights are stored apart.
    pub indices: u64,
}

impl Bits {
    /// All of them.
    pub fn total(self) -> u64 {
        self.codes + self.scales + self.zeros + self.codebooks + self.indices
    }

    /// With those of another matrix.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            codes: self.codes + other.codes,
            scales: self.scales + other.scales,
            zeros: self.zeros + other.zeros,
            codebooks: self.codebooks + other.codebooks,
            indices: self.indices + other.indices,
        }
    }
}

/// A quantized matrix, taken apart.
#[derive(Debug, Clone, Default)]
pub struct Quantized {
    /// What its codes stand for, rows × cols, row-major.
    pub values: Vec<f32>,
    /// The code of each weight as the format numbers them: signed where it is symmetric, else from 0.
    pub codes: Vec<i16>,
    /// Scales in the order of the groups: row by row, or block by block of the flattened matrix.
    pub scales: Vec<f32>,
    /// In the same order, empty where the format has none: the code of zero of even grids, what is added in block formats, means
    /// that were taken from the weights.
    pub zeros: Vec<f32>,
    /// What it takes.
    pub bits: Bits,
    /// The format it has instead of the one asked for, whose blocks do not tile its rows.
    pub fallback: Option<&'static str>,
    /// How kernels read its codes, where any does.
    pub packing: Option<packing::Packing>,
    /// How it meets its inputs, where it does more than multiply them by `values`.
    pub operators: Option<Arc<dyn Operators>>,
}

/// Equal in all but how they meet their inputs.
impl PartialEq for Quantized {
    fn eq(&self, other: &Self) -> bool {
        let parts = |q: &Self| (q.bits, q.fallback, q.packing.clone());
        self.values == other.values
            && (&self.codes, &self.scales, &self.zeros) == (&other.codes, &other.scales, &other.zeros)
            && parts(self) == parts(other)
    }
}

/// Why a matrix was not quantized.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum QuantError {
    /// The weights or their statistics are not what they should be.
    #[error(transparent)]
    Input(#[from] PruneError),
    /// Groups that do not tile a row, or blocks that do not tile the matrix.
    #[error("{site}: groups of {group} do not divide {columns} columns; {advice}")]
    Group {
        /// Tensor.
        site: String,
        /// Weights of a group.
        group: usize,
        /// Inputs of the matrix.
        columns: usize,
        /// What to do.
        advice: String,
    },
    /// A scale that its type does not hold.
    #[error("{site}: a group with a weight of {largest} needs a scale beyond half precision; set `scales = f32`")]
    Scale {
        /// Tensor.
        site: String,
        /// Its largest magnitude.
        largest: f32,
    },
    /// A block that a format cannot hold.
    #[error("{site}, row {row}, column {column}: {source}")]
    Block {
        /// Tensor.
        site: String,
        /// Row from 0.
        row: usize,
        /// Where in it the block begins, from 0.
        column: usize,
        /// What is wrong with it.
        source: ggml::BlockError,
    },
    /// What makes the inputs of a matrix is not known.
    #[error(
        "{site}: `proxy` chooses inputs by the weights before them, which are not known for a matrix alone; apply it to a model"
    )]
    NoProducers {
        /// Tensor.
        site: String,
    },
    /// A number of channels for which no Hadamard matrix is known.
    #[error(
        "{site}: no Hadamard matrix of order {order} is known here; it has to be 2^p times 1, or times q + 1 or 2 (q + 1) of a prime q"
    )]
    NoHadamard {
        /// Tensor.
        site: String,
        /// Inputs or outputs.
        order: usize,
    },
    /// Codes that no kernel multiplies.
    #[error("{site}: {why}; set `exec = \"fake\"` to measure the quality alone")]
    NoKernel {
        /// Tensor.
        site: String,
        /// What does not fit.
        why: String,
    },
    /// A budget that even the smallest formats exceed.
    #[error(
        "a budget of {budget} bits a weight is below {least}, the fewest that the choices take; raise `budget` or add a smaller format"
    )]
    Budget {
        /// What was asked for.
        budget: f64,
        /// What the smallest formats take.
        least: f64,
    },
    /// Formats could not be told out to the matrices of a model.
    #[error("{reason}")]
    Plan {
        /// Why.
        reason: String,
    },
    /// Too few weights for what is estimated from them.
    #[error("{site}: {found} weights are too few; {what} needs {least}")]
    TooFew {
        /// Tensor.
        site: String,
        /// Weights there are.
        found: usize,
        /// What needs more.
        what: &'static str,
        /// How many it needs.
        least: usize,
    },
}

/// A method that gives every weight of a linear map one of a few values.
pub trait Quantizer: Send + Sync {
    /// Which sums over the inputs it reads.
    fn needs(&self) -> Needs {
        Needs::NOTHING
    }

    /// What to move between the layers of a block before its matrices are quantized, so that the model computes the same.
    /// The statistics of [`quantize`](Self::quantize) are those of what is read then.
    ///
    /// # Errors
    /// A [`QuantError`].
    fn folds(&self, block: &dyn CalibratedBlock) -> Result<Vec<Fold>, QuantError> {
        let _ = block;
        Ok(Vec::new())
    }

    /// Quantizes a matrix (rows × cols, row-major).
    ///
    /// # Errors
    /// A [`QuantError`].
    fn quantize(
        &self,
        site: &Site,
        weight: &[f32],
        statistics: Option<&LinearStatistics>,
    ) -> Result<Quantized, QuantError>;

    /// The formats that the matrices of a model share a budget of bits among; `None` where each matrix is a matter of its own.
    fn mixture(&self) -> Option<&mixture::Mixture> {
        None
    }

    /// Whether it leaves every weight of every model as it is.
    fn is_identity(&self) -> bool {
        false
    }

    /// How it makes blocks of ggml, where its codes lie in such.
    fn blocks(&self) -> Option<&dyn ggml::method::MakesBlocks> {
        None
    }
}

/// Weights of a group; `None` for whole rows.
///
/// # Errors
/// [`ParameterError::Together`] for 0.
pub fn group_of(group: i64) -> Result<Option<usize>, ParameterError> {
    match usize::try_from(group) {
        Ok(0) => Err(ParameterError::Together("`group = 0` holds no weight; write -1 for whole rows".to_owned())),
        Ok(group) => Ok(Some(group)),
        Err(_) => Ok(None),
    }
}

/// Checks that a matrix is whole and finite, and that groups divide its rows.
///
/// # Errors
/// [`QuantError::Input`], [`QuantError::Group`].
pub fn check_groups(site: &Site, weight: &[f32], group: usize) -> Result<(), QuantError> {
    check_weight(site, weight)?;
    if group == 0 || !site.cols.is_multiple_of(group) {
        let divisors = (2..=site.cols).rev().filter(|g| site.cols.is_multiple_of(*g) && *g <= 256 && *g >= 16);
        let divisors: Vec<String> = divisors.take(4).map(|group| group.to_string()).collect();
        let advice = match divisors.as_slice() {
            [] => "take one group a row (group = -1)".to_owned(),
            some => format!("{} do", some.join(", ")),
        };
        return Err(QuantError::Group { site: site.name.to_owned(), group, columns: site.cols, advice });
    }
    Ok(())
}

/// The statistics of a site, which must be there and of its width.
///
/// # Errors
/// [`QuantError::Input`].
pub fn statistics_of<'a>(
    site: &Site,
    statistics: Option<&'a LinearStatistics>,
) -> Result<&'a LinearStatistics, QuantError> {
    Ok(check_statistics(site, statistics)?)
}
