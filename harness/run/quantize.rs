//! Quantizing whole models: the walk through the blocks is that of pruning, and what every matrix takes is added up.

pub(crate) mod metrics;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use harness_core::Arm;
use harness_methods::block::{CalibratedBlock, Fold};
use harness_methods::prune::{Needs, PruneError, Pruner, Site};
use harness_methods::quant::ggml::{Format, method::taken_apart};
use harness_methods::quant::operator::Operator;
use harness_methods::quant::{Bits, QuantError, Quantized as TakenApart, Quantizer};
use harness_methods::registry;
use harness_methods::statistics::LinearStatistics;
use harness_model::decoder::Decoder;
use harness_model::linear::{Dense, LinearOp};
use harness_model::operated::{Multiply, Operated};
use harness_model::packed::{Activations, Packed, PackedMatrix};
use harness_model::weight::{DType, Weight};
use rand_chacha::ChaCha8Rng;

use crate::calibrate::{CalibrationOrder, PrepareError, PruneArm, Pruned, prune_all, prune_streaming};
use crate::mixture::Planned;
use crate::parts::{Part, any_factored};

/// Matrices with a shorter side stay as they are.
pub const LEAST_SIDE: usize = 32;

harness_core::choice! {
    /// How quantized maps are multiplied.
    pub enum Execution {
        /// By what their codes stand for, written out in f32.
        Fake = "fake",
        /// As packed codes, by kernels made for them.
        Packed = "packed",
    }
}

harness_core::choice! {
    /// What the inputs of packed maps are rounded to.
    pub enum ActivationType {
        /// Nothing: f32.
        Full = "full",
        /// Eight bits, the largest magnitude of a token's group of inputs at 127.
        Int8 = "int8",
    }
}

harness_core::choice! {
    /// What the output head of a quantized model becomes.
    pub enum HeadFormat {
        /// It stays as it is.
        Kept = "none",
        /// Eight bits in ggml's blocks of 32. An embedding that it was tied to stays, so that it is a matrix more.
        Q8_0 = "q8_0",
    }
}

/// How quantized models are held and multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// How the maps are multiplied; `None` for written-out values.
    pub packed: Option<Activations>,
    /// What the head becomes.
    pub head: HeadFormat,
}

/// What a quantized head takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeadTaken {
    /// All its bits.
    pub bits: u64,
    /// Its weights, 0 where they are those of the embedding.
    pub own_weights: u64,
}

/// How the maps of a quantized model are held and multiplied; `None` for written-out values.
pub(crate) fn packed_with(execution: Execution, inputs: ActivationType) -> Option<Activations> {
    (execution == Execution::Packed).then_some(match inputs {
        ActivationType::Full => Activations::Full,
        ActivationType::Int8 => Activations::Int8,
    })
}

/// What the matrices of a quantized model take.
#[derive(Debug, Clone, Default)]
pub struct Taken {
    /// Bits of the quantized matrices.
    pub bits: Bits,
    /// Their weights.
    pub weights: u64,
    /// Weights that have another format than the one asked for.
    pub fallback: u64,
    /// Which matrices those are, and the format of each.
    pub fallbacks: Vec<String>,
    /// Whether they are held and multiplied as packed codes.
    pub packed: bool,
    /// What the head takes where it is quantized.
    pub head: Option<HeadTaken>,
    /// Matrices that stayed as they are, by name.
    pub kept: Vec<String>,
    /// Whether factors were moved between layers before.
    pub folded: bool,
    /// Products of a weight and an input for each token.
    pub products: u64,
    /// Those of them that are of integers, by the bits of both, where the method says so.
    pub integer_products: BTreeMap<u32, u64>,
    /// Maps that do more with their inputs than multiply them.
    pub operators: Vec<Arc<dyn Operator>>,
}

impl Taken {
    /// The share of the products of the quantized maps that are of integers of so many bits.
    pub fn integer_share(&self, bits: u32) -> f64 {
        self.integer_products.get(&bits).copied().unwrap_or(0) as f64 / self.products.max(1) as f64
    }

    /// The share of inputs that lay beyond a fixed range so far; `None` where no range is fixed.
    pub fn saturation(&self) -> Option<f64> {
        let counts = self.operators.iter().filter_map(|operator| operator.saturated());
        let (beyond, all) = counts.reduce(|a, b| (a.0 + b.0, a.1 + b.1))?;
        Some(beyond as f64 / all.max(1) as f64)
    }
}

