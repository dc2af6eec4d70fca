//! What methods of the lowrank axis share: the trait, what a matrix as factors is, how large a rank is, and errors.
//!
//! A matrix `W (N, K)` becomes factors that are applied to inputs one after the other and never multiplied out.

pub mod allotment;
pub mod angular;
pub mod cur;
pub mod deim;
pub mod linalg;
pub mod rank;
pub mod tensor_train;
pub mod truncated;

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod invariant_tests;

use crate::block::Map;
use crate::prune::{Needs, PruneError, Site, check_statistics, check_weight};
use crate::statistics::LinearStatistics;

harness_core::choice! {
    /// Which maps of a block become factors.
    pub enum Maps {
        /// All of them.
        All = "all",
        /// Queries, keys, values and the output of attention.
        Attention = "attention",
        /// Gate, expansion and contraction.
        FeedForward = "feed-forward",
        /// Keys and values.
        KeysValues = "keys-values",
        /// Queries, keys and gate.
        QueryKeyGate = "query-key-gate",
    }
}

impl Maps {
    /// Whether a map is one of them.
    pub fn take(self, map: Map) -> bool {
        match self {
            Self::All => true,
            Self::Attention => matches!(map, Map::Q | Map::K | Map::V | Map::O),
            Self::FeedForward => matches!(map, Map::Gate | Map::Up | Map::Down),
            Self::KeysValues => matches!(map, Map::K | Map::V),
            Self::QueryKeyGate => matches!(map, Map::Q | Map::K | Map::Gate),
        }
    }
}

/// A factor. Of numbers `(outer, cols, width)` it makes `(outer, rows, width)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Factor {
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub cols: usize,
    /// Consecutive numbers that take part alike; 1 in a product of matrices.
    pub width: usize,
    /// Rows × cols, row-major.
    pub values: Vec<f64>,
}

impl Factor {
    /// A factor of a product of matrices.
    pub fn matrix(rows: usize, cols: usize, values: Vec<f64>) -> Self {
        Self { rows, cols, width: 1, values }
    }
}

/// A matrix as factors.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Factorisation {
    /// In the order they are applied to inputs.
    pub factors: Vec<Factor>,
    /// The singular values that were cut, falling, those left out included; one list a cut.
    pub singular: Vec<Vec<f64>>,
    /// How many of each list stay.
    pub kept: Vec<usize>,
    /// The squared error in the norm in which the method is best, and the square of the matrix in it.
    pub lost: (f64, f64),
    /// What was added to the diagonal of what weights are divided by, a second moment or scales of inputs, because it could not be
    /// divided by; 0 where nothing had to be.
    pub jitter: f64,
    /// Directions that an update leaves out because no input has them.
    pub left_out: usize,
    /// What else is to be told of it.
    pub note: Option<String>,
}

impl Factorisation {
    /// Numbers of all factors.
    pub fn parameters(&self) -> usize {
        self.factors.iter().map(|factor| factor.values.len()).sum()
    }

    /// The product `(rows, cols)`, row-major.
    pub fn product(&self, cols: usize) -> Vec<f64> {
        let mut state = vec![0.0; cols * cols];
        state.iter_mut().step_by(cols + 1).for_each(|one| *one = 1.0);
        for Factor { rows, cols, width, values } in &self.factors {
            let parts = state.chunks_exact(cols * width);
            state = parts.flat_map(|part| linalg::product(values, part, (*rows, *cols, *width))).collect();
        }
        // One row an input so far.
        linalg::transposed(&state, cols)
    }
}

/// What is known of a matrix beside its weights.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known<'a> {
    /// Sums over its inputs.
    pub statistics: Option<&'a LinearStatistics>,
    /// The mean over calibration sequences of the squared gradient of the loss, summed over the outputs of each input.
    pub gradients: Option<&'a [f64]>,
    /// The share of its numbers that a search lets it keep.
    pub share: Option<f64>,
}

/// What is known of a model as a whole.
#[derive(Debug, Clone, Default)]
pub struct Blocks {
    /// How many there are.
    pub count: usize,
    /// The angle between what each block reads and writes at the last token of a sequence, in half turns, averaged over
    /// calibration sequences; empty where it was not asked for.
    pub distances: Vec<f64>,
}

/// How shares are told out among maps.
#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    /// The share of all their numbers that factors have less.
    pub ratio: f64,
    /// Shares of its numbers that each map is tried with, alone.
    pub shares: Vec<f64>,
}

