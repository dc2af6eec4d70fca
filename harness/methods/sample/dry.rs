//! DRY, don't repeat yourself: tokens that would lengthen a repetition lose the more the longer it is.
//!
//! For every earlier place of the past, the longest common suffix with the whole past, as far back as the last sequence breaker, is a
//! repetition; the token after it would lengthen it. Of a token's repetitions the longest, `r`, counts: from `allowed` on its logit loses
//! `multiplier · base^(r − allowed)`. Breakers themselves lose nothing. All lengths are found in time linear in the past by the
//! Z-algorithm on the reversed past.
//!
//! # Difference from the reference
//! Breakers are single tokens, `breakers` lists their ids separated by spaces; llama.cpp also takes texts of several tokens.

use std::collections::BTreeMap;

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::registry::Method;
use crate::sample::{Candidates, Role, SampleError, Sampler, Step, token_list};

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Factor of the penalty; 0 changes nothing.
        multiplier: f64 = 0.0, Domain::half_open(0.0, f64::INFINITY);
        /// What the penalty grows by for each token of the repetition.
        base: f64 = 1.75, Domain::half_open(1.0, f64::INFINITY);
        /// Length of repetition that is penalised first.
        allowed: usize = 2, Domain::closed(1.0, 1e9);
        /// Tokens of the past that count, the latest ones; -1 for all.
        last_n: i64 = -1, Domain::closed(-1.0, 9e15);
        /// Tokens that end a repetition, ids separated by spaces.
        breakers: String = String::new();
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "dry",
        axis: Axis::Sampler,
        about: "takes the more off a token the longer the repetition it would lengthen",
        source: "text-generation-webui (p-e-w, 2024); llama.cpp, sampler dry",
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
/// A parameter that does not fit.
pub fn build(arm: &Arm) -> Result<Method, ParameterError> {
    let Settings { multiplier, base, allowed, last_n, breakers } = Settings::resolve(arm)?;
    let breakers = token_list("breakers", &breakers)?;
    Ok(Method::Sampler(Box::new(Dry { multiplier, base, allowed, last_n, breakers })))
}

struct Dry {
    multiplier: f64,
    base: f64,
    allowed: usize,
    last_n: i64,
    breakers: Vec<u32>,
}

impl Dry {
    /// The longest repetition that each token would lengthen, by token.
    fn repetitions(&self, past: &[u32]) -> BTreeMap<u32, usize> {
        let reversed: Vec<u32> = past.iter().rev().copied().collect();
        let free = reversed.iter().take_while(|token| !self.breakers.contains(token)).count();
        let mut longest = BTreeMap::new();
        for (distance, length) in common_prefixes(&reversed).into_iter().enumerate().skip(1) {
            let length = length.min(free);
            let next = reversed[distance - 1];
            if length >= self.allowed && !self.breakers.contains(&next) {
                let known = longest.entry(next).or_insert(0);
                *known = length.max(*known);
            }
        }
        longest
    }
}

/// How long the sequence's beginning is repeated at each place (Z-algorithm).
fn common_prefixes(of: &[u32]) -> Vec<usize> {
    let mut lengths = vec![0; of.len()];
    let (mut left, mut right) = (0, 0);
    for at in 1..of.len() {
        let known = if at < right { lengths[at - left].min(right - at) } else { 0 };
        let more = of[known..].iter().zip(&of[at + known..]).take_while(|(a, b)| a == b).count();
        lengths[at] = known + more;
        if at + lengths[at] > right {
            (left, right) = (at, at + lengths[at]);
        }
    }
    lengths
}

impl Sampler for Dry {
    fn role(&self) -> Role {
        Role::Penalty
    }

    fn apply(&mut self, candidates: &mut Candidates, step: &mut Step) -> Result<(), SampleError> {
        if self.multiplier > 0.0 {
            // A power that f32 cannot hold would make the loss infinite.
            let most = f64::from(f32::MAX).ln() / self.base.ln().max(f64::MIN_POSITIVE);
            for (token, length) in self.repetitions(&step.past.recent(self.last_n)) {
                let power = self.base.powf(((length - self.allowed) as f64).min(most));
                let loss = (self.multiplier * power).min(f64::from(f32::MAX)) as f32;
                candidates.change(token, |logit| (logit - loss).max(f32::MIN));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lengths_are_those_of_a_plain_search(past in prop::collection::vec(0u32..3, 0..60), breaker in 0u32..4, allowed in 1usize..4) {
            let dry = Dry { multiplier: 1.0, base: 2.0, allowed, last_n: -1, breakers: vec![breaker] };
            let mut wanted: BTreeMap<u32, usize> = BTreeMap::new();
            let end = past.len();
            for place in 0..end.saturating_sub(1) {
                let mut length = 0;
                while length <= place && past[place - length] == past[end - 1 - length] && past[end - 1 - length] != breaker {
                    length += 1;
                }
                let next = past[place + 1];
                if length >= allowed && next != breaker {
                    let known = wanted.entry(next).or_insert(0);
                    *known = length.max(*known);
                }
            }
            prop_assert_eq!(dry.repetitions(&past), wanted);
        }
    }
}
