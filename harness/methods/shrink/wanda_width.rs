//! Heads and channels whose outputs are small go: Wanda's score, added up over whole columns.
//!
//! Column j of the output map or the contraction `W (N, K)`, whose inputs are `X (n, K)`, scores `mean_i |W_ij| · ‖X_j‖`; a group of heads scores
//! the sum over its columns. The lowest of each block go.
//!
//! Source: the structured baseline (Wanda-sp) of An et al., Fluctuation-based Adaptive Structured Pruning for Large Language Models, 2023, of the
//! score of Sun et al., A Simple and Effective Pruning Approach for Large Language Models, 2023.
//!
//! # Difference from the reference
//! Inputs are those of the whole model; the baseline's code recomputes them behind every pruned block. As many of each block go.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};
use rand_chacha::ChaCha8Rng;

use crate::registry::Method;
use crate::shrink::{Shorter, Shrink, ShrinkError, Stack};
use crate::width::choice::by_inputs;
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
        id: "wanda-width",
        axis: Axis::Shrink,
        about: "removes the heads and channels whose weights times inputs are smallest, as many of every block",
        source: "An et al.: Fluctuation-based Adaptive Structured Pruning for Large Language Models, 2023; Sun et al.: A Simple and Effective Pruning Approach for Large Language Models, 2023",
        version: 1,
        calibrated: true,
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
    let Settings { ratio, heads, channels } = Settings::resolve(arm)?;
    Ok(Method::Shrink(Box::new(WandaWidth { going: Going::of(ratio, heads, channels)? })))
}

#[derive(Debug)]
struct WandaWidth {
    going: Going,
}

impl Shrink for WandaWidth {
    fn needs_text(&self) -> bool {
        true
    }

    fn shrink(&self, model: &mut dyn Stack, _: &mut ChaCha8Rng) -> Result<Shorter, ShrinkError> {
        by_inputs(model, self.going)
    }
}
