//! Contrastive decoding: what an expert finds more probable than an amateur does.
//!
//! Among the tokens of at least `alpha` times the expert's largest probability, the score is `ln p_E − ln p_A`, the
//! amateur's logits divided by `amateur_temperature` before; with `beta` set it is `(1 + beta) · ln p_E − beta · ln p_A`.
//! Both models read the same sequence. Stages behind it draw from the scores; none take the largest, the lower id of
//! equal ones.
//!
//! # Difference from the reference
//! Token by token: the authors search the summed scores with a beam of 5. Their scripts leave the prompt out for the
//! amateur by default; here it reads the prompt, as their paper says. The form with `beta` is that of O'Brien and Lewis.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::decode::branches::{Other, generate, plausible};
use crate::decode::expand::log_row;
use crate::decode::{Decode, DecodeError, Decoded, Models, Needs, Task};
use crate::registry::Method;
use crate::sample::SampleError;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Share of the expert's largest probability that a token must have.
        alpha: f64 = 0.1, Domain::above(0.0, 1.0);
        /// What the amateur's logits are divided by.
        amateur_temperature: f64 = 1.0, Domain::open(0.0, f64::INFINITY);
        /// Weight of the amateur in the form that keeps the expert's own probability; the plain difference when unset.
        beta: Option<f64> = None, Domain::half_open(0.0, f64::INFINITY);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "contrastive-decoding",
        axis: Axis::Sampler,
        about: "decodes what an expert finds more probable than an amateur, a second model",
        source: "Li et al.: Contrastive Decoding, ACL 2023; O'Brien, Lewis: Contrastive Decoding Improves Reasoning in Large Language Models, 2023",
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
    Ok(Method::Decoder(Box::new(ContrastiveDecoding(Settings::resolve(arm)?))))
}

/// Scores of a row of the expert's logits and one of the amateur's; -inf for tokens that are not plausible.
///
/// # Errors
/// A row that nothing can be chosen from.
pub fn contrast(expert: &[f32], amateur: &[f32], settings: &Settings) -> Result<Vec<f32>, SampleError> {
    let cooled: Vec<f32> = amateur.iter().map(|z| (f64::from(*z) / settings.amateur_temperature) as f32).collect();
    let (expert, amateur) = (log_row(expert)?, log_row(&cooled)?);
    let least = plausible(&expert, settings.alpha);
    // A token that the amateur excludes is as improbable to it as a number can say.
    let scores = expert.iter().zip(&amateur).map(|(e, a)| match settings.beta {
        _ if *e < least => f64::NEG_INFINITY,
        None => e - a.max(f64::from(f32::MIN) / 4.0),
        Some(beta) => (1.0 + beta) * e - beta * a.max(f64::from(f32::MIN) / (4.0 * (1.0 + beta))),
    });
    Ok(scores.map(|score| score as f32).collect())
}

struct ContrastiveDecoding(Settings);

impl Decode for ContrastiveDecoding {
    fn needs(&self) -> Needs {
        Needs { second: Some("amateur"), stages: true, ..Needs::default() }
    }

    fn decode(&self, models: Models, task: &Task) -> Result<Decoded, DecodeError> {
        let task = task.checked("contrastive-decoding", self.needs(), &models)?;
        let greedy = [Arm::new("greedy")];
        let stages = if task.stages.is_empty() { &greedy[..] } else { task.stages };
        generate(models, &task, Other::Model, stages, &|expert, amateur| contrast(expert, amateur, &self.0))
    }
}
