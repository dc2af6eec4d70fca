//! Blocks drawn at random go: the control that shows what choosing blocks is worth.
//!
//! Every block draws a uniform score and the lowest go, so that each set of the right size is as likely as any other, and at one seed
//! fewer removed blocks are among more removed ones.
//!
//! # Difference from the reference
//! A control without a publication. `ends = false` keeps the first and the last block, which most methods would.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};
use rand_chacha::ChaCha8Rng;

use crate::registry::random::scores;
use crate::registry::Method;
use crate::shrink::{Removal, Shorter, Shrink, ShrinkError, Stack, without_lowest};

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Blocks that are removed.
        blocks: Option<usize> = None, Domain::closed(0.0, 65536.0);
        /// Share of the blocks that is removed, rounded down; 0.25 when neither it nor a number is set.
        share: Option<f64> = None, Domain::half_open(0.0, 1.0);
        /// Whether the first and the last block can be drawn too.
        ends: bool = true;
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "random-blocks",
        axis: Axis::Shrink,
        about: "removes blocks drawn at random, exactly as many as asked for",
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
    let settings = Settings::resolve(arm)?;
    let removal = Removal::of(settings.blocks, settings.share)?;
    Ok(Method::Shrink(Box::new(RandomBlocks { removal, ends: settings.ends })))
}

#[derive(Debug)]
struct RandomBlocks {
    removal: Removal,
    ends: bool,
}

impl Shrink for RandomBlocks {
    fn shrink(&self, model: &mut dyn Stack, random: &mut ChaCha8Rng) -> Result<Shorter, ShrinkError> {
        let blocks = model.blocks();
        let spared = usize::from(!self.ends);
        let (most, why) = if self.ends {
            (blocks.saturating_sub(1), "a model has at least one block")
        } else {
            (blocks.saturating_sub(2), "the first and the last block stay; set `ends = true`")
        };
        let count = self.removal.count_of(blocks, most, why)?;
        let drawn = scores(blocks, random);
        let stay = without_lowest(&drawn, spared..blocks.saturating_sub(spared), count, "the score")?;
        Ok(Shorter::of_blocks(stay))
    }
}
