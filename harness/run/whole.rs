//! Pruning that looks at a model as a whole: by gradients of its loss, and shares of outliers before anything is pruned.

use std::sync::Arc;

use harness_core::seed;
use harness_methods::prune::budget_rule::outlier_share;
use harness_methods::prune::{Needs, PruneError, Site, WholeModel};
use harness_model::decoder::Decoder;
use harness_model::linear::{Dense, LinearOp};
use harness_model::weight::{DType, Weight};
use rand_chacha::ChaCha8Rng;

use crate::calibrate::{PrepareError, PruneArm, collect_and_forward, embed_together, input_of};
use crate::parts::Part;

/// A model while its matrices are pruned together. They are held in f32 and rounded when all is done.
struct Whole<'a> {
    decoder: Decoder,
    /// Names, matrices, and the element types they are stored in.
    parts: Vec<(String, Part, DType)>,
    windows: &'a [Vec<u32>],
    seed: u64,
}

impl Whole<'_> {
    fn map(&self, at: usize) -> Option<&Arc<dyn LinearOp>> {
        self.parts[at].1.map(&self.decoder)
    }

    fn put(&mut self, at: usize, weight: &[f32], dtype: DType) -> Result<(), String> {
        let (name, part, _) = &self.parts[at];
        let map = part.map(&self.decoder).ok_or_else(|| format!("{name} is not there any more"))?;
        let weight = Weight::rounded(map.rows(), map.cols(), weight, dtype);
        let map: Arc<dyn LinearOp> = Arc::new(Dense::new(weight, map.bias()));
        self.decoder = part.replaced(&self.decoder, &map).map_err(|error| format!("{name}: {error}"))?;
        Ok(())
    }
}

impl WholeModel for Whole<'_> {
    fn sites(&self) -> Vec<Site<'_>> {
        let each = self.parts.iter().enumerate().map(|(at, (name, part, _))| {
            let (rows, cols) = self.map(at).map_or((0, 0), |map| (map.rows(), map.cols()));
            Site { name, layer: part.layer, rows, cols }
        });
        each.collect()
    }

    fn weight(&self, at: usize) -> Vec<f32> {
        self.map(at).map_or_else(Vec::new, |map| map.weight().to_f32())
    }

    fn set(&mut self, at: usize, weight: &[f32]) -> Result<(), PruneError> {
        self.put(at, weight, DType::F32).map_err(PruneError::Refused)
    }

    fn windows(&self) -> usize {
        self.windows.len()
    }

    fn gradients(&self, visit: &mut dyn FnMut(usize, usize, &[f32])) -> Result<(), PruneError> {
        let place = |name: &str| self.parts.iter().position(|(own, ..)| own == name);
        let mut seen = |window: usize, name: &str, _: usize, gradient: &[f32]| {
            if let Some(at) = place(name) {
                visit(window, at, gradient);
            }
        };
        let taken = self.decoder.each_gradient(self.windows, &mut seen);
        taken.map_err(|error| PruneError::Refused(format!("gradients of the loss: {error}")))
    }

    fn random(&self, at: usize) -> ChaCha8Rng {
        seed::stream(self.seed, &["prune", &self.parts[at].0])
    }
}

/// The model with a method applied that takes gradients of its loss.
///
/// # Errors
/// [`PrepareError::Factors`] for a model with factors, and what the method refuses.
pub(crate) fn prune_whole(dense: &Decoder, arm: &PruneArm<'_>, windows: &[Vec<u32>]) -> Result<Decoder, PrepareError> {
    let mut parts = Vec::new();
    for part in Part::all_changed(dense) {
        let tensor = part.tensor();
        if part.is_of_factors() {
            let why = "and the method takes gradients of whole matrices";
            return Err(PrepareError::Factors { tensor: part.projection.tensor(part.layer), why });
        }
        if let Some(map) = part.map(dense) {
            parts.push((tensor, part, arm.dtype.unwrap_or(map.weight().dtype())));
        }
    }
    let mut whole = Whole { decoder: dense.clone(), parts, windows, seed: arm.seed };
    arm.pruner.prune_whole(&mut whole).map_err(PrepareError::Prune)?;
    for at in 0..whole.parts.len() {
        let (weight, dtype) = (whole.weight(at), whole.parts[at].2);
        whole.put(at, &weight, dtype).map_err(|reason| PrepareError::Prune(PruneError::Refused(reason)))?;
    }
    Ok(whole.decoder)
}

/// The share of each block's scores `|W_ij| ‖X_j‖` that are more than `multiple` times their mean, on the inputs of the dense model: for
/// each matrix, in the order of a walk, that of its block.
///
/// # Errors
/// A pass that failed; [`PrepareError::Factors`] for a model with factors.
pub(crate) fn outlier_shares(dense: &Decoder, windows: &[Vec<u32>], multiple: f64) -> Result<Vec<f64>, PrepareError> {
    let mut hidden = embed_together(dense, windows)?;
    let mut shares = Vec::new();
    for layer in 0..dense.config().layers {
        let (statistics, outputs) = collect_and_forward(dense, layer, &hidden, Needs::COLUMN_NORMS)?;
        let (mut scores, mut matrices) = (Vec::new(), 0);
        for part in Part::all_changed(dense).into_iter().filter(|part| part.layer == layer) {
            if part.is_of_factors() {
                let why = "and outliers are counted in whole matrices";
                return Err(PrepareError::Factors { tensor: part.projection.tensor(layer), why });
            }
            let (Some(map), Some(sums)) = (part.map(dense), statistics.get(&input_of(part.projection))) else {
                continue;
            };
            let norms: Vec<f64> = sums.column_sum_squares().iter().map(|sum| sum.sqrt()).collect();
            for row in map.weight().to_f32().chunks(norms.len().max(1)) {
                scores.extend(row.iter().zip(&norms).map(|(weight, norm)| f64::from(weight.abs()) * norm));
            }
            matrices += 1;
        }
        shares.extend(std::iter::repeat_n(outlier_share(&scores, multiple), matrices));
        hidden = outputs;
    }
    Ok(shares)
}
