//! What basis-aware samplers share: which tokens are kept for a `τ` that each finds in its own way.

use super::head::Basis;
use super::support::{Support, Verdict};
use crate::sample::{Candidates, Role, SampleError, Step, slack};

harness_core::choice! {
    /// How the support is used.
    pub enum Mode {
        /// Draws from what it is given, without replacement, until a draw is in the support.
        Retry = "retry",
        /// Tests every token and keeps the support.
        Exact = "exact",
    }
}

/// The part of a basis-aware sampler that does not depend on its threshold.
#[derive(Debug, Clone)]
pub struct Chooser {
    directions: usize,
    mode: Mode,
    retries: usize,
    undecided: usize,
}

impl Chooser {
    /// In some directions of the head.
    pub fn new(directions: usize, mode: Mode, retries: usize) -> Self {
        Self { directions, mode, retries, undecided: 0 }
    }

    /// In retry mode the token is chosen here.
    pub fn role(&self) -> Role {
        match self.mode {
            Mode::Retry => Role::Last,
            Mode::Exact => Role::Truncation,
        }
    }

    /// Directions it needs; without any it is a plain threshold and needs no head.
    pub fn needs_basis(&self) -> Option<usize> {
        (self.directions > 0).then_some(self.directions)
    }

    /// Tests that were left open by the accuracy of numbers; their tokens were kept.
    pub fn undecided(&self) -> usize {
        self.undecided
    }

    /// Keeps the tokens in the support at `tau`, or in retry mode the first one drawn of them; the most probable token where
    /// there is none.
    ///
    /// # Errors
    /// [`SampleError::NoHead`] and [`SampleError::OtherHead`].
    pub fn apply(&mut self, tau: f64, candidates: &mut Candidates, step: &mut Step) -> Result<(), SampleError> {
        let basis = self.basis(candidates, step)?;
        let bound = candidates.log_sum_exp() + tau.ln();
        let bound = bound - slack(bound);
        let above: Vec<bool> = candidates.logits().iter().map(|logit| f64::from(*logit) >= bound).collect();
        let probabilities = candidates.probabilities();
        let mut support = None;
        let mut passes = |at: usize, candidates: &Candidates| {
            above[at]
                || basis.is_some_and(|basis| {
                    let support = support.get_or_insert_with(|| {
                        let mut whole = vec![0.0; candidates.vocabulary()];
                        probabilities.iter().enumerate().for_each(|(at, p)| whole[candidates.id(at) as usize] = *p);
                        Support::new(basis, self.directions, whole)
                    });
                    match support.test(candidates.id(at), tau) {
                        Verdict::In { .. } => true,
                        Verdict::Out { .. } => false,
                        Verdict::Undecided { .. } => {
                            self.undecided += 1;
                            true
                        }
                    }
                })
        };
        let kept: Vec<u32> = match self.mode {
            Mode::Exact => (0..candidates.len()).filter(|at| passes(*at, candidates)).map(|at| at as u32).collect(),
            Mode::Retry => {
                let mut left = probabilities.clone();
                let mut drawn = None;
                for _ in 0..self.retries {
                    let Some(at) = draw(&left, (step.uniform)()) else { break };
                    if passes(at, candidates) {
                        drawn = Some(at as u32);
                        break;
                    }
                    left[at] = 0.0;
                }
                drawn.into_iter().collect()
            }
        };
        let kept = if kept.is_empty() { vec![candidates.argmax() as u32] } else { kept };
        candidates.keep_places(&kept);
        candidates.compared_with(tau);
        Ok(())
    }

    fn basis<'a>(&self, candidates: &Candidates, step: &Step<'a>) -> Result<Option<&'a Basis>, SampleError> {
        let Some(directions) = self.needs_basis() else { return Ok(None) };
        let basis = step.basis.filter(|basis| basis.directions() >= directions);
        let basis = basis.ok_or(SampleError::NoHead { directions })?;
        if basis.vocabulary() != candidates.vocabulary() {
            return Err(SampleError::OtherHead { head: basis.vocabulary(), vocabulary: candidates.vocabulary() });
        }
        Ok(Some(basis))
    }
}

/// The place of the first weight with which the sum exceeds a share of the whole; `None` when nothing has weight.
fn draw(weights: &[f64], share: f64) -> Option<usize> {
    let target = share * weights.iter().sum::<f64>();
    let mut sum = 0.0;
    let mut last = None;
    for (at, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
        sum += weight;
        last = Some(at);
        if sum > target {
            break;
        }
    }
    last
}
