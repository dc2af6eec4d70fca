//! Wanda: pruning by weight and activation.
//!
//! A weight scores `|W_ij| · ‖X_j‖₂`, with `X_j` the input `j` of the map on all calibration tokens, and is compared
//! with the weights of its own output row: in every row the `floor(s · columns)` lowest go, or all but the best `N` of
//! each `M` with a pattern. The weights that stay are not changed.
//!
//! Mingjie Sun, Zhuang Liu, Anna Bair, J. Zico Kolter: A Simple and Effective Pruning Approach for Large Language
//! Models, ICLR 2024.
//!
//! # Difference from the reference
//! The published code divides the squared norms by the number of sequences, a factor that all scores share. Its rows
//! are counted exactly, so there is no `count_rule`. It reads `N:M` as "prune N of M" and allows only `N = M/2`, where
//! that is the same. Its variant stops when the bisected interval is short, whatever the sparsity is by then; here it
//! is bisected to the end, and a sparsity that it cannot reach is an error.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters, Pattern};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::prune::select::{CountRule, Group, mask};
use crate::prune::{Amount, Needs, PruneError, Pruner, Site, check_statistics, amount_of, zero};
use crate::registry::Method;
use crate::statistics::LinearStatistics;

/// Bounds of the share of a row's mass that the variant prunes, and the sparsity it aims at within.
const MASS: (f64, f64) = (0.0, 0.8);
const TOLERANCE: f64 = 1e-3;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Share of every row's weights that is pruned; 0.5 when neither it nor a pattern is set.
        sparsity: Option<f64> = None, Domain::half_open(0.0, 1.0);
        /// Weights kept of every group along the inputs, for example 2:4; instead of a sparsity.
        pattern: Option<Pattern> = None;
        /// Prunes the same share of every row's summed score instead of the same number of its weights.
        variant: bool = false;
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "wanda",
        axis: Axis::Prune,
        about: "prunes the weights of each row that are smallest times the norm of their input",
        source: "Sun, Liu, Bair, Kolter: A Simple and Effective Pruning Approach for Large Language Models, ICLR 2024",
        version: 1,
        calibrated: true,
        random: false,
        parameters: Settings::specs(),
        check: |arm| build(arm).map(drop),
    }
}

/// Makes it.
///
/// # Errors
/// A parameter that does not fit.
pub fn build(arm: &Arm) -> Result<Method, ParameterError> {
    let settings = Settings::resolve(arm)?;
    let amount = Amount::of(settings.sparsity, settings.pattern)?;
    if settings.variant && settings.pattern.is_some() {
        let why = "`variant` prunes by mass and fits no `pattern`; leave one of them out";
        return Err(ParameterError::Together(why.to_owned()));
    }
    Ok(Method::Pruner(Box::new(Wanda { amount, variant: settings.variant })))
}

struct Wanda {
    amount: Amount,
    variant: bool,
}

impl Pruner for Wanda {
    fn needs(&self) -> Needs {
        Needs::COLUMN_NORMS
    }

    fn prune(
        &self,
        site: &Site,
        weight: &mut [f32],
        statistics: Option<&LinearStatistics>,
        allotted: Option<usize>,
        _: &mut ChaCha8Rng,
    ) -> Result<(), PruneError> {
        let amount = amount_of(self.amount, allotted, site, weight)?;
        let statistics = check_statistics(site, statistics)?;
        let scores = scores(weight, statistics);
        let pruned = match amount {
            Amount::Share(sparsity) if self.variant && sparsity > 0.0 => by_mass(site, &scores, sparsity)?,
            amount => mask(site, &scores, amount, Group::Row, CountRule::Exact),
        };
        zero(weight, &pruned);
        Ok(())
    }
}

/// `|W_ij| · ‖X_j‖₂`, rows × cols.
fn scores(weight: &[f32], statistics: &LinearStatistics) -> Vec<f64> {
    let norms: Vec<f64> = statistics.column_sum_squares().iter().map(|sum| sum.sqrt()).collect();
    let mut scores = vec![0.0; weight.len()];
    let rows = scores.par_chunks_mut(norms.len().max(1)).zip(weight.par_chunks(norms.len().max(1)));
    rows.for_each(|(scores, row)| {
        for ((score, value), norm) in scores.iter_mut().zip(row).zip(&norms) {
            *score = f64::from(value.abs()) * norm;
        }
    });
    scores
}

/// In every row the smallest scores whose sum is at most `α` of the row's, with one `α` for the matrix, bisected until
/// the matrix has the sparsity.
fn by_mass(site: &Site, scores: &[f64], sparsity: f64) -> Result<Vec<bool>, PruneError> {
    // Of every row the running sums of its sorted scores.
    let sums: Vec<Vec<f64>> = scores
        .par_chunks(site.cols)
        .map(|row| {
            let mut sorted = row.to_vec();
            sorted.sort_by(f64::total_cmp);
            sorted
                .iter()
                .scan(0.0, |sum, score| {
                    Some({
                        *sum += score;
                        *sum
                    })
                })
                .collect()
        })
        .collect();
    let counts = |alpha: f64| -> Vec<usize> {
        let below = |row: &Vec<f64>| row.partition_point(|sum| *sum <= alpha * row.last().copied().unwrap_or(0.0));
        sums.iter().map(below).collect()
    };
    let (mut low, mut high) = MASS;
    let mut alpha = f64::midpoint(low, high);
    let mut best = (f64::INFINITY, 0.0, Vec::new());
    for _ in 0..40 {
        let found = counts(alpha);
        let reached = found.iter().sum::<usize>() as f64 / scores.len() as f64;
        if (reached - sparsity).abs() < best.0 {
            best = ((reached - sparsity).abs(), reached, found);
        }
        if best.0 <= TOLERANCE {
            break;
        }
        if reached > sparsity {
            high = alpha;
        } else {
            low = alpha;
        }
        alpha = f64::midpoint(low, high);
    }
    // Rows change by whole weights, so a small matrix cannot come nearer than one weight a row.
    if best.0 > TOLERANCE.max(1.0 / site.cols as f64) {
        return Err(PruneError::Unreachable { site: site.name.to_owned(), sparsity, reached: best.1 });
    }
    let mut pruned = vec![false; scores.len()];
    for ((scores, pruned), &count) in scores.chunks(site.cols).zip(pruned.chunks_mut(site.cols)).zip(&best.2) {
        crate::prune::select::select_lowest(scores, count, pruned);
    }
    Ok(pruned)
}
