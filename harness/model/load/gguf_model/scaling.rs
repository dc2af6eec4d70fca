//! What a GGUF file does to rotary frequencies, as llama.cpp reads it.
//!
//! Keys below `ARCHITECTURE.rope.scaling`: `type` (`linear` where there is none), `factor`, `original_context_length`, and `attn_factor`,
//! which multiplies cosines and sines beside YaRN's own temperature. The tensor `rope_freqs.weight` has one divisor for every pair, of which
//! Llama 3 files are made: it becomes the method `longrope` with one list for all lengths. `rope_factors_short.weight` and
//! `rope_factors_long.weight` are two; llama.cpp chooses between them by the size of its context, here it goes by what is read.

use harness_core::{Arm, Value};

use crate::scaling::{Scaling, number};
use crate::weight::MappedFile;
use crate::write::gguf::rope_factors::{FREQUENCIES, LONG, SHORT};

use super::super::LoadError;
use super::Reader;

impl Reader<'_> {
    /// Of an architecture, whose heads rotate `pairs` pairs of dimensions.
    pub(super) fn scaling(
        &self,
        file: &MappedFile,
        architecture: &str,
        pairs: usize,
    ) -> Result<Option<Scaling>, LoadError> {
        let key = |name: &str| format!("{architecture}.rope.scaling.{name}");
        // Without a type llama.cpp scales by the factor.
        let kind = self.text(&key("type")).unwrap_or("linear");
        let stated = |name: &str| self.finite(&key(name));
        for (name, plain) in [("yarn_log_multiplier", 0.0), ("yarn_ext_factor", 1.0), ("yarn_attn_factor", 1.0)] {
            if let Some(value) = stated(name)?.filter(|value| *value != plain) {
                return Err(self.unsupported(format!("{} = {value}", key(name))));
            }
        }
        let factor = match stated("factor")? {
            Some(factor) => Some(factor),
            None => self.finite(&format!("{architecture}.rope.scale_linear"))?,
        };
        // To llama.cpp a factor of 0 is none, and `none` has none.
        let factor = factor.filter(|factor| *factor != 0.0 && kind != "none").unwrap_or(1.0);
        let attention = stated("attn_factor")?.unwrap_or(1.0);
        let trained = self.whole(&key("original_context_length")).and_then(|length| usize::try_from(length).ok());
        let list = |name| self.factors(file, name, pairs);
        let (divisors, short, long) = (list(FREQUENCIES)?, list(SHORT)?, list(LONG)?);
        if architecture != "llama" && (divisors.is_some() || short.is_some() || long.is_some()) {
            return Err(self.unsupported(format!("rotary frequency factors in the architecture {architecture}")));
        }
        let needed = || {
            let name = key("original_context_length");
            let what = format!("rotary scaling \"{kind:.64}\" needs {name}, the positions of the training");
            LoadError::Config { path: self.path.to_owned(), what }
        };
        let listed = |short: Vec<f64>, long: Vec<f64>| {
            let list = |values: Vec<f64>| Value::List(values.into_iter().map(number).collect());
            let arm = Arm::new("longrope").with("factor", number(1.0));
            let arm = arm.with("short", list(short)).with("long", list(long));
            if attention == 1.0 { arm } else { arm.with("attention_factor", number(attention)) }
        };
        let arm = match (kind, divisors, short, long) {
            ("none" | "linear", None, None, None) if attention == 1.0 && factor == 1.0 => return Ok(None),
            ("none" | "linear", None, None, None) if attention == 1.0 => {
                Arm::new("linear").with("factor", number(factor))
            }
            ("none" | "linear", divisors, None, None) => {
                let divisors = divisors.unwrap_or_else(|| vec![1.0; pairs]);
                let divisors: Vec<f64> = divisors.into_iter().map(|divisor| divisor * factor).collect();
                listed(divisors.clone(), divisors)
            }
            ("yarn", None, None, None) => {
                trained.ok_or_else(needed)?;
                let mut arm = Arm::new("yarn").with("factor", number(factor));
                for (parameter, name) in [("fast", "yarn_beta_fast"), ("slow", "yarn_beta_slow")] {
                    if let Some(value) = stated(name)? {
                        arm = arm.with(parameter, number(value));
                    }
                }
                let temperature = 0.1 * factor.max(1.0).ln() + 1.0;
                if attention == 1.0 { arm } else { arm.with("attention_factor", number(attention * temperature)) }
            }
            ("longrope", None, Some(short), Some(long)) if factor == 1.0 => {
                trained.ok_or_else(needed)?;
                listed(short, long)
            }
            ("longrope", ..) => {
                return Err(self.unsupported(format!(
                    "rotary scaling \"longrope\" without the tensors {SHORT} and {LONG}, or with a factor or {FREQUENCIES} beside them"
                )));
            }
            ("none" | "linear" | "yarn", ..) => {
                return Err(self.unsupported(format!("rotary scaling \"{kind}\" with rotary frequency factors")));
            }
            _ => {
                let known = "none, linear, yarn and longrope are read";
                return Err(self.unsupported(format!("rotary scaling \"{kind:.64}\"; {known}")));
            }
        };
        Ok(Some(Scaling { arm, trained, net: None }))
    }

    /// A number that is one.
    fn finite(&self, key: &str) -> Result<Option<f64>, LoadError> {
        let value = self.float(key);
        if let Some(value) = value.filter(|value| !value.is_finite()) {
            return Err(self.damaged(format!("{key} is {value}")));
        }
        Ok(value)
    }

    /// One divisor for every pair.
    fn factors(&self, file: &MappedFile, name: &str, pairs: usize) -> Result<Option<Vec<f64>>, LoadError> {
        let Some(info) = self.header.tensors.get(name) else { return Ok(None) };
        if info.shape != [pairs] {
            let what = format!(
                "the tensor {name} holds {:?} factors; the model rotates {pairs} pairs of dimensions",
                info.shape
            );
            return Err(LoadError::Config { path: self.path.to_owned(), what });
        }
        let values = self.weight(file, name, info)?.to_f32();
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            return Err(self.damaged(format!("the tensor {name} holds {value}")));
        }
        Ok(Some(values.into_iter().map(super::decimal).collect()))
    }
}

#[cfg(test)]
#[path = "scaling_tests.rs"]
mod tests;
