//! Decoders with some of their parts replaced; all else is shared.

use std::sync::Arc;

use harness_kernels::rotary::Pairing;

use crate::cache::{CacheFormat, KvCache, LOOKS, MOVING, NO_KEYS};
use crate::config::{PositionScheme, Projection, RopeStyle};
use crate::decoder::Decoder;
use crate::error::{Context, ModelError};
use crate::linear::{Dense, LinearOp};
use crate::ops::{Places, Turns};
use crate::packed::{Activations, PackError};
use crate::parameter::Parameter;
use crate::reach::{Reach, Reached};
use crate::rope::Rope;
use crate::tensor::Tensor;
use crate::weight::Weight;

/// A normalisation of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockNorm {
    /// Before attention.
    Attention,
    /// Before the feed-forward part.
    FeedForward,
}

fn check_factors(factors: &[f32], expected: usize) -> Result<(), ModelError> {
    if factors.len() == expected && factors.iter().all(|factor| factor.is_finite() && *factor > 0.0) {
        Ok(())
    } else {
        Err(ModelError::Factors { found: factors.len(), expected })
    }
}

impl Decoder {
    /// A linear map that has to be there.
    fn linear_at(&self, layer: usize, projection: Projection) -> Result<&Arc<dyn LinearOp>, ModelError> {
        self.block_at(layer)?;
        let available = self.blocks.len();
        let range = ModelError::Range { what: "block", start: layer, end: layer + 1, available };
        self.linear(layer, projection).ok_or(range)
    }

    /// This decoder with caches that keep keys and values in another format; all weights are shared.
    ///
    /// # Errors
    /// [`ModelError::CacheGroup`] when groups do not divide a head, [`ModelError::CacheBudget`] for a rule that keeps no keys,
    /// [`ModelError::CacheFormat`] and [`ModelError::CacheEvicts`] for codes or a choice of keys whose angles change with the
    /// length, whose scores have biases by distance, or of which queries see some only; [`ModelError::StateSpace`] for another format
    /// of a decoder without attention.
    pub fn with_cache(&self, format: CacheFormat) -> Result<Self, ModelError> {
        if self.has_states() && format != CacheFormat::Full {
            return Err(ModelError::StateSpace { what: NO_KEYS });
        }
        KvCache::new(self.cache_shape(), format)?;
        if format.evicts() {
            let biased = self.attention.slopes.is_some() || self.blocks.iter().any(|block| block.by_distance.is_some());
            let looks = self.reach.as_ref().is_some_and(|reach| reach.rule.moves() || reach.rule.kept().is_some());
            let what = match (looks, self.keys_move(), biased) {
                (true, ..) => LOOKS,
                (_, true, _) => MOVING,
                (.., true) => "be of a model whose scores have biases by distance",
                _ => return Ok(Self { cache_format: format, ..self.clone() }),
            };
            return Err(ModelError::CacheEvicts { what });
        }
        if format != CacheFormat::Full && self.keys_move() {
            return Err(ModelError::CacheFormat { what: MOVING });
        }
        Ok(Self { cache_format: format, ..self.clone() })
    }

    /// This decoder with one linear map replaced; all else is shared.
    ///
    /// # Errors
    /// [`ModelError::Replacement`] when the shapes differ, [`ModelError::Range`] when there is no such map.
    pub fn with_linear(
        &self,
        layer: usize,
        projection: Projection,
        map: Arc<dyn LinearOp>,
    ) -> Result<Self, ModelError> {
        let old = self.linear_at(layer, projection)?;
        let (found, expected) = ((map.rows(), map.cols()), (old.rows(), old.cols()));
        if found != expected {
            return Err(ModelError::Replacement { layer, projection, found, expected });
        }
        let mut changed = self.clone();
        Arc::make_mut(&mut changed.blocks[layer]).projections[projection as usize] = Some(map);
        Ok(changed)
    }

    /// This decoder with the inputs of all its packed maps rounded otherwise, and how many those are.
    ///
    /// # Errors
    /// [`PackError`] for 8-bit activations with a look-up table.
    pub fn with_activations(&self, activations: Activations) -> Result<(Self, usize), PackError> {
        let mut changed = self.clone();
        let mut count = 0;
        let mut change = |map: &mut Arc<dyn LinearOp>| -> Result<(), PackError> {
            if let Some(packed) = map.as_packed().map(|packed| packed.with_activations(activations)) {
                *map = Arc::new(packed?);
                count += 1;
            }
            Ok(())
        };
        for block in &mut changed.blocks {
            for map in Arc::make_mut(block).projections.iter_mut().flatten() {
                change(map)?;
            }
        }
        change(&mut changed.head)?;
        Ok((changed, count))
    }

