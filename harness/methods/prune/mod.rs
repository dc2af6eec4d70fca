//! What pruning methods share: the trait, its errors, the selection of weights, and the second-order kernels.

pub mod admm;
pub mod budget_rule;
pub mod factor;
pub mod fisher;
mod needs;
pub mod select;
pub mod spectrum;
pub mod sweep;
pub mod whole;

#[cfg(test)]
mod invariant_tests;
#[cfg(test)]
mod second_order_tests;

use std::fmt;

use harness_core::{ParameterError, Pattern};
use rand_chacha::ChaCha8Rng;

use crate::block::{CalibratedBlock, Fold, Map};
use crate::statistics::LinearStatistics;
pub use needs::Needs;
pub use whole::WholeModel;

/// Which weight matrix of a model is pruned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Site<'a> {
    /// Canonical tensor name.
    pub name: &'a str,
    /// Block from 0.
    pub layer: usize,
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub cols: usize,
}

/// How much of a matrix is pruned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Amount {
    /// Exactly this many weights of the matrix.
    Count(usize),
    /// This share of each comparison group, rounded down to whole weights.
    Share(f64),
    /// All but the best `keep` of every `group` consecutive weights of a row.
    Pattern(Pattern),
}

impl Amount {
    /// The amount of the parameters `sparsity` and `pattern`: half the weights when neither is set.
    ///
    /// # Errors
    /// [`ParameterError::Together`] when both are set and say different shares.
    pub fn of(sparsity: Option<f64>, pattern: Option<Pattern>) -> Result<Self, ParameterError> {
        let Some(pattern) = pattern else { return Ok(Self::Share(sparsity.unwrap_or(0.5))) };
        let share = 1.0 - pattern.keep as f64 / pattern.group as f64;
        match sparsity {
            Some(sparsity) if (sparsity - share).abs() > 1e-9 => Err(ParameterError::Together(format!(
                "`sparsity = {sparsity}` contradicts `pattern = {pattern}`, which prunes {share}; set one of them"
            ))),
            _ => Ok(Self::Pattern(pattern)),
        }
    }

    /// Whether no weight is pruned, whatever the matrix.
    pub fn is_nothing(self) -> bool {
        match self {
            Self::Count(count) => count == 0,
            Self::Share(share) => share == 0.0,
            Self::Pattern(pattern) => pattern.keep >= pattern.group,
        }
    }

    /// Checks that the amount fits a matrix.
    ///
    /// # Errors
    /// [`PruneError::Sparsity`], [`PruneError::Count`] or [`PruneError::PatternColumns`].
    pub fn check(self, site: &Site) -> Result<(), PruneError> {
        let name = || site.name.to_owned();
        match self {
            Self::Count(count) if count > site.rows * site.cols => {
                Err(PruneError::Count { site: name(), count, weights: site.rows * site.cols })
            }
            Self::Share(sparsity) if !(0.0..1.0).contains(&sparsity) => {
                Err(PruneError::Sparsity { site: name(), sparsity })
            }
            Self::Pattern(pattern)
                if pattern.keep == 0 || pattern.keep > pattern.group || !site.cols.is_multiple_of(pattern.group) =>
            {
                Err(PruneError::PatternColumns { site: name(), columns: site.cols, pattern })
            }
            _ => Ok(()),
        }
    }
}

/// What a method looks at that a matrix alone does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beyond {
    /// Gradients of a model's loss.
    Gradients,
    /// All matrices of a model, among which weights are shared out.
    Matrices,
    /// The blocks of a model, of which one is pruned.
    Blocks,
}

impl fmt::Display for Beyond {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Gradients => "takes gradients of a model's loss",
            Self::Matrices => "shares weights out among all matrices of a model",
            Self::Blocks => "prunes one block of a model",
        })
    }
}

