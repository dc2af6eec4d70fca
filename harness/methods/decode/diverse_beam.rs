//! Diverse beam search: groups of beams, each kept away from the tokens that earlier groups chose at the same step.
//!
//! The beam is divided into groups that are searched in turn at every step. While a group chooses, a continuation by a
//! token loses `strength` for every hypothesis of the groups before it that goes on by the same token at this step.
//! Strength 0 gives so many copies of one narrower beam.
//!
//! # Difference from the reference
//! The penalty decides what is chosen and is not added to the stored sums, so that scores are those of the model and
//! comparable between groups; transformers let it accumulate in them. Groups must divide the beam evenly, as there.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::decode::beams::{Beams, Formula, LengthPenalty, Rule, Stop};
use crate::decode::model::Counted;
use crate::decode::{Decode, DecodeError, Decoded, Models, Needs, Task};
use crate::registry::Method;
use crate::registry::beam::rows_after;
use crate::sample::Candidates;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Hypotheses kept, of all groups together.
        width: usize = 4, Domain::closed(1.0, 65536.0);
        /// Groups; a divisor of the width.
        groups: usize = 2, Domain::closed(1.0, 65536.0);
        /// What a continuation loses for every earlier group's hypothesis with the same token, in nats.
        strength: f64 = 0.5, Domain::half_open(0.0, f64::INFINITY);
        /// Exponent of the length that sums are divided by; 0 ranks by the sum.
        length_penalty: f64 = 1.0, Domain::open(f64::NEG_INFINITY, f64::INFINITY);
        /// Hypotheses given.
        n_best: usize = 4, Domain::closed(1.0, 65536.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "diverse-beam",
        axis: Axis::Sampler,
        about: "decodes whole sequences: groups of beams that avoid each other's tokens",
        source: "Vijayakumar et al.: Diverse Beam Search: Decoding Diverse Solutions from Neural Sequence Models, 2016",
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
/// A parameter that does not fit, groups that do not divide the beam, or more hypotheses wanted than are kept.
pub fn build(arm: &Arm) -> Result<Method, ParameterError> {
    let settings = Settings::resolve(arm)?;
    let Settings { width, groups, n_best, .. } = settings;
    if !width.is_multiple_of(groups) {
        let message = format!("`width = {width}` cannot be divided into `groups = {groups}` of one size");
        return Err(ParameterError::Together(message));
    }
    if n_best > width && arm.get("n_best").is_some() {
        let message = format!("`n_best = {n_best}` hypotheses cannot come of `width = {width}`; widen the beam");
        return Err(ParameterError::Together(message));
    }
    Ok(Method::Decoder(Box::new(DiverseBeam(settings))))
}

struct DiverseBeam(Settings);

impl Decode for DiverseBeam {
    fn needs(&self) -> Needs {
        Needs::default()
    }

    fn decode(&self, models: Models, task: &Task) -> Result<Decoded, DecodeError> {
        let task = task.checked("diverse-beam", self.needs(), &models)?;
        let Settings { width, groups, strength, length_penalty, n_best } = self.0;
        let rule = Rule {
            width: width / groups,
            penalty: LengthPenalty { formula: Formula::Power, exponent: length_penalty },
            stop: Stop::Heuristic,
            ends: models.model.ends().to_vec(),
            limit: task.tokens,
        };
        let mut model = Counted::new(models.model);
        let mut candidates = Candidates::default();
        let mut all: Vec<Beams> = (0..groups).map(|_| Beams::new(rule.clone())).collect();
        while all.iter().any(Beams::open) {
            let open = all.iter().filter(|group| group.open());
            let live: Vec<&[u32]> = open.flat_map(|group| group.live.iter().map(|live| &live.tokens[..])).collect();
            // All groups in one pass; at the first step they ask for the same.
            let mut rows = rows_after(&mut model, task.prompt, &live)?.into_iter();
            let mut discounts: Vec<(u32, f64)> = Vec::new();
            for group in all.iter_mut().filter(|group| group.open()) {
                let own: Vec<Vec<f32>> = rows.by_ref().take(group.live.len()).collect();
                group.advance(&own, &discounts, &mut candidates)?;
                for token in group.live.iter().filter_map(|live| live.tokens.last().copied()) {
                    match discounts.iter_mut().find(|(id, _)| *id == token) {
                        Some((_, discount)) => *discount += strength,
                        None => discounts.push((token, strength)),
                    }
                }
            }
        }
        let mut hypotheses: Vec<_> = all.into_iter().flat_map(|group| group.pool).collect();
        hypotheses.sort_by(|a, b| b.score.total_cmp(&a.score));
        hypotheses.truncate(n_best);
        Ok(Decoded { hypotheses, calls: model.calls, ..Decoded::default() })
    }
}
