//! The calibration scaffold, once for every method that prunes linear maps: blocks are walked in order, the inputs
//! of their linear maps are summed up, the methods are applied, and the next block's inputs are made.
//!
//! All arms walk together, so dense statistics are collected once and one block's statistics are held at a time.

use std::collections::BTreeMap;

use harness_kernels::allocator::Keeping;
use harness_methods::prune::{PruneError, Pruner};
use harness_methods::shrink::ShrinkError;
use harness_methods::statistics::{LinearStatistics, StatisticsError};
use harness_model::config::Projection;
use harness_model::decoder::Decoder;
use harness_model::weight::{DType, Weight};

mod inputs;
mod shared;
mod walk;

pub(crate) use inputs::{collect_and_forward, embed, embed_together, forward};

use crate::panics::caught;
use shared::{Shared, Wanted};
use walk::Walk;

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

/// The sums over what enters the maps of a block.
pub(crate) type Statistics = BTreeMap<Projection, LinearStatistics>;

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
    let shared = Shared::new(dense, windows, order);
    walked(dense, arms, (windows, order), shared, progress)
}

/// As [`prune_all`] in `dense-once`, with the statistics of every block known; for methods that move nothing inside a block.
pub(crate) fn prune_known(
    dense: &Decoder,
    arms: &[PruneArm<'_>],
    windows: Option<&[Vec<u32>]>,
    known: Vec<Statistics>,
    progress: &mut dyn FnMut(usize, usize),
) -> Vec<Result<Pruned, PrepareError>> {
    walked(dense, arms, (windows, CalibrationOrder::DenseOnce), Shared::known(dense, known), progress)
}

fn walked(
    dense: &Decoder,
    arms: &[PruneArm<'_>],
    (windows, order): (Option<&[Vec<u32>]>, CalibrationOrder),
    mut shared: Shared<'_>,
    progress: &mut dyn FnMut(usize, usize),
) -> Vec<Result<Pruned, PrepareError>> {
    let layers = dense.config().layers;
    // A walk asks for the same activations at every block.
    let _kept = Keeping::begin();
    let mut walks: Vec<Walk<'_>> = arms.iter().map(|arm| Walk::start(dense, arm, windows, order)).collect();
    for layer in 0..layers {
        let statistics = shared.collect(layer, &Wanted::by(&walks, layer));
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
        let statistics = shared.collect(layer, &Wanted::by(std::slice::from_ref(&walk), layer));
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
