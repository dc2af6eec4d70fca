//! Heads and channels of the smallest weights go.
//!
//! A group of heads, or a channel, scores `Σ |w|^power` over all weights that go with it: rows of queries, keys and values and columns of the
//! output map, or rows of gate and expansion and the column of the contraction.
//!
//! Source: the magnitude baseline of Ma et al., LLM-Pruner, 2023, with the coupled groups of that paper.
//!
//! # Difference from the reference
//! The powers 1 and 2, summed over a group; other reductions are those of `llm-pruner`. Where several query heads read one key-value head they are one
//! group with it.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};
use rand_chacha::ChaCha8Rng;

use crate::registry::Method;
use crate::shrink::{Shorter, Shrink, ShrinkError, Stack};
use crate::width::choice::by_magnitude;
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
        /// The power of a weight's size.
        power: usize = 1, Domain::closed(1.0, 2.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "magnitude-width",
        axis: Axis::Shrink,
        about: "removes the heads and channels of the smallest weights, as many of every block",
        source: "Ma et al.: LLM-Pruner: On the Structural Pruning of Large Language Models, 2023",
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
    let Settings { ratio, heads, channels, power } = Settings::resolve(arm)?;
    Ok(Method::Shrink(Box::new(MagnitudeWidth { going: Going::of(ratio, heads, channels)?, power })))
}

#[derive(Debug)]
struct MagnitudeWidth {
    going: Going,
    power: usize,
}

impl Shrink for MagnitudeWidth {
    fn shrink(&self, model: &mut dyn Stack, _: &mut ChaCha8Rng) -> Result<Shorter, ShrinkError> {
        by_magnitude(model, self.going, self.power as i32)
    }
}
