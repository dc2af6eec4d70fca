//! What becomes of the zeros of pruned maps.

use std::sync::Arc;

use harness_model::config::Projection;
use harness_model::decoder::Decoder;
use harness_model::error::ModelError;
use harness_model::linear::LinearOp;
use harness_model::sparse::Sparse;

use crate::parts::Part;
use crate::quantize::Taken;

harness_core::choice! {
    /// What becomes of the zeros of pruned maps that are not quantized.
    pub enum Zeros {
        /// They are held and multiplied like any other number.
        Kept = "kept",
        /// They are left out of memory and of products, where that takes fewer bytes.
        Dropped = "dropped",
    }
}

/// A decoder without the zeros of its pruned maps.
///
/// # Errors
/// Those of replacing maps.
pub(crate) fn dropped(decoder: &Decoder, taken: Option<&Taken>) -> Result<Decoder, ModelError> {
    let mut changed = decoder.clone();
    for layer in 0..decoder.config().layers {
        for projection in Projection::ALL {
            for part in Part::of(decoder, layer, projection) {
                let Some(map) = part.map(decoder) else { continue };
                let plain = taken.is_none_or(|taken| taken.kept.contains(&part.tensor()));
                if let (true, Some(sparse)) = (plain, Sparse::of(map.as_ref())) {
                    let map: Arc<dyn LinearOp> = Arc::new(sparse);
                    changed = part.replaced(&changed, &map)?;
                }
            }
        }
    }
    Ok(changed)
}
