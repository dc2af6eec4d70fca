//! Sliding-window attention: a query sees the newest `W` keys, itself among them, at their own distances (Beltagy et al., 2020; Jiang
//! et al., 2023).
//!
//! # Difference from the reference
//! None in the mask. On weights that were trained without it, it is the ablation that loses the first tokens. Caches hold the newest
//! keys only.

use std::ops::Range;

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};
use harness_kernels::reach::{Kept, Look, Reach};

use crate::position::window::{beyond, near};
use crate::position::{CachePolicy, Change, Kind, Position, PositionError, Scheme, Training};
use crate::registry::Method;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Keys that a query sees, `W`; as many as the model was trained at where it is not set.
        window: Option<usize> = None, Domain::closed(1.0, 1_073_741_824.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "sliding-window",
        axis: Axis::Position,
        about: "lets queries see the newest keys only",
        source: "Jiang et al., 2023, Mistral 7B; Beltagy et al., 2020, Longformer: the long-document transformer",
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
struct Window(usize);

impl Reach for Window {
    fn is_whole(&self, length: usize) -> bool {
        length <= self.0
    }

    fn looks(&self, queries: Range<usize>) -> Vec<Look> {
        let origin = beyond(queries.start, self.0);
        vec![near(queries, self.0, origin)]
    }

    fn kept(&self) -> Option<Kept> {
        Some(Kept { first: 0, last: self.0 })
    }
}

impl Position for Settings {
    fn kind(&self) -> Kind {
        Kind { training: Training::Needed, ..Kind::remap(&[Change::Mask]) }
    }

    fn supports(&self, scheme: Scheme) -> bool {
        !matches!(scheme, Scheme::Learned | Scheme::StateSpace)
    }

    fn reach(&self, trained: usize) -> Result<Option<Box<dyn Reach>>, PositionError> {
        Ok(Some(Box::new(Window(self.window.unwrap_or(trained)))))
    }

    fn cache_policy(&self) -> CachePolicy {
        CachePolicy::Unrotated
    }
}
