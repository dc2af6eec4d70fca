//! Mirostat: a truncation that steers the surprise of the text.
//!
//! It keeps a bound `μ`, at first `2 τ`, on the surprise in bits; after each draw of surprise `S` it becomes `μ − η (S − τ)`.
//! Version 2 keeps the tokens with `−log₂ p ≤ μ`, at least one. Version 1 estimates the exponent `ŝ` of Zipf's law from the `m` most
//! probable tokens, `ŝ = Σ t b / Σ t²` with `t_i = ln((i + 1) / i)` and `b_i = ln(p_i / p_{i+1})`, and keeps the
//! `k = (ε̂ 2^μ / (1 − N^−ε̂))^(1/ŝ)` most probable, `ε̂ = ŝ − 1`, rounded down and at least one. It has to be the last stage.
//!
//! # Difference from the reference
//! The authors' code rounds `k` and adds one, and fixes N at 50,000; here `k` is that of llama.cpp and N the model's vocabulary.
//! The surprise is that of the authors' code by default, and that of llama.cpp by `surprise = renormalised`.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::registry::Method;
use crate::sample::{Candidates, Drawn, Role, SampleError, Sampler, Step};

harness_core::choice! {
    /// Which probability of the drawn token its surprise is taken from.
    pub enum Surprise {
        /// That of all candidates that the stage was given, as in the authors' code.
        Original = "original",
        /// That among the kept tokens, as in llama.cpp.
        Renormalised = "renormalised",
    }
}

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Version of the method, 1 or 2.
        version: usize = 2, Domain::closed(1.0, 2.0);
        /// The surprise aimed at, in bits.
        tau: f64 = 5.0, Domain::open(0.0, f64::INFINITY);
        /// Share of the error that is corrected at each step.
        eta: f64 = 0.1, Domain::open(0.0, f64::INFINITY);
        /// Most probable tokens that version 1 fits.
        m: usize = 100, Domain::closed(2.0, 1e9);
        /// Which probability of the drawn token its surprise is taken from.
        surprise: Surprise = Surprise::Original;
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "mirostat",
        axis: Axis::Sampler,
        about: "steers the surprise of the text towards a target",
        source: "Basu, Ramachandran, Keskar, Varshney: Mirostat, ICLR 2021",
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
    let settings = Settings::resolve(arm)?;
    let bound = 2.0 * settings.tau;
    Ok(Method::Sampler(Box::new(Mirostat { settings, bound, total: 0.0 })))
}

struct Mirostat {
    settings: Settings,
    /// Bound on the surprise, in bits.
    bound: f64,
    /// Logarithm of the sum of exponentials of the last step's candidates.
    total: f64,
}

impl Mirostat {
    fn count(&self, candidates: &mut Candidates) -> usize {
        let places = candidates.largest(self.settings.m);
        let logits = places.iter().map(|at| f64::from(candidates.logits()[*at as usize]));
        let logits: Vec<f64> = logits.collect();
        let (mut products, mut squares) = (0.0, 0.0);
        for (at, pair) in logits.windows(2).enumerate() {
            let t = ((at + 2) as f64 / (at + 1) as f64).ln();
            products += t * (pair[0] - pair[1]);
            squares += t * t;
        }
        let exponent = products / squares;
        let size = candidates.vocabulary() as f64;
        // Equal probabilities have exponent zero: the rank is not bounded.
        if exponent.is_nan() || exponent <= 1e-9 {
            return candidates.len();
        }
        let excess = exponent - 1.0;
        let factor = if excess.abs() < 1e-9 { 1.0 / size.ln() } else { excess / (1.0 - size.powf(-excess)) };
        (factor * self.bound.exp2()).powf(1.0 / exponent).clamp(1.0, candidates.len() as f64) as usize
    }
}

impl Sampler for Mirostat {
    fn role(&self) -> Role {
        Role::Last
    }

    fn apply(&mut self, candidates: &mut Candidates, _: &mut Step) -> Result<(), SampleError> {
        self.total = candidates.log_sum_exp();
        if self.settings.version == 1 {
            let count = self.count(candidates);
            candidates.keep_largest(count);
        } else {
            candidates.keep_probable((-self.bound).exp2());
        }
        Ok(())
    }

    fn drawn(&mut self, drawn: &Drawn) {
        let surprise = match self.settings.surprise {
            Surprise::Original => (self.total - f64::from(drawn.logit)) / std::f64::consts::LN_2,
            Surprise::Renormalised => -drawn.probability.log2(),
        };
        self.bound -= self.settings.eta * (surprise - self.settings.tau);
    }

    fn reset(&mut self) {
        self.bound = 2.0 * self.settings.tau;
    }
}
