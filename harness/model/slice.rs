//! Decoders whose residual stream is turned to other axes at every place and cut to fewer numbers.
//!
//! At each of `2 · blocks + 1` places (before attention and before the feed-forward part of every block, and at the end) the stream `x (D)` becomes `Q x (k)`, of a
//! matrix `Q (k, D)` of orthonormal rows. Normalisations lose their scale to the maps behind them, which read `W diag(g) Qᵀ`; maps that write to the
//! stream become `Q W`, embeddings `E Qᵀ`, and what passes by a part goes through `Q_next Q_prevᵀ (k, k)`. A root mean square over k numbers is taken over D as before: by a scale of
//! `√(D / k)` and a small number that is `D / k` times as large.

use std::collections::BTreeMap;
use std::sync::Arc;

use harness_kernels::{MatrixRef, matmul_nt};

use crate::config::{Config, NormKind, Projection};
use crate::decoder::{Block, Decoder};
use crate::error::{Context, ModelError};
use crate::linear::{Dense, LinearOp};
use crate::load::Checkpoint;
use crate::parameter::{Norm, Parameter};
use crate::tensor::Tensor;
use crate::weight::{DType, Weight};

/// The stream's numbers before, and after.
#[derive(Clone, Copy)]
struct Cut {
    whole: usize,
    left: usize,
}

/// `a (m, n) · bᵀ` of `b (l, n)`.
fn product(a: &[f32], b: &[f32], [m, n, l]: [usize; 3]) -> Vec<f32> {
    let mut out = vec![0.0; m * l];
    matmul_nt(a, MatrixRef::F32(b), &mut out, m, n, l);
    out
}

fn transposed(matrix: &[f32], rows: usize) -> Vec<f32> {
    let cols = matrix.len() / rows.max(1);
    (0..cols).flat_map(|col| matrix[col..].iter().step_by(cols).copied()).collect()
}

impl Cut {
    /// `W diag(g) Qᵀ` of a map that reads the stream.
    fn reading(self, weight: &Weight, scale: &[f32], rotation: &[f32], dtype: DType) -> Weight {
        let mut values = weight.to_f32();
        values.chunks_exact_mut(self.whole).for_each(|row| row.iter_mut().zip(scale).for_each(|(w, g)| *w *= g));
        let turned = product(&values, rotation, [weight.rows(), self.whole, self.left]);
        Weight::rounded(weight.rows(), self.left, &turned, dtype)
    }

    /// `Q W` of a map that writes to the stream.
    fn writing(self, weight: &Weight, rotation: &[f32]) -> Weight {
        let columns = transposed(&weight.to_f32(), weight.rows());
        let turned = product(rotation, &columns, [self.left, self.whole, weight.cols()]);
        Weight::rounded(self.left, weight.cols(), &turned, weight.dtype())
    }

    fn norm(self, config: &Config) -> Result<Norm, ModelError> {
        let scale = (self.whole as f64 / self.left as f64).sqrt() as f32;
        let weight = Weight::from_f32(1, self.left, vec![scale; self.left]);
        let made = Norm::new(Parameter::Stored(weight), None, self.epsilon(config));
        made.doing(|| "making a normalisation".to_owned())
    }

    fn epsilon(self, config: &Config) -> f64 {
        config.norm_epsilon * self.whole as f64 / self.left as f64
    }
}

impl Decoder {
    /// The decoder whose stream is turned and cut by these matrices of orthonormal rows, one a place, all `(k, hidden)`. With as many rows as the stream has numbers it
    /// computes what this one does.
    ///
    /// # Errors
    /// [`ModelError::Config`] for normalisations with a mean and a shift, a stream that was turned before, and matrices that do not fit.
    pub fn sliced(&self, rotations: &[Vec<f32>]) -> Result<Self, ModelError> {
        let config = self.config();
        let (whole, places) = (config.hidden_size, 2 * config.layers + 1);
        let refuse = |why: String| Err(ModelError::Config(why));
        if config.norm != NormKind::Rms {
            return refuse("a stream cannot be turned under normalisations that subtract a mean".to_owned());
        }
        if config.shortcuts {
            return refuse("the stream of this model was turned before; begin with the whole model".to_owned());
        }
        if !config.reads.is_empty() {
            return refuse("the stream of this model is read in part; begin with the whole model".to_owned());
        }
        let left = rotations.first().map_or(0, Vec::len) / whole;
        let fits = left > 0 && left <= whole && rotations.iter().all(|rotation| rotation.len() == left * whole);
        if rotations.len() != places || !fits {
            let found: Vec<usize> = rotations.iter().map(Vec::len).collect();
            return refuse(format!(
                "{places} matrices of up to {whole} rows of {whole} are needed; those given have {found:?} numbers"
            ));
        }
        let cut = Cut { whole, left };
        let narrow = Config {
            hidden_size: left,
            norm_epsilon: cut.epsilon(config),
            tied_head: false,
            shortcuts: true,
            ..config.clone()
        };
        let ones = vec![1.0; whole];
        let table = |parameter: &Parameter| {
            let weight = parameter.weight();
            Parameter::Stored(cut.reading(&weight, &ones, &rotations[0], weight.dtype()))
        };
        let blocks =
            (0..config.layers).map(|layer| self.block_turned(layer, cut, &rotations[2 * layer..2 * layer + 3]));
        let blocks = blocks.collect::<Result<Vec<_>, _>>()?;
        let head = self.head.weight();
        let scale = scale_of(&self.final_norm);
        let head = Dense::new(cut.reading(&head, &scale, &rotations[places - 1], head.dtype()), self.head.bias());
        Ok(Self {
            embedding: table(&self.embedding),
            positions: self.positions.as_ref().map(table),
            blocks,
            final_norm: cut.norm(config)?,
            head: Arc::new(head),
            own_head: false,
            config: Arc::new(narrow),
            ..self.clone()
        })
    }

