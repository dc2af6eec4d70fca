//! LongRoPE2 (Shang et al., 2025): what rotary frequencies are divided by beyond `L` is searched together with the pair from which on they are
//! interpolated whole.
//!
//! Pairs from the critical one, `κ`, on have factors of at least `s` that do not fall, those before it `λ_κ^(i/κ)`; texts up to `L` are read as they were.
//! What is to be small is the perplexity of what can be known from far before alone: in texts whose end repeats a passage, the second half of
//! the repetition. [`search`](crate::position::search) has the algorithm.
//!
//! # Difference from the reference
//! Needles are passages of the calibration text, which are asked for by their first half, so that they can be made of the tokens of any model;
//! `harness search` searches on questions. Population and generations are smaller unless they are set. Without a search, which needs text, it is
//! its beginning in closed form: `κ` the first pair that training never turns once, factors of `s` from it on.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::position::search::Search;
use crate::position::{CachePolicy, Kind, Position, PositionError, Rotary, Scaled, Training, two_pairs};
use crate::registry::Method;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// How much longer texts are read than in training, `s`.
        factor: f64 = 4.0, Domain::above(1.0, 1_048_576.0);
        /// Candidates of the first generation.
        population: usize = 16, Domain::closed(3.0, 4096.0);
        /// Generations behind the first.
        generations: usize = 10, Domain::closed(0.0, 4096.0);
        /// Seed of the draws.
        seed: usize = 0, Domain::closed(0.0, 4_294_967_295.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "longrope2",
        axis: Axis::Position,
        about: "searches what rotary frequencies are divided by, on what has to be found far before",
        source: "Shang et al., 2025, LongRoPE2: near-lossless LLM context window scaling",
        version: 1,
        calibrated: true,
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

impl Position for Settings {
    fn kind(&self) -> Kind {
        Kind::interpolation(Training::Helps)
    }

    fn check(&self, rotary: &Rotary) -> Result<(), PositionError> {
        two_pairs(rotary)
    }

    fn scaled(&self, rotary: &Rotary, length: usize) -> Scaled {
        if length <= rotary.trained {
            return rotary.frequencies.clone().into();
        }
        let critical = rotary.critical_pair().clamp(1, rotary.frequencies.len() - 1) as f64;
        rotary.each(|i, frequency| frequency / self.factor.powf((i as f64 / critical).min(1.0))).into()
    }

    fn regime(&self, rotary: &Rotary, length: usize) -> usize {
        usize::from(length > rotary.trained)
    }

    fn search(&self) -> Option<Search> {
        let children = (self.population / 4).max(1);
        Some(Search {
            factor: self.factor,
            critical: true,
            population: self.population,
            generations: self.generations,
            parents: (self.population / 2).max(1),
            mutations: children,
            crossings: children,
            seed: self.seed as u64,
        })
    }

    fn cache_policy(&self) -> CachePolicy {
        CachePolicy::Unrotated
    }
}
