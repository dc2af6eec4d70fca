//! What methods of the position axis share: the rotary embeddings they begin from and what they make of them.
//!
//! `d` is the number of rotated dimensions of a head, `i = 0 .. d/2` a pair of them, `θ_i` radians a position (falling with
//! `i`), `L` the length a model was trained at, `n` the length of what is read, `s` a factor of extension.

pub mod search;
mod taxonomy;
pub(crate) mod window;

use std::fmt;
use std::sync::Arc;

use harness_core::ParameterError;
use harness_kernels::flow::{Flow, Net};
use harness_kernels::reach::Reach;
use harness_kernels::rotary;
pub use taxonomy::{Change, Class, Kind, Scheme, Training};

/// The rotary embeddings of a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Rotary {
    /// `b` in `θ_i = b^(−2i/d)`.
    pub base: f64,
    /// `θ_i`, rounded to f32 where the checkpoint's own code rounds.
    pub frequencies: Vec<f64>,
    /// `L`: positions the model was trained at.
    pub trained: usize,
    /// The net that the checkpoint carries for frequencies that flow with the length, where it does.
    pub net: Option<Arc<Net>>,
}

impl Rotary {
    /// `base^(−2i/dimensions)` for every pair of `dimensions`.
    pub fn new(base: f64, dimensions: usize, trained: usize) -> Self {
        Self { base, frequencies: frequencies(base, dimensions), trained, net: None }
    }

    /// These with the net that a checkpoint carries.
    #[must_use]
    pub fn with_net(self, net: Option<Net>) -> Self {
        Self { net: net.map(Arc::new), ..self }
    }

    /// `d`.
    pub fn dimensions(&self) -> usize {
        2 * self.frequencies.len()
    }

    /// These trained at another length, where one is given.
    #[must_use]
    pub fn trained_at(&self, trained: Option<usize>) -> Self {
        Self { trained: trained.unwrap_or(self.trained), ..self.clone() }
    }

    /// These with the base that puts `factor` between the lowest frequencies and none between the highest:
    /// `b · factor^(d/(d−2))`.
    pub(crate) fn with_base_raised(&self, factor: f64) -> Vec<f64> {
        let d = self.dimensions() as f64;
        frequencies(self.base * factor.powf(d / (d - 2.0)), self.dimensions())
    }

    /// What a rule makes of each pair's frequency.
    pub(crate) fn each(&self, rule: impl Fn(usize, f64) -> f64) -> Vec<f64> {
        self.frequencies.iter().enumerate().map(|(i, frequency)| rule(i, *frequency)).collect()
    }

    /// The first pair that does not turn once in training.
    pub fn critical_pair(&self) -> usize {
        self.turns().take_while(|turns| *turns >= 1.0).count()
    }

    /// Turns that each pair completes in training, `L θ_i / 2π`.
    pub fn turns(&self) -> impl Iterator<Item = f64> {
        self.frequencies.iter().map(|frequency| self.trained as f64 * frequency / std::f64::consts::TAU)
    }
}

/// `base^(−2i/dimensions)` for every pair of dimensions.
fn frequencies(base: f64, dimensions: usize) -> Vec<f64> {
    rotary::frequencies(base, dimensions).into_iter().map(f64::from).collect()
}

/// Frequencies where a given length is read.
#[derive(Debug, Clone, PartialEq)]
pub struct Scaled {
    /// Radians a position for each pair.
    pub frequencies: Vec<f64>,
    /// What cosines and sines are multiplied by, of queries and of keys, so that scores are by its square.
    pub attention_factor: f64,
}

impl From<Vec<f64>> for Scaled {
    fn from(frequencies: Vec<f64>) -> Self {
        Self { frequencies, attention_factor: 1.0 }
    }
}

/// What a key may be kept as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CachePolicy {
    /// Rotated: its angle never changes.
    Rotated,
    /// As computed, and rotated anew at every step: its angle follows the length.
    Unrotated,
}

impl fmt::Display for CachePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rotated => "rotated",
            Self::Unrotated => "unrotated",
        })
    }
}

/// Why a method does not fit a model.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PositionError {
    /// The model tells positions apart in a way that the method cannot work on.
    #[error("`{method}` does not work on {found}; it is for {required}")]
    UnsupportedScheme {
        /// The arm.
        method: String,
        /// What the model has.
        found: Scheme,
        /// What the method is for.
        required: String,
    },
    /// A number that does not fit the length the model was trained at.
    #[error("`{name} = {value}` must be {allowed}")]
    Window {
        /// The parameter.
        name: &'static str,
        /// Given, or what stands in its place.
        value: usize,
        /// What it must be.
        allowed: String,
    },
    /// As many numbers as pairs are needed.
    #[error("`{name}` has {found} numbers; the model rotates {expected} pairs of dimensions")]
    Pairs {
        /// The parameter.
        name: &'static str,
        /// Numbers given.
        found: usize,
        /// Pairs.
        expected: usize,
    },
    /// The rule divides by the number of pairs less one.
    #[error("a rule that raises the base needs at least two pairs of dimensions; the model rotates {0}")]
    FewPairs(usize),
    /// The net that a checkpoint carries is for other rotary embeddings.
    #[error(
        "the net of the frequencies has maps of {up} and {down} numbers, which do not fit {pairs} pairs of dimensions; give the checkpoint the net it was trained with"
    )]
    Net {
        /// Numbers of the map from the pairs.
        up: usize,
        /// Numbers of the map back.
        down: usize,
        /// Pairs that the model rotates.
        pairs: usize,
    },
}

