//! Heads and channels drawn at random go: the control that shows what choosing them is worth.
//!
//! Every group of heads and every channel draws a uniform score and the lowest of each block go, so that each set of the right size is as
//! likely as any other, and at one seed fewer removed units are among more removed ones.
//!
//! # Difference from the reference
//! A control without a publication.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};
use rand_chacha::ChaCha8Rng;

use crate::registry::Method;
use crate::shrink::{Shorter, Shrink, ShrinkError, Stack};
use crate::width::choice::at_random;
use crate::width::units::Going;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Share of the key-value heads, each with its query heads, and of the channels of every block that goes, rounded down; 0.25
        /// when neither it nor a number is set.
        ratio: Option<f64> = None, Domain::half_open(0.0, 1.0);
        /// Query heads of every block that go, whole groups of those that share keys and values.
        heads: Option<usize> = None, Domain::closed(0.0, 65536.0);
        /// Channels of every block's feed-forward part that go.
        channels: Option<usize> = None, Domain::closed(0.0, 16_777_216.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "random-width",
        axis: Axis::Shrink,
        about: "removes heads and channels drawn at random, as many of every block",
        source: "control",
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
    let Settings { ratio, heads, channels } = Settings::resolve(arm)?;
    Ok(Method::Shrink(Box::new(RandomWidth { going: Going::of(ratio, heads, channels)? })))
}

#[derive(Debug)]
struct RandomWidth {
    going: Going,
}

impl Shrink for RandomWidth {
    fn shrink(&self, model: &mut dyn Stack, random: &mut ChaCha8Rng) -> Result<Shorter, ShrinkError> {
        at_random(model, self.going, random)
    }
}
