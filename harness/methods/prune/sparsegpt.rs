//! SparseGPT: pruning with second-order compensation, column by column.
//!
//! With `H = (2/n) Σ x xᵀ` over `n` calibration sequences, damped by `damp` times the mean of its diagonal, and
//! `H⁻¹ = UᵀU`: each block of columns loses the share `s` of its weights with the lowest `W_ij² / U_jj²`, all rows
//! together (with a pattern: all but the best `N` of each `M` of a row, judged by the weights as they are when the
//! group is reached). Walking left to right, a pruned weight's error `W_ij / U_jj` times `U_j,j+1:` is taken from the
//! weights right of it.
//!
//! Elias Frantar, Dan Alistarh: SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot, ICML 2023.
//!
//! # Difference from the reference
//! `f64` instead of `f32` throughout. The published code prunes every weight up to the one at the counted place, that
//! is one more in each block, and zeroes all weights of an input that is always zero; `count_rule = reference` does
//! both, while `exact` prunes such weights first and keeps to the count. When the factorisation fails the damping is
//! raised tenfold, three times at most, instead of failing. `U` comes from one factorisation of the reversed Hessian.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters, Pattern};
use rand_chacha::ChaCha8Rng;

use crate::prune::factor::Factor;
use crate::prune::select::CountRule;
use crate::prune::sweep::{MaskRule, Sweep, obs_sweep};
use crate::prune::{Amount, Needs, PruneError, Pruner, Site, check_statistics, amount_of};
use crate::registry::Method;
use crate::statistics::LinearStatistics;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Share of every block's weights that is pruned; 0.5 when neither it nor a pattern is set.
        sparsity: Option<f64> = None, Domain::half_open(0.0, 1.0);
        /// Weights kept of every group along the inputs, for example 2:4; instead of a sparsity.
        pattern: Option<Pattern> = None;
        /// What is added to the diagonal of the Hessian, as a share of its mean.
        damp: f64 = 0.01, Domain::closed(0.0, 1e6);
        /// Columns whose weights are compared with each other, and between two updates of the columns after them.
        block: usize = 128, Domain::closed(1.0, 65536.0);
        /// Exactly the counted number, or one more in each block as the published code does.
        count_rule: CountRule = CountRule::Exact;
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "sparsegpt",
        axis: Axis::Prune,
        about: "prunes by the error each weight causes and lets the weights after it make up for that error",
        source: "Frantar, Alistarh: SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot, ICML 2023",
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
    let Settings { sparsity, pattern, damp, block, count_rule } = Settings::resolve(arm)?;
    let amount = Amount::of(sparsity, pattern)?;
    if let Some(pattern) = pattern.filter(|pattern| !block.is_multiple_of(pattern.group)) {
        let why = format!("`block = {block}` cuts the groups of `pattern = {pattern}`; make it a multiple");
        return Err(ParameterError::Together(why));
    }
    Ok(Method::Pruner(Box::new(SparseGpt { amount, damp, block, count_rule })))
}

/// The method as it is set.
pub(crate) struct SparseGpt {
    amount: Amount,
    damp: f64,
    block: usize,
    count_rule: CountRule,
}

impl SparseGpt {
    /// Prunes the weights in `f64`.
    fn sweep(&self, weight: &mut [f64], factor: &Factor, amount: Amount) -> Sweep {
        let rule = match amount {
            Amount::Pattern(pattern) => MaskRule::Pattern(pattern),
            Amount::Share(share) => MaskRule::Share(share, self.count_rule),
            Amount::Count(count) => MaskRule::Count(count),
        };
        if self.count_rule == CountRule::Reference {
            for row in weight.chunks_mut(factor.columns.max(1)) {
                row.iter_mut().zip(&factor.dead).filter(|(_, dead)| **dead).for_each(|(value, _)| *value = 0.0);
            }
        }
        obs_sweep(weight, factor, rule, self.block)
    }
}

impl Pruner for SparseGpt {
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
        let factor = statistics
            .inverse_factor(self.damp)
            .map_err(|source| PruneError::Factor { site: site.name.to_owned(), source })?;
        let mut wide: Vec<f64> = weight.iter().map(|&value| f64::from(value)).collect();
        self.sweep(&mut wide, &factor, amount);
        for (value, wide) in weight.iter_mut().zip(wide) {
            *value = wide as f32;
        }
        Ok(())
    }
}
