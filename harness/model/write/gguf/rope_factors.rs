//! What a checkpoint does to its rotary frequencies, in the words of GGUF.
//!
//! `linear` and `yarn` are keys; two lists of factors are tensors of the type `longrope`; a method with one frequency for all lengths and no
//! temperature (`llama3`) is a tensor of divisors. `qwen2` of llama.cpp knows no such tensors, and neither `llama` nor `qwen2` the bounds of
//! YaRN's ramp: they are refused unless they are 32 and 1.

use harness_core::{Arm, Value};

use crate::config::Scaling;
use crate::write::WriteError;

use super::GgufHeader;
use super::metadata::Architecture;
use super::values::Values;

/// Divisors of all lengths.
pub(crate) const FREQUENCIES: &str = "rope_freqs.weight";
/// Divisors up to the length of the training.
pub(crate) const SHORT: &str = "rope_factors_short.weight";
/// Divisors beyond it.
pub(crate) const LONG: &str = "rope_factors_long.weight";
/// All three.
pub(crate) const NAMES: [&str; 3] = [FREQUENCIES, SHORT, LONG];

/// What is written of a scaling.
#[derive(Debug, Default)]
pub(super) struct RopeFactors {
    kind: Option<&'static str>,
    factor: Option<f64>,
    attention: Option<f64>,
    trained: Option<usize>,
    /// Names and values.
    pub tensors: Vec<(&'static str, Vec<f32>)>,
}

impl RopeFactors {
    /// Of a header.
    ///
    /// # Errors
    /// [`WriteError::Inexpressible`].
    pub fn of(header: &GgufHeader<'_>, architecture: Architecture) -> Result<Self, WriteError> {
        let Some(Scaling { arm, trained, .. }) = &header.config.scaling else { return Ok(Self::default()) };
        let refuse = |why: &str| Err(WriteError::Inexpressible { what: format!("rotary scaling by `{arm}`{why}") });
        let (factor, temperature) = (arm_number(arm, "factor"), arm_number(arm, "attention_factor"));
        let length = trained.unwrap_or(header.config.max_positions);
        let mut found = Self { trained: *trained, ..Self::default() };
        match (arm.id.as_str(), factor) {
            ("linear", Some(factor)) => (found.kind, found.factor) = (Some("linear"), Some(factor)),
            ("yarn", Some(factor)) => {
                let bound = |name, plain: f64| arm_number(arm, name).is_none_or(|value| value == plain);
                if !bound("fast", 32.0) || !bound("slow", 1.0) || arm.get("ramp").is_some() {
                    return refuse(", whose ramp is its own, in the architectures llama and qwen2");
                }
                // The temperature by the factor is llama.cpp's own.
                let own = 0.1 * factor.max(1.0).ln() + 1.0;
                (found.kind, found.factor) = (Some("yarn"), Some(factor));
                (found.attention, found.trained) = (temperature.map(|temperature| temperature / own), Some(length));
            }
            ("longrope", factor) => {
                let (Some(short), Some(long)) = (list(arm, "short"), list(arm, "long")) else {
                    return refuse(" with one list of factors");
                };
                if arm_number(arm, "start_tokens").is_some_and(|first| first > 0.0) {
                    return refuse(", whose first positions keep their angles,");
                }
                let factor = factor.unwrap_or(1.0).max(1.0);
                let temperature = temperature.unwrap_or((1.0 + factor.ln() / (length as f64).ln()).sqrt());
                found.attention = Some(temperature).filter(|temperature| *temperature != 1.0);
                if short == long {
                    found.tensors = vec![(FREQUENCIES, long)];
                } else {
                    (found.kind, found.trained) = (Some("longrope"), Some(length));
                    found.tensors = vec![(SHORT, short), (LONG, long)];
                }
            }
            _ => match header.divisors {
                Some(divisors) => found.tensors = vec![(FREQUENCIES, divisors.to_vec())],
                None => return refuse(""),
            },
        }
        if !found.tensors.is_empty() && architecture.name != "llama" {
            return refuse(" in the architecture qwen2");
        }
        Ok(found)
    }

    /// Adds the keys.
    pub fn describe(&self, architecture: Architecture, values: &mut Values) {
        let key = |name: &str| format!("{}.rope.scaling.{name}", architecture.name);
        if let Some(kind) = self.kind {
            values.text(&key("type"), kind);
        }
        for (name, number) in [("factor", self.factor), ("attn_factor", self.attention)] {
            if let Some(number) = number {
                values.float(&key(name), number as f32);
            }
        }
        if let Some(length) = self.trained.and_then(|length| u32::try_from(length).ok()) {
            values.number(&key("original_context_length"), length);
        }
    }
}

fn arm_number(arm: &Arm, name: &str) -> Option<f64> {
    arm.get(name).and_then(Value::as_number)
}

/// A list of numbers.
fn list(arm: &Arm, name: &str) -> Option<Vec<f32>> {
    let Some(Value::List(values)) = arm.get(name) else { return None };
    values.iter().map(|value| value.as_number().map(|number| number as f32)).collect()
}
