//! What a step reads, and the loss of it.

use std::collections::BTreeMap;

use candle_core::{Device, Var};

use super::{TokenSource, TrainError};
use crate::cache::KvCache;
use crate::config::Config;
use crate::decoder::Decoder;
use crate::error::{Context, ModelError};
use crate::load::expected_tensors;
use crate::ops::cross_entropy;
use crate::tensor::{from_values, with_values};

/// Weights as variables, by canonical name.
pub(super) fn variables(
    config: &Config,
    weights: &BTreeMap<String, Vec<f32>>,
) -> Result<BTreeMap<String, Var>, ModelError> {
    expected_tensors(config)
        .map(|spec| {
            let values = weights.get(&spec.name).cloned();
            let values = values.ok_or_else(|| ModelError::MissingTensor { name: spec.name.clone() })?;
            let variable = if spec.vector {
                Var::from_vec(values, spec.cols, &Device::Cpu)
            } else {
                Var::from_vec(values, (spec.rows, spec.cols), &Device::Cpu)
            };
            let variable = variable.doing(|| format!("placing {}", spec.name))?;
            Ok((spec.name, variable))
        })
        .collect()
}

/// Mean negative log-likelihood of the tokens that a source has learned, as a scalar; behind what was carried, where anything is.
pub(super) fn loss(
    decoder: &Decoder,
    source: &dyn TokenSource,
    windows: &[Vec<u32>],
    carried: Option<&mut KvCache>,
) -> Result<candle_core::Tensor, ModelError> {
    let inputs: Vec<&[u32]> = windows.iter().map(|window| &window[..window.len() - 1]).collect();
    let hidden = match carried {
        Some(carried) => decoder.step(&inputs, carried, inputs[0].len())?,
        None => decoder.hidden(&inputs)?,
    };
    // (batch, sequence, hidden) → (batch · sequence, hidden)
    let mut hidden = hidden.flatten_to(1).doing(|| "flattening hidden states".to_owned())?;
    let (mut rows, mut targets) = (Vec::new(), Vec::new());
    for (window, tokens) in windows.iter().enumerate() {
        for at in source.scored(tokens) {
            // What stands at a place is predicted at the one before.
            rows.push((window * (tokens.len() - 1) + at - 1) as u32);
            targets.push(tokens[at]);
        }
    }
    if rows.len() < inputs.iter().map(|input| input.len()).sum() {
        let choosing = || "choosing what is learned".to_owned();
        let rows = candle_core::Tensor::new(rows, &Device::Cpu).doing(choosing)?;
        hidden = hidden.index_select(&rows, 0).doing(choosing)?;
    }
    cross_entropy(&decoder.logits(&hidden)?, &targets).doing(|| "computing the loss".to_owned())
}

/// The loss as a number, and its gradient by every variable that it depends on.
pub(super) fn gradients(
    loss: &candle_core::Tensor,
    variables: &BTreeMap<String, Var>,
) -> Result<(f64, BTreeMap<String, Vec<f32>>), ModelError> {
    let value = f64::from(loss.to_scalar::<f32>().doing(|| "reading the loss".to_owned())?);
    let store = loss.backward().doing(|| "running the backward pass".to_owned())?;
    let mut gradients = BTreeMap::new();
    for (name, variable) in variables {
        if let Some(gradient) = store.get(variable.as_tensor()) {
            let reading = || format!("reading the gradient of {name}");
            let gradient = gradient.contiguous().doing(reading)?;
            gradients.insert(name.clone(), with_values(&gradient, <[f32]>::to_vec).doing(reading)?);
        }
    }
    Ok((value, gradients))
}

/// Makes variables what the values are.
pub(super) fn publish(
    values: &BTreeMap<String, Vec<f32>>,
    variables: &BTreeMap<String, Var>,
) -> Result<(), ModelError> {
    for (name, values) in values {
        let Some(variable) = variables.get(name) else { continue };
        from_values(values.clone(), variable.shape())
            .and_then(|tensor| variable.set(&tensor))
            .doing(|| format!("updating {name}"))?;
    }
    Ok(())
}

/// One window of a split, of the length and the vocabulary asked for.
pub(super) fn window(
    source: &dyn TokenSource,
    split: &str,
    index: u64,
    length: usize,
    vocabulary: usize,
) -> Result<Vec<u32>, TrainError> {
    let failed = |reason: String| TrainError::Source { split: split.to_owned(), index, reason };
    let window = source.window(split, index, length).map_err(failed)?;
    if window.len() != length {
        return Err(failed(format!("it has {} tokens instead of {length}", window.len())));
    }
    match window.iter().find(|&&token| token as usize >= vocabulary) {
        Some(token) => Err(failed(format!("token {token} lies outside the vocabulary of {vocabulary}"))),
        None => Ok(window),
    }
}
