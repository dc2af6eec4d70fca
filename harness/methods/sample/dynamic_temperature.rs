//! Dynamic temperature: the temperature follows the entropy.
//!
//! `T = T_low + (T_high − T_low) · Ĥ^e` with `Ĥ = H / ln n`, the entropy against that of `n` equal candidates, and
//! `T_low = max(0, T − Δ)`, `T_high = T + Δ`: sure steps are sharpened, open ones flattened.
//!
//! # Difference from the reference
//! llama.cpp's `temp-ext`: entropy and `n` are those of the candidates that earlier stages left; text-generation-webui takes the
//! whole vocabulary. A temperature of zero keeps the most probable token.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::registry::Method;
use crate::sample::{Candidates, Role, SampleError, Sampler, Step};

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Temperature in the middle of the range.
        t: f64 = 0.8, Domain::open(0.0, f64::INFINITY);
        /// Half of the range; zero is a plain temperature.
        range: f64 = 0.0, Domain::half_open(0.0, f64::INFINITY);
        /// Power of the share of entropy.
        exponent: f64 = 1.0, Domain::open(0.0, f64::INFINITY);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "dynamic-temperature",
        axis: Axis::Sampler,
        about: "divides logits by a temperature that rises with the entropy",
        source: "llama.cpp, sampler temp-ext; text-generation-webui, dynamic temperature",
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
    Ok(Method::Sampler(Box::new(DynamicTemperature(Settings::resolve(arm)?))))
}

struct DynamicTemperature(Settings);

impl Sampler for DynamicTemperature {
    fn role(&self) -> Role {
        Role::Temperature
    }

    fn apply(&mut self, candidates: &mut Candidates, _: &mut Step) -> Result<(), SampleError> {
        if candidates.len() < 2 {
            return Ok(());
        }
        let Settings { t, range, exponent } = self.0;
        let share = (candidates.entropy() / (candidates.len() as f64).ln()).clamp(0.0, 1.0);
        let (low, high) = ((t - range).max(0.0), t + range);
        let temperature = low + (high - low) * share.powf(exponent);
        if temperature > 0.0 {
            candidates.divide(temperature);
        } else {
            candidates.keep_largest(1);
        }
        Ok(())
    }
}
