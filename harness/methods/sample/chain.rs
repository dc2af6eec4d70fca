//! A chain of samplers, from logits to a token.

use std::sync::Arc;

use harness_core::Arm;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use crate::registry::{self, BuildError};
use crate::sample::basis::Basis;
use crate::sample::{Candidates, Drawn, Past, Role, SampleError, Sampler, Step};

/// Samplers one after the other. A chain serves one sequence at a time.
pub struct Chain {
    stages: Vec<Box<dyn Sampler>>,
    candidates: Candidates,
    stage_numbers: ChaCha8Rng,
    draw_numbers: ChaCha8Rng,
    basis: Option<Arc<Basis>>,
}

/// Why arms make no chain.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ChainError {
    /// An arm cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A stage behind one that chooses by itself.
    #[error("`{stage}` stands behind `{last}`, which chooses the token itself; put `{last}` last")]
    AfterLast {
        /// The stage that could not act.
        stage: String,
        /// The one that has to be last.
        last: String,
    },
    /// Two temperatures.
    #[error("`{first}` and `{second}` both divide the logits; a chain has one temperature")]
    TwoTemperatures {
        /// The first.
        first: String,
        /// The second.
        second: String,
    },
    /// A stage that has to see the model's own distribution does not.
    #[error(
        "`{stage}` judges the model's own distribution by its head, and `{before}` before it changes that; leave `{before}` out, \
         or put it behind `{stage}` in mode = exact"
    )]
    Changed {
        /// The stage that changes logits.
        before: String,
        /// The one that judges by the head.
        stage: String,
    },
    /// The basis of the head is too small.
    #[error("the chain judges tokens by {needed} directions of the model's head; the basis has {found}")]
    Directions {
        /// Directions needed.
        needed: usize,
        /// Directions given.
        found: usize,
    },
}

/// A step as it was taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice {
    /// The token.
    pub drawn: Drawn,
    /// How many candidates were left.
    pub kept: usize,
    /// Entropy of what was left, in nats.
    pub entropy: f64,
}

impl Chain {
    /// Builds the stages in their order; no arms make a chain that draws from the model's own distribution. The
    /// position of a temperature among them is as it is written.
    ///
    /// # Errors
    /// A [`ChainError`].
    pub fn build(arms: &[Arm], seed: u64, sequence: &str) -> Result<Self, ChainError> {
        let mut stages: Vec<Box<dyn Sampler>> = Vec::with_capacity(arms.len());
        let mut temperature: Option<String> = None;
        let mut changed: Option<String> = None;
        for (at, arm) in arms.iter().enumerate() {
            let stage = registry::sampler(arm)?;
            if let Some(last) = at.checked_sub(1).filter(|before| stages[*before].role() == Role::Last) {
                return Err(ChainError::AfterLast { stage: arm.to_string(), last: arms[last].to_string() });
            }
            if let Some(before) = changed.as_ref().filter(|_| stage.needs_basis().is_some()) {
                return Err(ChainError::Changed { before: before.clone(), stage: arm.to_string() });
            }
            if matches!(stage.role(), Role::Temperature | Role::Penalty) && changed.is_none() {
                changed = Some(arm.to_string());
            }
            if stage.role() == Role::Temperature {
                if let Some(first) = temperature {
                    return Err(ChainError::TwoTemperatures { first, second: arm.to_string() });
                }
                temperature = Some(arm.to_string());
            }
            stages.push(stage);
        }
        let stream = |what| harness_core::seed::stream(seed, &["sampler", what, sequence]);
        Ok(Self {
            stages,
            candidates: Candidates::default(),
            stage_numbers: stream("stages"),
            draw_numbers: stream("draws"),
            basis: None,
        })
    }

    /// How many directions of the model's head its stages judge tokens by, if any does.
    pub fn directions(&self) -> Option<usize> {
        self.stages.iter().filter_map(|stage| stage.needs_basis()).max()
    }

    /// With the basis of the model's head, of at least [`Self::directions`] directions. Chains share one.
    ///
    /// # Errors
    /// [`ChainError::Directions`].
    pub fn with_basis(mut self, basis: &Arc<Basis>) -> Result<Self, ChainError> {
        let (needed, found) = (self.directions().unwrap_or(0), basis.directions());
        if needed > found {
            return Err(ChainError::Directions { needed, found });
        }
        self.basis = Some(basis.clone());
        Ok(self)
    }

    /// Tokens that the accuracy of numbers did not let the stages judge so far, and that they kept.
    pub fn undecided(&self) -> usize {
        self.stages.iter().map(|stage| stage.undecided()).sum()
    }

    /// Runs every stage over a row of logits; what is left can be read from the candidates.
    ///
    /// # Errors
    /// A [`SampleError`].
    pub fn apply(&mut self, logits: &[f32], past: Past) -> Result<&mut Candidates, SampleError> {
        self.candidates.load(logits)?;
        let numbers = &mut self.stage_numbers;
        let mut step = Step { past, uniform: &mut || uniform(numbers), basis: self.basis.as_deref() };
        for stage in &mut self.stages {
            stage.apply(&mut self.candidates, &mut step)?;
        }
        Ok(&mut self.candidates)
    }

    /// The next token.
    ///
    /// # Errors
    /// A [`SampleError`].
    pub fn next(&mut self, logits: &[f32], past: Past) -> Result<Drawn, SampleError> {
        self.apply(logits, past)?;
        // One number a step, whatever is left to choose from, so that chains are paired.
        let number = uniform(&mut self.draw_numbers);
        let drawn = self.candidates.draw(number);
        self.stages.iter_mut().for_each(|stage| stage.drawn(&drawn));
        Ok(drawn)
    }

    /// The next token, and what it was chosen from.
    ///
    /// # Errors
    /// A [`SampleError`].
    pub fn choose(&mut self, logits: &[f32], past: Past) -> Result<Choice, SampleError> {
        let drawn = self.next(logits, past)?;
        Ok(Choice { drawn, kept: self.candidates.len(), entropy: self.candidates.entropy() })
    }

    /// What the last step left.
    pub fn candidates(&mut self) -> &mut Candidates {
        &mut self.candidates
    }

    /// Has the thresholds of all stages told as probabilities, see [`Candidates::threshold`].
    pub fn explain(&mut self) {
        self.candidates.explain();
    }

    /// Forgets the sequence; the random numbers go on.
    pub fn reset(&mut self) {
        self.stages.iter_mut().for_each(|stage| stage.reset());
    }
}

/// A number in [0, 1) of 53 bits.
pub(crate) fn uniform(numbers: &mut ChaCha8Rng) -> f64 {
    (numbers.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}
