//! The axis of positions: a model read with other rotary frequencies, and checkpoints that scale their own.

use std::fmt;

use harness_core::Arm;
use harness_kernels::flow::Net;
use harness_methods::position::{CachePolicy, Position, PositionError, Rotary, Scheme, check_scheme};
use harness_methods::registry::{self, BuildError};
use harness_model::config::{Config, PositionScheme, RopeStyle};
use harness_model::decoder::Decoder;
use harness_model::error::ModelError;
use harness_model::load::Checkpoint;
use harness_model::rope::{Frequencies, Rope};
use harness_model::train::{Flowing, Turning};

/// Why positions could not be read by an arm.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// No such method, or parameters that do not fit.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// It has to be searched before.
    #[error(
        "{arm} is searched on calibration text: name one by `calib` in a bench, or give the arm that `harness search` prints"
    )]
    Unsearched {
        /// The arm as it is printed.
        arm: String,
    },
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

/// Why no decoder could be made of a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its weights are not those of a decoder.
    #[error(transparent)]
    Decoder(#[from] ModelError),
    /// What it does to its rotary frequencies cannot be done.
    #[error("its own rotary scaling is not usable: {0}")]
    Scaling(PlaceError),
}

/// A decoder of a checkpoint that reads positions as the checkpoint says. Every decoder of a checkpoint is made here: the model's
/// own constructor refuses checkpoints that scale their rotary frequencies.
///
/// # Errors
/// [`OpenError`].
pub fn decoder_of(checkpoint: &Checkpoint) -> Result<Decoder, OpenError> {
    match &checkpoint.config.scaling {
        None => Ok(Decoder::from_checkpoint(checkpoint)?),
        Some(scaling) => {
            // A net's numbers are read here, for a decoder cannot be made without its rotary embeddings.
            let map = |name: &str| checkpoint.tensors.get(name).map(harness_model::weight::Weight::to_f32);
            let net =
                map("model.rotary.up.weight").zip(map("model.rotary.down.weight")).map(|(up, down)| Net { up, down });
            let placed = Placed::of(&checkpoint.config, net, &scaling.arm).map_err(OpenError::Scaling)?;
            Ok(Decoder::from_checkpoint_with(checkpoint, placed.into_rope())?)
        }
    }
}

/// What the frequency of every pair is divided by in a checkpoint that scales them, where that is the same for all lengths and comes
/// without a temperature.
///
/// # Errors
/// [`PlaceError`] for a scaling that does not fit the checkpoint.
pub fn divisors(config: &Config) -> Result<Option<Vec<f32>>, PlaceError> {
    let Some(scaling) = &config.scaling else { return Ok(None) };
    if scaling.net.is_some() {
        return Ok(None);
    }
    let Placed { method, rotary, .. } = Placed::of(config, None, &scaling.arm)?;
    let scaled = method.scaled(&rotary, rotary.trained);
    if method.cache_policy() == CachePolicy::Unrotated || scaled.attention_factor != 1.0 {
        return Ok(None);
    }
    let divided = rotary.frequencies.iter().zip(&scaled.frequencies);
    Ok(Some(divided.map(|(before, after)| (before / after) as f32).collect()))
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
        PositionScheme::StateSpace(_) => Scheme::StateSpace,
    }
}

/// The rotary embeddings of a model before any scaling, at the length of its training, and their pairing, where it has some.
pub fn rotary_of(config: &Config) -> Option<(Rotary, RopeStyle)> {
    match config.position {
        PositionScheme::Rope { theta, rotary, style } => {
            Some((Rotary::new(theta, rotary, config.trained_positions()), style))
        }
        _ => None,
    }
}

/// As [`rotary_of`], with the net for frequencies that flow with the length, where the decoder carries one.
pub fn rotary_with_net(decoder: &Decoder) -> Option<Rotary> {
    let (rotary, _) = rotary_of(decoder.config())?;
    Some(rotary.with_net(decoder.frequency_net().map(net_of)))
}

