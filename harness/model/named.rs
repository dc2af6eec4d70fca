//! The parameters of a decoder by name, and decoders of other parameters.

use std::collections::BTreeMap;

use crate::config::{PositionScheme, Projection};
use crate::decoder::Decoder;
use crate::error::ModelError;
use crate::load::{frequency_net, learned_biases};
use crate::rope::Rope;
use crate::weight::Weight;

impl Decoder {
    /// Every parameter as it is held, under its canonical name; a tied head is the embedding.
    pub fn tensors(&self) -> BTreeMap<String, Weight> {
        let mut tensors = BTreeMap::new();
        let mut put = |name: &str, weight: Weight| tensors.insert(name.to_owned(), weight);
        put("model.embed_tokens.weight", self.embedding.weight());
        if let Some(positions) = &self.positions {
            put("model.embed_positions.weight", positions.weight());
        }
        for (weight, part) in self.final_norm.weights().zip(["weight", "bias"]) {
            put(&format!("model.norm.{part}"), weight);
        }
        if !self.config.tied_head || self.own_head {
            put("lm_head.weight", self.head.weight());
        }
        for (spec, map) in frequency_net(&self.config).into_iter().flatten().zip(self.net.iter().flatten()) {
            put(&spec.name, map.weight());
        }
        for layer in 0..self.blocks.len() {
            for projection in Projection::ALL {
                if let Some(map) = self.linear(layer, projection) {
                    put(&projection.tensor(layer), map.weight());
                }
            }
            for (name, weight) in self.small_tensors(layer).into_iter().chain(self.shortcut_tensors(layer)) {
                put(&name, weight);
            }
            let learned = self.blocks[layer].by_distance.as_ref().and_then(|biases| biases.learned());
            let spec = learned_biases(&self.config, Some(layer)).or_else(|| learned_biases(&self.config, None));
            if let (Some(learned), Some(spec)) = (learned, spec) {
                put(&spec.name, learned.weight());
            }
        }
        tensors
    }

    /// This decoder with other parameters of the same names and shapes; what it does to positions and keeps of a text stays.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`] and errors of shapes.
    pub fn with_tensors(&self, tensors: &BTreeMap<String, Weight>) -> Result<Self, ModelError> {
        let made = match self.config.position {
            // Whatever turns it brings: they are this decoder's below.
            PositionScheme::Rope { theta, rotary, style } => {
                Self::from_weights_with(&self.config, tensors, Rope::new(theta, rotary, style))?
            }
            _ => Self::from_weights(&self.config, tensors)?,
        };
        Ok(Self {
            rope: self.rope.clone(),
            key_rope: self.key_rope.clone(),
            reach: self.reach.clone(),
            cache_format: self.cache_format,
            ..made
        })
    }
}
