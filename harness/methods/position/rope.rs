//! Rotary embeddings with another base (`ABF`, adjusted base frequency, where training goes on with it).
//!
//! `θ_i = base^(−2i/d)`; `θ_0 = 1` stays as it is.
//!
//! # Difference from the reference
//! None.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::position::{Change, Class, Kind, Position, Rotary, Scaled, Training};
use crate::registry::Method;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// The base.
        base: f64 = 500_000.0, Domain::above(1.0, 1e15);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "rope",
        axis: Axis::Position,
        about: "gives rotary embeddings another base",
        source: "Su et al., 2024, RoFormer; Xiong et al., 2023, Effective long-context scaling of foundation models",
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
        Kind { class: Class::Multiplicative, changes: &[Change::Frequencies], training: Training::Helps }
    }

    fn scaled(&self, rotary: &Rotary, _: usize) -> Scaled {
        Rotary::new(self.base, rotary.dimensions(), rotary.trained).frequencies.into()
    }
}