/// A decoder that reads positions as an arm of the axis says, and whether that changes nothing; weights are shared. `none` leaves them as the
/// checkpoint has them, its own scaling included; other frequencies come in its place, masks and remaps behind it.
///
/// # Errors
/// [`PlaceError`].
pub fn placed(decoder: &Decoder, arm: &Arm) -> Result<(Decoder, bool), PlaceError> {
    let method = registry::position(arm)?;
    if method.is_identity() {
        return Ok((decoder.clone(), true));
    }
    if method.search().is_some() {
        return Err(PlaceError::Unsearched { arm: arm.to_string() });
    }
    let refused = |source| PlaceError::Decoder { arm: arm.to_string(), source };
    let config = decoder.config();
    let model = |source| PlaceError::Model { arm: arm.to_string(), source };
    check_scheme(&*method, &arm.id, scheme_of(config)).map_err(model)?;
    let reach = method.reach(config.max_positions).map_err(model)?;
    let mut decoder = decoder.clone();
    if method.kind().rewrites_frequencies() {
        let net = decoder.frequency_net().map(net_of);
        decoder = decoder.with_rope(Placed::of(config, net, arm)?.into_rope()).map_err(refused)?;
    }
    if let Some(rule) = reach {
        decoder = decoder.with_reach(rule).map_err(refused)?;
    }
    Ok((decoder, false))
}

fn net_of([up, down]: [Vec<f32>; 2]) -> Net {
    Net { up, down }
}

/// The methods of the axis, for training.
#[derive(Debug)]
pub struct Methods;

impl Turning for Methods {
    fn rope(&self, config: &Config, net: Option<[Vec<f32>; 2]>) -> Result<Rope, String> {
        let scaling = config.scaling.as_ref().ok_or("the model does not scale its rotary frequencies")?;
        let placed = Placed::of(config, net.map(net_of), &scaling.arm).map_err(|error| error.to_string())?;
        if !placed.method.kind().rewrites_frequencies() {
            return Err(format!("`{}` leaves rotary frequencies as they are", scaling.arm));
        }
        Ok(placed.into_rope())
    }

    fn flow(&self, config: &Config) -> Result<Option<Flowing>, String> {
        let Some(scaling) = &config.scaling else { return Ok(None) };
        let Placed { method, rotary, .. } =
            Placed::of(config, None, &scaling.arm).map_err(|error| error.to_string())?;
        let flow = method.flow(&rotary);
        Ok(flow.map(|(flow, width)| Flowing { flow, width, trained: rotary.frequencies }))
    }
}

/// A method on the rotary embeddings of one model.
struct Placed {
    method: Box<dyn Position>,
    rotary: Rotary,
    style: RopeStyle,
}

impl Placed {
    fn of(config: &Config, net: Option<Net>, arm: &Arm) -> Result<Self, PlaceError> {
        let method = registry::position(arm)?;
        let model = |source| PlaceError::Model { arm: arm.to_string(), source };
        check_scheme(&*method, &arm.id, scheme_of(config)).map_err(model)?;
        // Methods that rewrite frequencies are for rotary embeddings.
        let Some((rotary, style)) = rotary_of(config) else {
            return Err(PlaceError::Decoder {
                arm: arm.to_string(),
                source: ModelError::Config("no rotary embeddings".to_owned()),
            });
        };
        let rotary = rotary.with_net(net);
        method.check(&rotary).map_err(model)?;
        Ok(Self { method, rotary, style })
    }

    fn into_rope(self) -> Rope {
        let style = self.style;
        Rope::of(Box::new(self), style)
    }
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

    fn start(&self) -> Option<(usize, Vec<f32>)> {
        let frequencies = || self.rotary.frequencies.iter().map(|frequency| *frequency as f32).collect();
        Some(self.method.start_tokens()).filter(|first| *first > 0).map(|first| (first, frequencies()))
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

#[cfg(test)]
#[path = "scaling_tests.rs"]
mod scaling_tests;
