//! The axis of low rank: the linear maps of a model held as factors. The walk through the blocks is that of pruning.

pub(crate) mod metrics;
mod search;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use harness_kernels::allocator::Keeping;
use harness_methods::block::Map;
use harness_methods::lowrank::{Blocks, Factorisation, Known, LowRank, LowRankError};
use harness_methods::prune::{Needs, PruneError, Pruner, Site};
use harness_methods::statistics::LinearStatistics;
use harness_model::config::Projection;
use harness_model::decoder::Decoder;
use harness_model::factored::{Factored, Step};
use harness_model::linear::{Dense, LinearOp};
use harness_model::tensor::with_values;
use harness_model::weight::{DType, Weight};
use rand_chacha::ChaCha8Rng;

use crate::calibrate::{
    CalibrationOrder, PrepareError, PruneArm, Pruned, Statistics, collect_and_forward, embed_together, forward,
    prune_all, prune_known,
};
use crate::panics::caught;
use crate::quantize::LEAST_SIDE;
use search::Shares;

/// What became of the maps of a model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Factoring {
    /// Maps that became factors, by tensor name, with what their method says of each.
    pub made: BTreeMap<String, Made>,
    /// Maps that stayed as they are, by name.
    pub kept: Vec<String>,
}

/// What is known of a map that became factors.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Made {
    /// Block from 0.
    pub layer: usize,
    /// Squared error in the method's own norm, and the square of the matrix in it.
    pub lost: (f64, f64),
    /// What was added to the diagonal of its second moment or to the scales of its inputs.
    pub jitter: f64,
    /// Directions that an update leaves out because no input has them.
    pub left_out: usize,
    /// Ranks or bonds.
    pub ranks: Vec<usize>,
}

/// A model with maps held as factors.
#[derive(Debug, Clone)]
pub struct Reduced {
    /// The model.
    pub decoder: Decoder,
    /// Seconds as if this method had been applied alone.
    pub seconds: f64,
    /// What became of its maps.
    pub factoring: Factoring,
}

/// What methods ask of the dense model as a whole, found once for all of them.
struct Asked {
    distances: Option<Result<Vec<f64>, PrepareError>>,
    /// Sums over the inputs of every block, where the pass that distances take can tell all that the methods read.
    known: Vec<Statistics>,
    gradients: Option<Result<BTreeMap<String, Vec<f64>>, PrepareError>>,
    seconds: (f64, f64),
}

/// Applies every method to a model. What comes behind a block is calibrated on the products of its factors.
///
/// Methods that fit factors anew are walked twice: over the dense model's activations, and in order.
pub fn lowrank_all(
    dense: &Decoder,
    methods: &[&dyn LowRank],
    windows: Option<&[Vec<u32>]>,
    order: CalibrationOrder,
    progress: &mut dyn FnMut(usize, usize),
) -> Vec<Result<Reduced, PrepareError>> {
    let _kept = Keeping::begin();
    let mut asked = Asked::of(dense, methods, windows.unwrap_or_default(), order);
    let mut known = std::mem::take(&mut asked.known);
    let mut results: Vec<Option<Result<Reduced, PrepareError>>> = methods.iter().map(|_| None).collect();
    for updates in [false, true] {
        let mut factorers = Vec::new();
        for (at, method) in methods.iter().enumerate().filter(|(_, method)| method.updates() == updates) {
            match Factorer::of(dense, *method, &asked, windows.unwrap_or_default()) {
                Ok(factorer) => factorers.push((at, factorer)),
                Err(error) => results[at] = Some(Err(error)),
            }
        }
        let first = if updates { CalibrationOrder::DenseOnce } else { order };
        let mut walked = match std::mem::take(&mut known) {
            known if known.is_empty() => walk(dense, &factorers, windows, first, progress),
            known => walked(prune_known(dense, &arms(&factorers), windows, known, progress)),
        };
        if updates {
            for (_, factorer) in &mut factorers {
                factorer.updating = true;
            }
            let again = walk(dense, &factorers, windows, CalibrationOrder::Sequential, progress);
            let both = walked.into_iter().zip(again).map(|(first, second)| Ok(first? + second?));
            walked = both.collect();
        }
        for ((at, factorer), seconds) in factorers.into_iter().zip(walked) {
            let asking = asked.seconds_of(methods[at]) + factorer.searching;
            results[at] = Some(seconds.and_then(|seconds| factorer.finish(seconds + asking)));
        }
    }
    let nothing = || Err(PrepareError::LowRank("the method was not applied".to_owned()));
    results.into_iter().map(|result| result.unwrap_or_else(nothing)).collect()
}

