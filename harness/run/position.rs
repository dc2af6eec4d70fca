//! The axis of positions: a model read with other rotary frequencies.

use std::fmt;

use harness_core::Arm;
use harness_methods::position::{CachePolicy, Position, PositionError, Rotary};
use harness_methods::registry::{self, BuildError};
use harness_model::config::{Config, PositionScheme, RopeStyle};
use harness_model::decoder::Decoder;
use harness_model::error::ModelError;
use harness_model::rope::{Frequencies, Rope};

/// Why positions could not be read by an arm.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// No such method, or parameters that do not fit.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The method does not fit the model.
    #[error("{arm}: {source}")]
    Model {
        /// The arm as it is printed.
        arm: String,
        /// What does not fit.
        source: PositionError,
    },
    /// The decoder refused.
    #[error("{arm}: {source}")]
    Decoder {
        /// The arm as it is printed.
        arm: String,
        /// Why.
        source: ModelError,
    },
}

/// The rotary embeddings of a model and their pairing, or what it has in their place.
///
/// # Errors
/// The scheme's name.
pub fn rotary_of(config: &Config) -> Result<(Rotary, RopeStyle), &'static str> {
    match config.position {
        PositionScheme::Rope { theta, rotary, style } => Ok((Rotary::new(theta, rotary, config.max_positions), style)),
        PositionScheme::Learned => Err("a learned table of positions"),
        PositionScheme::Alibi => Err("linear biases (ALiBi)"),
        PositionScheme::None => Err("no position scheme"),
    }
}

/// A decoder that reads positions as an arm of the axis says, and whether that changes nothing; weights are shared.
///
/// # Errors
/// [`PlaceError`].
pub fn placed(decoder: &Decoder, arm: &Arm) -> Result<(Decoder, bool), PlaceError> {
    let method = registry::position(arm)?;
    if method.is_identity() {
        return Ok((decoder.clone(), true));
    }
    let model = |source| PlaceError::Model { arm: arm.to_string(), source };
    let unsupported = |found| model(PositionError::UnsupportedScheme { method: arm.id.clone(), found });
    let (rotary, style) = rotary_of(decoder.config()).map_err(unsupported)?;
    method.check(&rotary).map_err(model)?;
    let rope = Rope::of(Box::new(Placed { method, rotary }), style);
    let decoder = decoder.with_rope(rope).map_err(|source| PlaceError::Decoder { arm: arm.to_string(), source })?;
    Ok((decoder, false))
}

/// A method on the rotary embeddings of one model.
struct Placed {
    method: Box<dyn Position>,
    rotary: Rotary,
}

impl fmt::Debug for Placed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.method)
    }
}

impl Frequencies for Placed {
    fn at(&self, length: usize) -> (Vec<f32>, f32) {
        let scaled = self.method.scaled(&self.rotary, length);
        (scaled.frequencies.iter().map(|frequency| *frequency as f32).collect(), scaled.attention_factor as f32)
    }

    fn regime(&self, length: usize) -> usize {
        self.method.regime(&self.rotary, length)
    }

    fn moves(&self) -> bool {
        self.method.cache_policy() == CachePolicy::Unrotated
    }
}

#[cfg(test)]
#[path = "position_tests.rs"]
mod tests;
