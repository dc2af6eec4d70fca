//! One arm on its way through the blocks.

use std::sync::Arc;
use std::time::Instant;

use harness_core::seed;
use harness_methods::block::Map;
use harness_methods::prune::{Needs, Site};
use harness_methods::statistics::LinearStatistics;
use harness_model::config::Projection;
use harness_model::decoder::Decoder;
use harness_model::linear::{Dense, LinearOp};
use harness_model::tensor::Tensor;
use harness_model::weight::Weight;
use rayon::prelude::*;

use super::inputs::{collect, embed_together, forward};
use super::shared::SharedStatistics;
use super::{CalibrationOrder, PrepareError, PruneArm, STEPS, Statistics, input_of};
use crate::block::{BlockView, divided, folded, producer_spreads};
use crate::panics::caught;
use crate::parts::{Part, check_factors, widened};
use crate::whole::{outlier_shares, prune_whole};

/// One arm on its way through the blocks.
pub(super) struct Walk<'a> {
    arm: &'a PruneArm<'a>,
    /// Which sums have to be there for every matrix.
    pub needs: Needs,
    pub decoder: Decoder,
    /// Inputs of the next block, some sequences in each tensor; only in the sequential orders.
    hidden: Option<Vec<Tensor>>,
    /// Exact counts by position in the walk, when the method compares across matrices.
    allotted: Option<Vec<usize>>,
    position: usize,
    pub seconds: f64,
    /// Whether factors were moved inside a block, so that normalisations and biases changed too.
    pub folded: bool,
    dense: &'a Decoder,
    /// The last block that it changes.
    last: Option<usize>,
    pub failure: Option<PrepareError>,
}

impl<'a> Walk<'a> {
    pub fn start(
        dense: &'a Decoder,
        arm: &'a PruneArm<'a>,
        windows: Option<&[Vec<u32>]>,
        order: CalibrationOrder,
    ) -> Self {
        let mut walk = Self {
            arm,
            needs: widened(dense, arm.pruner.needs()),
            decoder: dense.clone(),
            hidden: None,
            allotted: None,
            position: 0,
            seconds: 0.0,
            folded: false,
            dense,
            last: None,
            failure: None,
        };
        walk.last = (0..dense.config().layers).rfind(|&layer| !walk.changed(layer).is_empty());
        let started = Instant::now();
        let pruner = arm.pruner;
        let reads_text = pruner.needs().any() || pruner.needs_gradients() || pruner.outliers().is_some();
        if reads_text && windows.is_none_or(<[_]>::is_empty) {
            walk.failure = Some(PrepareError::NoCalibration);
            return walk;
        }
        if pruner.needs_gradients() {
            match caught(|| prune_whole(dense, arm, windows.unwrap_or_default())) {
                Ok(Ok(decoder)) => walk.decoder = decoder,
                Ok(Err(error)) => walk.failure = Some(error),
                Err(panic) => walk.failure = Some(PrepareError::Panic(panic)),
            }
            walk.seconds = started.elapsed().as_secs_f64();
            return walk;
        }
        if let (false, Err(error)) = (arm.pruner.is_identity(), check_factors(dense, walk.needs)) {
            walk.failure = Some(error);
            return walk;
        }
        let names: Vec<(String, Part)> =
            Part::all_changed(dense).into_iter().map(|part| (part.tensor(), part)).collect();
        let mut weights = names.iter().filter_map(|(name, part)| {
            let weight = part.map(dense)?.weight();
            Some((Site { name, layer: part.layer, rows: weight.rows(), cols: weight.cols() }, weight.to_f32()))
        });
        let allotted = caught(|| match pruner.outliers() {
            None => pruner.allocate(&mut weights).map_err(PrepareError::Allocate),
            Some(multiple) => {
                let shares = outlier_shares(dense, windows.unwrap_or_default(), multiple)?;
                pruner.allocate_by_outliers(&mut weights, &shares).map_err(PrepareError::Allocate)
            }
        });
        match allotted {
            Ok(Ok(allotted)) => walk.allotted = allotted,
            Ok(Err(error)) => walk.failure = Some(error),
            Err(panic) => walk.failure = Some(PrepareError::Panic(panic)),
        }
        if let Some(windows) = windows
            .filter(|_| order != CalibrationOrder::DenseOnce && arm.pruner.needs().any() && walk.failure.is_none())
        {
            match embed_together(dense, windows) {
                Ok(hidden) => walk.hidden = Some(hidden),
                Err(error) => walk.failure = Some(error),
            }
        }
        walk.seconds = started.elapsed().as_secs_f64();
        walk
    }

    /// The maps of a block that it changes, each by itself.
    pub fn changed(&self, layer: usize) -> Vec<Projection> {
        let pruner = self.arm.pruner;
        if pruner.is_identity() || pruner.needs_gradients() {
            return Vec::new();
        }
        let there = Projection::ALL.into_iter().filter(|&projection| self.dense.linear(layer, projection).is_some());
        there.filter(|&projection| pruner.changes(layer, Map::ALL[projection as usize])).collect()
    }

    /// Whether it changes a map of a block behind this one.
    pub fn changes_behind(&self, layer: usize) -> bool {
        self.last.is_some_and(|last| layer < last)
    }