    /// This decoder with one matrix replaced; the map's bias stays.
    ///
    /// # Panics
    /// When there is no such map or the shape differs.
    #[must_use]
    pub fn with_weight(&self, layer: usize, projection: Projection, weight: Weight) -> Self {
        let bias = self.linear(layer, projection).and_then(|map| map.bias());
        match self.with_linear(layer, projection, Arc::new(Dense::new(weight, bias))) {
            Ok(changed) => changed,
            Err(error) => panic!("{error}"),
        }
    }

    /// This decoder with the outputs of one normalisation of a block divided by a factor each, one for each that the maps behind it read.
    ///
    /// # Errors
    /// [`ModelError::Range`] past the last block, [`ModelError::Factors`] when there is not one factor for each output.
    pub fn with_norm_divided(&self, layer: usize, norm: BlockNorm, factors: &[f32]) -> Result<Self, ModelError> {
        let block = self.block_at(layer)?;
        let (reads, hidden) = (self.reads(layer), self.config.hidden_size);
        let (old, read) = match norm {
            BlockNorm::Attention => (&block.attention_norm, &reads.attention),
            BlockNorm::FeedForward => (&block.feed_forward_norm, &reads.feed_forward),
        };
        check_factors(factors, read.width(hidden))?;
        let new =
            old.divided(&read.spread(factors, hidden)).doing(|| format!("scaling a normalisation of block {layer}"))?;
        let mut changed = self.clone();
        let block = Arc::make_mut(&mut changed.blocks[layer]);
        match norm {
            BlockNorm::Attention => block.attention_norm = new,
            BlockNorm::FeedForward => block.feed_forward_norm = new,
        }
        Ok(changed)
    }

    /// This decoder with the outputs of one linear map divided by a factor each, bias included.
    ///
    /// # Errors
    /// As [`Self::with_linear`], and [`ModelError::Factors`] when there is not one factor for each output.
    pub fn with_outputs_divided(
        &self,
        layer: usize,
        projection: Projection,
        factors: &[f32],
    ) -> Result<Self, ModelError> {
        let map = self.linear_at(layer, projection)?;
        check_factors(factors, map.rows())?;
        let mut values = map.weight().to_f32();
        for (row, factor) in values.chunks_exact_mut(map.cols().max(1)).zip(factors) {
            for value in row {
                *value /= factor;
            }
        }
        let bias: Option<Arc<[f32]>> =
            map.bias().map(|bias| bias.iter().zip(factors).map(|(bias, factor)| bias / factor).collect());
        let weight = Weight::from_f32(map.rows(), map.cols(), values);
        let stored = bias.clone();
        let mut changed = self.with_linear(layer, projection, Arc::new(Dense::new(weight, bias)))?;
        if let Some(bias) = stored {
            // Biases stand in the order of the maps that have one.
            let before = Projection::ALL.into_iter().take_while(|other| *other != projection);
            let at = before.filter(|p| self.linear(layer, *p).is_some_and(|map| map.bias().is_some())).count();
            if let Some(slot) = Arc::make_mut(&mut changed.blocks[layer]).biases.get_mut(at) {
                *slot = Parameter::Stored(Weight::from_f32(1, bias.len(), bias.to_vec()));
            }
        }
        Ok(changed)
    }

    /// This decoder with the columns of one linear map multiplied by a factor each.
    ///
    /// # Errors
    /// As [`Self::with_linear`], and [`ModelError::Factors`] when there is not one factor for each column.
    pub fn with_inputs_multiplied(
        &self,
        layer: usize,
        projection: Projection,
        factors: &[f32],
    ) -> Result<Self, ModelError> {
        let map = self.linear_at(layer, projection)?;
        check_factors(factors, map.cols())?;
        let mut values = map.weight().to_f32();
        for row in values.chunks_exact_mut(map.cols().max(1)) {
            row.iter_mut().zip(factors).for_each(|(value, factor)| *value *= factor);
        }
        Ok(self.with_weight(layer, projection, Weight::from_f32(map.rows(), map.cols(), values)))
    }