/// Applies one method to a model.
///
/// # Errors
/// [`PrepareError`].
pub fn reduced(
    dense: &Decoder,
    method: &dyn LowRank,
    windows: Option<&[Vec<u32>]>,
    order: CalibrationOrder,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Reduced, PrepareError> {
    let nothing = || Err(PrepareError::LowRank("the method was not applied".to_owned()));
    lowrank_all(dense, &[method], windows, order, progress).pop().unwrap_or_else(nothing)
}

/// Walks all methods through the blocks; the seconds each took.
fn walk(
    dense: &Decoder,
    factorers: &[(usize, Factorer<'_>)],
    windows: Option<&[Vec<u32>]>,
    order: CalibrationOrder,
    progress: &mut dyn FnMut(usize, usize),
) -> Vec<Result<f64, PrepareError>> {
    if factorers.is_empty() { Vec::new() } else { walked(prune_all(dense, &arms(factorers), windows, order, progress)) }
}

fn arms<'a>(factorers: &'a [(usize, Factorer<'_>)]) -> Vec<PruneArm<'a>> {
    let arm = |factorer| PruneArm { pruner: factorer, seed: 0, dtype: Some(DType::F32) };
    factorers.iter().map(|(_, factorer)| arm(factorer)).collect()
}

fn walked(pruned: Vec<Result<Pruned, PrepareError>>) -> Vec<Result<f64, PrepareError>> {
    pruned.into_iter().map(|pruned| pruned.map(|Pruned { seconds, .. }| seconds)).collect()
}

impl Asked {
    fn of(dense: &Decoder, methods: &[&dyn LowRank], windows: &[Vec<u32>], order: CalibrationOrder) -> Self {
        let ask = |any: bool| any.then(Instant::now);
        let mut asked = Self { distances: None, known: Vec::new(), gradients: None, seconds: (0.0, 0.0) };
        if let Some(started) = ask(methods.iter().any(|method| method.needs_distances())) {
            let needs = methods.iter().map(|method| method.needs()).fold(Needs::NOTHING, Needs::union);
            // Sums by column of all blocks are held at once, which second moments are too large for.
            let once = order == CalibrationOrder::DenseOnce && methods.iter().all(|method| !method.updates());
            let needs = if once && !needs.second_moment && !needs.samples { needs } else { Needs::NOTHING };
            let found = caught(|| distances(dense, windows, needs));
            let found = found.unwrap_or_else(|panic| Err(PrepareError::Panic(panic)));
            asked.distances = Some(found.map(|(distances, known)| {
                asked.known = known;
                distances
            }));
            asked.seconds.0 = started.elapsed().as_secs_f64();
        }
        if let Some(started) = ask(methods.iter().any(|method| method.needs_gradients())) {
            let found = caught(|| match windows {
                [] => Err(PrepareError::NoCalibration),
                some => dense
                    .squared_gradients(some, &mut |_| {})
                    .map_err(|source| PrepareError::LowRank(format!("gradients of the loss: {source}"))),
            });
            asked.gradients = Some(found.unwrap_or_else(|panic| Err(PrepareError::Panic(panic))));
            asked.seconds.1 = started.elapsed().as_secs_f64();
        }
        asked
    }

    fn seconds_of(&self, method: &dyn LowRank) -> f64 {
        let of = |asks: bool, seconds: f64| if asks { seconds } else { 0.0 };
        of(method.needs_distances(), self.seconds.0) + of(method.needs_gradients(), self.seconds.1)
    }
}

/// A method in the walk of pruning methods.
struct Factorer<'a> {
    method: &'a dyn LowRank,
    /// The share of each map, where it searches for them, and the seconds that took.
    shares: Option<Shares>,
    searching: f64,
    dense: &'a Decoder,
    blocks: Vec<usize>,
    gradients: Option<&'a BTreeMap<String, Vec<f64>>>,
    /// Whether factors are there and fitted anew.
    updating: bool,
    found: Mutex<BTreeMap<String, (Factorisation, Arc<Factored>)>>,
}

/// An error that several methods share, said again.
fn again(error: &PrepareError) -> PrepareError {
    match error {
        PrepareError::NoCalibration => PrepareError::NoCalibration,
        other => PrepareError::Shared(other.to_string()),
    }
}

impl<'a> Factorer<'a> {
    fn of(
        dense: &'a Decoder,
        method: &'a dyn LowRank,
        asked: &'a Asked,
        windows: &[Vec<u32>],
    ) -> Result<Self, PrepareError> {
        let distances = match asked.distances.as_ref().filter(|_| method.needs_distances()) {
            Some(found) => found.as_ref().map_err(again)?.clone(),
            None => Vec::new(),
        };
        let gradients = match asked.gradients.as_ref().filter(|_| method.needs_gradients()) {
            Some(found) => Some(found.as_ref().map_err(again)?),
            None => None,
        };
        let blocks = if method.is_identity() {
            Vec::new()
        } else {
            let blocks = Blocks { count: dense.config().layers, distances };
            method.blocks(&blocks).map_err(|error| PrepareError::LowRank(error.to_string()))?
        };
        let started = Instant::now();
        let search = |search| {
            let found = caught(|| search::shares(dense, method, &search, &blocks, gradients, windows));
            found.unwrap_or_else(|panic| Err(PrepareError::Panic(panic)))
        };
        let shares = method.search().map(search).transpose()?;
        let searching = if shares.is_some() { started.elapsed().as_secs_f64() } else { 0.0 };
        let found = Mutex::default();
        Ok(Self { method, shares, searching, dense, blocks, gradients, updating: false, found })
    }

    fn finish(self, seconds: f64) -> Result<Reduced, PrepareError> {
        let found = self.found.into_inner().unwrap_or_else(PoisonError::into_inner);
        let maps = (0..self.dense.config().layers).flat_map(|layer| Projection::ALL.map(|each| (layer, each)));
        let there = maps.filter(|&(layer, projection)| self.dense.linear(layer, projection).is_some());
        let names = there.map(|(layer, projection)| projection.tensor(layer));
        let kept: Vec<String> = names.filter(|name| !found.contains_key(name)).collect();
        if found.is_empty() && !self.method.is_identity() {
            return Err(PrepareError::LowRank(format!(
                "no map became factors: none that the method takes has {LEAST_SIDE} rows and columns or more ({} stayed as they are)",
                kept.len()
            )));
        }
        let mut decoder = self.dense.clone();
        let mut factoring = Factoring { made: BTreeMap::new(), kept };
        for (layer, projection) in
            (0..decoder.config().layers).flat_map(|layer| Projection::ALL.map(|projection| (layer, projection)))
        {
            let name = projection.tensor(layer);
            let Some((parts, map)) = found.get(&name) else { continue };
            decoder = decoder
                .with_linear(layer, projection, Arc::clone(map) as Arc<dyn LinearOp>)
                .map_err(|error| PrepareError::LowRank(format!("{name}: {error}")))?;
            let made = Made {
                layer,
                lost: parts.lost,
                jitter: parts.jitter,
                left_out: parts.left_out,
                ranks: parts.kept.clone(),
            };
            factoring.made.insert(name, made);
        }
        Ok(Reduced { decoder, seconds, factoring })
    }

    /// The share that a search gives a map; nothing where it stays whole and where none was made.
    fn share(&self, name: &str) -> Option<f64> {
        self.shares.as_ref()?.get(name).copied().flatten()
    }

    fn factors(
        &self,
        site: &Site,
        weight: &[f32],
        statistics: Option<&LinearStatistics>,
    ) -> Result<Factorisation, LowRankError> {
        let gradients = self.gradients.and_then(|all| all.get(site.name)).map(Vec::as_slice);
        let known = Known { statistics, gradients, share: self.share(site.name) };
        let held = || self.found.lock().unwrap_or_else(PoisonError::into_inner).remove(site.name);
        match self.updating.then(held).flatten() {
            Some((parts, _)) => self.method.update(site, weight, parts, known),
            None => self.method.factorise(site, weight, known),
        }
    }
}

impl Pruner for Factorer<'_> {
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
        let map = Map::of(site);
        let Some(linear) = map.and_then(|map| self.dense.linear(site.layer, Projection::ALL[map as usize])) else {
            return Err(refused(&format!("{}: the map is held as factors already", site.name)));
        };
        let parts = self.factors(site, weight, statistics).map_err(|error| refused(&error))?;
        let mut factored = held(site, &parts, linear.as_ref()).map_err(|error| refused(&error))?;
        if self.method.keeps_remainder() {
            factored = beside(factored, linear.as_ref()).map_err(|error| refused(&error))?;
        }
        weight.copy_from_slice(&factored.weight().to_f32());
        let entry = (parts, Arc::new(factored));
        self.found.lock().unwrap_or_else(PoisonError::into_inner).insert(site.name.to_owned(), entry);
        Ok(())
    }

    fn changes(&self, layer: usize, map: Map) -> bool {
        let searched =
            |projection: Projection| self.shares.is_none() || self.share(&projection.tensor(layer)).is_some();
        factors(self.dense, self.method, &self.blocks, (layer, map)).is_some_and(searched)
    }

    fn keeps_to_one_thread(&self) -> bool {
        true
    }

    fn is_identity(&self) -> bool {
        self.method.is_identity()
    }
}

/// The projection of a map that a method makes factors of: of these blocks, one that it takes, and not too small.
fn factors(dense: &Decoder, method: &dyn LowRank, blocks: &[usize], (layer, map): (usize, Map)) -> Option<Projection> {
    let projection = Projection::ALL[map as usize];
    let linear = dense.linear(layer, projection)?;
    let takes = blocks.contains(&layer) && method.takes(map) && linear.rows().min(linear.cols()) >= LEAST_SIDE;
    takes.then_some(projection)
}

/// Factors in the element type of the matrix they stand for. In half precision two factors whose magnitudes are far apart are
/// moved towards each other by a power of two, which changes no digit of them.
fn held(site: &Site, parts: &Factorisation, linear: &dyn LinearOp) -> Result<Factored, String> {
    let dtype = linear.weight().dtype();
    let most = |values: &[f64]| values.iter().fold(0.0f64, |most, value| most.max(value.abs()));
    let shift = match parts.factors.as_slice() {
        [first, second] if dtype == DType::F16 && most(&first.values).min(most(&second.values)) > 0.0 => {
            ((most(&first.values) / most(&second.values)).log2() / 2.0).round() as i32
        }
        _ => 0,
    };
    let mut steps = Vec::with_capacity(parts.factors.len());
    for (at, factor) in parts.factors.iter().enumerate() {
        let scale = f64::from(if at == 0 { -shift } else { shift }).exp2();
        let values: Vec<f32> = factor.values.iter().map(|value| (value * scale) as f32).collect();
        let weight = Weight::rounded(factor.rows, factor.cols, &values, dtype);
        if weight.to_f32().iter().any(|value| !value.is_finite()) {
            return Err(format!("{}: factor {at} has numbers beyond the checkpoint's {dtype:?}", site.name));
        }
        steps.push(Step { map: Arc::new(Dense::new(weight, None)), width: factor.width });
    }
    Factored::new(steps, (site.rows, site.cols), linear.bias()).map_err(|error| format!("{}: {error}", site.name))
}

/// Factors beside what they leave of the matrix, in its element type.
fn beside(factored: Factored, linear: &dyn LinearOp) -> Result<Factored, harness_model::error::ModelError> {
    let (whole, product) = (linear.weight(), factored.weight().to_f32());
    let left: Vec<f32> = whole.to_f32().iter().zip(product).map(|(whole, product)| whole - product).collect();
    let left = Weight::rounded(whole.rows(), whole.cols(), &left, whole.dtype());
    factored.with_remainder(Arc::new(Dense::new(left, None)))
}

/// The angle between what each block reads and writes at the last token of a window, in half turns, averaged over windows; and the sums
/// over the inputs of each block, where any are asked for.
fn distances(dense: &Decoder, windows: &[Vec<u32>], needs: Needs) -> Result<(Vec<f64>, Vec<Statistics>), PrepareError> {
    if windows.is_empty() {
        return Err(PrepareError::NoCalibration);
    }
    let width = dense.config().hidden_size;
    let length = windows[0].len();
    let mut hidden = embed_together(dense, windows)?;
    let (mut found, mut known) = (Vec::new(), Vec::new());
    for layer in 0..dense.config().layers {
        let outputs = if needs.any() {
            let (statistics, outputs) = collect_and_forward(dense, layer, &hidden, needs)?;
            known.push(statistics);
            outputs
        } else {
            forward(dense, layer, &hidden)?
        };
        let mut sum = 0.0;
        for (before, behind) in hidden.iter().zip(&outputs) {
            let last = |values: &[f32]| -> Vec<Vec<f32>> {
                values.chunks_exact(length * width).map(|window| window[window.len() - width..].to_vec()).collect()
            };
            let read = |state| with_values(state, last).map_err(|error| PrepareError::Shared(error.to_string()));
            sum += read(before)?.iter().zip(&read(behind)?).map(|(before, behind)| angle(before, behind)).sum::<f64>();
        }
        found.push(sum / windows.len() as f64);
        hidden = outputs;
    }
    Ok((found, known))
}

/// `arccos(cos(a, b)) / π`.
fn angle(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(f64::MIN_POSITIVE);
    cosine.clamp(-1.0, 1.0).acos() / std::f64::consts::PI
}

#[cfg(test)]
#[path = "lowrank_tests.rs"]
pub(crate) mod tests;
