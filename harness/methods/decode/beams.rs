//! What beam searches share: the live hypotheses, the pool of finished ones, and when to stop.

use crate::decode::expand::most_probable;
use crate::decode::{DecodeError, Hypothesis};
use crate::sample::Candidates;

harness_core::choice! {
    /// How length enters a score.
    pub enum Formula {
        /// `sum / length^α`, as transformers has it.
        Power = "hf",
        /// `sum / ((5 + length) / 6)^α`, as GNMT has it.
        Gnmt = "gnmt",
    }
}

harness_core::choice! {
    /// When the search ends before the last token.
    pub enum Stop {
        /// As soon as the pool is full.
        Full = "full",
        /// When the pool is full and the best live hypothesis, divided as at its present length, does not beat the
        /// worst of it.
        Heuristic = "heuristic",
        /// The same, but divided as at the length that favours it most, so that nothing is lost.
        Never = "never",
    }
}

/// A score of whole sequences that makes up for length.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LengthPenalty {
    /// The formula.
    pub formula: Formula,
    /// Its exponent α; 0 leaves the sum, positive values favour long sequences.
    pub exponent: f64,
}

impl LengthPenalty {
    /// The score of `length` generated tokens, the end token included, whose log-probabilities add up to `sum`.
    pub fn score(&self, sum: f64, length: usize) -> f64 {
        let base = match self.formula {
            Formula::Power => length as f64,
            Formula::Gnmt => (5.0 + length as f64) / 6.0,
        };
        sum / base.powf(self.exponent)
    }

    /// The best score that a sequence can still reach which grows from `length` to at most `limit` tokens.
    pub fn bound(&self, sum: f64, length: usize, limit: usize) -> f64 {
        self.score(sum, length).max(self.score(sum, limit))
    }
}

/// How a beam is searched.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub width: usize,
    pub penalty: LengthPenalty,
    pub stop: Stop,
    pub ends: Vec<u32>,
    /// Tokens at most.
    pub limit: usize,
}

/// A hypothesis that goes on.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    pub tokens: Vec<u32>,
    pub sum: f64,
}

/// Live hypotheses of one length, and the pool of those that ended.
pub(crate) struct Beams {
    rule: Rule,
    pub live: Vec<Live>,
    /// By falling score, at most as many as the beam is wide.
    pub pool: Vec<Hypothesis>,
    length: usize,
    open: bool,
}

/// A continuation that may be taken.
struct Continuation {
    /// What it is chosen by: the sum less what diversity takes from it.
    choice: f64,
    sum: f64,
    beam: usize,
    token: u32,
}

impl Beams {
    pub fn new(rule: Rule) -> Self {
        let root = Live { tokens: Vec::new(), sum: 0.0 };
        Self { rule, live: vec![root], pool: Vec::new(), length: 0, open: true }
    }

    /// Whether another step may change the pool.
    pub fn open(&self) -> bool {
        self.open
    }

    /// Takes the rows of logits after the live hypotheses. `discounts` are taken from the sums of continuations by some
    /// tokens while they are chosen, not from what is stored.
    pub fn advance(
        &mut self,
        rows: &[Vec<f32>],
        discounts: &[(u32, f64)],
        candidates: &mut Candidates,
    ) -> Result<(), DecodeError> {
        let Rule { width, limit, .. } = self.rule;
        // So many that `width` of them go on whatever end tokens are among them.
        let taken = width * (1 + self.rule.ends.len()).max(2);
        let mut all = Vec::new();
        for (beam, (live, row)) in self.live.iter().zip(rows).enumerate() {
            for (token, log) in most_probable(candidates, row, taken + discounts.len(), self.length)? {
                let sum = live.sum + log;
                let discount = discounts.iter().find(|(id, _)| *id == token).map_or(0.0, |(_, discount)| *discount);
                all.push(Continuation { choice: sum - discount, sum, beam, token });
            }
        }
        all.sort_by(|a, b| b.choice.total_cmp(&a.choice).then(a.beam.cmp(&b.beam)).then(a.token.cmp(&b.token)));
        self.length += 1;
        let mut live = Vec::with_capacity(width);
        for (rank, continuation) in all.iter().take(taken).enumerate() {
            let Continuation { sum, beam, token, .. } = *continuation;
            let extended = || [&self.live[beam].tokens[..], &[token]].concat();
            let finished = self.rule.ends.contains(&token);
            if finished || self.length == limit {
                if rank < width {
                    let score = self.rule.penalty.score(sum, self.length);
                    self.pool.push(Hypothesis { tokens: extended(), finished, log_probability: sum, score });
                }
            } else if live.len() < width {
                live.push(Live { tokens: extended(), sum });
            }
        }
        self.live = live;
        self.pool.sort_by(|a, b| b.score.total_cmp(&a.score));
        self.pool.truncate(width);
        self.open = self.length < limit && self.may_improve();
        Ok(())
    }