/// In which form quantized matrices are handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// What their codes stand for, written out.
    Values,
    /// Blocks of ggml.
    Blocks,
    /// Packed codes.
    Packed,
}

/// A finished tensor.
#[derive(Debug)]
pub enum Finished<'a> {
    /// Its values, written out.
    Values(&'a Weight),
    /// Its blocks.
    Blocks(Format, Vec<u8>),
    /// Its codes.
    Packed(PackedMatrix),
}

/// A quantizer in the walk of pruning methods.
struct Quantizing<'a> {
    quantizer: &'a dyn Quantizer,
    pack: bool,
    /// The bytes of matrices, where blocks are handed over.
    blocks: Option<Mutex<BTreeMap<String, (Format, Vec<u8>)>>>,
    taken: Mutex<Taken>,
    packed: Mutex<BTreeMap<String, PackedMatrix>>,
    operators: Mutex<BTreeMap<String, Arc<dyn Operator>>>,
}

/// An operator of a method as the model multiplies it.
#[derive(Debug)]
struct Adapted(Arc<dyn Operator>);

impl Multiply for Adapted {
    fn multiply(&self, x: &[f32], m: usize, out: &mut [f32]) {
        self.0.multiply(x, m, out);
    }

    fn values(&self) -> Vec<f32> {
        self.0.values()
    }

    fn bytes(&self) -> usize {
        self.0.bytes()
    }
}

impl<'a> Quantizing<'a> {
    fn new(quantizer: &'a dyn Quantizer, pack: bool) -> Self {
        let (taken, packed, operators) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { quantizer, pack, blocks: None, taken, packed, operators }
    }

    fn quantize(
        &self,
        site: &Site,
        weight: &[f32],
        statistics: Option<&LinearStatistics>,
    ) -> Result<TakenApart, QuantError> {
        let (Some(blocks), Some(maker)) = (&self.blocks, self.quantizer.blocks()) else {
            return self.quantizer.quantize(site, weight, statistics);
        };
        let (format, bytes) = (maker.format(site.cols), maker.encode(site, weight)?);
        let mut quantized = taken_apart(site, format, &bytes)?;
        quantized.fallback = (format != maker.asked()).then_some(format.name());
        blocks.lock().unwrap_or_else(PoisonError::into_inner).insert(site.name.to_owned(), (format, bytes));
        Ok(quantized)
    }

    /// What is handed over of a matrix that was written out as `values`.
    fn finished<'w>(&self, name: &str, values: &'w Weight) -> Finished<'w> {
        let blocks = self.blocks.as_ref();
        let blocks = blocks.and_then(|held| held.lock().unwrap_or_else(PoisonError::into_inner).remove(name));
        if let Some((format, bytes)) = blocks {
            return Finished::Blocks(format, bytes);
        }
        let packed = self.packed.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        packed.map_or(Finished::Values(values), Finished::Packed)
    }
}

impl Pruner for Quantizing<'_> {
    fn needs(&self) -> Needs {
        self.quantizer.needs()
    }

    fn folds(&self, block: &dyn CalibratedBlock) -> Result<Vec<Fold>, PruneError> {
        let folds = self.quantizer.folds(block).map_err(|error| PruneError::Refused(error.to_string()))?;
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).folded |= !folds.is_empty();
        Ok(folds)
    }

    fn prune(
        &self,
        site: &Site,
        weight: &mut [f32],
        statistics: Option<&LinearStatistics>,
        _: Option<usize>,
        _: &mut ChaCha8Rng,
    ) -> Result<(), PruneError> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if site.rows.min(site.cols) < LEAST_SIDE {
            taken.kept.push(site.name.to_owned());
            return Ok(());
        }
        let quantized =
            self.quantize(site, weight, statistics).map_err(|error| PruneError::Refused(error.to_string()))?;
        if let Some(operators) = &quantized.operators {
            let operator = if self.pack {
                operators.packed().map_err(|error| PruneError::Refused(error.to_string()))?
            } else {
                operators.fake()
            };
            taken.products += operators.products();
            if let Some(bits) = operators.integer_bits() {
                *taken.integer_products.entry(bits).or_default() += operators.products();
            }
            taken.operators.push(Arc::clone(&operator));
            self.operators.lock().unwrap_or_else(PoisonError::into_inner).insert(site.name.to_owned(), operator);
        } else {
            taken.products += weight.len() as u64;
        }
        if self.pack && quantized.operators.is_none() {
            let matrix = quantized.pack(site).map_err(|error| PruneError::Refused(error.to_string()))?;
            self.packed.lock().unwrap_or_else(PoisonError::into_inner).insert(site.name.to_owned(), matrix);
        }
        weight.copy_from_slice(&quantized.values);
        taken.bits = taken.bits.plus(quantized.bits);
        taken.weights += weight.len() as u64;
        if let Some(format) = quantized.fallback {
            taken.fallback += weight.len() as u64;
            taken.fallbacks.push(format!("{} as {format}", site.name));
        }
        Ok(())
    }

    fn is_identity(&self) -> bool {
        self.quantizer.is_identity()
    }
}

