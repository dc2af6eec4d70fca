//! LM-Infinite (Han et al., 2024): a query sees the newest `B` keys at their own distances and, of the first `G`, those that lie further
//! back, all at one distance, `min(limit, i)` for a query at `i`. With `top_k` each head of a query also sees the keys between them that it
//! scores highest, all at one distance too, in the upper blocks.
//!
//! # Difference from the reference
//! Keys between are seen by every query, where the published code lets only the last row of a text see them, so that a text read at once
//! and one read token by token differ there; the blocks that do not see them are a share of all where it has the first four of 32. The published code bounds by `n − 1` for a text of `n` where `i` stands here,
//! so that a query's distances would depend on what follows it; with the limit at the window, as published, both are the limit.

use std::ops::Range;

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};
use harness_kernels::reach::{Blocks, Kept, Look, Reach};

use crate::position::window::{beyond, near, within};
use crate::position::{CachePolicy, Change, Kind, Position, PositionError, Scheme};
use crate::registry::Method;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Newest keys, the query's own among them, `B`; as many as the model was trained at where it is not set.
        window: Option<usize> = None, Domain::closed(1.0, 1_073_741_824.0);
        /// First keys that stay, `G`; 0 is an ablation.
        globals: usize = 10, Domain::closed(0.0, 1_073_741_824.0);
        /// Largest distance of the first keys; the trained length where it is not set.
        limit: Option<usize> = None, Domain::closed(1.0, 1_073_741_824.0);
        /// Keys between the first and the newest that each head of a query sees, those that score highest; none by default.
        top_k: usize = 0, Domain::closed(0.0, 1_073_741_824.0);
        /// Largest distance of keys between; the limit where it is not set, no further than the trained length.
        top_k_at: Option<usize> = None, Domain::closed(1.0, 1_073_741_824.0);
        /// Share of the blocks that see none between, the lowest.
        top_k_skip: f64 = 0.125, Domain::half_open(0.0, 1.0);
        /// Allows a window beyond the trained length, whose distances the model has never seen, and a limit below the window.
        allow_unseen: bool = false;
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "lm-infinite",
        axis: Axis::Position,
        about: "lets queries see the newest keys, and the first at a bounded distance",
        source: "Han et al., 2024, LM-Infinite: zero-shot extreme length generalization for large language models, and its code",
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
struct Infinite {
    window: usize,
    globals: usize,
    limit: usize,
    top_k: usize,
    top_k_at: usize,
    top_k_skip: f64,
}

impl Reach for Infinite {
    fn is_whole(&self, length: usize) -> bool {
        length <= self.window
    }

    fn looks(&self, queries: Range<usize>) -> Vec<Look> {
        let first = |i| 0..beyond(i, self.window).min(self.globals);
        let newest = near(queries.clone(), self.window, beyond(queries.start, self.window));
        let at = |distance: usize| move |i: usize| i.min(distance) as f32;
        let mut looks = vec![newest, Look::new(queries.clone(), first, at(self.limit), |_| 0.0)];
        if self.top_k > 0 {
            let between = |i| first(i).end..beyond(i, self.window);
            let between = Look::new(queries, between, at(self.top_k_at), |_| 0.0);
            looks.push(between.choosing(self.top_k).in_blocks(Blocks::From(self.top_k_skip)));
        }
        looks
    }

    fn kept(&self) -> Option<Kept> {
        (self.top_k == 0).then_some(Kept { first: self.globals, last: self.window })
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
        let window = self.window.unwrap_or(trained);
        let limit = self.limit.unwrap_or(trained.max(window));
        if !self.allow_unseen {
            within("window", window, 1..trained + 1, "longer distances were not trained (`allow_unseen = true` reads them)")?;
            within("limit", limit, window..usize::MAX, "first keys stand behind the window (`allow_unseen = true` lets them in)")?;
        }
        if let Some(at) = self.top_k_at.filter(|_| !self.allow_unseen) {
            within("top_k_at", at, 1..trained + 1, "longer distances were not trained (`allow_unseen = true` reads them)")?;
        }
        let top_k_at = self.top_k_at.unwrap_or(limit.min(trained));
        let Self { globals, top_k, top_k_skip, .. } = *self;
        Ok(Some(Box::new(Infinite { window, globals, limit, top_k, top_k_at, top_k_skip })))
    }

    fn cache_policy(&self) -> CachePolicy {
        CachePolicy::Unrotated
    }
}
