//! Best-first beam search: the hypotheses of beam search, found with fewer calls of the model.
//!
//! A queue gives the best hypothesis of any length; it is continued unless `width` of its length were before it. Because
//! the key never grows along a hypothesis, those of one length come in the order of the beam, so what is found is what
//! `beam(finished=beam)` keeps, and the search stops at the first `want` that end. Keys: the summed log-probability;
//! with `score = reward` also `reward · reward_length` for what has not ended and `reward · min(length, reward_length)`
//! for what has, which never grows either. The other scores are not monotone and choose among the beam of the sum:
//! `length-normalised` (`sum / length^length_penalty`) and `mutual-information` (`ln p(y|x) − weight · ln p(y)`, with
//! `p(y)` from the model behind the second prompt and bounded below by `floor` a token) go on until no hypothesis in the
//! queue can still beat the `want` best, by the largest score it could reach.
//!
//! # Difference from the reference
//! The authors' code counts a finished hypothesis when it is popped; here it has to keep its place in the beam of every
//! later length, as it has to in beam search, so that the sets are equal and not only mostly so. The reward is kept
//! while hypotheses are compared, also with finished ones. The authors' bound for mutual information was not at hand:
//! the one used here is NOT VERIFIED against theirs. `memory_factor` deletes the worst of the shortest, as theirs does;
//! what was deleted is counted, and with it the guarantee is gone.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::decode::expand::{log_row, most_probable};
use crate::decode::model::Counted;
use crate::decode::queue::{Fate, Node, Queue};
use crate::decode::ranking::{Rank, Ranking};
use crate::decode::{Decode, DecodeError, Decoded, Hypothesis, Models, Needs, Statistics, Task};
use crate::registry::Method;
use crate::sample::Candidates;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Hypotheses of one length that are continued at most.
        width: usize = 4, Domain::closed(1.0, 65536.0);
        /// What hypotheses are ranked by.
        score: Rank = Rank::Sum;
        /// Hypotheses given, of those in the beam.
        want: usize = 1, Domain::closed(1.0, 65536.0);
        /// Exponent of the length, of the length-normalised score.
        length_penalty: f64 = 1.0, Domain::open(f64::NEG_INFINITY, f64::INFINITY);
        /// What a token adds, of the reward score, in nats.
        reward: f64 = 0.5, Domain::half_open(0.0, f64::INFINITY);
        /// Tokens that are rewarded at most; all when unset.
        reward_length: Option<usize> = None, Domain::closed(1.0, 1_048_576.0);
        /// Weight of the unconditional probability, of the mutual-information score.
        weight: f64 = 0.5, Domain::closed(0.0, 1.0);
        /// The least logarithm of an unconditional probability, in nats; lower ones count as this.
        floor: f64 = -20.0, Domain::open(f64::NEG_INFINITY, 0.0);
        /// At most so many times the width of hypotheses wait; no limit when unset.
        memory_factor: Option<f64> = None, Domain::half_open(1.0, f64::INFINITY);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "best-first-beam",
        axis: Axis::Sampler,
        about: "decodes whole sequences: the hypotheses of beam search with fewer calls of the model",
        source: "Meister, Vieira, Cotterell: Best-First Beam Search, Transactions of the ACL 8, 2020",
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
/// A parameter that does not fit, more hypotheses wanted than are kept, or a parameter of another score.
pub fn build(arm: &Arm) -> Result<Method, ParameterError> {
    let settings = Settings::resolve(arm)?;
    let Settings { width, want, score, .. } = settings;
    if want > width {
        let message = format!("`want = {want}` hypotheses cannot come of `width = {width}`; widen the beam");
        return Err(ParameterError::Together(message));
    }
    let of = [
        ("length_penalty", Rank::LengthNormalised),
        ("reward", Rank::Reward),
        ("reward_length", Rank::Reward),
        ("weight", Rank::MutualInformation),
        ("floor", Rank::MutualInformation),
    ];
    if let Some((name, _)) = of.iter().find(|(name, rank)| arm.get(name).is_some() && *rank != score) {
        return Err(ParameterError::Together(format!("`{name}` has no part in this `score`; leave it out")));
    }
    Ok(Method::Decoder(Box::new(BestFirstBeam(settings))))
}

struct BestFirstBeam(Settings);

impl Decode for BestFirstBeam {
    fn needs(&self) -> Needs {
        Needs { other_prompt: self.0.score == Rank::MutualInformation, ..Needs::default() }
    }

    fn decode(&self, models: Models, task: &Task) -> Result<Decoded, DecodeError> {
        let task = task.checked("best-first-beam", self.needs(), &models)?;
        let Settings { width, want, memory_factor, .. } = self.0;
        let ranking = Ranking::new(&self.0, task.tokens);
        let ends = models.model.ends().to_vec();
        let mut model = Counted::new(models.model);
        let mut candidates = Candidates::default();
        let memory = memory_factor.map(|factor| (factor * width as f64) as usize);
        let mut queue = Queue::new(width, task.tokens, memory);
        let (sum, other) = (0.0, 0.0);
        let root = Node { key: ranking.key(sum, 0, false), tokens: Vec::new(), sum, other, parent: 0, finished: false };
        queue.push(root);
        let mut found: Vec<Hypothesis> = Vec::new();
        let mut taken = 0;
        while !self.done(&found, &queue, &ranking) {
            let Some((node, fate)) = queue.pop() else { break };
            taken += 1;
            match fate {
                Fate::Displaced => {}
                Fate::Final => {
                    let score = ranking.value(&node);
                    let Node { tokens, finished, sum, .. } = node;
                    found.push(Hypothesis { tokens, finished, log_probability: sum, score });
                    found.sort_by(|a, b| b.score.total_cmp(&a.score));
                }
                Fate::Continue => {
                    let length = node.tokens.len();
                    let sequence = [task.prompt, &node.tokens].concat();
                    let (row, unconditional) = if self.needs().other_prompt {
                        let other = [task.other(), &node.tokens].concat();
                        let mut rows = model.logits(&[&sequence, &other], 1)?;
                        let unconditional = log_row(&rows.swap_remove(1))
                            .map_err(|source| DecodeError::Sample { generated: length, source })?;
                        (rows.swap_remove(0), Some(unconditional))
                    } else {
                        (model.next(&sequence)?, None)
                    };
                    // An end token may rank lower by its key than by its probability, and leave its place to another.
                    let most = queue.room(length + 1) + ends.len();
                    for (token, log) in most_probable(&mut candidates, &row, most, length)? {
                        let finished = ends.contains(&token);
                        let sum = node.sum + log;
                        let other = unconditional.as_ref().map_or(0.0, |logs| logs[token as usize].max(self.0.floor));
                        let key = ranking.key(sum, length + 1, finished);
                        let tokens = [&node.tokens[..], &[token]].concat();
                        queue.push(Node { key, tokens, sum, other: node.other + other, parent: taken, finished });
                    }
                    queue.forget();
                }
            }
        }
        found.truncate(want);
        let statistics = Statistics { pops: queue.pops, deleted: queue.deleted, ..Statistics::default() };
        Ok(Decoded { hypotheses: found, calls: model.calls, statistics, ..Decoded::default() })
    }
}

impl BestFirstBeam {
    /// Whether nothing that waits can be among the `want` best.
    fn done(&self, found: &[Hypothesis], queue: &Queue, ranking: &Ranking) -> bool {
        let Some(worst) = found.get(self.0.want - 1) else { return false };
        ranking.ordered() || queue.waiting().all(|node| ranking.bound(node) <= worst.score)
    }
}