/// Why a matrix did not become factors.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LowRankError {
    /// The weights or their statistics are not what they should be.
    #[error(transparent)]
    Input(#[from] PruneError),
    /// A rank of nothing, of more than there is, or that saves nothing.
    #[error(
        "{site}: rank {rank} is not one of a {rows}x{cols} matrix that saves anything, 1 to {most}{}",
        if *asked { "; set `ratio` instead to give each matrix its own" } else { "; choose another `ratio` or `align`" }
    )]
    Rank {
        /// Tensor.
        site: String,
        /// Outputs.
        rows: usize,
        /// Inputs.
        cols: usize,
        /// What was asked for, or what the ratio comes to.
        rank: usize,
        /// The largest rank whose factors have fewer numbers than the matrix.
        most: usize,
        /// Whether the rank was set as such.
        asked: bool,
    },
    /// A second moment that has no Cholesky factor.
    #[error(
        "{site}: the second moment of the inputs has no Cholesky factor with {jitter} added to its diagonal; calibrate on more tokens or raise `jitter`"
    )]
    NotPositiveDefinite {
        /// Tensor.
        site: String,
        /// What was added.
        jitter: f64,
    },
    /// Singular values that were not found.
    #[error("{site}: the singular value decomposition did not converge")]
    NotConverged {
        /// Tensor.
        site: String,
    },
    /// Sizes of cores that are not those of the matrix.
    #[error("{site}: {side} {sizes:?} multiply to {found}, and the matrix has {expected}")]
    Sizes {
        /// Tensor.
        site: String,
        /// `outputs` or `inputs`.
        side: &'static str,
        /// What was asked for.
        sizes: Vec<usize>,
        /// Their product.
        found: usize,
        /// What there is.
        expected: usize,
    },
    /// More blocks than there are to choose from.
    #[error("`layers = {asked}` blocks were asked for, and there are {available} to choose from{}", if *ends { "" } else { ", the first and the last left out; set `ends = true` to choose those too" })]
    Layers {
        /// What was asked for; 0 where nothing was.
        asked: usize,
        /// What there is.
        available: usize,
        /// Whether the first and the last block could be chosen.
        ends: bool,
    },
    /// Every block left out.
    #[error("`skip = {skip}` leaves none of {blocks} blocks; set less")]
    Skip {
        /// What was asked for.
        skip: usize,
        /// What there is.
        blocks: usize,
    },
    /// Shares that a search tells out, and no search was made.
    #[error(
        "{site}: shares are told out by what the maps of a model cost one by one, which a matrix alone does not have; apply it to a model"
    )]
    NoSearch {
        /// Tensor.
        site: String,
    },
    /// A ratio below what the shares that are tried come to.
    #[error(
        "the smallest of `shares` leave {least:.4} of the numbers of all maps, and `ratio = {ratio}` lets {allowed:.4} stay; add smaller shares"
    )]
    Unreachable {
        /// What was asked for.
        ratio: f64,
        /// The share of all numbers that may stay.
        allowed: f64,
        /// The share that stays at the smallest of each map.
        least: f64,
    },
    /// The method reads gradients and was given none.
    #[error("{site}: the method reads gradients of the loss, which a matrix alone does not have; apply it to a model")]
    NoGradients {
        /// Tensor.
        site: String,
    },
}

/// A method that holds linear maps as factors, one matrix at a time.
pub trait LowRank: Send + Sync {
    /// Which sums over the inputs it reads.
    fn needs(&self) -> Needs {
        Needs::NOTHING
    }

    /// Whether it reads gradients of the loss.
    fn needs_gradients(&self) -> bool {
        false
    }

    /// Whether it reads how far blocks turn their inputs.
    fn needs_distances(&self) -> bool {
        false
    }

    /// How shares are told out by what maps cost one by one; nothing where each has what the method is set to.
    fn search(&self) -> Option<Search> {
        None
    }

    /// Whether it cannot be applied without calibration text.
    fn needs_text(&self) -> bool {
        self.needs().any() || self.needs_gradients() || self.needs_distances() || self.search().is_some()
    }

    /// The blocks whose maps become factors.
    ///
    /// # Errors
    /// [`LowRankError::Layers`].
    fn blocks(&self, blocks: &Blocks) -> Result<Vec<usize>, LowRankError> {
        Ok((0..blocks.count).collect())
    }

    /// Whether a map of those blocks becomes factors.
    fn takes(&self, map: Map) -> bool {
        let _ = map;
        true
    }

    /// Takes a matrix (rows × cols, row-major) apart.
    ///
    /// # Errors
    /// A [`LowRankError`].
    fn factorise(&self, site: &Site, weight: &[f32], known: Known<'_>) -> Result<Factorisation, LowRankError>;

    /// Whether factors are fitted again, once those before them are there, by [`update`](Self::update). The statistics of
    /// [`factorise`](Self::factorise) are those of the whole model then.
    fn updates(&self) -> bool {
        false
    }

    /// Fits factors of a matrix to the inputs that it has behind the factors before it.
    ///
    /// # Errors
    /// A [`LowRankError`].
    fn update(
        &self,
        site: &Site,
        weight: &[f32],
        factors: Factorisation,
        known: Known<'_>,
    ) -> Result<Factorisation, LowRankError> {
        let _ = (site, weight, known);
        Ok(factors)
    }

    /// Whether what the factors leave of a matrix is kept beside them, for what follows to prune or quantize.
    fn keeps_remainder(&self) -> bool {
        false
    }

    /// Whether it leaves every map of every model as it is.
    fn is_identity(&self) -> bool {
        false
    }
}

/// The weights of a site in f64, once they are as many as they should be and finite.
///
/// # Errors
/// [`LowRankError::Input`].
pub fn wide(site: &Site, weight: &[f32]) -> Result<Vec<f64>, LowRankError> {
    check_weight(site, weight)?;
    Ok(weight.iter().map(|&value| f64::from(value)).collect())
}

/// The statistics of a site, which must be there and of its width.
///
/// # Errors
/// [`LowRankError::Input`].
pub fn statistics_of<'a>(site: &Site, known: Known<'a>) -> Result<&'a LinearStatistics, LowRankError> {
    Ok(check_statistics(site, known.statistics)?)
}

/// The second moment of a site's inputs, which must be there.
///
/// # Errors
/// [`LowRankError::Input`].
pub fn moment_of<'a>(site: &Site, known: Known<'a>) -> Result<&'a [f64], LowRankError> {
    let none = || LowRankError::Input(PruneError::NoCalibration { site: site.name.to_owned() });
    statistics_of(site, known)?.second_moment().ok_or_else(none)
}