/// Why a matrix was not pruned. The matrix is as it was.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PruneError {
    /// A sparsity that is no share.
    #[error("{site}: sparsity {sparsity} is outside [0, 1)")]
    Sparsity {
        /// Tensor.
        site: String,
        /// What was asked for.
        sparsity: f64,
    },
    /// More weights than there are.
    #[error("{site}: cannot prune {count} of {weights} weights")]
    Count {
        /// Tensor.
        site: String,
        /// What was asked for.
        count: usize,
        /// What there is.
        weights: usize,
    },
    /// A pattern whose groups do not tile a row.
    #[error("{site}: pattern {pattern} does not fit {columns} columns; the group of {} must divide them", pattern.group)]
    PatternColumns {
        /// Tensor.
        site: String,
        /// Inputs of the matrix.
        columns: usize,
        /// What was asked for.
        pattern: Pattern,
    },
    /// The mass rule reaches no mask near the sparsity asked for.
    #[error("{site}: the mass rule reaches sparsity {reached}, not {sparsity}; ask for less or drop `variant`")]
    Unreachable {
        /// Tensor.
        site: String,
        /// What was asked for.
        sparsity: f64,
        /// The nearest that was found.
        reached: f64,
    },
    /// A slice that is not the matrix it is said to be.
    #[error("{site}: {found} weights do not make {rows} rows of {columns}")]
    Shape {
        /// Tensor.
        site: String,
        /// Outputs.
        rows: usize,
        /// Inputs.
        columns: usize,
        /// Length of the slice.
        found: usize,
    },
    /// A weight that is NaN or infinite.
    #[error("{site}: the weight at row {row}, column {column} is {value}; the checkpoint is damaged")]
    Weight {
        /// Tensor.
        site: String,
        /// Row from 0.
        row: usize,
        /// Column from 0.
        column: usize,
        /// NaN or an infinity.
        value: f32,
    },
    /// The method reads statistics and was given none, or none of any token.
    #[error("{site}: the method reads statistics of the inputs and there is no calibration text; give `calib`")]
    NoCalibration {
        /// Tensor.
        site: String,
    },
    /// Statistics of another width.
    #[error("{site}: the statistics are of {found} columns, the matrix has {columns}")]
    Columns {
        /// Tensor.
        site: String,
        /// Inputs of the matrix.
        columns: usize,
        /// Columns of the statistics.
        found: usize,
    },
    /// A method that looks at more than a matrix was given one alone.
    #[error("{site}: the method {beyond} and cannot prune a matrix by itself; apply it to a model")]
    NeedsModel {
        /// Tensor.
        site: String,
        /// What it looks at.
        beyond: Beyond,
    },
    /// Blocks of weights that do not tile a matrix.
    #[error("{site}: blocks of {block} weights do not tile its {weights}; name a `block` that divides them")]
    Blocks {
        /// Tensor.
        site: String,
        /// Weights of a block.
        block: usize,
        /// Weights of the matrix.
        weights: usize,
    },
    /// Curvature that takes more memory than a machine of this kind has to spare.
    #[error("blocks of {block} of {weights} weights take {gigabytes:.1} GB; lower `block`, the limit is {limit} GB")]
    Memory {
        /// Weights of a block.
        block: usize,
        /// Weights of all matrices.
        weights: usize,
        /// What the inverses would take.
        gigabytes: f64,
        /// What they may take.
        limit: f64,
    },
    /// Fewer gradients than make a sample.
    #[error("{windows} windows of calibration text make no batch of {batch}; give more windows or lower `batch`")]
    Batches {
        /// Windows there are.
        windows: usize,
        /// Windows of a batch.
        batch: usize,
    },
    /// Iterations that ended before the condition was met.
    #[error("{site}: after {iterations} iterations the error is {reached:.6} of what is allowed; raise `iterations`")]
    Unfinished {
        /// Tensor.
        site: String,
        /// Iterations made.
        iterations: usize,
        /// Error over the radius of the ball.
        reached: f64,
    },
    /// The second moment has no eigenvalues that can be found.
    #[error("{site}: the second moment of its inputs has no decomposition; calibrate on other text")]
    Decomposition {
        /// Tensor.
        site: String,
    },
    /// A block that the model does not have.
    #[error("there is no block {block}; the model has {blocks}, from 0")]
    Block {
        /// What was asked for, from 0.
        block: usize,
        /// What there is.
        blocks: usize,
    },
    /// A budget in which matrices are emptied or filled beyond themselves.
    #[error("{layers} blocks at sparsity {sparsity} do not fit between 0 and 1 with {why}")]
    Budget {
        /// Blocks or matrices among which weights are shared out.
        layers: usize,
        /// What was asked for.
        sparsity: f64,
        /// What does not fit.
        why: String,
    },
    /// A method of another kind, applied in the same walk, refused the matrix.
    #[error("{0}")]
    Refused(String),
    /// The Hessian could not be factored.
    #[error("{site}: {source}; calibrate on more tokens or raise `damp`")]
    Factor {
        /// Tensor.
        site: String,
        /// What was tried.
        source: factor::FactorError,
    },
}

/// A method that zeroes weights of linear maps, one matrix at a time.
pub trait Pruner: Send + Sync {
    /// Which sums over the inputs it reads.
    fn needs(&self) -> Needs;

