//! Self-Extend (Jin et al., 2024): keys less than `W` before a query at their own distances; the others in groups of `G` positions that share
//! one, `⌊i/G⌋ − ⌊j/G⌋ + W − W/G`, so that no distance exceeds those of training up to `(L − W) G + W` positions.
//!
//! # Difference from the reference
//! None in the distances. `W` must be a multiple of `G`: the published code divides and gets fractions of positions otherwise. Longer texts than
//! it reaches are refused.

use std::ops::Range;

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};
use harness_kernels::reach::{Look, Reach};

use crate::position::window::{beyond, near, within};
use crate::position::{CachePolicy, Change, Kind, Position, PositionError};
use crate::registry::Method;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Positions that share one, `G`.
        group: usize = 8, Domain::closed(1.0, 1_048_576.0);
        /// Keys at their own distances, `W`; half the trained length, as far as groups divide it, where it is not set.
        window: Option<usize> = None, Domain::closed(1.0, 1_073_741_824.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "self-extend",
        axis: Axis::Position,
        about: "puts distant keys into groups that share a position",
        source: "Jin et al., 2024, LLM maybe LongLM: self-extend LLM context window without tuning, and its code",
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
struct Grouped {
    group: usize,
    window: usize,
    longest: usize,
}

impl Reach for Grouped {
    fn is_whole(&self, length: usize) -> bool {
        length <= self.window || self.group == 1
    }

    fn looks(&self, queries: Range<usize>) -> Vec<Look> {
        let Self { group, window, .. } = *self;
        let newest = near(queries.clone(), window, beyond(queries.start, window));
        let grouped = |position: usize| (position / group) as f32;
        let shift = (window - window / group) as f32;
        vec![newest, Look::new(queries, |i| 0..beyond(i, window), |i| grouped(i) + shift, grouped)]
    }

    fn longest(&self) -> Option<usize> {
        (self.group > 1).then_some(self.longest)
    }
}

impl Position for Settings {
    fn kind(&self) -> Kind {
        Kind::remap(&[Change::Distances])
    }

    fn reach(&self, trained: usize) -> Result<Option<Box<dyn Reach>>, PositionError> {
        let group = self.group;
        let window = self.window.unwrap_or((trained / 2 / group).max(1) * group);
        within("window", window, 1..trained, "groups need distances of training beyond it")?;
        if !window.is_multiple_of(group) {
            return Err(PositionError::Window { name: "window", value: window, allowed: format!("a multiple of `group = {group}`") });
        }
        let longest = (trained - window).saturating_mul(group).saturating_add(window);
        Ok(Some(Box::new(Grouped { group, window, longest })))
    }

    fn cache_policy(&self) -> CachePolicy {
        CachePolicy::Unrotated
    }
}
