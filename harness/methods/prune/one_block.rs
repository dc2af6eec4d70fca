//! One block alone: another arm is applied to a single block of the model, the control that tells how much each block bears.
//!
//! The arm named by `like` prunes the matrices of block `block`, counted from 0; all others stay as they are. A sweep over blocks and sparsities is a
//! sensitivity scan. Where the arm shares weights out among matrices, the block gets its share of that.
//!
//! Song Han, Jeff Pool, John Tran, William Dally: Learning both Weights and Connections for Efficient Neural Networks, NeurIPS 2015.
//!
//! # Difference from the reference
//! The publication scans single layers of convolutional networks by accuracy; here a unit is a block of a decoder and the metrics are those of
//! the bench. Arms that take gradients of a whole model prune it and the other blocks are put back, so `scope = layer` is what compares inside.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};
use rand_chacha::ChaCha8Rng;

use super::{alps, magnitude, net_trim, obd, obert, obs, random, sparsegpt, wanda};
use crate::prune::{Beyond, Needs, PruneError, Pruner, Site, WholeModel};
use crate::registry::{self, Method};
use crate::statistics::LinearStatistics;

/// The methods that can be confined to a block.
const CONFINED: [fn() -> MethodSpec; 9] = [
    random::spec,
    magnitude::spec,
    wanda::spec,
    sparsegpt::spec,
    obd::spec,
    obs::spec,
    obert::spec,
    net_trim::spec,
    alps::spec,
];

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// The pruning arm that is applied.
        like: String = "wanda(sparsity=0.5)".to_owned();
        /// The block it is applied to, from 0.
        block: usize = 0, Domain::closed(0.0, 4095.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "one-block",
        axis: Axis::Prune,
        about: "applies another arm to a single block and leaves the others as they are",
        source: "Han, Pool, Tran, Dally: Learning both Weights and Connections for Efficient Neural Networks, NeurIPS 2015",
        version: 1 + CONFINED.iter().map(|spec| spec().version).sum::<u32>(),
        calibrated: true,
        random: true,
        parameters: Settings::specs(),
        check: |arm| build(arm).map(drop),
    }
}

/// Makes it.
///
/// # Errors
/// A parameter that does not fit, or an arm that cannot be confined to a block.
pub fn build(arm: &Arm) -> Result<Method, ParameterError> {
    let Settings { like, block } = Settings::resolve(arm)?;
    let refuse = |why: String| ParameterError::Together(format!("`like`: {why}"));
    let inner: Arm = like.parse().map_err(|error: harness_core::GrammarError| refuse(error.to_string()))?;
    if !CONFINED.iter().any(|spec| spec().id == inner.id) {
        let known: Vec<&str> = CONFINED.iter().map(|spec| spec().id).collect();
        return Err(refuse(format!("`{}` is not confined to a block; one of {} is", inner.id, known.join(", "))));
    }
    let inner = registry::pruner(&inner).map_err(|error| refuse(error.to_string()))?;
    Ok(Method::Pruner(Box::new(OneBlock { inner, block })))
}

struct OneBlock {
    inner: Box<dyn Pruner>,
    block: usize,
}

impl OneBlock {
    /// Refuses a block that the model does not have.
    fn check(&self, blocks: usize) -> Result<(), PruneError> {
        if self.block < blocks {
            return Ok(());
        }
        Err(PruneError::Block { block: self.block, blocks })
    }
}

impl Pruner for OneBlock {
    fn needs(&self) -> Needs {
        self.inner.needs()
    }

    fn allocate(
        &self,
        weights: &mut dyn Iterator<Item = (Site<'_>, Vec<f32>)>,
    ) -> Result<Option<Vec<usize>>, PruneError> {
        let mut blocks = 0;
        let mut counted = weights.inspect(|(site, _)| blocks = blocks.max(site.layer + 1));
        let allotted = self.inner.allocate(&mut counted)?;
        counted.for_each(drop);
        self.check(blocks)?;
        Ok(allotted)
    }

    fn needs_gradients(&self) -> bool {
        self.inner.needs_gradients()
    }

    fn beyond(&self) -> Option<Beyond> {
        Some(Beyond::Blocks)
    }

    fn prune_whole(&self, model: &mut dyn WholeModel) -> Result<(), PruneError> {
        let layers: Vec<usize> = model.sites().iter().map(|site| site.layer).collect();
        self.check(layers.iter().map(|layer| layer + 1).max().unwrap_or(0))?;
        let dense: Vec<Vec<f32>> = (0..layers.len()).map(|at| model.weight(at)).collect();
        self.inner.prune_whole(model)?;
        for (at, weight) in dense.iter().enumerate().filter(|(at, _)| layers[*at] != self.block) {
            model.set(at, weight)?;
        }
        Ok(())
    }

    fn prune(
        &self,
        site: &Site,
        weight: &mut [f32],
        statistics: Option<&LinearStatistics>,
        allotted: Option<usize>,
        random: &mut ChaCha8Rng,
    ) -> Result<(), PruneError> {
        if site.layer != self.block {
            return Ok(());
        }
        self.inner.prune(site, weight, statistics, allotted, random)
    }

    fn is_identity(&self) -> bool {
        self.inner.is_identity()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use harness_core::seed;

    use super::*;

    #[test]
    fn only_the_named_block_is_pruned() {
        let arm = "one-block(like=\"magnitude(sparsity=0.5)\", block=1)".parse().unwrap();
        let pruner = registry::pruner(&arm).unwrap();
        let site = |layer| Site { name: "layer", layer, rows: 1, cols: 4 };
        let blocks = |count: usize| (0..count).map(move |layer| (site(layer), vec![1.0f32, 2.0, 3.0, 4.0]));
        assert_eq!(pruner.allocate(&mut blocks(2)).unwrap(), None);
        let error = pruner.allocate(&mut blocks(1)).unwrap_err();
        assert_eq!(error.to_string(), "there is no block 1; the model has 1, from 0");
        for (layer, expected) in [(0, [1.0, 2.0, 3.0, 4.0]), (1, [0.0, 0.0, 3.0, 4.0])] {
            let mut weight = [1.0, 2.0, 3.0, 4.0];
            pruner.prune(&site(layer), &mut weight, None, None, &mut seed::stream(0, &[])).unwrap();
            assert_eq!(weight, expected);
        }
    }
}
