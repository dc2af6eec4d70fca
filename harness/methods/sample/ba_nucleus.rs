//! Basis-aware nucleus sampling: BAT with the threshold of top-p.
//!
//! `τ` is the probability of the last token that top-p keeps, in the test of `bat`, which see.
//!
//! With `mode = retry` it draws up to `retries` tokens without replacement, takes the first in the support, and the most probable one
//! where none is; it then chooses the token itself and stands last. `mode = exact` keeps the whole support, at one linear program
//! a token below `τ`: for small vocabularies. `p̂` has to be the distribution of the model itself, so no temperature, penalty or bias
//! may stand before it.
//!
//! # Difference from the reference
//! That of `bat`. Tokens as probable as the last of the nucleus are kept with it.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::registry::Method;
use crate::sample::basis::{Chooser, Mode};
use crate::sample::{Candidates, Role, SampleError, Sampler, Step};

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// The share of the probability.
        p: f64 = 0.35, Domain::above(0.0, 1.0);
        /// First right singular vectors of the head that a token is judged by; 0 is a plain threshold.
        directions: usize = 20, Domain::closed(0.0, 1e6);
        /// Whether it draws until a token is in the support, or keeps the support.
        mode: Mode = Mode::Retry;
        /// Draws at most, in retry mode.
        retries: usize = 10, Domain::closed(1.0, 1e9);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "ba-nucleus",
        axis: Axis::Sampler,
        about: "top-p that keeps what the basis of the head proves below its last token",
        source: "Finlayson, Hewitt, Koller, Swayamdipta, Sabharwal: Closing the Curious Case of Neural Text Degeneration, ICLR 2024",
        version: 1,
        calibrated: false,
        random: true,
        parameters: Settings::specs(),
        check: |arm| build(arm).map(drop),
    }
}

/// Makes it.
///
/// # Errors
/// A parameter that does not fit.
pub fn build(arm: &Arm) -> Result<Method, ParameterError> {
    let Settings { p, directions, mode, retries } = Settings::resolve(arm)?;
    Ok(Method::Sampler(Box::new(BasisAwareNucleus { p, chooser: Chooser::new(directions, mode, retries) })))
}

struct BasisAwareNucleus {
    p: f64,
    chooser: Chooser,
}

impl Sampler for BasisAwareNucleus {
    fn role(&self) -> Role {
        self.chooser.role()
    }

    fn needs_basis(&self) -> Option<usize> {
        self.chooser.needs_basis()
    }

    fn undecided(&self) -> usize {
        self.chooser.undecided()
    }

    fn apply(&mut self, candidates: &mut Candidates, step: &mut Step) -> Result<(), SampleError> {
        let last = candidates.last_of_share(self.p);
        let tau = (last - candidates.log_sum_exp()).exp();
        self.chooser.apply(tau.min(1.0), candidates, step)
    }
}
