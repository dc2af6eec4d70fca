//! Decoders with some of their parts replaced; all else is shared.

use std::sync::Arc;

use crate::config::Projection;
use crate::decoder::Decoder;
use crate::error::ModelError;
use crate::linear::{Dense, LinearOp};
use crate::rope::Rope;
use crate::weight::Weight;

impl Decoder {
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
        let Some(old) = self.linear(layer, projection) else {
            let available = self.blocks.len();
            return Err(ModelError::Range { what: "block", start: layer, end: layer + 1, available });
        };
        let (found, expected) = ((map.rows(), map.cols()), (old.rows(), old.cols()));
        if found != expected {
            return Err(ModelError::Replacement { layer, projection, found, expected });
        }
        let mut changed = self.clone();
        Arc::make_mut(&mut changed.blocks[layer]).projections[projection as usize] = Some(map);
        Ok(changed)
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

    /// This decoder with other rotary frequencies.
    #[must_use]
    pub fn with_rope(&self, rope: Rope) -> Self {
        Self { rope: Some(Arc::new(rope)), ..self.clone() }
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
