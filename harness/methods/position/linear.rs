//! Linear position interpolation (Chen, Wong, Chen and Tian, 2023): every frequency over `s`, as if positions were.
//!
//! # Difference from the reference
//! None. A factor of 1 changes nothing, to the bit.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::position::{Kind, Position, Rotary, Scaled, Training};
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
        id: "linear",
        axis: Axis::Position,
        about: "divides all rotary frequencies by a factor",
        source: "Chen et al., 2023, Extending context window of large language models via positional interpolation",
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
        Kind::interpolation(Training::Helps)
    }

    fn scaled(&self, rotary: &Rotary, _: usize) -> Scaled {
        rotary.each(|_, frequency| frequency / self.factor).into()
    }
}
