//! Gradients of the loss by the weights of linear maps, of a model that is not under training.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{Device, Var};

use crate::config::{Config, Projection};
use crate::decoder::Decoder;
use crate::error::{Context, ModelError};
use crate::load::{Checkpoint, learned_biases};
use crate::ops::cross_entropy;
use crate::parameter::Parameter;
use crate::tensor::with_values;
use crate::weight::{DType, Weight};

impl Decoder {
    /// For every linear map, by its tensor's name, the mean over `windows` of the squared gradients of each window's mean negative
    /// log-likelihood, added up over the map's outputs: one number an input. `seen` is told after each window.
    ///
    /// Held in memory are the weights and the gradients of one window in f32.
    ///
    /// # Errors
    /// Those of a pass over the windows; [`ModelError::Windows`] for windows of fewer than two tokens.
    pub fn squared_gradients(
        &self,
        windows: &[Vec<u32>],
        seen: &mut dyn FnMut(usize),
    ) -> Result<BTreeMap<String, Vec<f64>>, ModelError> {
        let mut sums: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        let mut last = None;
        let mut add = |window: usize, name: &str, cols: usize, gradient: &[f32]| {
            if last.replace(window).is_some_and(|before| before != window) {
                seen(window);
            }
            let sums = sums.entry(name.to_owned()).or_insert_with(|| vec![0.0; cols]);
            for row in gradient.chunks_exact(cols) {
                sums.iter_mut().zip(row).for_each(|(sum, &g)| *sum += f64::from(g) * f64::from(g));
            }
        };
        self.each_gradient(windows, &mut add)?;
        seen(windows.len());
        let count = windows.len() as f64;
        sums.values_mut().flatten().for_each(|sum| *sum /= count);
        Ok(sums)
    }

    /// Shows the gradients of each window's mean negative log-likelihood: the window, the tensor's name, its columns, and the gradient
    /// (outputs × inputs, row-major) of every linear map, window by window.
    ///
    /// Held in memory are the weights and the gradients of one window in f32.
    ///
    /// # Errors
    /// As [`squared_gradients`](Self::squared_gradients).
    pub fn each_gradient(
        &self,
        windows: &[Vec<u32>],
        visit: &mut dyn FnMut(usize, &str, usize, &[f32]),
    ) -> Result<(), ModelError> {
        let columns: BTreeMap<String, usize> = (0..self.blocks.len())
            .flat_map(|layer| Projection::ALL.map(|projection| (layer, projection)))
            .filter_map(|(layer, projection)| Some((projection.tensor(layer), self.linear(layer, projection)?.cols())))
            .collect();
        self.each_block_gradient(windows, &mut |window, name, gradient| {
            if let Some(&cols) = columns.get(name) {
                visit(window, name, cols, gradient);
            }
        })
    }

    /// The same of every parameter of the blocks: the window, the name and the gradient.
    pub(crate) fn each_block_gradient(
        &self,
        windows: &[Vec<u32>],
        shown: &mut dyn FnMut(usize, &str, &[f32]),
    ) -> Result<(), ModelError> {
        if windows.is_empty() || windows.iter().any(|window| window.len() < 2) {
            return Err(ModelError::Windows(windows.iter().map(Vec::len).collect()));
        }
        let (variables, trainable) = self.with_gradients()?;
        for (at, window) in windows.iter().enumerate() {
            let (inputs, targets) = (&window[..window.len() - 1], &window[1..]);
            let doing = || "computing the loss".to_owned();
            let hidden = trainable.hidden(&[inputs])?.flatten_to(1).doing(doing)?;
            let loss = cross_entropy(&trainable.logits(&hidden)?, targets).doing(doing)?;
            let store = loss.backward().doing(|| "running the backward pass".to_owned())?;
            for (name, variable) in variables.iter().filter(|(name, _)| name.starts_with("model.layers.")) {
                let Some(gradient) = store.get(variable.as_tensor()) else { continue };
                let reading = || format!("reading the gradient of {name}");
                let gradient = gradient.contiguous().doing(reading)?;
                with_values(&gradient, |values| shown(at, name, values)).doing(reading)?;
            }
        }
        Ok(())
    }

