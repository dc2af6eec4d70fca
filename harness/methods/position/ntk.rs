//! NTK-aware scaling: the base is raised to `b · s^(d/(d−2))`, so that the highest frequency stays and the lowest becomes that of
//! linear interpolation.
//!
//! # Difference from the reference
//! None. A factor of 1 changes nothing, to the bit.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::position::{Kind, Position, PositionError, Rotary, Scaled, Training, two_pairs};
use crate::registry::Method;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// How much longer texts are read than in training, `s`.
        factor: f64 = 4.0, Domain::closed(1.0, 1_048_576.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "ntk",
        axis: Axis::Position,
        about: "raises the rotary base so that low frequencies are interpolated and high ones kept",
        source: "bloc97, 2023, NTK-aware scaled RoPE; Peng et al., 2024, YaRN, definition 1",
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
        Kind::interpolation(Training::Free)
    }

    fn check(&self, rotary: &Rotary) -> Result<(), PositionError> {
        two_pairs(rotary)
    }

    fn scaled(&self, rotary: &Rotary, _: usize) -> Scaled {
        rotary.with_base_raised(self.factor).into()
    }
}
