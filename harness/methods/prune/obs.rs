//! Optimal brain surgeon, row by row: the weight whose loss is smallest goes, all others make up for it, and so on.
//!
//! With `H = (2/n) Σ x xᵀ`, damped, the weight of a row with the least `w_q² / (2 [H⁻¹]_qq)` goes, the row becomes `w − w_q / [H⁻¹]_qq · H⁻¹ e_q`, and `q` is
//! eliminated: `H⁻¹ −= h hᵀ / [H⁻¹]_qq`. Each step is exact for the error of the outputs, which is quadratic in the weights.
//!
//! Babak Hassibi, David Stork: Second order derivatives for network pruning: Optimal Brain Surgeon, NIPS 1992.
//!
//! # Difference from the reference
//! The publication takes the Hessian of a network's loss; here it is that of each row's outputs, so rows are independent and `columns²` numbers are enough. A removal costs
//! as many operations, so a matrix costs `rows · pruned · columns²`: minutes to hours on models beyond the embedded ones. One shot. Damping as in
//! SparseGPT; weights of inputs that are always zero go first.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters, Pattern};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::lowrank::linalg::{product, transposed};
use crate::prune::factor::Factor;
use crate::prune::select::{count, row_count};
use crate::prune::{Amount, Needs, PruneError, Pruner, Site, check_statistics, amount_of};
use crate::registry::Method;
use crate::statistics::LinearStatistics;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Share of every row's weights that is pruned; 0.5 when neither it nor a pattern is set.
        sparsity: Option<f64> = None, Domain::half_open(0.0, 1.0);
        /// Weights kept of every group along the inputs, for example 2:4; instead of a sparsity.
        pattern: Option<Pattern> = None;
        /// What is added to the diagonal of the Hessian, as a share of its mean.
        damp: f64 = 0.01, Domain::closed(0.0, 1e6);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "obs",
        axis: Axis::Prune,
        about: "prunes one weight of a row after the other and lets all others of the row make up for each",
        source: "Hassibi, Stork: Second order derivatives for network pruning: Optimal Brain Surgeon, NIPS 1992",
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
    let Settings { sparsity, pattern, damp } = Settings::resolve(arm)?;
    Ok(Method::Pruner(Box::new(Obs { amount: Amount::of(sparsity, pattern)?, damp })))
}

struct Obs {
    amount: Amount,
    damp: f64,
}

/// Removes `number` weights of a row; with a pattern never more than its groups lose. `inverse` is used up. The sum of the saliencies.
fn remove(row: &mut [f64], inverse: &mut [f64], dead: &[bool], number: usize, pattern: Option<Pattern>) -> f64 {
    let cols = row.len();
    let mut gone = vec![false; cols];
    let mut left: Vec<usize> = pattern.map_or_else(Vec::new, |p| vec![p.group - p.keep; cols / p.group]);
    let (mut along, mut loss) = (vec![0.0; cols], 0.0);
    for _ in 0..number {
        let open = |&j: &usize| !gone[j] && pattern.is_none_or(|p| left[j / p.group] > 0);
        let saliency = |j: usize| if dead[j] { 0.0 } else { row[j] * row[j] / (2.0 * inverse[j * (cols + 1)]) };
        let Some(q) = (0..cols).filter(open).min_by(|&a, &b| saliency(a).total_cmp(&saliency(b))) else { break };
        loss += saliency(q);
        along.copy_from_slice(&inverse[q * cols..(q + 1) * cols]);
        let (value, pivot) = (row[q], along[q]);
        gone[q] = true;
        if let Some(pattern) = pattern {
            left[q / pattern.group] -= 1;
        }
        for (j, (weight, h)) in row.iter_mut().zip(&along).enumerate() {
            *weight = if gone[j] { 0.0 } else { *weight - value / pivot * h };
        }
        for (j, line) in inverse.chunks_exact_mut(cols).enumerate().filter(|(j, _)| !gone[*j]) {
            let factor = along[j] / pivot;
            line.iter_mut().zip(&along).for_each(|(entry, h)| *entry -= factor * h);
        }
    }
    loss
}

/// `H⁻¹ = UᵀU`.
fn inverse(factor: &Factor) -> Vec<f64> {
    let n = factor.columns;
    product(&transposed(&factor.upper, n), &factor.upper, (n, n, n))
}

impl Pruner for Obs {
    fn needs(&self) -> Needs {
        Needs::SECOND_MOMENT
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
        if amount.is_nothing() {
            return Ok(());
        }
        let refused = |source| PruneError::Factor { site: site.name.to_owned(), source };
        let factor = statistics.inverse_factor(self.damp).map_err(refused)?;
        let inverse = inverse(&factor);
        weight.par_chunks_mut(site.cols).enumerate().for_each(|(at, row)| {
            let (number, pattern) = match amount {
                Amount::Count(all) => (row_count(all, site.rows, at), None),
                Amount::Share(share) => (count(share, site.cols), None),
                Amount::Pattern(pattern) => (site.cols / pattern.group * (pattern.group - pattern.keep), Some(pattern)),
            };
            let mut wide: Vec<f64> = row.iter().map(|&value| f64::from(value)).collect();
            remove(&mut wide, &mut inverse.clone(), &factor.dead, number, pattern);
            row.iter_mut().zip(wide).for_each(|(value, wide)| *value = wide as f32);
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::prune::factor::hinv_upper;

    #[test]
    fn two_weights_by_hand() {
        let factor = hinv_upper(vec![2.0, 1.0, 1.0, 2.0], 2, 0.0).unwrap();
        let mut row = [1.0, 0.6];
        let loss = remove(&mut row, &mut inverse(&factor), &[false; 2], 1, None);
        assert!((row[0] - 1.3).abs() < 1e-12 && row[1] == 0.0 && (loss - 0.27).abs() < 1e-12, "{row:?} {loss}");
    }
}
