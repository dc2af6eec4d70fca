//! NTK-aware scaling by as much as a text needs: `α = s n / L − (s − 1)` where `n > L`, else 1, and the base `b · α^(d/(d−2))`.
//!
//! # Difference from the reference
//! One `α` holds for all positions of a pass, those at the start too, and each pass has its own; the published module keeps the
//! largest it has seen. Keys are kept unrotated and turned by the `α` of every step.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::position::{CachePolicy, Kind, Position, PositionError, Rotary, Scaled, Training, two_pairs};
use crate::registry::Method;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Weight of the excess length, `s`.
        factor: f64 = 1.0, Domain::closed(1.0, 1_048_576.0);
        /// Positions the model was trained at, `L`; the checkpoint's own where it is not set.
        trained: Option<usize> = None, Domain::closed(1.0, 1_073_741_824.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "dynamic-ntk",
        axis: Axis::Position,
        about: "raises the rotary base by how much longer than in training a text is",
        source: "emozilla, 2023, dynamically scaled RoPE; the code of Peng et al., 2024, YaRN",
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

    fn scaled(&self, rotary: &Rotary, length: usize) -> Scaled {
        let trained = self.trained.unwrap_or(rotary.trained);
        if length <= trained {
            return rotary.frequencies.clone().into();
        }
        let excess = self.factor * length as f64 / trained as f64 - (self.factor - 1.0);
        rotary.with_base_raised(excess).into()
    }

    fn regime(&self, rotary: &Rotary, length: usize) -> usize {
        length.max(self.trained.unwrap_or(rotary.trained))
    }

    fn cache_policy(&self) -> CachePolicy {
        CachePolicy::Unrotated
    }
}
