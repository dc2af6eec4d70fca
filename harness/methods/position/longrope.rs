//! LongRoPE (Ding et al., 2024): a factor of its own for every pair, one list for texts up to `L` and one beyond, and a temperature.
//!
//! `θ'_i = θ_i / λ_i`; cosines and sines are multiplied by `√(1 + ln s / ln L)`. A list that is not given is all ones. The first `n̂` positions keep
//! their angles `p θ_i`, as queries and as keys; scores across them no longer follow the distance alone.
//!
//! # Difference from the reference
//! The list follows the length of what is read, as the paper has it. Factors below 1 and lists that fall are taken as published files
//! have them; they are what a search excludes.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::position::{CachePolicy, Kind, Position, PositionError, Rotary, Scaled};
use crate::registry::Method;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// How much longer texts are read than in training, `s`.
        factor: f64 = 4.0, Domain::closed(1.0, 1_048_576.0);
        /// Factors of the pairs for texts up to `L`.
        short: Option<Vec<f64>> = None, Domain::open(0.0, f64::INFINITY);
        /// Factors of the pairs for longer texts.
        long: Option<Vec<f64>> = None, Domain::open(0.0, f64::INFINITY);
        /// Factor of cosines and sines; `√(1 + ln s / ln L)` where it is not set.
        attention_factor: Option<f64> = None, Domain::open(0.0, f64::INFINITY);
        /// First positions that keep their angles, `n̂`.
        start_tokens: usize = 0, Domain::closed(0.0, 1_073_741_824.0);
        /// Positions the model was trained at, `L`; the checkpoint's own where it is not set.
        trained: Option<usize> = None, Domain::closed(1.0, 1_073_741_824.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "longrope",
        axis: Axis::Position,
        about: "divides every rotary frequency by a factor of its own",
        source: "Ding et al., 2024, LongRoPE: extending LLM context window beyond 2 million tokens, and its code",
        version: 1,
        calibrated: false,
        random: false,
        parameters: Settings::specs(),
        check: |arm| build(arm).map(drop),
    }
}

/// Makes it.
///
/// # Errors
/// A parameter that does not fit.
pub fn build(arm: &Arm) -> Result<Method, ParameterError> {
    Ok(Method::Position(Box::new(Settings::resolve(arm)?)))
}

impl Settings {
    fn list(&self, rotary: &Rotary, length: usize) -> Option<&[f64]> {
        let within = length <= self.trained.unwrap_or(rotary.trained);
        if within { self.short.as_deref() } else { self.long.as_deref() }
    }
}

impl Position for Settings {
    fn kind(&self) -> Kind {
        Kind::TEMPERED
    }

    fn check(&self, rotary: &Rotary) -> Result<(), PositionError> {
        let expected = rotary.frequencies.len();
        for (name, list) in [("short", &self.short), ("long", &self.long)] {
            if let Some(found) = list.as_ref().map(Vec::len).filter(|found| *found != expected) {
                return Err(PositionError::Pairs { name, found, expected });
            }
        }
        Ok(())
    }

    fn scaled(&self, rotary: &Rotary, length: usize) -> Scaled {
        let factors = self.list(rotary, length);
        let trained = self.trained.unwrap_or(rotary.trained) as f64;
        let temperature = if self.factor <= 1.0 { 1.0 } else { (1.0 + self.factor.ln() / trained.ln()).sqrt() };
        Scaled {
            frequencies: rotary.each(|i, frequency| frequency / factors.map_or(1.0, |factors| factors[i])),
            attention_factor: self.attention_factor.unwrap_or(temperature),
        }
    }

    fn start_tokens(&self) -> usize {
        self.start_tokens
    }

    fn regime(&self, rotary: &Rotary, length: usize) -> usize {
        usize::from(length > self.trained.unwrap_or(rotary.trained))
    }

    fn cache_policy(&self) -> CachePolicy {
        if self.short == self.long { CachePolicy::Rotated } else { CachePolicy::Unrotated }
    }
}
