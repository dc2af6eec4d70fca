//! The calibration scaffold, once for every method that prunes linear maps: blocks are walked in order, the inputs
//! of their linear maps are summed up, the methods are applied, and the next block's inputs are made.
//!
//! All arms walk together, so dense statistics are collected once and one block's statistics are held at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use harness_core::seed;
use harness_kernels::allocator::Keeping;
use harness_methods::prune::{Needs, PruneError, Pruner, Site};
use harness_methods::shrink::ShrinkError;
use harness_methods::statistics::{LinearStatistics, StatisticsError};
use harness_model::config::Projection;
use harness_model::decoder::Decoder;
use harness_model::linear::{Dense, LinearOp};
use harness_model::tensor::Tensor;
use harness_model::weight::{DType, Weight};

mod inputs;

pub(crate) use inputs::{collect, collect_and_forward, embed, embed_together, forward};

use crate::block::{BlockView, divided, folded, producer_spreads};
use crate::panics::caught;
use crate::parts::{Part, check_factors, widened};
use crate::whole::{outlier_shares, prune_whole};

harness_core::choice! {
    /// Whose activations a block is calibrated on.
    pub enum CalibrationOrder {
        /// Those of the dense model, collected in one pass.
        DenseOnce = "dense-once",
        /// Those of the blocks pruned before it; inside a block the unpruned block's.
        Sequential = "sequential",
        /// As sequential, and inside a block collected again for {q, k, v}, {o}, {gate, up}, {down}.
        TrueSequential = "true-sequential",
    }
}

/// Steps inside a block for [`CalibrationOrder::TrueSequential`]; each step's maps share one input.
const STEPS: [&[Projection]; 4] = [
    &[Projection::Q, Projection::K, Projection::V],
    &[Projection::O],
    &[Projection::Gate, Projection::Up],
    &[Projection::Down],
];

/// The map whose input a projection shares, and whose statistics it therefore reads.
pub(crate) fn input_of(projection: Projection) -> Projection {
    match projection {
        Projection::K | Projection::V => Projection::Q,
        Projection::Gate => Projection::Up,
        other => other,
    }
}

/// One arm to prepare.
pub struct PruneArm<'a> {
    /// The method.
    pub pruner: &'a dyn Pruner,
    /// Seed of its random numbers; the streams are keyed by tensor name, never by the method.
    pub seed: u64,
    /// The element type that changed matrices are held in; theirs when absent.
    pub dtype: Option<DType>,
}

/// A prepared arm.
#[derive(Debug, Clone)]
pub struct Pruned {
    /// The model with the method applied.
    pub decoder: Decoder,
    /// Seconds as if this arm had been prepared alone: its pruning and every calibration pass that it needs.
    pub seconds: f64,
}

/// Why an arm could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The method refused a matrix, which its reason names.
    #[error("{0}")]
    Prune(PruneError),
    /// The method refused the weights as a whole.
    #[error("{0}")]
    Allocate(PruneError),
    /// The inputs of a linear map hold NaN or infinity.
    #[error("calibration of {tensor}: {source}")]
    Statistics {
        /// Canonical tensor name.
        tensor: String,
        /// What was found.
        source: StatisticsError,
    },
    /// The forward pass of a calibration batch failed.
    #[error("calibration pass through block {layer}: {source}")]
    Forward {
        /// Block from 0.
        layer: usize,
        /// The decoder's reason.
        source: harness_model::error::ModelError,
    },
    /// The method needs calibration text and the bench names none.
    #[error("the method needs calibration text; add `calib = {{ corpus = \"…\" }}` to the bench, or --calib")]
    NoCalibration,
    /// The calibration pass that all arms share failed.
    #[error("{0}")]
    Shared(String),
    /// The method cannot be applied to factors.
    #[error("{tensor} is held as factors, {why}; apply a method to it that looks at less, or leave `lowrank` out")]
    Factors {
        /// Canonical tensor name of the map.
        tensor: String,
        /// What does not fit.
        why: &'static str,
    },
    /// A low-rank method refused a matrix, which its reason names, or the model.
    #[error("{0}")]
    LowRank(String),
    /// Experts could not be merged.
    #[error("{0}")]
    Merge(String),
    /// No shorter model could be made.
    #[error(transparent)]
    Shrink(ShrinkError),
    /// A finished matrix could not be handed over.
    #[error("{0}")]
    Sink(String),
    /// The method panicked.
    #[error("panicked: {0}")]
    Panic(String),
}

