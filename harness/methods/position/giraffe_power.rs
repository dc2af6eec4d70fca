//! Power scaling (Pal, Karkhanis, Roberts, Dooley, Sundararajan and Naidu, 2023): `θ'_i = θ_i (1 − i / (d/2))^k`; high frequencies stay, low ones
//! shrink.
//!
//! # Difference from the reference
//! None. It is meant for models that are trained on with it; without that it is an ablation.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::position::{Kind, Position, Rotary, Scaled, Training};
use crate::registry::Method;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// The power.
        k: f64 = 0.5, Domain::closed(0.0, 100.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "giraffe-power",
        axis: Axis::Position,
        about: "shrinks low rotary frequencies by a power",
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
        let pairs = rotary.frequencies.len() as f64;
        rotary.each(|i, frequency| frequency * (1.0 - i as f64 / pairs).powf(self.k)).into()
    }
}
