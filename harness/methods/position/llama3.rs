//! The scaling of Llama 3.1: by wavelength `w_i = 2π / θ_i`, frequencies with `w < L / high` stay, those with `w > L / low` are divided
//! by `s`, and between them `t = (L / w − low) / (high − low)`, `θ'_i = (1 − t) θ_i / s + t θ_i`.
//!
//! # Difference from the reference
//! None. The same rule as `by-parts` with `slow = low` and `fast = high`, under the names and defaults of its checkpoints; a test holds them equal.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::position::{Kind, Position, Rotary, Scaled, Training, in_order, mixed};
use crate::registry::Method;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// How much longer texts are read than in training, `s`.
        factor: f64 = 8.0, Domain::closed(1.0, 1_048_576.0);
        /// `L` over the shortest wavelength that is interpolated whole.
        low: f64 = 1.0, Domain::open(0.0, f64::INFINITY);
        /// `L` over the longest wavelength that stays.
        high: f64 = 4.0, Domain::open(0.0, f64::INFINITY);
        /// Positions the model was trained at, `L`; the checkpoint's own where it is not set.
        trained: Option<usize> = None, Domain::closed(1.0, 1_073_741_824.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "llama3",
        axis: Axis::Position,
        about: "interpolates long rotary wavelengths and keeps short ones, as Llama 3.1 does",
        source: "the Llama 3.1 checkpoints and transformers' code",
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
    let settings = Settings::resolve(arm)?;
    in_order(("low", settings.low), ("high", settings.high))?;
    Ok(Method::Position(Box::new(settings)))
}

impl Position for Settings {
    fn kind(&self) -> Kind {
        Kind::interpolation(Training::Helps)
    }

    fn scaled(&self, rotary: &Rotary, _: usize) -> Scaled {
        let rotary = rotary.trained_at(self.trained);
        mixed(&rotary, self.factor, |_, turns| 1.0 - (turns - self.low) / (self.high - self.low)).into()
    }
}
