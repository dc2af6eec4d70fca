//! Linear position interpolation by as much as a text needs: frequencies times `L / n` where `n > L`, or divided by `⌈n / L⌉`, which is how
//! models are read that were trained once for all factors (E²-LLM; Liu et al., 2024).
//!
//! # Difference from the reference
//! None. One factor holds for all positions of a pass, those at the start too; texts no longer than `L` are read as they were.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::position::{CachePolicy, Kind, Position, Rotary, Scaled, Training};
use crate::registry::Method;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Rounds the factor up to a whole number.
        whole: bool = false;
        /// Positions the model was trained at, `L`; the checkpoint's own where it is not set.
        trained: Option<usize> = None, Domain::closed(1.0, 1_073_741_824.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "dynamic-linear",
        axis: Axis::Position,
        about: "divides rotary frequencies by how much longer than in training a text is",
        source: "the code of Peng et al., 2024, YaRN",
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

    fn scaled(&self, rotary: &Rotary, length: usize) -> Scaled {
        let trained = self.trained.unwrap_or(rotary.trained);
        let exact = length.max(trained) as f64 / trained as f64;
        let factor = if self.whole { exact.ceil() } else { exact };
        rotary.each(|_, frequency| frequency / factor).into()
    }

    fn regime(&self, rotary: &Rotary, length: usize) -> usize {
        let trained = self.trained.unwrap_or(rotary.trained);
        if self.whole { length.div_ceil(trained).max(1) } else { length.max(trained) }
    }

    fn cache_policy(&self) -> CachePolicy {
        CachePolicy::Unrotated
    }
}