/// A quantized model and what it takes.
pub(crate) type Quantized = (Pruned, Taken);

/// Applies every quantizer to a model. The matrices are held as `holding` says, else written out in f32; what comes behind
/// a quantized block is calibrated on the written-out values in both.
pub(crate) fn quantize_all(
    model: &Decoder,
    quantizers: &[(&dyn Quantizer, u64)],
    windows: Option<&[Vec<u32>]>,
    order: CalibrationOrder,
    Holding { packed, head }: Holding,
    progress: &mut dyn FnMut(usize, usize),
) -> Vec<Result<Quantized, PrepareError>> {
    let head = (head == HeadFormat::Q8_0).then(|| quantized_head(model, packed));
    let planned: Vec<Option<Planned>> =
        quantizers.iter().map(|(quantizer, _)| Some(Planned::of(model, quantizer.mixture()?, windows))).collect();
    let quantizers: Vec<(&dyn Quantizer, u64)> = quantizers
        .iter()
        .zip(&planned)
        .map(|((whole, seed), planned)| (planned.as_ref().map_or(*whole, |planned| planned as &dyn Quantizer), *seed))
        .collect();
    let adapters: Vec<Quantizing> =
        quantizers.iter().map(|(quantizer, _)| Quantizing::new(*quantizer, packed.is_some())).collect();
    let arms: Vec<PruneArm> = adapters
        .iter()
        .zip(&quantizers)
        .map(|(adapter, (_, seed))| PruneArm { pruner: adapter, seed: *seed, dtype: Some(DType::F32) })
        .collect();
    let models = prune_all(model, &arms, windows, order, progress);
    drop(arms);
    models
        .into_iter()
        .zip(adapters)
        .zip(&planned)
        .map(|((model, adapter), planned)| {
            let mut taken = adapter.taken.into_inner().unwrap_or_else(PoisonError::into_inner);
            let mut model = model?;
            model.seconds += planned.as_ref().map_or(0.0, |planned| planned.seconds);
            if taken.weights == 0 && !adapter.quantizer.is_identity() {
                let why = format!(
                    "no matrix was quantized: none has {LEAST_SIDE} rows and columns or more ({} stayed as they are)",
                    taken.kept.len()
                );
                return Err(PrepareError::Prune(PruneError::Refused(why)));
            }
            let operators = adapter.operators.into_inner().unwrap_or_else(PoisonError::into_inner);
            model.decoder = with_operators(model.decoder, operators)?;
            if let Some(activations) = packed {
                let matrices = adapter.packed.into_inner().unwrap_or_else(PoisonError::into_inner);
                model.decoder = with_packed(model.decoder, matrices, activations)?;
                taken.packed = true;
            }
            if let Some(head) = &head {
                let (map, bits) = head.as_ref().map_err(|why| PrepareError::Prune(PruneError::Refused(why.clone())))?;
                let replaced = model.decoder.with_head(Arc::clone(map));
                model.decoder =
                    replaced.map_err(|error| PrepareError::Prune(PruneError::Refused(error.to_string())))?;
                taken.head = Some(*bits);
            }
            Ok((model, taken))
        })
        .collect()
}

/// The head of a model in ggml's Q8_0, and what it takes.
fn quantized_head(model: &Decoder, packed: Option<Activations>) -> Result<(Arc<dyn LinearOp>, HeadTaken), String> {
    let head = model.head();
    let (rows, cols) = (head.rows(), head.cols());
    let site = Site { name: "lm_head.weight", layer: model.config().layers, rows, cols };
    let said = |error: &dyn std::fmt::Display| format!("{error}; set `head = \"none\"`");
    let quantizer = registry::quantizer(&Arm::new("q8_0")).map_err(|error| said(&error))?;
    let found = quantizer.quantize(&site, &head.weight().to_f32(), None).map_err(|error| said(&error))?;
    let map: Arc<dyn LinearOp> = match packed {
        Some(activations) => {
            let matrix = Arc::new(found.pack(&site).map_err(|error| said(&error))?);
            Arc::new(Packed::new(matrix, head.bias(), activations).map_err(|error| said(&error))?)
        }
        None => Arc::new(Dense::new(Weight::from_f32(rows, cols, found.values), head.bias())),
    };
    let own_weights = if model.config().tied_head { 0 } else { (rows * cols) as u64 };
    Ok((map, HeadTaken { bits: found.bits.total(), own_weights }))
}

