//! Top-h: the most probable tokens up to a share of the entropy.
//!
//! Of the 100 most probable tokens, renormalised, those at which the sum of `−p ln p` has not passed `h` times their entropy; the first
//! always.
//!
//! # Difference from the reference
//! The rule of transformers, which approximates a search for the set of largest probability below an entropy. Of equal logits the
//! lower ids come first.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::registry::Method;
use crate::sample::{Candidates, Role, SampleError, Sampler, Step};

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Share of the entropy that is kept.
        h: f64 = 0.4, Domain::above(0.0, 1.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "top-h",
        axis: Axis::Sampler,
        about: "keeps the most probable tokens up to a share of the entropy",
        source: "Potraghloo, Azizi, Kundu, Pedram: Top-H Decoding, NeurIPS 2025",
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
    Ok(Method::Sampler(Box::new(TopH(Settings::resolve(arm)?))))
}

/// Tokens that are looked at.
const CONSIDERED: usize = 100;

struct TopH(Settings);

impl Sampler for TopH {
    fn role(&self) -> Role {
        Role::Truncation
    }

    fn apply(&mut self, candidates: &mut Candidates, _: &mut Step) -> Result<(), SampleError> {
        let places = candidates.largest(CONSIDERED);
        let first = f64::from(candidates.logits()[places[0] as usize]);
        let weights = places.iter().map(|at| (f64::from(candidates.logits()[*at as usize]) - first).exp());
        let weights: Vec<f64> = weights.collect();
        let total: f64 = weights.iter().sum();
        let surprises = weights.iter().map(|weight| weight / total).map(|p| if p > 0.0 { -p * p.ln() } else { 0.0 });
        let surprises: Vec<f64> = surprises.collect();
        // Rounding must not cut a set that the share reaches exactly.
        let bound = self.0.h * surprises.iter().sum::<f64>() * (1.0 + 1e-12);
        let mut sum = 0.0;
        let within = surprises.iter().take_while(|surprise| {
            sum += **surprise;
            sum <= bound
        });
        let count = within.count().max(1);
        candidates.keep_largest(count);
        Ok(())
    }
}