    pub fn step(
        &mut self,
        layer: usize,
        order: CalibrationOrder,
        shared: &SharedStatistics,
        shared_inputs: &[Tensor],
    ) -> Result<(), PrepareError> {
        let needs = self.needs;
        if self.last.is_none_or(|last| last < layer) {
            return Ok(());
        }
        let changed = self.changed(layer);
        let started = Instant::now();
        match shared {
            _ if !needs.any() => {
                let statistics = self.producers(layer, needs);
                self.prune(layer, &Projection::ALL, Some(&statistics))?;
            }
            Some(Err(reason)) => return Err(PrepareError::Shared(reason.clone())),
            Some(Ok((statistics, seconds))) => {
                let moved = self.fold(layer, shared_inputs, statistics)?;
                self.prune(layer, &Projection::ALL, Some(moved.as_ref().unwrap_or(statistics)))?;
                self.seconds += seconds;
            }
            None => {
                let hidden = self.hidden.take().unwrap_or_default();
                let steps: &[&[Projection]] =
                    if order == CalibrationOrder::TrueSequential { &STEPS } else { &[&Projection::ALL] };
                for (at, projections) in steps.iter().enumerate() {
                    let here = |projection: &Projection| at == 0 || projections.contains(projection);
                    let seen: Vec<Projection> = changed.iter().copied().filter(here).collect();
                    let mut statistics = collect(&self.decoder, layer, &hidden, needs, &seen)?;
                    if at == 0
                        && let Some(moved) = self.fold(layer, &hidden, &statistics)?
                    {
                        statistics = moved;
                    }
                    self.prune(layer, projections, Some(&statistics))?;
                }
                self.hidden = Some(hidden);
            }
        }
        if let Some(hidden) = self.hidden.take()
            && self.changes_behind(layer)
        {
            self.hidden = Some(forward(&self.decoder, layer, &hidden)?);
        }
        self.seconds += started.elapsed().as_secs_f64();
        Ok(())
    }

    /// Moves what the method wants moved inside a block; the statistics of what its maps then read, where anything was.
    fn fold(
        &mut self,
        layer: usize,
        hidden: &[Tensor],
        statistics: &Statistics,
    ) -> Result<Option<Statistics>, PrepareError> {
        let view = BlockView::new(&self.decoder, layer, hidden, statistics);
        let folds = self.arm.pruner.folds(&view).map_err(PrepareError::Prune)?;
        if folds.is_empty() {
            return Ok(None);
        }
        self.decoder =
            folded(&self.decoder, layer, &folds).map_err(|source| PrepareError::Forward { layer, source })?;
        self.folded = true;
        Ok(Some(divided(statistics, &folds)))
    }

    /// What is known of the inputs of a block without calibration.
    fn producers(&self, layer: usize, needs: Needs) -> Statistics {
        if !needs.producers {
            return Statistics::new();
        }
        let spreads = producer_spreads(self.dense, layer);
        let known = |(projection, spread): (Projection, Vec<f32>)| {
            (projection, LinearStatistics::new(spread.len(), Needs::NOTHING).with_producer_spread(spread))
        };
        spreads.into_iter().map(known).collect()
    }

    /// Prunes the maps among these that the method changes, side by side where it keeps to one thread.
    fn prune(
        &mut self,
        layer: usize,
        projections: &[Projection],
        statistics: Option<&Statistics>,
    ) -> Result<(), PrepareError> {
        let changed = self.changed(layer);
        let mut jobs = Vec::with_capacity(projections.len());
        for &projection in projections {
            let first = self.position;
            self.position += Part::changed(&self.decoder, layer, projection).len();
            if changed.contains(&projection) {
                jobs.push((projection, first));
            }
        }
        let of = |&(projection, first)| Ok((projection, self.pruned(layer, projection, first, statistics)?));
        let pruned: Vec<Result<_, PrepareError>> = if self.arm.pruner.keeps_to_one_thread() {
            jobs.par_iter().map(of).collect()
        } else {
            jobs.iter().map(of).collect()
        };
        for pruned in pruned {
            let (projection, map) = pruned?;
            let Some(map) = map else { continue };
            let replaced = self.decoder.with_linear(layer, projection, map);
            self.decoder = replaced.map_err(|source| PrepareError::Forward { layer, source })?;
        }
        Ok(())
    }

    /// One map pruned, whose first matrix is the walk's `first`: its matrices one after the other, since what enters a factor is
    /// what the one before makes.
    fn pruned(
        &self,
        layer: usize,
        projection: Projection,
        first: usize,
        statistics: Option<&Statistics>,
    ) -> Result<Option<Arc<dyn LinearOp>>, PrepareError> {
        let mut decoder = self.decoder.clone();
        for (at, part) in Part::changed(&self.decoder, layer, projection).into_iter().enumerate() {
            let Some(map) = part.map(&decoder) else { continue };
            let (stored, bias) = (map.weight(), map.bias());
            let mut values = stored.to_f32();
            let tensor = part.tensor();
            let site = Site { name: &tensor, layer, rows: stored.rows(), cols: stored.cols() };
            let allotted = self.allotted.as_ref().and_then(|counts| counts.get(first + at).copied());
            let mut random = seed::stream(self.arm.seed, &["prune", &tensor]);
            let of_map = statistics.and_then(|all| all.get(&input_of(projection)));
            let own = of_map.and_then(|statistics| part.statistics(&decoder, statistics));
            self.arm
                .pruner
                .prune(&site, &mut values, own.as_ref().or(of_map), allotted, &mut random)
                .map_err(PrepareError::Prune)?;
            let dtype = self.arm.dtype.unwrap_or(stored.dtype());
            let pruned = Weight::rounded(stored.rows(), stored.cols(), &values, dtype);
            let map: Arc<dyn LinearOp> = Arc::new(Dense::new(pruned, bias));
            decoder = part.replaced(&decoder, &map).map_err(|source| PrepareError::Forward { layer, source })?;
        }
        Ok(decoder.linear(layer, projection).cloned())
    }
}
