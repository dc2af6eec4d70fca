//! A distribution over the tokens that are left of a row, and what speculative sampling does with two of them.

use crate::sample::Candidates;

/// Tokens and their probabilities, by rising id; the probabilities add up to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Law {
    ids: Vec<u32>,
    probabilities: Vec<f64>,
}

impl Law {
    /// What is left of a row.
    pub fn of(candidates: &mut Candidates) -> Self {
        Self { ids: candidates.ids(), probabilities: candidates.probabilities() }
    }

    /// Weights by token id; those at zero are left out.
    pub fn from_weights(weights: &[f64]) -> Self {
        let total: f64 = weights.iter().sum();
        let (ids, probabilities) =
            weights.iter().zip(0..).filter(|(weight, _)| **weight > 0.0).map(|(w, id)| (id, w / total)).unzip();
        Self { ids, probabilities }
    }

    /// The probability of a token.
    pub fn probability(&self, token: u32) -> f64 {
        self.ids.binary_search(&token).map_or(0.0, |at| self.probabilities[at])
    }

    /// The first token whose cumulative probability exceeds a number in [0, 1).
    pub fn draw(&self, uniform: f64) -> u32 {
        let mut sum = 0.0;
        for (id, probability) in self.ids.iter().zip(&self.probabilities) {
            sum += probability;
            if sum > uniform {
                return *id;
            }
        }
        // Rounding may leave the number a hair above the last sum.
        let last = self.probabilities.iter().rposition(|probability| *probability > 0.0).unwrap_or(0);
        self.ids[last]
    }

    /// The probability with which a token drawn from `draft` is accepted, `min(1, p / q)`.
    pub fn acceptance(&self, draft: &Self, token: u32) -> f64 {
        let drawn = draft.probability(token);
        if drawn > 0.0 { (self.probability(token) / drawn).min(1.0) } else { 0.0 }
    }

    /// `Σ min(p, q)`: the chance that a token drawn from `draft` is accepted.
    pub fn overlap(&self, draft: &Self) -> f64 {
        self.ids.iter().zip(&self.probabilities).map(|(id, p)| p.min(draft.probability(*id))).sum()
    }

    /// What a rejected token is replaced from: `(p − q)₊` normalised. Two equal laws, of which nothing can be rejected
    /// but by rounding, leave the law itself.
    #[must_use]
    pub fn residual(&self, draft: &Self) -> Self {
        let rest: Vec<f64> =
            self.ids.iter().zip(&self.probabilities).map(|(id, p)| (p - draft.probability(*id)).max(0.0)).collect();
        let total: f64 = rest.iter().sum();
        if total <= 0.0 {
            return self.clone();
        }
        Self { ids: self.ids.clone(), probabilities: rest.into_iter().map(|weight| weight / total).collect() }
    }
}

/// Tokens a round gives on average when every draft is accepted with chance `acceptance`,
/// `(1 − β^{γ+1}) / (1 − β)`.
pub fn tokens_a_round(acceptance: f64, drafted: usize) -> f64 {
    (0..=drafted).map(|accepted| acceptance.powi(i32::try_from(accepted).unwrap_or(i32::MAX))).sum()
}