    /// Of the loss of each window's last token, how much depends on what enters the first block at each position, the newest first:
    /// the norm of the gradient there, over the sum of a window's, their mean over `windows` of one length.
    ///
    /// Held in memory are the weights and the gradients of one window in f32. State spaces are refused.
    ///
    /// # Errors
    /// Those of a pass over the windows; [`ModelError::Windows`] for windows of fewer than two tokens or of several lengths.
    pub fn reach(&self, windows: &[Vec<u32>]) -> Result<Vec<f64>, ModelError> {
        let length = windows.first().map_or(0, Vec::len);
        if length < 2 || windows.iter().any(|window| window.len() != length) {
            return Err(ModelError::Windows(windows.iter().map(Vec::len).collect()));
        }
        let (_, trainable) = self.with_gradients()?;
        let mut shares = vec![0.0; length - 1];
        for window in windows {
            let doing = || "computing the loss of the last token".to_owned();
            let entered = trainable.embed(&[&window[..length - 1]])?.detach();
            let entered = Var::from_tensor(&entered).doing(doing)?;
            let mut hidden = entered.as_tensor().clone();
            for layer in 0..trainable.blocks.len() {
                hidden = trainable.block(layer, &hidden, None)?;
            }
            let hidden = trainable.final_norm(&hidden)?.flatten_to(1).doing(doing)?;
            let last = hidden.narrow(0, length - 2, 1).and_then(|last| last.contiguous()).doing(doing)?;
            let loss = cross_entropy(&trainable.logits(&last)?, &window[length - 1..]).doing(doing)?;
            let store = loss.backward().doing(|| "running the backward pass".to_owned())?;
            let reading = || "reading the gradient of what enters the first block".to_owned();
            let gradient = store.get(entered.as_tensor()).ok_or_else(|| candle_core::Error::msg("there is none"));
            let gradient = gradient.and_then(candle_core::Tensor::contiguous).doing(reading)?;
            let norms = with_values(&gradient, |values| {
                let rows = values.chunks_exact(self.config.hidden_size.max(1)).rev();
                rows.map(|row| row.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>().sqrt()).collect::<Vec<_>>()
            });
            let norms = norms.doing(reading)?;
            let all: f64 = norms.iter().sum();
            if all > 0.0 {
                shares.iter_mut().zip(norms).for_each(|(share, norm)| *share += norm / all / windows.len() as f64);
            }
        }
        Ok(shares)
    }

    /// The same decoder of variables, and those by name.
    pub(crate) fn with_gradients(&self) -> Result<(BTreeMap<String, Var>, Self), ModelError> {
        self.block_at(0)?;
        let mut variables = BTreeMap::new();
        for (name, weight, vector) in self.named_weights() {
            let values = weight.to_f32();
            let variable = if vector {
                Var::from_vec(values, weight.cols(), &Device::Cpu)
            } else {
                Var::from_vec(values, (weight.rows(), weight.cols()), &Device::Cpu)
            };
            variables.insert(name.clone(), variable.doing(|| format!("placing {name}"))?);
        }
        let trainable = Self {
            rope: self.rope.clone(),
            cache_format: self.cache_format,
            // The rotary embeddings are those that stand here already.
            ..Self::trainable(&Config { scaling: None, ..(*self.config).clone() }, &variables)?
        };
        Ok((variables, trainable))
    }

    /// The numbers of every parameter that has gradients, by canonical name.
    pub fn numbers(&self) -> BTreeMap<String, Vec<f32>> {
        self.named_weights().into_iter().map(|(name, weight, _)| (name, weight.to_f32())).collect()
    }

    /// This decoder with other numbers for every parameter that has gradients, by canonical name; stored as they are here, or in `dtype`.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`] and [`ModelError::TensorShape`] for numbers that do not fit.
    pub fn with_numbers(&self, numbers: &BTreeMap<String, Vec<f32>>, dtype: Option<DType>) -> Result<Self, ModelError> {
        let mut weights = BTreeMap::new();
        for (name, old, _) in self.named_weights() {
            let values = numbers.get(&name).ok_or_else(|| ModelError::MissingTensor { name: name.clone() })?;
            let (rows, cols) = (old.rows(), old.cols());
            if values.len() != rows * cols {
                return Err(ModelError::TensorShape { name, found: (1, values.len()), expected: (rows, cols) });
            }
            weights.insert(name, Weight::rounded(rows, cols, values, dtype.unwrap_or(old.dtype())));
        }
        Ok(Self {
            config: Arc::clone(&self.config),
            rope: self.rope.clone(),
            net: self.net.clone(),
            reach: self.reach.clone(),
            cache_format: self.cache_format,
            ..Self::from_weights(&Config { scaling: None, ..(*self.config).clone() }, &weights)?
        })
    }

    /// Every parameter of a decoder whose blocks attend, under its canonical name, and whether it is a vector.
    fn named_weights(&self) -> Vec<(String, Weight, bool)> {
        let mut named = vec![("model.embed_tokens.weight".to_owned(), self.embedding.weight(), false)];
        let positions = self.positions.as_ref().map(Parameter::weight);
        named.extend(positions.map(|table| ("model.embed_positions.weight".to_owned(), table, false)));
        let norm = self.final_norm.weights().zip(["weight", "bias"]);
        named.extend(norm.map(|(weight, part)| (format!("model.norm.{part}"), weight, true)));
        if !self.config.tied_head {
            named.push(("lm_head.weight".to_owned(), self.head.weight(), false));
        }
        for layer in std::iter::once(None).chain((0..self.blocks.len()).map(Some)) {
            if let (Some(spec), Some(values)) =
                (learned_biases(&self.config, layer), self.learned_biases(layer.unwrap_or(0)))
            {
                named.push((spec.name, Weight::from_f32(spec.rows, spec.cols, values), false));
            }
        }
        for layer in 0..self.blocks.len() {
            named.extend(self.small_tensors(layer).into_iter().map(|(name, weight)| (name, weight, true)));
            named.extend(self.shortcut_tensors(layer).into_iter().map(|(name, weight)| (name, weight, false)));
            for projection in Projection::ALL {
                if let Some(map) = self.linear(layer, projection) {
                    named.push((projection.tensor(layer), map.weight(), false));
                }
            }
        }
        named
    }
}