/// Applies every arm to the dense model.
///
/// `windows` are the calibration sequences, all of one length. `progress` is told after every block how many blocks
/// of how many are done. An arm that fails does not stop the others.
pub fn prune_all(
    dense: &Decoder,
    arms: &[PruneArm<'_>],
    windows: Option<&[Vec<u32>]>,
    order: CalibrationOrder,
    progress: &mut dyn FnMut(usize, usize),
) -> Vec<Result<Pruned, PrepareError>> {
    let layers = dense.config().layers;
    // A walk asks for the same activations at every block.
    let _kept = Keeping::begin();
    let mut walks: Vec<Walk<'_>> = arms.iter().map(|arm| Walk::start(dense, arm, windows, order)).collect();
    let mut shared = Shared::new(dense, windows, order);
    for layer in 0..layers {
        let live = || walks.iter().filter(|walk| walk.failure.is_none());
        let needs = live().map(|walk| walk.needs).fold(Needs::NOTHING, Needs::union);
        let statistics = shared.collect(layer, needs);
        for walk in walks.iter_mut().filter(|walk| walk.failure.is_none()) {
            walk.failure = match caught(|| walk.step(layer, order, &statistics, shared.inputs())) {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error),
                Err(panic) => Some(PrepareError::Panic(panic)),
            };
        }
        progress(layer + 1, layers);
    }
    walks
        .into_iter()
        .map(|walk| match walk.failure {
            Some(error) => Err(error),
            None => Ok(Pruned { decoder: walk.decoder, seconds: walk.seconds }),
        })
        .collect()
}

/// Applies one arm and hands over every prunable matrix when its block is finished, so that one block's pruned
/// weights are held at a time however large the model is.
///
/// # Errors
/// [`PrepareError`]; what `sink` reports becomes [`PrepareError::Sink`].
pub fn prune_streaming(
    dense: &Decoder,
    arm: &PruneArm<'_>,
    windows: Option<&[Vec<u32>]>,
    order: CalibrationOrder,
    sink: &mut dyn FnMut(&str, &Weight) -> Result<(), String>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<(), PrepareError> {
    let layers = dense.config().layers;
    let _kept = Keeping::begin();
    let mut walk = Walk::start(dense, arm, windows, order);
    let mut shared = Shared::new(dense, windows, order);
    for layer in 0..layers {
        if let Some(error) = walk.failure.take() {
            return Err(error);
        }
        let statistics = shared.collect(layer, walk.needs);
        walk.step(layer, order, &statistics, shared.inputs())?;
        for projection in Projection::ALL {
            if let Some(linear) = walk.decoder.linear(layer, projection) {
                sink(&projection.tensor(layer), &linear.weight()).map_err(PrepareError::Sink)?;
            }
        }
        if walk.folded {
            for (name, weight) in walk.decoder.small_tensors(layer) {
                sink(&name, &weight).map_err(PrepareError::Sink)?;
            }
        }
        if !arm.pruner.needs_gradients() {
            walk.decoder = dense.clone();
        }
        progress(layer + 1, layers);
    }
    walk.failure.map_or(Ok(()), Err)
}

/// Dense activations that serve every arm: all of them in `dense-once`; in `sequential` those of the first block,
/// before which nothing has been pruned.
struct Shared<'a> {
    dense: &'a Decoder,
    windows: &'a [Vec<u32>],
    layers: usize,
    hidden: Option<Vec<Tensor>>,
    inputs: Vec<Tensor>,
}

/// Statistics of one block that are the same for every arm, and the seconds they took; or why there are none.
type SharedStatistics = Option<Result<(Statistics, f64), String>>;

impl<'a> Shared<'a> {
    fn new(dense: &'a Decoder, windows: Option<&'a [Vec<u32>]>, order: CalibrationOrder) -> Self {
        let layers = match order {
            CalibrationOrder::DenseOnce => dense.config().layers,
            CalibrationOrder::Sequential => 1,
            CalibrationOrder::TrueSequential => 0,
        };
        Self { dense, windows: windows.unwrap_or_default(), layers, hidden: None, inputs: Vec::new() }
    }

    /// Inputs of the block that was collected last.
    fn inputs(&self) -> &[Tensor] {
        &self.inputs
    }