    /// How many weights to prune in each matrix, when weights of several matrices are compared with each other; `None`
    /// when each matrix is a matter of its own.
    ///
    /// `weights` gives every prunable matrix, row-major, in the order in which they will be pruned; `random` of
    /// [`prune`](Self::prune) is not drawn from.
    ///
    /// # Errors
    /// A weight that is not finite.
    fn allocate(
        &self,
        weights: &mut dyn Iterator<Item = (Site<'_>, Vec<f32>)>,
    ) -> Result<Option<Vec<usize>>, PruneError> {
        let _ = weights;
        Ok(None)
    }

    /// How many times the mean score of a block an outlier is, for methods whose [`allocate_by_outliers`](Self::allocate_by_outliers) reads the
    /// share of outliers; they need calibration.
    fn outliers(&self) -> Option<f64> {
        None
    }

    /// As [`allocate`](Self::allocate), with the share of outliers among the scores `|W_ij| ‖X_j‖` of each
    /// matrix' block, on the dense model's inputs.
    ///
    /// # Errors
    /// A [`PruneError`].
    fn allocate_by_outliers(
        &self,
        weights: &mut dyn Iterator<Item = (Site<'_>, Vec<f32>)>,
        shares: &[f64],
    ) -> Result<Option<Vec<usize>>, PruneError> {
        let _ = shares;
        self.allocate(weights)
    }

    /// Whether it takes gradients of the loss and so prunes a model at once, by [`prune_whole`](Self::prune_whole); nothing else is asked
    /// of it then.
    fn needs_gradients(&self) -> bool {
        false
    }

    /// What it looks at beside a matrix and the sums over its inputs; nothing where it prunes a matrix by itself.
    fn beyond(&self) -> Option<Beyond> {
        self.needs_gradients().then_some(Beyond::Gradients)
    }

    /// Prunes all matrices of a model.
    ///
    /// # Errors
    /// A [`PruneError`].
    fn prune_whole(&self, model: &mut dyn WholeModel) -> Result<(), PruneError> {
        let _ = model;
        Ok(())
    }

    /// What to move between the layers of a block before its matrices are changed, so that the model computes the same.
    ///
    /// Asked only of methods that need calibration.
    ///
    /// # Errors
    /// A [`PruneError`].
    fn folds(&self, block: &dyn CalibratedBlock) -> Result<Vec<Fold>, PruneError> {
        let _ = block;
        Ok(Vec::new())
    }

    /// Prunes `weight` (rows × cols, row-major) in place.
    ///
    /// `allotted` is this matrix' number out of [`allocate`](Self::allocate). `random` is the stream of this matrix.
    ///
    /// # Errors
    /// A [`PruneError`]; `weight` is then untouched. [`PruneError::NeedsModel`] by a method that prunes models at once.
    fn prune(
        &self,
        site: &Site,
        weight: &mut [f32],
        statistics: Option<&LinearStatistics>,
        allotted: Option<usize>,
        random: &mut ChaCha8Rng,
    ) -> Result<(), PruneError> {
        let _ = (weight, statistics, allotted, random);
        Err(PruneError::NeedsModel { site: site.name.to_owned(), beyond: Beyond::Gradients })
    }

    /// Whether it changes a map of a block. Of what it does not change no inputs are summed up, and behind the last block that it
    /// changes no text is read.
    fn changes(&self, layer: usize, map: Map) -> bool {
        let _ = (layer, map);
        true
    }

    /// Whether [`prune`](Self::prune) keeps to one thread, so that the matrices of a block are pruned side by side.
    fn keeps_to_one_thread(&self) -> bool {
        false
    }

    /// Whether it leaves every weight of every model as it is.
    fn is_identity(&self) -> bool {
        false
    }
}

/// How much of a matrix goes: what a budget allots it, else what the method is set to. Nothing is pruned of a matrix that cannot lose
/// so much or is not that of its site.
///
/// # Errors
/// Those of [`Amount::check`] and [`check_weight`].
pub(crate) fn amount_of(
    set: Amount,
    allotted: Option<usize>,
    site: &Site,
    weight: &[f32],
) -> Result<Amount, PruneError> {
    let amount = allotted.map_or(set, Amount::Count);
    amount.check(site)?;
    check_weight(site, weight)?;
    Ok(amount)
}

/// Checks that a slice is the matrix of its site and finite throughout.
///
/// # Errors
/// [`PruneError::Shape`] or [`PruneError::Weight`].
pub fn check_weight(site: &Site, weight: &[f32]) -> Result<(), PruneError> {
    if weight.len() != site.rows * site.cols {
        let (rows, columns, found) = (site.rows, site.cols, weight.len());
        return Err(PruneError::Shape { site: site.name.to_owned(), rows, columns, found });
    }
    match weight.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(at) => Err(PruneError::Weight {
            site: site.name.to_owned(),
            row: at / site.cols,
            column: at % site.cols,
            value: weight[at],
        }),
    }
}

/// The statistics of a site, which must be there and of its width.
///
/// # Errors
/// [`PruneError::NoCalibration`] or [`PruneError::Columns`].
pub fn check_statistics<'a>(
    site: &Site,
    statistics: Option<&'a LinearStatistics>,
) -> Result<&'a LinearStatistics, PruneError> {
    let name = site.name;
    let statistics = statistics
        .filter(|statistics| statistics.tokens() > 0)
        .ok_or_else(|| PruneError::NoCalibration { site: name.to_owned() })?;
    if statistics.columns() != site.cols {
        let (columns, found) = (site.cols, statistics.columns());
        return Err(PruneError::Columns { site: name.to_owned(), columns, found });
    }
    Ok(statistics)
}

/// Sets the weights of a mask to zero.
pub fn zero(weight: &mut [f32], pruned: &[bool]) {
    for (value, &pruned) in weight.iter_mut().zip(pruned) {
        if pruned {
            *value = 0.0;
        }
    }
}
