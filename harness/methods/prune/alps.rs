//! ALPS: the mask and the weights on it are found together, by alternating directions.
//!
//! `min tr((U − W) H (U − W)ᵀ)` with a given number of weights not zero, `H` the second moment of the inputs, damped and scaled to a diagonal of ones. `U` without
//! zeros solves `(H + ρI)`, its copy keeps the largest of `U + V/ρ`, and `V` gathers their difference. Every three iterations `ρ` grows by 1.3, 1.2 or 1.1 as
//! the support changes by more than a tenth, more than half a hundredth, or less; when it does not change, conjugate gradients refine the weights on it.
//!
//! Xiang Meng, Kayhan Behdin, Haoyue Wang, Rahul Mazumder: ALPS: Improved Optimization for Highly Sparse One-Shot Pruning for Large
//! Language Models, NeurIPS 2024.
//!
//! # Difference from the reference
//! Reconstructed from the publication; no code was read. `f64`; each row takes its own steps of conjugate gradients. With a pattern the largest of each group stay.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters, Pattern};
use rand_chacha::ChaCha8Rng;

use crate::prune::admm::{Basis, SupportSettings, on_support};
use crate::prune::factor::FactorError;
use crate::prune::select::{CountRule, Group, mask};
use crate::prune::{Amount, Needs, PruneError, Pruner, Site, check_statistics, amount_of};
use crate::registry::Method;
use crate::statistics::LinearStatistics;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Share of the weights of every matrix that is pruned; 0.5 when neither it nor a pattern is set.
        sparsity: Option<f64> = None, Domain::half_open(0.0, 1.0);
        /// Weights kept of every group along the inputs, for example 2:4; instead of a sparsity.
        pattern: Option<Pattern> = None;
        /// What is added to the diagonal of the second moment, as a share of its mean.
        damp: f64 = 0.01, Domain::open(0.0, 1e6);
        /// First penalty of the splitting.
        rho: f64 = 0.1, Domain::open(0.0, 1e6);
        /// The most iterations before the support is taken as it is.
        iterations: usize = 300, Domain::closed(3.0, 1e5);
        /// Steps of conjugate gradients on the support.
        steps: usize = 10, Domain::closed(0.0, 1e4);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "alps",
        axis: Axis::Prune,
        about: "finds the mask and the weights on it together, for the outputs of each matrix",
        source: "Meng, Behdin, Wang, Mazumder: ALPS: Improved Optimization for Highly Sparse One-Shot Pruning, NeurIPS 2024",
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
    let Settings { sparsity, pattern, damp, rho, iterations, steps } = Settings::resolve(arm)?;
    let amount = Amount::of(sparsity, pattern)?;
    Ok(Method::Pruner(Box::new(Alps { amount, damp, settings: SupportSettings { rho, iterations, steps } })))
}

struct Alps {
    amount: Amount,
    damp: f64,
    settings: SupportSettings,
}

impl Pruner for Alps {
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
        let (name, cols) = (|| site.name.to_owned(), site.cols);
        let statistics = check_statistics(site, statistics)?;
        if amount.is_nothing() {
            return Ok(());
        }
        let missing = || PruneError::Factor { site: name(), source: FactorError::NoHessian };
        let mut moment = statistics.second_moment().ok_or_else(missing)?.to_vec();
        let mean = moment.iter().step_by(cols + 1).sum::<f64>() / cols as f64;
        // Where every input is zero the outputs are whatever the weights, and all directions count alike.
        let lambda = if mean > 0.0 { self.damp * mean } else { 1.0 };
        moment.iter_mut().step_by(cols + 1).for_each(|entry| *entry += lambda);
        let scale: Vec<f64> = moment.iter().step_by(cols + 1).map(|entry| entry.sqrt()).collect();
        for (row, s) in moment.chunks_exact_mut(cols).zip(&scale) {
            row.iter_mut().zip(&scale).for_each(|(entry, t)| *entry /= s * t);
        }
        let basis = Basis::of(&moment, cols).ok_or_else(|| PruneError::Decomposition { site: name() })?;
        let scaled: Vec<f64> =
            weight.chunks_exact(cols).flat_map(|row| row.iter().zip(&scale).map(|(w, s)| f64::from(*w) * s)).collect();
        let choose = |scores: &[f64]| mask(site, scores, amount, Group::Matrix, CountRule::Exact);
        let (found, pruned) = on_support(&scaled, (&moment, &basis), self.settings, &choose);
        for (at, value) in weight.iter_mut().enumerate() {
            *value = if pruned[at] { 0.0 } else { (found[at] / scale[at % cols]) as f32 };
        }
        Ok(())
    }
}
