//! What unquantized linear maps are multiplied in.

use std::sync::Arc;

use harness_model::bfloat16::Bf16;
use harness_model::config::Projection;
use harness_model::decoder::Decoder;
use harness_model::error::ModelError;
use harness_model::linear::LinearOp;

use crate::parts::Part;
use crate::quantize::Taken;

harness_core::choice! {
    /// What linear maps that are not quantized are multiplied in, and the head.
    pub enum Compute {
        /// Single precision: the judge, and what the dense model of `kl` and `top1` is always computed in.
        F32 = "f32",
        /// Weights and inputs rounded to bf16, products and sums in single precision.
        Bf16 = "bf16",
    }
}

/// Maps made to multiply in bf16, so that arms which share a map share what it became.
#[derive(Debug, Default)]
pub(crate) struct Brain {
    made: Vec<(Arc<dyn LinearOp>, Arc<dyn LinearOp>)>,
}

impl Brain {
    /// A decoder whose unquantized maps multiply in bf16, and its head where that is not quantized.
    ///
    /// # Errors
    /// Those of replacing maps.
    pub fn of(&mut self, decoder: &Decoder, taken: Option<&Taken>) -> Result<Decoder, ModelError> {
        if decoder.has_states() {
            return Err(ModelError::StateSpace { what: "attention and feed-forward maps that could multiply in bf16" });
        }
        let mut changed = decoder.clone();
        for layer in 0..decoder.config().layers {
            for projection in Projection::ALL {
                for part in Part::of(decoder, layer, projection) {
                    let Some(map) = part.map(decoder) else { continue };
                    let name = part.tensor();
                    // What a method had no business with is not in its list.
                    let untouched = !Part::changed(decoder, layer, projection).contains(&part);
                    if untouched || taken.is_none_or(|taken| taken.kept.contains(&name)) {
                        changed = part.replaced(&changed, &self.map(map))?;
                    }
                }
            }
        }
        if taken.is_none_or(|taken| taken.head.is_none()) {
            changed = changed.with_head(self.map(decoder.head()))?;
        }
        Ok(changed)
    }

    fn map(&mut self, map: &Arc<dyn LinearOp>) -> Arc<dyn LinearOp> {
        if let Some((_, made)) = self.made.iter().find(|(from, _)| Arc::ptr_eq(from, map)) {
            return Arc::clone(made);
        }
        let made: Arc<dyn LinearOp> = Arc::new(Bf16::of(map.as_ref()));
        self.made.push((Arc::clone(map), Arc::clone(&made)));
        made
    }
}
