//! NTK-by-parts interpolation (Peng, Quesnelle, Fan and Shippole, 2024, definition 2): frequencies that turn often in training
//! stay, those that turn less than once are interpolated, between them a ramp in turns `r_i = L θ_i / 2π`:
//! `γ = clamp((r − slow) / (fast − slow), 0, 1)`, `θ'_i = (1 − γ) θ_i / s + γ θ_i`.
//!
//! # Difference from the reference
//! None. YaRN's code has a ramp in the index of a pair instead: that is `yarn`.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::position::{Kind, Position, Rotary, Scaled, Training, in_order, mixed};
use crate::registry::Method;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// How much longer texts are read than in training, `s`.
        factor: f64 = 4.0, Domain::closed(1.0, 1_048_576.0);
        /// Turns in training below which a frequency is interpolated whole.
        slow: f64 = 1.0, Domain::open(0.0, f64::INFINITY);
        /// Turns in training above which a frequency stays.
        fast: f64 = 32.0, Domain::open(0.0, f64::INFINITY);
        /// Positions the model was trained at, `L`; the checkpoint's own where it is not set.
        trained: Option<usize> = None, Domain::closed(1.0, 1_073_741_824.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "by-parts",
        axis: Axis::Position,
        about: "interpolates rotary frequencies that turn seldom in training and keeps those that turn often",
        source: "Peng et al., 2024, YaRN: efficient context window extension of large language models, definition 2",
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
    in_order(("slow", settings.slow), ("fast", settings.fast))?;
    Ok(Method::Position(Box::new(settings)))
}

impl Position for Settings {
    fn kind(&self) -> Kind {
        Kind::interpolation(Training::Helps)
    }

    fn scaled(&self, rotary: &Rotary, _: usize) -> Scaled {
        let rotary = rotary.trained_at(self.trained);
        mixed(&rotary, self.factor, |_, turns| 1.0 - (turns - self.slow) / (self.fast - self.slow)).into()
    }
}
