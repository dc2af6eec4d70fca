//! The step probe: what a chain leaves of given distributions, beside the model's own and the true one.

use harness_methods::sample::{Candidates, Chain, Past};

use crate::sampling::recipe::Recipe;

/// Edges of the bins of the true entropy, in nats; the last bin is open.
pub const ENTROPY_EDGES: [f64; 9] = [0.0, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0];

/// Sums against the truth.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TruthSums {
    /// Steps.
    pub steps: usize,
    /// Shares of the kept tokens that the language allows.
    pub precision: f64,
    /// Shares of the allowed tokens that are kept.
    pub recall: f64,
    /// Probability given to tokens that the language does not allow.
    pub wrong: f64,
    /// True probability of the tokens that were removed.
    pub cut: f64,
    /// Total variation distance from the truth.
    pub distance: f64,
    /// KL divergence from the truth of what is left on allowed tokens, in nats.
    pub divergence: f64,
    /// Total variation distance from the truth of the model's distribution cut to the allowed tokens.
    pub oracle: f64,
}

/// What the steps of one window gave, summed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StepSums {
    /// Steps.
    pub steps: usize,
    /// Tokens kept.
    pub kept: f64,
    /// The model's probability of the kept tokens.
    pub mass: f64,
    /// Total variation distance from the model's distribution.
    pub moved: f64,
    /// Entropies of what is left, in nats.
    pub entropy: f64,
    /// Tokens of the text that were not kept.
    pub rejected: usize,
    /// Against the truth, where it is known, in all and by bins of the true entropy.
    pub truth: TruthSums,
    /// By [`ENTROPY_EDGES`].
    pub bins: [TruthSums; ENTROPY_EDGES.len()],
}

/// A step: the model's logits, its probabilities, the truth, and the text.
pub struct Given<'a> {
    /// Logits, one a token of the vocabulary.
    pub logits: &'a [f32],
    /// Their probabilities at temperature 1.
    pub model: &'a [f64],
    /// The true distribution, where it is known; shorter than the vocabulary where the model has more tokens.
    pub truth: Option<&'a [f64]>,
    /// The text before the step.
    pub past: &'a [u32],
    /// The token that the text goes on with.
    pub next: u32,
}

/// Applies a chain to the steps of one window. Every step is the first of a sequence: what a stage would learn from
/// draws does not count.
///
/// # Errors
/// The step and why it cannot be taken.
pub fn apply<'a>(recipe: &Recipe, window: usize, steps: impl Iterator<Item = Given<'a>>) -> Result<StepSums, String> {
    let mut chain = recipe.chain(&format!("window {window}"))?;
    let mut sums = StepSums::default();
    for (at, given) in steps.enumerate() {
        chain.reset();
        step(&mut chain, &given, &mut sums).map_err(|error| format!("window {window}, step {at}: {error}"))?;
    }
    Ok(sums)
}

fn step(chain: &mut Chain, given: &Given, sums: &mut StepSums) -> Result<(), harness_methods::sample::SampleError> {
    let candidates = chain.apply(given.logits, Past { prompt: given.past, generated: &[] })?;
    let left = left(candidates, given.model.len());
    sums.steps += 1;
    sums.kept += candidates.len() as f64;
    sums.entropy += candidates.entropy();
    sums.rejected += usize::from(candidates.place(given.next).is_none());
    for (q, p) in left.iter().zip(given.model) {
        sums.mass += if q.is_some() { *p } else { 0.0 };
        sums.moved += (q.unwrap_or(0.0) - p).abs() / 2.0;
    }
    if let Some(truth) = given.truth {
        let found = against(&left, given.model, truth);
        let entropy: f64 = truth.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum();
        let bin = ENTROPY_EDGES.iter().rposition(|edge| *edge <= entropy).unwrap_or(0);
        sums.truth.add(&found);
        sums.bins[bin].add(&found);
    }
    Ok(())
}

/// The probability of each token that is left; `None` where it was removed.
fn left(candidates: &mut Candidates, vocabulary: usize) -> Vec<Option<f64>> {
    let mut left = vec![None; vocabulary];
    for (id, p) in candidates.ids().into_iter().zip(candidates.probabilities()) {
        left[id as usize] = Some(p);
    }
    left
}

fn against(left: &[Option<f64>], model: &[f64], truth: &[f64]) -> TruthSums {
    let mut found = TruthSums { steps: 1, ..TruthSums::default() };
    let (mut kept, mut allowed, mut both) = (0.0, 0.0, 0.0);
    let legal: f64 = left.iter().zip(truth).filter(|(_, t)| **t > 0.0).filter_map(|(q, _)| *q).sum();
    let support: f64 = model.iter().zip(truth).filter(|(_, t)| **t > 0.0).map(|(p, _)| p).sum();
    for (token, (q, p)) in left.iter().zip(model).enumerate() {
        let t = truth.get(token).copied().unwrap_or(0.0);
        kept += f64::from(u8::from(q.is_some()));
        allowed += f64::from(u8::from(t > 0.0));
        both += f64::from(u8::from(q.is_some() && t > 0.0));
        let q = q.unwrap_or_else(|| {
            found.cut += t;
            0.0
        });
        found.wrong += if t > 0.0 { 0.0 } else { q };
        found.distance += (q - t).abs() / 2.0;
        if t > 0.0 {
            found.oracle += (p / support - t).abs() / 2.0;
            if q > 0.0 {
                found.divergence += q / legal * (q / legal / t).ln();
            }
        }
    }
    found.precision = both / kept;
    found.recall = both / allowed;
    found
}

impl TruthSums {
    fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.precision += other.precision;
        self.recall += other.recall;
        self.wrong += other.wrong;
        self.cut += other.cut;
        self.distance += other.distance;
        self.divergence += other.divergence;
        self.oracle += other.oracle;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use harness_core::Arm;

    use super::*;

    /// The example of the card of support recovery.
    #[test]
    fn the_worked_example_of_support_recovery() {
        let truth = [0.5, 0.3, 0.2, 0.0, 0.0];
        let model = [0.45, 0.25, 0.18, 0.08, 0.04];
        let logits: Vec<f32> = model.iter().map(|p: &f64| p.ln() as f32).collect();
        let sums = |text: &str| {
            let given = Given { logits: &logits, model: &model, truth: Some(&truth), past: &[], next: 3 };
            let recipe = Recipe { arms: Arm::parse_chain(text).unwrap(), seed: 1, basis: None };
            apply(&recipe, 0, std::iter::once(given)).unwrap()
        };
        let near = |found: f64, wanted: f64| assert!((found - wanted).abs() < 1e-6, "{found} for {wanted}");
        for text in ["min-p(p=0.2)", "top-p(p=0.8)"] {
            let found = sums(text);
            near(found.truth.precision, 1.0);
            near(found.truth.recall, 1.0);
            near(found.truth.distance, 0.015_909);
            near(found.truth.oracle, 0.015_909);
            near(found.mass, 0.88);
            assert_eq!((found.rejected, found.kept), (1, 3.0));
        }
        let found = sums("epsilon(epsilon=0.05)");
        near(found.truth.precision, 0.75);
        near(found.truth.recall, 1.0);
        near(found.truth.wrong, 0.083_333);
        near(found.truth.distance, 0.083_333);
        assert_eq!(found.rejected, 0);
        let found = sums("top-k(k=2)");
        near(found.truth.cut, 0.2);
        near(found.truth.recall, 2.0 / 3.0);
        // The entropy of the truth is 1.03 nats.
        assert_eq!(found.bins[3].steps, 1);
    }
}
