//! The last blocks go: the simplest way to a shorter model, which looks at nothing.
//!
//! # Difference from the reference
//! A control without a publication. Exactly ⌊share · blocks⌋ go, or as many as `blocks` says.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};
use rand_chacha::ChaCha8Rng;

use crate::registry::Method;
use crate::shrink::{Removal, Shorter, Shrink, ShrinkError, Stack};

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Blocks that are removed.
        blocks: Option<usize> = None, Domain::closed(0.0, 65536.0);
        /// Share of the blocks that is removed, rounded down; 0.25 when neither it nor a number is set.
        share: Option<f64> = None, Domain::half_open(0.0, 1.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "drop-last",
        axis: Axis::Shrink,
        about: "removes the last blocks, whatever they do",
        source: "control",
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
    Ok(Method::Shrink(Box::new(DropLast(Removal::of(settings.blocks, settings.share)?))))
}

#[derive(Debug)]
struct DropLast(Removal);

impl Shrink for DropLast {
    fn shrink(&self, model: &mut dyn Stack, _: &mut ChaCha8Rng) -> Result<Shorter, ShrinkError> {
        let blocks = model.blocks();
        Ok(Shorter::of_blocks(0..blocks - self.0.count(blocks)?))
    }
}
