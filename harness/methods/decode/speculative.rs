//! Speculative sampling: a small model drafts, the model checks, and the law stays the model's own.
//!
//! The draft model draws `draft_tokens` tokens from `q`; one pass of the model gives `p` at all of them and behind. A drafted
//! token is accepted with probability `min(1, p / q)`; the first that is not is replaced by a draw from `(p − q)₊`,
//! normalised, and ends the round; when all are accepted another is drawn from `p`. The stages behind it are applied to
//! both rows before they become `p` and `q`, and what is generated has exactly the law of sampling from the model with
//! these stages. With `greedy` a draft is accepted when it is the model's own choice, and the text is the greedy text.
//!
//! # Difference from the reference
//! None from the algorithm of Leviathan et al.; equal laws, where rounding may leave no residual, fall back to `p`. A
//! drafted end token ends the draft, and when it is accepted the sequence, without another token. Stages that learn from
//! draws (mirostat) are refused, because drafted tokens may be taken back.

use harness_core::seed::stream;
use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};
use rand_chacha::ChaCha8Rng;

use crate::decode::expand::log_probability_of;
use crate::decode::law::Law;
use crate::decode::model::Counted;
use crate::decode::{Decode, DecodeError, Decoded, Hypothesis, Models, Needs, Round, Statistics, Task};
use crate::registry::{self, Method};
use crate::sample::{Candidates, Chain, Past, Role, uniform};

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Tokens drafted in a round.
        draft_tokens: usize = 4, Domain::closed(1.0, 1024.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "speculative",
        axis: Axis::Sampler,
        about: "decodes as the model samples, from drafts of a second, smaller model that it checks several at a time",
        source: "Leviathan, Kalman, Matias: Fast Inference from Transformers via Speculative Decoding, ICML 2023; Chen et al. 2023",
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
    Ok(Method::Decoder(Box::new(Speculative(Settings::resolve(arm)?))))
}

struct Speculative(Settings);

/// Random numbers of their own for each purpose.
struct Numbers {
    drafts: ChaCha8Rng,
    acceptance: ChaCha8Rng,
    draws: ChaCha8Rng,
}

/// A sequence and the stages that both laws go through.
struct Text<'a> {
    sequence: Vec<u32>,
    prompt: usize,
    stages: &'a mut Chain,
}

impl Text<'_> {
    /// The law after the first `length` tokens, of the row of logits there.
    fn law(&mut self, row: &[f32], length: usize) -> Result<Law, DecodeError> {
        let (prompt, generated) = self.sequence[..length].split_at(self.prompt);
        let left = self.stages.apply(row, Past { prompt, generated });
        left.map(Law::of).map_err(|source| DecodeError::Sample { generated: generated.len(), source })
    }
}

impl Decode for Speculative {
    fn needs(&self) -> Needs {
        Needs { second: Some("draft"), stages: true, ..Needs::default() }
    }

    fn decode(&self, mut models: Models, task: &Task) -> Result<Decoded, DecodeError> {
        let task = task.checked("speculative", self.needs(), &models)?;
        let needed = || DecodeError::NoSecond { decoder: "speculative", what: "draft" };
        let mut draft = Counted::new(models.second.take().ok_or_else(needed)?);
        let ends = models.model.ends().to_vec();
        let mut model = Counted::new(models.model);
        let mut stages = Chain::build(task.stages, task.seed, task.sequence)?;
        if let Some(stage) = task.stages.last() {
            let chooses = registry::sampler(stage).is_ok_and(|built| built.role() == Role::Last);
            if chooses && stage.id != "greedy" {
                return Err(DecodeError::Learns { stage: stage.to_string() });
            }
        }
        let numbers = |what| stream(task.seed, &["speculative", what, task.sequence]);
        let mut numbers =
            Numbers { drafts: numbers("drafts"), acceptance: numbers("acceptance"), draws: numbers("draws") };
        let prompt = task.prompt.len();
        let mut text = Text { sequence: task.prompt.to_vec(), prompt, stages: &mut stages };
        let mut candidates = Candidates::default();
        let mut statistics = Statistics::default();
        let (mut log_probability, mut finished) = (0.0, false);
        while text.sequence.len() < prompt + task.tokens && !finished {
            let start = text.sequence.len();
            // The token behind the drafted ones has to have room too.
            let room = prompt + task.tokens - start - 1;
            let mut drafted: Vec<Law> = Vec::new();
            while drafted.len() < room.min(self.0.draft_tokens) {
                let row = draft.next(&text.sequence)?;
                let law = text.law(&row, start + drafted.len())?;
                let token = law.draw(uniform(&mut numbers.drafts));
                text.sequence.push(token);
                drafted.push(law);
                if ends.contains(&token) {
                    break;
                }
            }
            let rows = model.logits(&[&text.sequence], drafted.len() + 1)?;
            let mut round = Round { drafted: drafted.len(), accepted: 0, overlap: 0.0, checked: 0 };
            for (at, row) in rows.iter().enumerate() {
                let length = start + at;
                let law = text.law(row, length)?;
                let accepted = drafted.get(at).is_some_and(|draft| {
                    round.overlap += law.overlap(draft);
                    round.checked += 1;
                    uniform(&mut numbers.acceptance) < law.acceptance(draft, text.sequence[length])
                });
                if accepted {
                    round.accepted += 1;
                } else {
                    let source = drafted.get(at).map_or_else(|| law.clone(), |draft| law.residual(draft));
                    text.sequence.truncate(length);
                    text.sequence.push(source.draw(uniform(&mut numbers.draws)));
                }
                let token = text.sequence[length];
                log_probability += log_probability_of(&mut candidates, row, token, length - prompt)?;
                finished = ends.contains(&token);
                if !accepted || finished {
                    text.sequence.truncate(length + 1);
                    break;
                }
            }
            statistics.rounds.push(round);
        }
        let tokens = text.sequence.split_off(prompt);
        let hypotheses = vec![Hypothesis { tokens, finished, log_probability, score: log_probability }];
        Ok(Decoded { hypotheses, calls: model.calls, second_calls: draft.calls, statistics })
    }
}
