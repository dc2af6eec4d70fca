//! What best-first beam search takes hypotheses by, ranks them by, and how far they can still get.

use crate::decode::beams::{Formula, LengthPenalty};
use crate::decode::queue::Node;
use crate::registry::best_first_beam::Settings;

harness_core::choice! {
    /// What hypotheses are ranked by.
    pub enum Rank {
        /// The summed log-probability.
        Sum = "sum",
        /// The sum divided by a power of the length.
        LengthNormalised = "length-normalised",
        /// The sum with a reward for every token.
        Reward = "reward",
        /// The sum less a share of the unconditional one.
        MutualInformation = "mutual-information",
    }
}

/// A score with its bounds, for hypotheses of at most `limit` tokens.
pub(crate) struct Ranking {
    rank: Rank,
    penalty: LengthPenalty,
    reward: f64,
    reward_length: usize,
    weight: f64,
    floor: f64,
    limit: usize,
}

impl Ranking {
    pub fn new(settings: &Settings, limit: usize) -> Self {
        Self {
            rank: settings.score,
            penalty: LengthPenalty { formula: Formula::Power, exponent: settings.length_penalty },
            reward: settings.reward,
            reward_length: settings.reward_length.unwrap_or(limit).min(limit),
            weight: settings.weight,
            floor: settings.floor,
            limit,
        }
    }

    /// Whether hypotheses that end come in the order of their score, so that the first are the best.
    pub fn ordered(&self) -> bool {
        matches!(self.rank, Rank::Sum | Rank::Reward)
    }

    /// What a hypothesis is taken by: its own sum, with all the reward it can still earn.
    pub fn key(&self, sum: f64, length: usize, finished: bool) -> f64 {
        if self.rank != Rank::Reward {
            return sum;
        }
        let rewarded = if finished { length.min(self.reward_length) } else { self.reward_length };
        self.reward.mul_add(rewarded as f64, sum)
    }

    /// The score of a hypothesis as it stands.
    pub fn value(&self, node: &Node) -> f64 {
        match self.rank {
            Rank::Sum | Rank::Reward => self.key(node.sum, node.tokens.len(), true),
            Rank::LengthNormalised => self.penalty.score(node.sum, node.tokens.len()),
            Rank::MutualInformation => self.weight.mul_add(-node.other, node.sum),
        }
    }

    /// The best score that a hypothesis can still reach.
    pub fn bound(&self, node: &Node) -> f64 {
        if node.finished {
            return self.value(node);
        }
        let length = node.tokens.len();
        match self.rank {
            Rank::Sum | Rank::Reward => node.key,
            // Nothing has ended before the first token.
            Rank::LengthNormalised => self.penalty.bound(node.sum, length.max(1), self.limit),
            // A token adds at most a sure one that is as improbable as can be without the prompt.
            Rank::MutualInformation => {
                let rest = (self.limit - length) as f64;
                (self.weight * -self.floor).mul_add(rest, self.value(node))
            }
        }
    }
}
