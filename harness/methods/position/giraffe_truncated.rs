//! A truncated basis (Pal, Karkhanis, Roberts, Dooley, Sundararajan and Naidu, 2023): frequencies that turn at least once in `T` positions stay, those
//! far below become one slow value, the lowest become constants.
//!
//! With `β = 2π / T`: `θ_i` where `θ_i ≥ β`, `β / 16` where `β / 8 ≤ θ_i < β`, else 0.
//!
//! # Difference from the reference
//! None. It is meant for models that are trained on with it; without that it is an ablation.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::position::{Kind, Position, Rotary, Scaled, Training};
use crate::registry::Method;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Positions within which a kept frequency turns once, `T`; the length of training where it is not set.
        cutoff: Option<f64> = None, Domain::open(0.0, f64::INFINITY);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "giraffe-truncated",
        axis: Axis::Position,
        about: "keeps rotary frequencies that turn in training and flattens the others",
        source: "Pal et al., 2023, Giraffe: adventures in expanding context lengths in LLMs, and its code",
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

impl Position for Settings {
    fn kind(&self) -> Kind {
        Kind::interpolation(Training::Needed)
    }

    fn scaled(&self, rotary: &Rotary, _: usize) -> Scaled {
        let turn = std::f64::consts::TAU / self.cutoff.unwrap_or(rotary.trained as f64);
        let of = |_, frequency| match frequency {
            kept if kept >= turn => kept,
            slow if slow >= turn / 8.0 => turn / 16.0,
            _ => 0.0,
        };
        rotary.each(of).into()
    }
}