/// Applies one quantizer to a model that is held as `holding` says, as a bench does.
///
/// # Errors
/// [`PrepareError`].
pub fn quantize_held(
    model: &Decoder,
    quantizer: (&dyn Quantizer, u64),
    holding: Holding,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<(Decoder, Taken), PrepareError> {
    let order = CalibrationOrder::Sequential;
    let held = quantize_all(model, &[quantizer], None, order, holding, progress).pop();
    let nothing = || PrepareError::Prune(PruneError::Refused("nothing was quantized".to_owned()));
    held.ok_or_else(nothing)?.map(|(model, taken)| (model.decoder, taken))
}

/// Applies one quantizer and hands over every matrix when its block is finished, so that one block's are held at a time however
/// large the model is. Matrices that it makes no such form of come written out.
///
/// # Errors
/// [`PrepareError`]; what `sink` reports becomes [`PrepareError::Sink`].
pub fn quantize_streaming(
    model: &Decoder,
    (quantizer, seed, form): (&dyn Quantizer, u64, Form),
    windows: Option<&[Vec<u32>]>,
    order: CalibrationOrder,
    sink: &mut dyn FnMut(&str, Finished<'_>) -> Result<(), String>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Taken, PrepareError> {
    if form != Form::Values && any_factored(model) {
        let why = "the maps are held as factors, which the format has no place for; write their product as values";
        return Err(PrepareError::LowRank(why.to_owned()));
    }
    let planned = quantizer.mixture().map(|mixture| Planned::of(model, mixture, windows));
    let quantizer = planned.as_ref().map_or(quantizer, |planned| planned as &dyn Quantizer);
    let mut adapter = Quantizing::new(quantizer, form == Form::Packed);
    adapter.blocks = (form == Form::Blocks).then(Mutex::default);
    let arm = PruneArm { pruner: &adapter, seed, dtype: Some(DType::F32) };
    let mut each = |name: &str, weight: &Weight| {
        if form == Form::Packed && adapter.operators.lock().unwrap_or_else(PoisonError::into_inner).contains_key(name) {
            return Err(format!(
                "{name}: the method does more with inputs than to multiply codes; packed codes alone are not it"
            ));
        }
        sink(name, adapter.finished(name, weight))
    };
    prune_streaming(model, &arm, windows, order, &mut each, progress)?;
    Ok(adapter.taken.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// The decoder with the maps that do more with their inputs than multiply them.
fn with_operators(
    mut decoder: Decoder,
    mut operators: BTreeMap<String, Arc<dyn Operator>>,
) -> Result<Decoder, PrepareError> {
    for part in Part::all_changed(&decoder) {
        let tensor = part.tensor();
        let (Some(operator), Some(linear)) = (operators.remove(&tensor), part.map(&decoder)) else { continue };
        let map: Arc<dyn LinearOp> =
            Arc::new(Operated::new(Arc::new(Adapted(operator)), linear.rows(), linear.cols(), linear.bias()));
        decoder = part
            .replaced(&decoder, &map)
            .map_err(|error| PrepareError::Prune(PruneError::Refused(format!("{tensor}: {error}"))))?;
    }
    Ok(decoder)
}

/// The decoder with its quantized maps held as packed codes; the maps that stayed as they are stay.
fn with_packed(
    mut decoder: Decoder,
    mut matrices: BTreeMap<String, PackedMatrix>,
    activations: Activations,
) -> Result<Decoder, PrepareError> {
    for part in Part::all_changed(&decoder) {
        let tensor = part.tensor();
        let (Some(matrix), Some(linear)) = (matrices.remove(&tensor), part.map(&decoder)) else { continue };
        let refused = |error: &dyn std::fmt::Display| {
            let why = format!("{tensor}: {error}; set `activations = \"full\"`");
            PrepareError::Prune(PruneError::Refused(why))
        };
        let map = Packed::new(Arc::new(matrix), linear.bias(), activations).map_err(|error| refused(&error))?;
        let map: Arc<dyn LinearOp> = Arc::new(map);
        decoder = part.replaced(&decoder, &map).map_err(|error| refused(&error))?;
    }
    Ok(decoder)
}
