//! StreamingLLM (Xiao et al., 2024): a query sees the first `S` keys and the newest `R` before it, at the distances they have when
//! those keys lie side by side, as in its cache: position `p` of `0 .. S + R`, the query at `S + R`.
//!
//! # Difference from the reference
//! Texts are read in parallel as its cache reads them token by token; the published code evicts after a forward pass, so that a prompt
//! of several tokens sees more. Keys are kept as computed, and those that no query sees are let go.

use std::ops::Range;

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};
use harness_kernels::reach::{Kept, Look, Reach};

use crate::position::window::{beyond, near, within};
use crate::position::{CachePolicy, Change, Kind, Position, PositionError, Scheme};
use crate::registry::Method;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// First keys that stay, `S`.
        sinks: usize = 4, Domain::closed(0.0, 1_073_741_824.0);
        /// Newest keys before the query, `R`; what the sinks leave of the trained length where it is not set.
        window: Option<usize> = None, Domain::closed(1.0, 1_073_741_824.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "streaming-llm",
        axis: Axis::Position,
        about: "lets queries see the first and the newest keys, side by side as in a cache",
        source: "Xiao et al., 2024, Efficient streaming language models with attention sinks, and its code",
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
    Ok(Method::Position(Box::new(Settings::resolve(arm)?)))
}

#[derive(Debug)]
struct Streaming {
    sinks: usize,
    window: usize,
}

impl Reach for Streaming {
    fn is_whole(&self, length: usize) -> bool {
        length <= self.sinks + self.window + 1
    }

    fn looks(&self, queries: Range<usize>) -> Vec<Look> {
        let Self { sinks, window } = *self;
        let held = sinks + window;
        // A query that is decoded stands at `S + R`, and the newest keys before it at `S ..`.
        let newest = near(queries.clone(), window + 1, queries.start.saturating_sub(held));
        let first = |i| 0..beyond(i, window + 1).min(sinks);
        vec![newest, Look::new(queries, first, |i| i.min(held) as f32, |j| j as f32)]
    }

    fn kept(&self) -> Option<Kept> {
        Some(Kept { first: self.sinks, last: self.window })
    }
}

impl Position for Settings {
    fn kind(&self) -> Kind {
        Kind::remap(&[Change::Mask, Change::Distances])
    }

    fn supports(&self, scheme: Scheme) -> bool {
        !matches!(scheme, Scheme::Learned | Scheme::StateSpace)
    }

    fn reach(&self, trained: usize) -> Result<Option<Box<dyn Reach>>, PositionError> {
        within("sinks", self.sinks, 0..trained, "sinks and window share the trained length")?;
        let rest = trained - self.sinks;
        let window = self.window.unwrap_or(rest);
        within("window", window, 1..rest + 1, "with the sinks it must not exceed the trained length")?;
        Ok(Some(Box::new(Streaming { sinks: self.sinks, window })))
    }

    fn cache_policy(&self) -> CachePolicy {
        CachePolicy::Unrotated
    }
}
