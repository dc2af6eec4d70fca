//! Optimal brain damage: the weights go whose loss, by the diagonal of the Hessian, is smallest.
//!
//! A weight scores `½ h w²`, with `h` the curvature of the loss along it: the mean over calibration text of the squared
//! gradients of the model's mean negative log-likelihood, the diagonal of the empirical Fisher information. Weights are compared with those of
//! all prunable matrices, of their own, or of their output row. The weights that stay are not changed.
//!
//! Yann LeCun, John Denker, Sara Solla: Optimal Brain Damage, NIPS 1989.
//!
//! # Difference from the reference
//! The publication propagates second derivatives (Levenberg-Marquardt) through a network with squared errors; here the
//! curvature is the empirical Fisher information, which equals it where the model's distribution is that of the text.
//! One shot, without retraining between steps. A gradient is that of one window, or the mean of `batch` windows.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters, Pattern};

use crate::prune::whole::{WholeModel, WholeScope, batched, check_all, masks};
use crate::prune::{Amount, Needs, PruneError, Pruner, zero};
use crate::registry::Method;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Share of weights that is pruned; 0.5 when neither it nor a pattern is set.
        sparsity: Option<f64> = None, Domain::half_open(0.0, 1.0);
        /// Weights kept of every group along the inputs, for example 2:4; instead of a sparsity.
        pattern: Option<Pattern> = None;
        /// Which weights are compared with each other.
        scope: WholeScope = WholeScope::Global;
        /// Windows of calibration text whose gradients are averaged before they are squared.
        batch: usize = 1, Domain::closed(1.0, 4096.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "obd",
        axis: Axis::Prune,
        about: "prunes the weights whose loss by squared gradients, one weight at a time, is smallest",
        source: "LeCun, Denker, Solla: Optimal Brain Damage, NIPS 1989",
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
    let Settings { sparsity, pattern, scope, batch } = Settings::resolve(arm)?;
    super::magnitude::check_scope(arm)?;
    Ok(Method::Pruner(Box::new(Obd { amount: Amount::of(sparsity, pattern)?, scope, batch })))
}

struct Obd {
    amount: Amount,
    scope: WholeScope,
    batch: usize,
}

/// `½ h w²`.
fn saliency(weight: f32, curvature: f64) -> f64 {
    0.5 * curvature * f64::from(weight).powi(2)
}

impl Pruner for Obd {
    fn needs(&self) -> Needs {
        Needs::NOTHING
    }

    fn needs_gradients(&self) -> bool {
        true
    }

    fn prune_whole(&self, model: &mut dyn WholeModel) -> Result<(), PruneError> {
        check_all(model, self.amount)?;
        if self.amount.is_nothing() {
            return Ok(());
        }
        let mut curvature: Vec<Vec<f64>> = model.sites().iter().map(|site| vec![0.0; site.rows * site.cols]).collect();
        let batches = batched(model, self.batch, &mut |at, gradient| {
            curvature[at].iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g * g);
        })?;
        let scores: Vec<Vec<f64>> = curvature
            .iter()
            .enumerate()
            .map(|(at, sums)| {
                let weights = model.weight(at);
                weights.iter().zip(sums).map(|(&weight, sum)| saliency(weight, sum / batches as f64)).collect()
            })
            .collect();
        for (at, pruned) in masks(&model.sites(), &scores, self.amount, self.scope).iter().enumerate() {
            let mut weight = model.weight(at);
            zero(&mut weight, pruned);
            model.set(at, &weight)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saliencies_are_half_the_curvature_times_the_square() {
        // Of H = [[2, 1], [1, 2]] the diagonal is read.
        assert!((saliency(1.0, 2.0) - 1.0).abs() < 1e-7 && (saliency(0.6, 2.0) - 0.36).abs() < 1e-7);
    }
}
