//! The mask of another arm, shuffled: the control that tells a layer budget from a choice of weights.
//!
//! The arm named by `like` prunes a copy of the matrix; as many dense weights, drawn at random, are zeroed in its place:
//! as many in the matrix, in each row, or in each group of its pattern. Shuffled inside the matrix it is a random mask
//! with the arm's own number in every matrix. What the arm did to the weights it kept is not taken over.
//!
//! # Difference from the reference
//! A control without a publication. The draw is by random scores, as the control `random` does it.

use harness_core::{Arm, Axis, MethodSpec, ParameterError, Parameters, Pattern, Value};
use rand_chacha::ChaCha8Rng;

use super::random::scores;
use crate::prune::select::select_lowest;
use crate::prune::{Beyond, Needs, PruneError, Pruner, Site, WholeModel, zero};
use crate::registry::{self, Method};
use crate::statistics::LinearStatistics;

harness_core::choice! {
    /// Inside what a mask is shuffled.
    pub enum Within {
        /// A matrix.
        Layer = "layer",
        /// Each output row.
        Row = "row",
        /// Each group of the arm's pattern.
        Group = "group",
    }
}

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// The pruning arm whose mask is shuffled.
        like: String = "wanda(sparsity=0.5)".to_owned();
        /// Inside what: a matrix, its rows, or the groups of the arm's pattern.
        within: Within = Within::Layer;
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "shuffled-mask",
        axis: Axis::Prune,
        about: "zeroes as many weights as another arm in every matrix, row or group, drawn at random",
        source: "control",
        version: 1 + registry::versions_except("prune/shuffled_mask.rs"),
        calibrated: true,
        random: true,
        parameters: Settings::specs(),
        check: |arm| build(arm).map(drop),
    }
}

/// Makes it.
///
/// # Errors
/// A parameter that does not fit, or an arm of another method that cannot be built.
pub fn build(arm: &Arm) -> Result<Method, ParameterError> {
    let Settings { like, within } = Settings::resolve(arm)?;
    let refuse = |why: String| ParameterError::Together(format!("`like`: {why}"));
    let inner: Arm = like.parse().map_err(|error: harness_core::GrammarError| refuse(error.to_string()))?;
    if inner.id == arm.id {
        return Err(refuse("a shuffled mask cannot be shuffled again; name the arm itself".to_owned()));
    }
    let pattern =
        inner.get("pattern").and_then(|value| if let Value::Text(text) = value { text.parse().ok() } else { None });
    let group = pattern.map(|Pattern { group, .. }| group);
    if within == Within::Group && group.is_none() {
        return Err(refuse(format!("`{inner}` has no pattern, so there are no groups to shuffle within")));
    }
    let inner = registry::pruner(&inner).map_err(|error| refuse(error.to_string()))?;
    Ok(Method::Pruner(Box::new(ShuffledMask { inner, within, group: group.unwrap_or(1) })))
}

struct ShuffledMask {
    inner: Box<dyn Pruner>,
    within: Within,
    group: usize,
}

impl Pruner for ShuffledMask {
    fn needs(&self) -> Needs {
        self.inner.needs()
    }

    fn allocate(
        &self,
        weights: &mut dyn Iterator<Item = (Site<'_>, Vec<f32>)>,
    ) -> Result<Option<Vec<usize>>, PruneError> {
        self.inner.allocate(weights)
    }

    fn prune(
        &self,
        site: &Site,
        weight: &mut [f32],
        statistics: Option<&LinearStatistics>,
        allotted: Option<usize>,
        random: &mut ChaCha8Rng,
    ) -> Result<(), PruneError> {
        let mut other = weight.to_vec();
        self.inner.prune(site, &mut other, statistics, allotted, random)?;
        self.shuffle(site, weight, &other, random);
        Ok(())
    }

    fn outliers(&self) -> Option<f64> {
        self.inner.outliers()
    }

    fn allocate_by_outliers(
        &self,
        weights: &mut dyn Iterator<Item = (Site<'_>, Vec<f32>)>,
        shares: &[f64],
    ) -> Result<Option<Vec<usize>>, PruneError> {
        self.inner.allocate_by_outliers(weights, shares)
    }

    fn needs_gradients(&self) -> bool {
        self.inner.needs_gradients()
    }

    fn beyond(&self) -> Option<Beyond> {
        self.inner.beyond()
    }

    fn prune_whole(&self, model: &mut dyn WholeModel) -> Result<(), PruneError> {
        let dense: Vec<Vec<f32>> = (0..model.sites().len()).map(|at| model.weight(at)).collect();
        self.inner.prune_whole(model)?;
        for (at, mut weight) in dense.into_iter().enumerate() {
            self.shuffle(&model.sites()[at], &mut weight, &model.weight(at), &mut model.random(at));
            model.set(at, &weight)?;
        }
        Ok(())
    }

    fn is_identity(&self) -> bool {
        self.inner.is_identity()
    }
}

impl ShuffledMask {
    /// Zeroes as many weights as are zero in `other`, where that is another matrix.
    fn shuffle(&self, site: &Site, weight: &mut [f32], other: &[f32], random: &mut ChaCha8Rng) {
        if other == weight {
            return;
        }
        let length = match self.within {
            Within::Layer => weight.len(),
            Within::Row => site.cols,
            Within::Group => self.group,
        };
        let scores = scores(weight.len(), random);
        let mut pruned = vec![false; weight.len()];
        for ((other, scores), pruned) in other.chunks(length).zip(scores.chunks(length)).zip(pruned.chunks_mut(length))
        {
            select_lowest(scores, other.iter().filter(|value| **value == 0.0).count(), pruned);
        }
        zero(weight, &pruned);
    }
}
