//! Magnitude pruning: the smallest weights go.
//!
//! A weight scores `|W_ij|` and is compared with the weights of its matrix, of its output row, or of all prunable
//! matrices together; with a pattern, with those of its group of `M` inputs. No data is read and the weights that stay
//! are not changed.
//!
//! Song Han, Jeff Pool, John Tran, William Dally: Learning both Weights and Connections for Efficient Neural Networks,
//! NeurIPS 2015.
//!
//! # Difference from the reference
//! One shot, without the retraining of the paper: the baseline of the Wanda and SparseGPT papers. Their published code
//! prunes every weight up to the one at the counted place, that is one more and its ties; `count_rule = reference`
//! does so.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters, Pattern};
use rand_chacha::ChaCha8Rng;

use crate::prune::select::{CountRule, mask};
use crate::prune::spectrum::Spectrum;
use crate::prune::{Amount, Beyond, Needs, PruneError, Pruner, Site, amount_of, check_weight, zero};
use crate::registry::Method;
use crate::statistics::LinearStatistics;

harness_core::choice! {
    /// Which weights are compared with each other.
    pub enum Scope {
        /// Those of one matrix.
        Layer = "layer",
        /// Those of one output row.
        Row = "row",
        /// Those of all prunable matrices.
        Global = "global",
    }
}

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Share of weights that is pruned; 0.5 when neither it nor a pattern is set.
        sparsity: Option<f64> = None, Domain::half_open(0.0, 1.0);
        /// Which weights are compared with each other.
        scope: Scope = Scope::Layer;
        /// Weights kept of every group along the inputs, for example 2:4; instead of a sparsity.
        pattern: Option<Pattern> = None;
        /// Exactly the counted number, or one more and its ties as the published code does.
        count_rule: CountRule = CountRule::Exact;
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "magnitude",
        axis: Axis::Prune,
        about: "prunes the weights of smallest magnitude",
        source: "Han, Pool, Tran, Dally: Learning both Weights and Connections for Efficient Neural Networks, NeurIPS 2015",
        version: 1,
        calibrated: false,
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
    let Settings { sparsity, scope, pattern, count_rule } = Settings::resolve(arm)?;
    check_scope(arm)?;
    Ok(Method::Pruner(Box::new(Magnitude { amount: Amount::of(sparsity, pattern)?, scope, count_rule })))
}

/// Refuses a scope beside a pattern, which has its own.
pub(crate) fn check_scope(arm: &Arm) -> Result<(), ParameterError> {
    match (arm.get("scope"), arm.get("pattern")) {
        (Some(scope), Some(pattern)) if *pattern != harness_core::Value::Unset => {
            Err(ParameterError::Together(format!(
                "`pattern = {pattern}` compares inside its groups, so `scope = {scope}` has no meaning; leave one of them out"
            )))
        }
        _ => Ok(()),
    }
}

struct Magnitude {
    amount: Amount,
    scope: Scope,
    count_rule: CountRule,
}

impl Pruner for Magnitude {
    fn needs(&self) -> Needs {
        Needs::NOTHING
    }

    fn allocate(
        &self,
        weights: &mut dyn Iterator<Item = (Site<'_>, Vec<f32>)>,
    ) -> Result<Option<Vec<usize>>, PruneError> {
        let (Amount::Share(share), Scope::Global) = (self.amount, self.scope) else { return Ok(None) };
        let mut matrices = Vec::new();
        for (site, weight) in weights {
            check_weight(&site, &weight)?;
            matrices.push(Spectrum::of(&weight));
        }
        Ok(Some(Spectrum::lowest(&matrices, share, self.count_rule)))
    }

    fn beyond(&self) -> Option<Beyond> {
        (self.scope == Scope::Global).then_some(Beyond::Matrices)
    }

    fn prune(
        &self,
        site: &Site,
        weight: &mut [f32],
        _: Option<&LinearStatistics>,
        allotted: Option<usize>,
        _: &mut ChaCha8Rng,
    ) -> Result<(), PruneError> {
        let amount = amount_of(self.amount, allotted, site, weight)?;
        let scores: Vec<f64> = weight.iter().map(|value| f64::from(value.abs())).collect();
        zero(weight, &mask(site, &scores, amount, self.scope.group(), self.count_rule));
        Ok(())
    }
}