    fn collect(&mut self, layer: usize, needs: Needs) -> SharedStatistics {
        if layer >= self.layers || self.windows.is_empty() || !needs.any() {
            return None;
        }
        let started = Instant::now();
        let collected = self.pass(layer, needs).map_err(|error| error.to_string());
        Some(collected.map(|statistics| (statistics, started.elapsed().as_secs_f64())))
    }

    fn pass(&mut self, layer: usize, needs: Needs) -> Result<Statistics, PrepareError> {
        let hidden = match self.hidden.take() {
            Some(hidden) => hidden,
            None => embed_together(self.dense, self.windows)?,
        };
        let statistics = if layer + 1 < self.layers {
            let (statistics, outputs) = collect_and_forward(self.dense, layer, &hidden, needs)?;
            self.hidden = Some(outputs);
            statistics
        } else {
            collect(self.dense, layer, &hidden, needs, &Projection::ALL)?
        };
        self.inputs = hidden;
        Ok(statistics)
    }
}

pub(crate) type Statistics = BTreeMap<Projection, LinearStatistics>;

/// One arm on its way through the blocks.
struct Walk<'a> {
    arm: &'a PruneArm<'a>,
    /// Which sums have to be there for every matrix.
    needs: Needs,
    decoder: Decoder,
    /// Inputs of the next block, some sequences in each tensor; only in the sequential orders.
    hidden: Option<Vec<Tensor>>,
    /// Exact counts by position in the walk, when the method compares across matrices.
    allotted: Option<Vec<usize>>,
    position: usize,
    seconds: f64,
    /// Whether factors were moved inside a block, so that normalisations and biases changed too.
    folded: bool,
    dense: &'a Decoder,
    failure: Option<PrepareError>,
}

impl<'a> Walk<'a> {
    fn start(dense: &'a Decoder, arm: &'a PruneArm<'a>, windows: Option<&[Vec<u32>]>, order: CalibrationOrder) -> Self {
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
            failure: None,
        };
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
        let names: Vec<(String, Part)> = Part::all(dense).into_iter().map(|part| (part.tensor(), part)).collect();
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

    fn step(
        &mut self,
        layer: usize,
        order: CalibrationOrder,
        shared: &SharedStatistics,
        shared_inputs: &[Tensor],
    ) -> Result<(), PrepareError> {
        let needs = self.needs;
        if self.arm.pruner.is_identity() || self.arm.pruner.needs_gradients() {
            return Ok(());
        }
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
                    let seen = if at == 0 { &Projection::ALL } else { *projections };
                    let mut statistics = collect(&self.decoder, layer, &hidden, needs, seen)?;
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
            && layer + 1 < self.decoder.config().layers
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

    fn prune(
        &mut self,
        layer: usize,
        projections: &[Projection],
        statistics: Option<&Statistics>,
    ) -> Result<(), PrepareError> {
        let parts: Vec<Part> =
            projections.iter().flat_map(|&projection| Part::of(&self.decoder, layer, projection)).collect();
        for part in parts {
            let Some(map) = part.map(&self.decoder) else { continue };
            let (stored, bias) = (map.weight(), map.bias());
            let mut values = stored.to_f32();
            let tensor = part.tensor();
            let site = Site { name: &tensor, layer, rows: stored.rows(), cols: stored.cols() };
            let allotted = self.allotted.as_ref().and_then(|counts| counts.get(self.position).copied());
            self.position += 1;
            let mut random = seed::stream(self.arm.seed, &["prune", &tensor]);
            let of_map = statistics.and_then(|all| all.get(&input_of(part.projection)));
            let own = of_map.and_then(|statistics| part.statistics(&self.decoder, statistics));
            self.arm
                .pruner
                .prune(&site, &mut values, own.as_ref().or(of_map), allotted, &mut random)
                .map_err(PrepareError::Prune)?;
            let dtype = self.arm.dtype.unwrap_or(stored.dtype());
            let pruned = Weight::rounded(stored.rows(), stored.cols(), &values, dtype);
            let map: Arc<dyn LinearOp> = Arc::new(Dense::new(pruned, bias));
            self.decoder =
                part.replaced(&self.decoder, &map).map_err(|source| PrepareError::Forward { layer, source })?;
        }
        Ok(())
    }
}