    /// Normalisations and biases of a block under their canonical names.
    pub fn small_tensors(&self, layer: usize) -> Vec<(String, Weight)> {
        let Some(block) = self.blocks.get(layer) else { return Vec::new() };
        let mut tensors = Vec::new();
        for (module, norm) in
            [("input_layernorm", &block.attention_norm), ("post_attention_layernorm", &block.feed_forward_norm)]
        {
            let parts = norm.weights().zip(["weight", "bias"]);
            tensors.extend(parts.map(|(weight, part)| (format!("model.layers.{layer}.{module}.{part}"), weight)));
        }
        let biased = Projection::ALL.into_iter().filter(|projection| {
            block.projections[*projection as usize].as_ref().is_some_and(|map| map.bias().is_some())
        });
        tensors.extend(
            biased.zip(&block.biases).map(|(projection, bias)| {
                (format!("model.layers.{layer}.{}.bias", projection.module()), bias.weight())
            }),
        );
        tensors
    }

    /// This decoder with other rotary embeddings.
    ///
    /// # Errors
    /// [`ModelError::CacheFormat`] or [`ModelError::CacheEvicts`] for caches of keys whose angles would change with the length,
    /// [`ModelError::StateSpace`] for a decoder without attention.
    pub fn with_rope(&self, rope: Rope) -> Result<Self, ModelError> {
        if self.has_states() {
            return Err(ModelError::StateSpace { what: "rotary frequencies" });
        }
        if self.cache_format.evicts() && rope.moves() {
            return Err(ModelError::CacheEvicts { what: MOVING });
        }
        if self.cache_format != CacheFormat::Full && rope.moves() {
            return Err(ModelError::CacheFormat { what: MOVING });
        }
        Ok(Self { rope: Some(Arc::new(rope)), key_rope: None, ..self.clone() })
    }

    /// This decoder with tokens at places of their own instead of 0, 1, 2 …, one for each token of a batch, and the frequencies of texts of
    /// `length` positions, for passes without a cache. Without rotary embeddings places change nothing.
    #[must_use]
    pub fn with_places(&self, places: &[f32], length: usize) -> Self {
        let places = self.rope.as_ref().map(|rope| Turns::Tables(Arc::new(rope.tables_at(places, length))));
        Self { places, ..self.clone() }
    }

    /// As [`Self::with_places`], with rotary frequencies `(pairs)` that gradients flow to.
    #[must_use]
    pub fn with_frequencies(&self, frequencies: &Tensor, places: &[f32]) -> Self {
        let pairing = match self.config.position {
            PositionScheme::Rope { style: RopeStyle::Interleaved, .. } => Pairing::Interleaved,
            _ => Pairing::HalfSplit,
        };
        let places = Arc::new(Places { places: places.into(), pairing });
        Self { places: Some(Turns::Learned(frequencies.clone(), places)), ..self.clone() }
    }

    /// This decoder with another rule of what queries look at.
    ///
    /// # Errors
    /// [`ModelError::CacheFormat`] or [`ModelError::CacheEvicts`] for caches of keys whose angles would change,
    /// [`ModelError::StateSpace`] for a decoder without attention.
    pub fn with_reach(&self, rule: Box<dyn Reach>) -> Result<Self, ModelError> {
        if self.has_states() {
            return Err(ModelError::StateSpace { what: "queries that could look at some keys only" });
        }
        if self.cache_format.evicts() && (rule.moves() || rule.kept().is_some()) {
            return Err(ModelError::CacheEvicts { what: LOOKS });
        }
        if self.cache_format != CacheFormat::Full && rule.moves() {
            return Err(ModelError::CacheFormat { what: MOVING });
        }
        Ok(Self { reach: Some(Arc::new(Reached::new(rule))), ..self.clone() })
    }

    /// This decoder with another map from final hidden states to logits. A tied embedding stays as it is, so the new
    /// head takes memory of its own.
    ///
    /// # Errors
    /// [`ModelError::TensorShape`] when it is not `(vocabulary, hidden)`.
    pub fn with_head(&self, head: Arc<dyn LinearOp>) -> Result<Self, ModelError> {
        let (found, expected) = ((head.rows(), head.cols()), (self.head.rows(), self.head.cols()));
        if found != expected {
            return Err(ModelError::TensorShape { name: "lm_head.weight".to_owned(), found, expected });
        }
        Ok(Self { head, own_head: true, ..self.clone() })
    }
}