impl Checkpoint {
    /// The checkpoint of a decoder that [`Decoder::with_numbers`] made of this one's. Its hash stays that of what it was made of.
    #[must_use]
    pub fn with_numbers(&self, decoder: &Decoder) -> Self {
        let mut changed = self.clone();
        changed.packed.clear();
        changed.tensors.extend(decoder.named_weights().into_iter().map(|(name, weight, _)| (name, weight)));
        changed
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::linear::Dense;
    use crate::packed::small_decoder;

    /// Mean negative log-likelihood of a window.
    fn loss(decoder: &Decoder, window: &[u32]) -> f64 {
        let hidden = decoder.hidden(&[&window[..window.len() - 1]]).unwrap().flatten_to(1).unwrap();
        let loss = cross_entropy(&decoder.logits(&hidden).unwrap(), &window[1..]).unwrap();
        f64::from(loss.to_scalar::<f32>().unwrap())
    }

    #[test]
    fn gradients_are_those_of_differences() {
        let decoder = small_decoder();
        let windows = [vec![1, 5, 2, 7, 3, 1], vec![4, 2, 6, 6, 1, 0]];
        let found = decoder.squared_gradients(&windows, &mut |_| {}).unwrap();
        for projection in Projection::ALL {
            let Some(map) = decoder.linear(0, projection) else { continue };
            let (rows, cols, values) = (map.rows(), map.cols(), map.weight().to_f32());
            let moved = |at: usize, by: f32| {
                let mut values = values.clone();
                values[at] += by;
                let map = Dense::new(Weight::from_f32(rows, cols, values), map.bias());
                decoder.with_linear(0, projection, Arc::new(map)).unwrap()
            };
            let column = 3;
            let expected: f64 = (0..rows)
                .map(|row| {
                    let at = row * cols + column;
                    let (up, down) = (moved(at, 0.02), moved(at, -0.02));
                    let slope = |window: &Vec<u32>| (loss(&up, window) - loss(&down, window)) / 0.04;
                    windows.iter().map(|window| slope(window).powi(2)).sum::<f64>() / 2.0
                })
                .sum();
            let exact = found[&projection.tensor(0)][column];
            assert!((exact - expected).abs() <= 0.05 * expected + 1e-9, "{projection:?}: {exact} for {expected}");
        }
        assert!(decoder.squared_gradients(&[vec![1]], &mut |_| {}).is_err());
    }

    #[test]
    fn the_reach_of_a_token_is_that_of_differences() {
        let decoder = small_decoder();
        let window = vec![1, 5, 2, 7, 3, 1];
        let found = decoder.reach(std::slice::from_ref(&window)).unwrap();
        let entered = decoder.embed(&[&window[..5]]).unwrap();
        let values = with_values(&entered, <[f32]>::to_vec).unwrap();
        let loss = |values: Vec<f32>| {
            let mut hidden = candle_core::Tensor::from_vec(values, entered.dims(), &Device::Cpu).unwrap();
            for layer in 0..decoder.config().layers {
                hidden = decoder.block(layer, &hidden, None).unwrap();
            }
            let last = decoder.final_norm(&hidden).unwrap().flatten_to(1).unwrap().narrow(0, 4, 1).unwrap();
            let loss = cross_entropy(&decoder.logits(&last.contiguous().unwrap()).unwrap(), &window[5..]).unwrap();
            f64::from(loss.to_scalar::<f32>().unwrap())
        };
        let width = values.len() / 5;
        let moved = |at: usize, by: f32| {
            let mut values = values.clone();
            values[at] += by;
            loss(values)
        };
        let norm = |row: usize| {
            let slopes = (row * width..(row + 1) * width).map(|at| (moved(at, 0.01) - moved(at, -0.01)) / 0.02);
            slopes.map(|slope| slope * slope).sum::<f64>().sqrt()
        };
        let norms: Vec<f64> = (0..5).rev().map(norm).collect();
        let all: f64 = norms.iter().sum();
        for (found, norm) in found.iter().zip(norms) {
            assert!((found - norm / all).abs() < 0.01, "{found} for {}", norm / all);
        }
        assert!((found.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!(decoder.reach(&[vec![1, 2], vec![1, 2, 3]]).is_err() && decoder.reach(&[vec![1]]).is_err());
    }
}
