//! What each map of a model costs alone, at each share of its numbers that a method tries, and the shares that follow.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use harness_methods::block::Map;
use harness_methods::lowrank::allotment::{Candidate, Tried, told_out};
use harness_methods::lowrank::{Known, LowRank, Search};
use harness_methods::prune::{Needs, PruneError, Pruner, Site};
use harness_methods::statistics::LinearStatistics;
use harness_model::config::Projection;
use harness_model::decoder::Decoder;
use harness_model::linear::LinearOp;
use harness_model::tensor::{Tensor, with_values};
use rand_chacha::ChaCha8Rng;

use super::{factors, held};
use crate::calibrate::{CalibrationOrder, PrepareError, PruneArm, embed, forward, prune_all};
use crate::shrink::summed_loss;

/// The share of each map, by tensor name; nothing where it stays whole.
pub(super) type Shares = BTreeMap<String, Option<f64>>;

/// Gradients of the loss, by tensor name.
type Gradients = BTreeMap<String, Vec<f64>>;

/// Measures and tells out what a method searches for, on the dense model's inputs. A share of each map takes a pass of all windows through
/// the blocks from the map's own on.
pub(super) fn shares(
    dense: &Decoder,
    method: &dyn LowRank,
    search: &Search,
    blocks: &[usize],
    gradients: Option<&Gradients>,
    windows: &[Vec<u32>],
) -> Result<Shares, PrepareError> {
    if windows.iter().all(|window| window.len() < 2) {
        return Err(PrepareError::NoCalibration);
    }
    // The last token of a window has none behind it to be predicted.
    let read: Vec<Vec<u32>> = windows.iter().map(|window| window[..window.len().saturating_sub(1)].to_vec()).collect();
    let hidden = Mutex::new((0, embed(dense, &read)?));
    let found = Mutex::default();
    let trial = Trial { dense, method, search, blocks, gradients, windows, hidden, found };
    let arm = PruneArm { pruner: &trial, seed: 0, dtype: None };
    if let Some(Err(error)) = prune_all(dense, &[arm], Some(windows), CalibrationOrder::DenseOnce, &mut |_, _| {}).pop()
    {
        return Err(error);
    }
    let found = trial.found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let (names, candidates): (Vec<String>, Vec<Candidate>) = found.into_iter().unzip();
    let told = told_out(&candidates, search.ratio).map_err(|error| PrepareError::LowRank(error.to_string()))?;
    Ok(names.into_iter().zip(told).collect())
}

/// A walk through the dense model in which every map is tried and none is changed.
struct Trial<'a> {
    dense: &'a Decoder,
    method: &'a dyn LowRank,
    search: &'a Search,
    blocks: &'a [usize],
    gradients: Option<&'a Gradients>,
    windows: &'a [Vec<u32>],
    /// What enters a block of the dense model.
    hidden: Mutex<(usize, Vec<Tensor>)>,
    found: Mutex<Vec<(String, Candidate)>>,
}

impl Trial<'_> {
    /// What enters a block, which is none before that of the last call.
    fn entering(&self, layer: usize) -> Result<Vec<Tensor>, PrepareError> {
        let mut hidden = self.hidden.lock().unwrap_or_else(PoisonError::into_inner);
        while hidden.0 < layer {
            *hidden = (hidden.0 + 1, forward(self.dense, hidden.0, &hidden.1)?);
        }
        Ok(hidden.1.clone())
    }

    /// The mean loss of a model that is the dense one before a block.
    fn loss(&self, model: &Decoder, layer: usize) -> Result<f64, PrepareError> {
        let layers = model.config().layers;
        let failed = |source| PrepareError::Forward { layer: layers, source };
        let told = |error: &dyn std::fmt::Display| PrepareError::LowRank(format!("the loss of a trial: {error}"));
        let mut hidden = self.entering(layer)?;
        for block in layer..layers {
            hidden = forward(model, block, &hidden)?;
        }
        let (mut sum, mut tokens) = (0.0, 0);
        for (hidden, window) in hidden.iter().zip(self.windows) {
            let hidden = model.final_norm(hidden).map_err(failed)?.flatten_to(1).map_err(|error| told(&error))?;
            let logits = model.logits(&hidden).map_err(failed)?;
            let of = |values: &[f32]| summed_loss(values, model.config().vocab_size, &window[1..]);
            sum += with_values(&logits, of).map_err(|error| told(&error))?;
            tokens += window.len() - 1;
        }
        Ok(sum / tokens.max(1) as f64)
    }
}

impl Pruner for Trial<'_> {
    fn needs(&self) -> Needs {
        self.method.needs()
    }

    fn prune(
        &self,
        site: &Site,
        weight: &mut [f32],
        statistics: Option<&LinearStatistics>,
        _: Option<usize>,
        _: &mut ChaCha8Rng,
    ) -> Result<(), PruneError> {
        let refused = |error: &dyn std::fmt::Display| PruneError::Refused(error.to_string());
        let found = Map::of(site).map(|map| Projection::ALL[map as usize]);
        let found = found.and_then(|each| Some((each, self.dense.linear(site.layer, each)?)));
        let Some((projection, linear)) = found else {
            return Err(refused(&format!("{}: the map is held as factors already", site.name)));
        };
        let gradients = self.gradients.and_then(|all| all.get(site.name)).map(Vec::as_slice);
        let mut tried = Vec::with_capacity(self.search.shares.len());
        for &share in &self.search.shares {
            let known = Known { statistics, gradients, share: Some(share) };
            let parts = self.method.factorise(site, weight, known).map_err(|error| refused(&error))?;
            let map = held(site, &parts, linear.as_ref()).map_err(|error| refused(&error))?;
            let model = self.dense.with_linear(site.layer, projection, Arc::new(map) as Arc<dyn LinearOp>);
            let model = model.map_err(|error| refused(&format!("{}: {error}", site.name)))?;
            let loss = self.loss(&model, site.layer).map_err(|error| refused(&error))?;
            tried.push(Tried { share, numbers: parts.parameters(), loss });
        }
        let candidate = Candidate { whole: site.rows * site.cols, tried };
        self.found.lock().unwrap_or_else(PoisonError::into_inner).push((site.name.to_owned(), candidate));
        Ok(())
    }

    fn changes(&self, layer: usize, map: Map) -> bool {
        factors(self.dense, self.method, self.blocks, (layer, map)).is_some()
    }
}
