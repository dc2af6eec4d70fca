//! The axis of positions: a model read with other rotary frequencies.

use std::fmt;

use harness_core::Arm;
use harness_methods::position::{CachePolicy, Position, PositionError, Rotary, Scheme, check_scheme};
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

/// How a model tells positions apart.
pub fn scheme_of(config: &Config) -> Scheme {
    match config.position {
        PositionScheme::Rope { .. } => Scheme::Rotary,
        PositionScheme::Learned => Scheme::Learned,
        PositionScheme::Alibi => Scheme::LinearBiases,
        PositionScheme::Biases(_) => Scheme::Biases,
        PositionScheme::Xpos { .. } => Scheme::Xpos,
        PositionScheme::None => Scheme::None,
    }
}

/// The rotary embeddings of a model and their pairing, where it has some.
pub fn rotary_of(config: &Config) -> Option<(Rotary, RopeStyle)> {
    match config.position {
        PositionScheme::Rope { theta, rotary, style } => {
            Some((Rotary::new(theta, rotary, config.max_positions), style))
        }
        _ => None,
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
    let refused = |source| PlaceError::Decoder { arm: arm.to_string(), source };
    let config = decoder.config();
    check_scheme(&*method, &arm.id, scheme_of(config)).map_err(model)?;
    let reach = method.reach(config.max_positions).map_err(model)?;
    let mut decoder = decoder.clone();
    if let Some((rotary, style)) = rotary_of(config)
        && method.kind().rewrites_frequencies()
    {
        method.check(&rotary).map_err(model)?;
        decoder = decoder.with_rope(Rope::of(Box::new(Placed { method, rotary }), style)).map_err(refused)?;
    }
    if let Some(rule) = reach {
        decoder = decoder.with_reach(rule).map_err(refused)?;
    }
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