/// A method that changes what positions are read as: rotary frequencies, what queries look at, or both.
pub trait Position: fmt::Debug + Send + Sync {
    /// Where it belongs, what it changes, whether it is trained with.
    fn kind(&self) -> Kind;

    /// Whether it leaves every model as it is.
    fn is_identity(&self) -> bool {
        self.kind() == Kind::IDENTITY
    }

    /// Whether it works on models that tell positions apart like this.
    fn supports(&self, scheme: Scheme) -> bool {
        scheme == Scheme::Rotary
    }

    /// Refuses a model that the method does not fit.
    ///
    /// # Errors
    /// [`PositionError::Pairs`], [`PositionError::FewPairs`].
    fn check(&self, _rotary: &Rotary) -> Result<(), PositionError> {
        Ok(())
    }

    /// Frequencies where `length` positions are read.
    fn scaled(&self, rotary: &Rotary, _length: usize) -> Scaled {
        rotary.frequencies.clone().into()
    }

    /// First positions whose angles stay those of the checkpoint, at all lengths.
    fn start_tokens(&self) -> usize {
        0
    }

    /// What queries of a model trained at so many positions look at, where it is not all keys before them.
    ///
    /// # Errors
    /// [`PositionError::Window`].
    fn reach(&self, _trained: usize) -> Result<Option<Box<dyn Reach>>, PositionError> {
        Ok(None)
    }

    /// Lengths of one regime have the same frequencies. Methods that look at the length say which.
    fn regime(&self, _rotary: &Rotary, _length: usize) -> usize {
        0
    }

    /// The equation by which frequencies flow with the length, and the width of its net, where there is one to be trained.
    fn flow(&self, _rotary: &Rotary) -> Option<(Flow, usize)> {
        None
    }

    /// How its factors are searched on calibration text, where they are.
    fn search(&self) -> Option<search::Search> {
        None
    }

    /// First and last pair of a ramp that is linear in the pair's index.
    fn ramp(&self, _rotary: &Rotary) -> Option<(f64, f64)> {
        None
    }

    /// What keys may be kept as.
    fn cache_policy(&self) -> CachePolicy {
        CachePolicy::Rotated
    }
}

/// Refuses a method for a model that it does not work on.
///
/// # Errors
/// [`PositionError::UnsupportedScheme`].
pub fn check_scheme(method: &dyn Position, id: &str, found: Scheme) -> Result<(), PositionError> {
    if method.is_identity() || method.supports(found) {
        return Ok(());
    }
    let schemes = [Scheme::Rotary, Scheme::LinearBiases, Scheme::Biases, Scheme::Xpos, Scheme::None];
    let required: Vec<String> =
        schemes.into_iter().filter(|scheme| method.supports(*scheme)).map(|scheme| scheme.to_string()).collect();
    Err(PositionError::UnsupportedScheme { method: id.to_owned(), found, required: required.join(", ") })
}

/// Refuses models with one pair of dimensions.
pub(crate) fn two_pairs(rotary: &Rotary) -> Result<(), PositionError> {
    match rotary.frequencies.len() {
        pairs @ ..2 => Err(PositionError::FewPairs(pairs)),
        _ => Ok(()),
    }
}

/// Refuses two bounds of a ramp that do not rise.
pub(crate) fn in_order((low, a): (&str, f64), (high, b): (&str, f64)) -> Result<(), ParameterError> {
    if a < b {
        return Ok(());
    }
    Err(ParameterError::Together(format!("`{low} = {a}` must be below `{high} = {b}`")))
}

/// A rule that divides frequencies by `s` where a ramp is 1, leaves them where it is 0, and mixes between.
pub(crate) fn mixed(rotary: &Rotary, factor: f64, ramp: impl Fn(usize, f64) -> f64) -> Vec<f64> {
    let turns: Vec<f64> = rotary.turns().collect();
    rotary.each(|i, frequency| {
        let ramp = ramp(i, turns[i]).clamp(0.0, 1.0);
        if ramp == 1.0 { frequency / factor } else { frequency * (1.0 - ramp + ramp / factor) }
    })
}

/// `0.1 ln s + 1`, YaRN's temperature as a factor of cosines and sines.
pub(crate) fn yarn_factor(factor: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * factor.ln() + 1.0 }
}

#[cfg(test)]
#[path = "position_tests.rs"]
mod tests;
