//! YaRN (Peng, Quesnelle, Fan and Shippole, 2024): interpolation by parts and a temperature.
//!
//! The ramp of its code is linear in the index of a pair: `c(ρ) = d ln(L / 2πρ) / (2 ln b)`, from `⌊c(fast)⌋` (at least 0) to `⌈c(slow)⌉` (at
//! most `d − 1`); pairs before it stay, pairs behind it are divided by `s`. The ramp of its paper is that of `by-parts`. Cosines and
//! sines are multiplied by `0.1 ln s + 1`, so that scores are by its square.
//!
//! # Difference from the reference
//! None. `s = 1` changes nothing, to the bit.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::position::{Kind, Position, Rotary, Scaled, in_order, mixed, yarn_factor};
use crate::registry::Method;

harness_core::choice! {
    /// What the ramp is linear in.
    pub enum Ramp {
        /// The index of a pair.
        Code = "code",
        /// Turns in training.
        Paper = "paper",
    }
}

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// How much longer texts are read than in training, `s`.
        factor: f64 = 4.0, Domain::closed(1.0, 1_048_576.0);
        /// Which ramp.
        ramp: Ramp = Ramp::Code;
        /// Turns in training above which a frequency stays.
        fast: f64 = 32.0, Domain::open(0.0, f64::INFINITY);
        /// Turns in training below which a frequency is interpolated whole.
        slow: f64 = 1.0, Domain::open(0.0, f64::INFINITY);
        /// Factor of cosines and sines; `0.1 ln s + 1` where it is not set.
        attention_factor: Option<f64> = None, Domain::open(0.0, f64::INFINITY);
        /// Positions the model was trained at, `L`; the checkpoint's own where it is not set.
        trained: Option<usize> = None, Domain::closed(1.0, 1_073_741_824.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "yarn",
        axis: Axis::Position,
        about: "interpolates rotary frequencies by parts and sharpens attention",
        source: "Peng et al., 2024, YaRN: efficient context window extension of large language models, and its code",
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

impl Settings {
    /// First and last pair of the code's ramp.
    fn range(&self, rotary: &Rotary) -> (f64, f64) {
        let d = rotary.dimensions() as f64;
        let place = |turns: f64| {
            d * (rotary.trained as f64 / (turns * std::f64::consts::TAU)).ln() / (2.0 * rotary.base.ln())
        };
        let (low, high) = (place(self.fast).floor().max(0.0), place(self.slow).ceil().min(d - 1.0));
        (low, if low == high { high + 0.001 } else { high })
    }
}

impl Position for Settings {
    fn kind(&self) -> Kind {
        Kind::TEMPERED
    }

    fn scaled(&self, rotary: &Rotary, _: usize) -> Scaled {
        let rotary = rotary.trained_at(self.trained);
        let frequencies = match self.ramp {
            Ramp::Paper => mixed(&rotary, self.factor, |_, turns| 1.0 - (turns - self.slow) / (self.fast - self.slow)),
            Ramp::Code => {
                let (low, high) = self.range(&rotary);
                mixed(&rotary, self.factor, |i, _| (i as f64 - low) / (high - low))
            }
        };
        Scaled { frequencies, attention_factor: self.attention_factor.unwrap_or_else(|| yarn_factor(self.factor)) }
    }

    fn ramp(&self, rotary: &Rotary) -> Option<(f64, f64)> {
        (self.ramp == Ramp::Code).then(|| self.range(&rotary.trained_at(self.trained)))
    }
}
