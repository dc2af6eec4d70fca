//! Random pruning: the control that shows what choosing weights is worth.
//!
//! Every weight draws a uniform score from the stream of its matrix and the lowest are pruned, so the count is exact,
//! each weight is as likely as any other, and at one seed the mask at a lower sparsity is part of that at a higher one.
//!
//! # Difference from the reference
//! A control without a publication. With `scope = global` the numbers that fall on each matrix are drawn, too; their
//! stream knows no seed, so arms that differ in the seed alone prune as many weights of each matrix.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters, Pattern, seed};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use super::magnitude::{Scope, check_scope};
use crate::prune::select::{CountRule, Group, count, mask};
use crate::prune::{Amount, Beyond, Needs, PruneError, Pruner, Site, amount_of, zero};
use crate::registry::Method;
use crate::statistics::LinearStatistics;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Share of weights that is pruned; 0.5 when neither it nor a pattern is set.
        sparsity: Option<f64> = None, Domain::half_open(0.0, 1.0);
        /// Which weights the share is of.
        scope: Scope = Scope::Layer;
        /// Weights kept of every group along the inputs, for example 2:4; instead of a sparsity.
        pattern: Option<Pattern> = None;
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "random",
        axis: Axis::Prune,
        about: "prunes weights drawn at random, exactly as many as asked for",
        source: "control",
        version: 1,
        calibrated: false,
        random: true,
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
    check_scope(arm)?;
    let amount = Amount::of(settings.sparsity, settings.pattern)?;
    Ok(Method::Pruner(Box::new(Random { amount, scope: settings.scope })))
}

/// One uniform score in [0, 1) for every weight, in flat order.
pub(crate) fn scores(length: usize, random: &mut ChaCha8Rng) -> Vec<f64> {
    (0..length).map(|_| (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64).collect()
}

struct Random {
    amount: Amount,
    scope: Scope,
}

impl Pruner for Random {
    fn needs(&self) -> Needs {
        Needs::NOTHING
    }

    fn allocate(
        &self,
        weights: &mut dyn Iterator<Item = (Site<'_>, Vec<f32>)>,
    ) -> Result<Option<Vec<usize>>, PruneError> {
        let (Amount::Share(share), Scope::Global) = (self.amount, self.scope) else { return Ok(None) };
        let sizes: Vec<usize> = weights.map(|(_, weight)| weight.len()).collect();
        let mut left: usize = sizes.iter().sum();
        let mut due = count(share, left);
        let mut random = seed::stream(0, &["random pruning", "numbers of the matrices"]);
        // One weight after another is pruned with the probability due / left: every set of the right size is equally
        // likely, of which only how many fall on each matrix is kept.
        let mut draw = |size: usize| {
            let before = due;
            for _ in 0..size {
                let uniform = (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
                due -= usize::from(uniform * (left as f64) < due as f64);
                left -= 1;
            }
            before - due
        };
        Ok(Some(sizes.into_iter().map(&mut draw).collect()))
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
        random: &mut ChaCha8Rng,
    ) -> Result<(), PruneError> {
        let amount = amount_of(self.amount, allotted, site, weight)?;
        let scores = scores(weight.len(), random);
        zero(weight, &mask(site, &scores, amount, self.scope.group(), CountRule::Exact));
        Ok(())
    }
}

impl Scope {
    /// What is compared inside one matrix.
    pub(crate) fn group(self) -> Group {
        if self == Self::Row { Group::Row } else { Group::Matrix }
    }
}
