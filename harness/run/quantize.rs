//! Quantizing whole models: the walk through the blocks is that of pruning, and what every matrix takes is added up.

use std::sync::{Mutex, PoisonError};

use harness_methods::prune::{Needs, PruneError, Pruner, Site};
use harness_methods::quant::{Bits, Quantizer};
use harness_methods::statistics::LinearStatistics;
use harness_model::decoder::Decoder;
use harness_model::weight::DType;
use rand_chacha::ChaCha8Rng;

use crate::calibrate::{CalibrationOrder, PrepareError, PruneArm, Pruned, prune_all};

/// Matrices with a shorter side stay as they are.
pub const LEAST_SIDE: usize = 32;

/// What the matrices of a quantized model take.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// Bits of the quantized matrices.
    pub bits: Bits,
    /// Their weights.
    pub weights: u64,
    /// Weights that have another format than the one asked for.
    pub fallback: u64,
    /// Matrices that stayed as they are, by name.
    pub kept: Vec<String>,
}

/// A quantizer in the walk of pruning methods.
struct Quantizing<'a> {
    quantizer: &'a dyn Quantizer,
    taken: Mutex<Taken>,
}

impl Pruner for Quantizing<'_> {
    fn needs(&self) -> Needs {
        self.quantizer.needs()
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
        let quantized = self
            .quantizer
            .quantize(site, weight, statistics)
            .map_err(|error| PruneError::Refused(error.to_string()))?;
        weight.copy_from_slice(&quantized.values);
        taken.bits = taken.bits.plus(quantized.bits);
        taken.weights += weight.len() as u64;
        taken.fallback += if quantized.fallback.is_some() { weight.len() as u64 } else { 0 };
        Ok(())
    }

    fn is_identity(&self) -> bool {
        self.quantizer.is_identity()
    }
}

/// A quantized model and what it takes.
pub(crate) type Quantized = (Pruned, Taken);

/// Applies every quantizer to a model; the matrices are held as their codes say, in f32.
pub(crate) fn quantize_all(
    model: &Decoder,
    quantizers: &[(&dyn Quantizer, u64)],
    windows: Option<&[Vec<u32>]>,
    order: CalibrationOrder,
    progress: &mut dyn FnMut(usize, usize),
) -> Vec<Result<Quantized, PrepareError>> {
    let adapters: Vec<Quantizing> =
        quantizers.iter().map(|(quantizer, _)| Quantizing { quantizer: *quantizer, taken: Mutex::default() }).collect();
    let arms: Vec<PruneArm> = adapters
        .iter()
        .zip(quantizers)
        .map(|(adapter, (_, seed))| PruneArm { pruner: adapter, seed: *seed, dtype: Some(DType::F32) })
        .collect();
    let models = prune_all(model, &arms, windows, order, progress);
    drop(arms);
    models
        .into_iter()
        .zip(adapters)
        .map(|(model, adapter)| {
            let taken = adapter.taken.into_inner().unwrap_or_else(PoisonError::into_inner);
            let model = model?;
            if taken.weights == 0 && !adapter.quantizer.is_identity() {
                let why = format!(
                    "no matrix was quantized: none has {LEAST_SIDE} rows and columns or more ({} stayed as they are)",
                    taken.kept.len()
                );
                return Err(PrepareError::Prune(PruneError::Refused(why)));
            }
            Ok((model, taken))
        })
        .collect()
}
