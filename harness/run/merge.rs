//! The axis of merging: experts that were trained from one base, and the model that arithmetic on what they learned makes of it.

use std::collections::BTreeMap;
use std::time::Instant;

use harness_core::seed;
use harness_methods::merge::{Merge, MergeError};
use harness_model::decoder::Decoder;
use harness_model::weight::Weight;

use crate::calibrate::PrepareError;
use crate::inputs::LoadedModel;
use crate::panics::caught;

/// Changes of an expert that are larger than the base itself, by the root of their squares, say that it was trained from another one.
const MOST: f64 = 1.0;

/// A merged model.
#[derive(Debug, Clone)]
pub struct Merged {
    /// The model.
    pub decoder: Decoder,
    /// Seconds it took.
    pub seconds: f64,
}

/// Merges what experts learned into the base; the base itself is as it was.
///
/// # Errors
/// [`PrepareError::Merge`] for no experts and experts of another shape, tokenizer or base, [`PrepareError::Panic`].
pub fn merged(
    base: &LoadedModel,
    experts: &[LoadedModel],
    method: &dyn Merge,
    seed: u64,
) -> Result<Merged, PrepareError> {
    let started = Instant::now();
    let made = caught(|| {
        let deltas = Deltas::of(base, experts)?;
        let tensors = if method.whole() { deltas.together(method, seed) } else { deltas.each(method, seed) }?;
        base.decoder.with_tensors(&tensors).map_err(|error| refused(&error))
    });
    let decoder = made.map_err(PrepareError::Panic)??;
    Ok(Merged { decoder, seconds: started.elapsed().as_secs_f64() })
}

fn refused(error: &dyn std::fmt::Display) -> PrepareError {
    PrepareError::Merge(error.to_string())
}

/// The base and its experts, tensor by tensor.
struct Deltas<'a> {
    base: BTreeMap<String, Weight>,
    experts: Vec<(&'a str, BTreeMap<String, Weight>)>,
}

impl<'a> Deltas<'a> {
    fn of(base: &LoadedModel, experts: &'a [LoadedModel]) -> Result<Self, PrepareError> {
        if experts.is_empty() {
            return Err(refused(&MergeError::Empty));
        }
        let tensors = base.decoder.tensors();
        let mut checked = Vec::with_capacity(experts.len());
        for expert in experts {
            let name = expert.name.as_str();
            let differs = |what: &str| {
                Err(PrepareError::Merge(format!(
                    "{name} differs from {} in {what}; merge models trained from one base",
                    base.name
                )))
            };
            if expert.tokenizer_hash() != base.tokenizer_hash() {
                return differs("its tokens");
            }
            if expert.decoder.config() != base.decoder.config() {
                return differs("its shape or in how it tells positions apart");
            }
            let own = expert.decoder.tensors();
            if own.keys().ne(tensors.keys()) {
                return differs("which tensors it has");
            }
            let (mut change, mut all) = (0.0, 0.0);
            for (weight, own) in tensors.values().zip(own.values()) {
                for (b, e) in weight.to_f32().into_iter().zip(own.to_f32()) {
                    change += f64::from(e - b).powi(2);
                    all += f64::from(b).powi(2);
                }
            }
            if change > MOST * MOST * all {
                let share = (change / all).sqrt();
                return differs(&format!("its weights by {share:.2} of their own size"));
            }
            checked.push((name, own));
        }
        Ok(Self { base: tensors, experts: checked })
    }

    /// What every expert changed of a tensor.
    fn changes(&self, name: &str, base: &[f32]) -> Vec<Vec<f64>> {
        let of = |tensors: &BTreeMap<String, Weight>| -> Vec<f64> {
            let own = tensors.get(name).map(Weight::to_f32).unwrap_or_default();
            own.iter().zip(base).map(|(own, base)| f64::from(*own) - f64::from(*base)).collect()
        };
        self.experts.iter().map(|(_, tensors)| of(tensors)).collect()
    }

    /// A stream of random numbers for each expert.
    fn random(&self, seed: u64, tensor: &str) -> Vec<rand_chacha::ChaCha8Rng> {
        self.experts.iter().map(|(expert, _)| seed::stream(seed, &["merge", expert, tensor])).collect()
    }

    fn each(&self, method: &dyn Merge, seed: u64) -> Result<BTreeMap<String, Weight>, PrepareError> {
        let merged = self.base.iter().map(|(name, weight)| {
            let base = weight.to_f32();
            let changes = self.changes(name, &base);
            let changes: Vec<&[f64]> = changes.iter().map(Vec::as_slice).collect();
            let added = method
                .merge(&changes, weight.cols(), &mut self.random(seed, name))
                .map_err(|error| refused(&format!("{name}: {error}")))?;
            Ok((name.clone(), sum(weight, &base, &added)))
        });
        merged.collect()
    }

    fn together(&self, method: &dyn Merge, seed: u64) -> Result<BTreeMap<String, Weight>, PrepareError> {
        let mut changes: Vec<Vec<f64>> = vec![Vec::new(); self.experts.len()];
        for (name, weight) in &self.base {
            let own = self.changes(name, &weight.to_f32());
            changes.iter_mut().zip(own).for_each(|(all, own)| all.extend(own));
        }
        let all: Vec<&[f64]> = changes.iter().map(Vec::as_slice).collect();
        let count = all.first().map_or(0, |delta| delta.len());
        let added = method.merge(&all, count, &mut self.random(seed, "all")).map_err(|error| refused(&error))?;
        let mut rest = added.as_slice();
        let merged = self.base.iter().map(|(name, weight)| {
            let (own, others) = rest.split_at(weight.rows() * weight.cols());
            rest = others;
            (name.clone(), sum(weight, &weight.to_f32(), own))
        });
        Ok(merged.collect())
    }
}

/// A tensor with something added to it, in its own element type.
fn sum(weight: &Weight, base: &[f32], added: &[f64]) -> Weight {
    let values: Vec<f32> = base.iter().zip(added).map(|(base, added)| (f64::from(*base) + added) as f32).collect();
    Weight::rounded(weight.rows(), weight.cols(), &values, weight.dtype())
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
