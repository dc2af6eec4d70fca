//! Activations of the dense model, which serve every arm.

use std::time::Instant;

use harness_methods::prune::Needs;
use harness_model::config::Projection;
use harness_model::decoder::Decoder;
use harness_model::tensor::Tensor;

use super::inputs::{collect, collect_and_forward, embed_together, forward};
use super::walk::Walk;
use super::{CalibrationOrder, PrepareError, Statistics};

/// What arms want to know of a block.
pub(super) struct Wanted {
    /// Sums over the inputs of each map.
    needs: Needs,
    /// The maps that any of them changes.
    projections: Vec<Projection>,
    /// Whether any of them changes a block behind it.
    behind: bool,
}

impl Wanted {
    pub fn by(walks: &[Walk<'_>], layer: usize) -> Self {
        let live = || walks.iter().filter(|walk| walk.failure.is_none());
        let here = || live().filter(|walk| !walk.changed(layer).is_empty());
        let mut projections: Vec<Projection> = here().flat_map(|walk| walk.changed(layer)).collect();
        projections.sort_unstable();
        projections.dedup();
        let needs = here().map(|walk| walk.needs).fold(Needs::NOTHING, Needs::union);
        Self { needs, projections, behind: live().any(|walk| walk.needs.any() && walk.changes_behind(layer)) }
    }
}

/// All of them in `dense-once`; in `sequential` those of the first block, before which nothing has been pruned.
pub(super) struct Shared<'a> {
    dense: &'a Decoder,
    windows: &'a [Vec<u32>],
    layers: usize,
    hidden: Option<Vec<Tensor>>,
    inputs: Vec<Tensor>,
    /// Statistics of the blocks, where they are known.
    known: Vec<Statistics>,
}

/// Statistics of one block that are the same for every arm, and the seconds they took; or why there are none.
pub(super) type SharedStatistics = Option<Result<(Statistics, f64), String>>;

impl<'a> Shared<'a> {
    pub fn new(dense: &'a Decoder, windows: Option<&'a [Vec<u32>]>, order: CalibrationOrder) -> Self {
        let layers = match order {
            CalibrationOrder::DenseOnce => dense.config().layers,
            CalibrationOrder::Sequential => 1,
            CalibrationOrder::TrueSequential => 0,
        };
        let windows = windows.unwrap_or_default();
        Self { dense, windows, layers, hidden: None, inputs: Vec::new(), known: Vec::new() }
    }

    /// Of a model whose statistics are known; inputs are not.
    pub fn known(dense: &'a Decoder, known: Vec<Statistics>) -> Self {
        Self { known, ..Self::new(dense, None, CalibrationOrder::DenseOnce) }
    }

    /// Inputs of the block that was collected last.
    pub fn inputs(&self) -> &[Tensor] {
        &self.inputs
    }

    pub fn collect(&mut self, layer: usize, wanted: &Wanted) -> SharedStatistics {
        if let Some(known) = self.known.get_mut(layer) {
            return Some(Ok((std::mem::take(known), 0.0)));
        }
        let asked = wanted.needs.any() || wanted.behind;
        if layer >= self.layers || self.windows.is_empty() || !asked {
            return None;
        }
        let started = Instant::now();
        let collected = self.pass(layer, wanted).map_err(|error| error.to_string());
        Some(collected.map(|statistics| (statistics, started.elapsed().as_secs_f64())))
    }

    fn pass(
        &mut self,
        layer: usize,
        Wanted { needs, projections, behind }: &Wanted,
    ) -> Result<Statistics, PrepareError> {
        let hidden = match self.hidden.take() {
            Some(hidden) => hidden,
            None => embed_together(self.dense, self.windows)?,
        };
        let behind = *behind && layer + 1 < self.layers;
        let statistics = if behind && !projections.is_empty() {
            let (statistics, outputs) = collect_and_forward(self.dense, layer, &hidden, *needs)?;
            self.hidden = Some(outputs);
            statistics
        } else {
            if behind {
                self.hidden = Some(forward(self.dense, layer, &hidden)?);
            }
            collect(self.dense, layer, &hidden, *needs, projections)?
        };
        self.inputs = hidden;
        Ok(statistics)
    }
}