    fn block_turned(&self, layer: usize, cut: Cut, rotations: &[Vec<f32>]) -> Result<Arc<Block>, ModelError> {
        let shared = &self.blocks[layer];
        let mut block = Block::clone(shared);
        block.biases.clear();
        for projection in Projection::ALL {
            let Some(map) = shared.projections[projection as usize].as_ref() else { continue };
            let (weight, bias) = (map.weight(), map.bias().map(|bias| bias.to_vec()));
            let read = |norm: &Norm, at: usize| cut.reading(&weight, &scale_of(norm), &rotations[at], weight.dtype());
            let written = |at: usize| {
                let bias = bias.as_ref().map(|bias| product(&rotations[at], bias, [cut.left, cut.whole, 1]));
                (cut.writing(&weight, &rotations[at]), bias)
            };
            let (made, bias) = match projection {
                Projection::Q | Projection::K | Projection::V => (read(&shared.attention_norm, 0), bias),
                Projection::Gate | Projection::Up => (read(&shared.feed_forward_norm, 1), bias),
                Projection::O => written(1),
                Projection::Down => written(2),
            };
            let bias = bias.map(|bias| Weight::rounded(1, bias.len(), &bias, made.dtype()));
            block.biases.extend(bias.clone().map(Parameter::Stored));
            block.projections[projection as usize] =
                Some(Arc::new(Dense::new(made, bias.map(|bias| bias.to_f32().into()))));
        }
        (block.attention_norm, block.feed_forward_norm) = (cut.norm(self.config())?, cut.norm(self.config())?);
        let dtype = self.embedding.weight().dtype();
        let shortcut = |at: usize| -> Arc<dyn LinearOp> {
            let values = product(&rotations[at + 1], &rotations[at], [cut.left, cut.whole, cut.left]);
            Arc::new(Dense::new(Weight::rounded(cut.left, cut.left, &values, dtype), None))
        };
        block.shortcuts = Some([shortcut(0), shortcut(1)]);
        Ok(Arc::new(block))
    }

    /// What passes by attention or by the feed-forward part.
    pub(crate) fn passing(&self, layer: usize, part: usize, hidden: Tensor) -> Result<Tensor, ModelError> {
        match &self.block_at(layer)?.shortcuts {
            Some(shortcuts) => shortcuts[part].forward(&hidden).doing(|| format!("shortcut of block {layer}")),
            None => Ok(hidden),
        }
    }

    /// The matrices that what passes by the parts of a block goes through, by name.
    pub(crate) fn shortcut_tensors(&self, layer: usize) -> Vec<(String, Weight)> {
        let shortcuts = self.blocks.get(layer).and_then(|block| block.shortcuts.as_ref());
        let named = |shortcuts: &[Arc<dyn LinearOp>; 2]| {
            let modules = crate::load::shortcut_modules(layer).into_iter().zip(shortcuts);
            modules.map(|(module, map)| (format!("{module}.weight"), map.weight())).collect()
        };
        shortcuts.map_or_else(Vec::new, named)
    }
}

/// What a normalisation multiplies by.
fn scale_of(norm: &Norm) -> Vec<f32> {
    norm.weights().next().map_or_else(Vec::new, |weight| weight.to_f32())
}

impl Checkpoint {
    /// The checkpoint of a decoder that [`Decoder::sliced`] made of this one's. Its hash stays that of what it was made of.
    #[must_use]
    pub fn sliced(&self, decoder: &Decoder) -> Self {
        let Config { hidden_size, norm_epsilon, .. } = *decoder.config();
        let mut turned = self.clone();
        turned.config = Config { hidden_size, norm_epsilon, tied_head: false, shortcuts: true, ..self.config.clone() };
        let mut tensors: BTreeMap<String, Weight> = BTreeMap::new();
        // What is learned of positions is not of the stream.
        tensors.extend(
            self.tensors
                .iter()
                .filter(|(name, _)| name.contains("position.bias") || name.contains("rotary."))
                .map(|(name, weight)| (name.clone(), weight.clone())),
        );
        tensors.insert("model.embed_tokens.weight".to_owned(), decoder.embedding.weight());
        tensors.extend(
            decoder.positions.as_ref().map(|table| ("model.embed_positions.weight".to_owned(), table.weight())),
        );
        tensors.extend(decoder.final_norm.weights().next().map(|weight| ("model.norm.weight".to_owned(), weight)));
        tensors.insert("lm_head.weight".to_owned(), decoder.head.weight());
        for layer in 0..decoder.config().layers {
            let maps = Projection::ALL
                .into_iter()
                .filter_map(|projection| Some((projection.tensor(layer), decoder.linear(layer, projection)?.weight())));
            tensors.extend(maps);
            tensors.extend(decoder.small_tensors(layer));
            tensors.extend(decoder.shortcut_tensors(layer));
        }
        turned.tensors = tensors;
        turned.packed = BTreeMap::new();
        turned
    }
}

#[cfg(test)]
#[path = "slice_tests.rs"]
mod tests;
