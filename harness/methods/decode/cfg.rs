//! Classifier-free guidance: away from what the model says without the prompt.
//!
//! `l = l_u + scale · (l_c − l_u)`, both logarithms of probabilities: `l_c` after the prompt, `l_u` after another one, which
//! is its last token or a negative prompt; both branches then see the generated tokens. Scale 1 is the model itself, 0
//! the other branch, more pushes away from the other branch. The stages behind it draw from `l`; none draw from it as it
//! is. `plausibility` first removes tokens of less than this share of the largest probability after the prompt.
//!
//! # Difference from the reference
//! None from transformers but for infinities: a token that only the other branch excludes keeps `l_c` instead of +inf at
//! scales above 1. The plausibility bound is that of contrastive decoding; 0 is transformers' rule.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::decode::branches::{Other, generate, plausible};
use crate::decode::expand::log_row;
use crate::decode::{Decode, DecodeError, Decoded, Models, Needs, Task};
use crate::registry::Method;
use crate::sample::SampleError;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// How far from the other branch to the prompt's: 0 is the other, 1 the prompt's, more is beyond.
        scale: f64 = 1.5, Domain::half_open(0.0, f64::INFINITY);
        /// Share of the largest probability after the prompt that a token must have.
        plausibility: f64 = 0.0, Domain::closed(0.0, 1.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "cfg",
        axis: Axis::Sampler,
        about: "decodes with classifier-free guidance: away from what the model says behind another prompt",
        source: "Ho, Salimans: Classifier-Free Diffusion Guidance, 2022; Sanchez et al.: Stay on Topic with Classifier-Free Guidance, ICML 2024",
        version: 1,
        calibrated: false,
        random: true,
        parameters: Settings::specs(),
        check: |arm| build(arm).map(drop),
    }
}

/// Makes it.
///
/// # Errors
/// A parameter that does not fit.
pub fn build(arm: &Arm) -> Result<Method, ParameterError> {
    Ok(Method::Decoder(Box::new(Guidance(Settings::resolve(arm)?))))
}

/// Guided logits of two rows, the prompt's and the other branch's.
///
/// # Errors
/// A row that nothing can be chosen from.
pub fn guide(conditional: &[f32], unconditional: &[f32], settings: &Settings) -> Result<Vec<f32>, SampleError> {
    let (conditional, unconditional) = (log_row(conditional)?, log_row(unconditional)?);
    let least = plausible(&conditional, settings.plausibility);
    let scale = settings.scale;
    let guided = conditional.iter().zip(&unconditional).map(|(c, u)| {
        let value = if *c < least {
            f64::NEG_INFINITY
        } else if scale == 0.0 {
            *u
        } else if *u == f64::NEG_INFINITY && scale >= 1.0 {
            *c
        } else if c.min(*u) == f64::NEG_INFINITY {
            f64::NEG_INFINITY
        } else {
            u + scale * (c - u)
        };
        value as f32
    });
    Ok(guided.collect())
}

struct Guidance(Settings);

impl Decode for Guidance {
    fn needs(&self) -> Needs {
        Needs { stages: true, other_prompt: true, ..Needs::default() }
    }

    fn decode(&self, models: Models, task: &Task) -> Result<Decoded, DecodeError> {
        let task = task.checked("cfg", self.needs(), &models)?;
        generate(models, &task, Other::Prompt, task.stages, &|conditional, other| guide(conditional, other, &self.0))
    }
}