    fn may_improve(&self) -> bool {
        let Some(best) = self.live.first() else { return false };
        let Some(worst) = self.pool.last().filter(|_| self.pool.len() == self.rule.width) else { return true };
        let best = self.live.iter().fold(best.sum, |best, live| best.max(live.sum));
        let penalty = &self.rule.penalty;
        match self.rule.stop {
            Stop::Full => false,
            Stop::Heuristic => penalty.score(best, self.length) > worst.score,
            Stop::Never => penalty.bound(best, self.length, self.rule.limit) > worst.score,
        }
    }
}

/// A beam in which a finished hypothesis keeps its place until better ones take it.
pub(crate) struct Slots {
    rule: Rule,
    kept: Vec<Slot>,
    length: usize,
}

#[derive(Debug, Clone)]
struct Slot {
    tokens: Vec<u32>,
    sum: f64,
    /// The place of what it continues, among those of its length.
    parent: usize,
    finished: bool,
}

impl Slots {
    pub fn new(rule: Rule) -> Self {
        let root = Slot { tokens: Vec::new(), sum: 0.0, parent: 0, finished: false };
        Self { rule, kept: vec![root], length: 0 }
    }

    /// The hypotheses that go on.
    pub fn live(&self) -> Vec<&[u32]> {
        let going = |slot: &&Slot| !slot.finished && self.length < self.rule.limit;
        self.kept.iter().filter(going).map(|slot| &slot.tokens[..]).collect()
    }

    /// Takes the rows of logits after them.
    pub fn advance(&mut self, rows: &[Vec<f32>], candidates: &mut Candidates) -> Result<(), DecodeError> {
        let mut next: Vec<Slot> = self.kept.iter().filter(|slot| slot.finished).cloned().collect();
        let live = self.kept.iter().enumerate().filter(|(_, slot)| !slot.finished);
        for ((parent, slot), row) in live.zip(rows) {
            for (token, log) in most_probable(candidates, row, self.rule.width, self.length)? {
                let tokens = [&slot.tokens[..], &[token]].concat();
                let finished = self.rule.ends.contains(&token);
                next.push(Slot { tokens, sum: slot.sum + log, parent, finished });
            }
        }
        let last = |slot: &Slot| slot.tokens.last().copied();
        next.sort_by(|a, b| {
            let shorter = a.tokens.len().cmp(&b.tokens.len());
            b.sum.total_cmp(&a.sum).then(shorter).then(a.parent.cmp(&b.parent)).then(last(a).cmp(&last(b)))
        });
        next.truncate(self.rule.width);
        self.kept = next;
        self.length += 1;
        Ok(())
    }

    /// What is in the beam, by falling score.
    pub fn finish(self) -> Vec<Hypothesis> {
        let mut all: Vec<Hypothesis> = self
            .kept
            .into_iter()
            .map(|slot| Hypothesis {
                score: self.rule.penalty.score(slot.sum, slot.tokens.len()),
                finished: slot.finished,
                log_probability: slot.sum,
                tokens: slot.tokens,
            })
            .collect();
        all.sort_by(|a, b| b.score.total_cmp(&a.score));
        all
    }
}
