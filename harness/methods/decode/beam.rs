//! Beam search: the most probable continuations of all hypotheses of one length go on.
//!
//! Every step extends the live hypotheses by every token and keeps the `width` of the largest summed log-probability; a
//! score that makes up for length ranks what has ended. `finished = pool`: those that end among the `width` best leave
//! for a pool of `width` and the beam stays full; the early stop looks at the worst of the pool. `finished = beam`:
//! those that end keep their place, and the search is over when all have ended; this is the beam of the literature and
//! of best-first beam search. Ties: the lower beam, then the lower token.
//!
//! # Difference from the reference
//! None from transformers 5 with one prompt, whose `early_stopping` true, false and "never" are `stop` full, heuristic
//! and never, but that sums are f64 and that the first step has one hypothesis instead of copies at −10⁹.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::decode::beams::{Beams, Formula, LengthPenalty, Rule, Slots, Stop};
use crate::decode::model::Counted;
use crate::decode::{Decode, DecodeError, Decoded, Models, Needs, Statistics, Task};
use crate::registry::Method;
use crate::sample::Candidates;

harness_core::choice! {
    /// Where hypotheses go that end.
    pub enum Finished {
        /// Into a pool beside the beam.
        Pool = "pool",
        /// They stay in the beam.
        Beam = "beam",
    }
}

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Hypotheses kept.
        width: usize = 4, Domain::closed(1.0, 65536.0);
        /// Exponent of the length that sums are divided by; 0 ranks by the sum.
        length_penalty: f64 = 1.0, Domain::open(f64::NEG_INFINITY, f64::INFINITY);
        /// `sum / length^a`, or GNMT's `sum / ((5 + length) / 6)^a`.
        formula: Formula = Formula::Power;
        /// When to stop: a full pool, a full pool that live hypotheses do not beat at their present length, or one they can never beat.
        stop: Stop = Stop::Heuristic;
        /// Whether hypotheses that end leave for a pool or stay in the beam; in the beam nothing stops early.
        finished: Finished = Finished::Pool;
        /// Hypotheses given.
        n_best: usize = 1, Domain::closed(1.0, 65536.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "beam",
        axis: Axis::Sampler,
        about: "decodes whole sequences: the best continuations of a beam of hypotheses, step by step",
        source: "Lowerre: The HARPY Speech Recognition System, 1976; Wu et al.: Google's Neural Machine Translation System, 2016",
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
/// A parameter that does not fit, more hypotheses wanted than are kept, or a stop where nothing stops early.
pub fn build(arm: &Arm) -> Result<Method, ParameterError> {
    let settings = Settings::resolve(arm)?;
    let Settings { width, n_best, .. } = settings;
    if n_best > width {
        let message = format!("`n_best = {n_best}` hypotheses cannot come of `width = {width}`; widen the beam");
        return Err(ParameterError::Together(message));
    }
    if settings.finished == Finished::Beam && arm.get("stop").is_some() {
        let message = "`stop` looks at the pool, which `finished = beam` does without; leave it out".to_owned();
        return Err(ParameterError::Together(message));
    }
    Ok(Method::Decoder(Box::new(Beam(settings))))
}

struct Beam(Settings);

impl Decode for Beam {
    fn needs(&self) -> Needs {
        Needs::default()
    }

    fn decode(&self, models: Models, task: &Task) -> Result<Decoded, DecodeError> {
        let task = task.checked("beam", self.needs(), &models)?;
        let Settings { width, length_penalty, formula, stop, finished, n_best } = self.0;
        let penalty = LengthPenalty { formula, exponent: length_penalty };
        let ends = models.model.ends().to_vec();
        let rule = Rule { width, penalty, stop, ends, limit: task.tokens };
        let mut model = Counted::new(models.model);
        let mut candidates = Candidates::default();
        let mut hypotheses = match finished {
            Finished::Pool => {
                let mut beams = Beams::new(rule);
                while beams.open() {
                    let live: Vec<&[u32]> = beams.live.iter().map(|live| &live.tokens[..]).collect();
                    let rows = rows_after(&mut model, task.prompt, &live)?;
                    beams.advance(&rows, &[], &mut candidates)?;
                }
                beams.pool
            }
            Finished::Beam => {
                let mut slots = Slots::new(rule);
                loop {
                    let live = slots.live();
                    if live.is_empty() {
                        break;
                    }
                    let rows = rows_after(&mut model, task.prompt, &live)?;
                    slots.advance(&rows, &mut candidates)?;
                }
                slots.finish()
            }
        };
        hypotheses.truncate(n_best);
        Ok(Decoded { hypotheses, calls: model.calls, statistics: Statistics::default(), ..Decoded::default() })
    }
}

/// Rows of logits after a prompt and what was generated behind it.
pub(crate) fn rows_after(
    model: &mut Counted,
    prompt: &[u32],
    generated: &[&[u32]],
) -> Result<Vec<Vec<f32>>, DecodeError> {
    let sequences: Vec<Vec<u32>> = generated.iter().map(|tokens| [prompt, tokens].concat()).collect();
    let sequences: Vec<&[u32]> = sequences.iter().map(Vec::as_slice).collect();
    model.logits(&sequences, 1)
}
