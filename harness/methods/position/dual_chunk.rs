//! Dual chunk attention (An et al., 2024): keys stand at their place in their chunk of `s` positions; a query at its own place for
//! its chunk, `s` further (at most `c − 1`) for the chunk before, at `c − 1` for all others.
//!
//! # Difference from the reference
//! The published code bounds by `c` where the paper has `c − 1`, and older chunks by `2s − 1` too: `bound = code`. Its temperature, which the
//! paper's results do without, is left out.

use std::ops::Range;

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};
use harness_kernels::reach::{Look, Reach};

use crate::position::window::within;
use crate::position::{CachePolicy, Change, Kind, Position, PositionError};
use crate::registry::Method;

harness_core::choice! {
    /// Whose bounds of distances.
    pub enum Bound {
        /// `c − 1`.
        Paper = "paper",
        /// `c`, and `2s − 1` for chunks that are not neighbours.
        Code = "code",
    }
}

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Positions of a chunk, `s`; five eighths of the trained length where it is not set.
        chunk: Option<usize> = None, Domain::closed(1.0, 1_073_741_824.0);
        /// Distances that are used, `c`; three quarters of the trained length where it is not set.
        limit: Option<usize> = None, Domain::closed(2.0, 1_073_741_824.0);
        /// Whose bounds of distances.
        bound: Bound = Bound::Paper;
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "dca",
        axis: Axis::Position,
        about: "reads chunks at distances within them and bounded distances between them",
        source: "An et al., 2024, Training-free long-context scaling of large language models, and its code",
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
struct Chunks {
    chunk: usize,
    /// Largest place of a query for the chunk before its own.
    next: usize,
    /// Its place for older chunks.
    older: usize,
}

impl Reach for Chunks {
    fn is_whole(&self, length: usize) -> bool {
        length <= self.chunk
    }

    fn looks(&self, queries: Range<usize>) -> Vec<Look> {
        let Self { chunk, next, older } = *self;
        let start = |i: usize| i / chunk * chunk;
        let place = |position: usize| (position % chunk) as f32;
        let before = |i: usize| start(i).saturating_sub(chunk)..start(i);
        vec![
            Look::new(queries.clone(), |i| start(i)..i + 1, place, place),
            Look::new(queries.clone(), before, |i| (i % chunk + chunk).min(next) as f32, place),
            Look::new(queries, |i| 0..before(i).start, |_| older as f32, place),
        ]
    }
}

impl Position for Settings {
    fn kind(&self) -> Kind {
        Kind::remap(&[Change::Distances])
    }

    fn reach(&self, trained: usize) -> Result<Option<Box<dyn Reach>>, PositionError> {
        within("trained", trained, 16..usize::MAX, "chunks are fractions of it")?;
        let limit = self.limit.unwrap_or(trained * 3 / 4);
        let chunk = self.chunk.unwrap_or(trained * 5 / 8);
        within("limit", limit, 2..trained + 1, "longer distances were not trained")?;
        within("chunk", chunk, 1..limit, "a chunk is shorter than the distances that are used, `limit`")?;
        let (next, older) = match self.bound {
            Bound::Paper => (limit - 1, limit - 1),
            Bound::Code => (limit, limit.min(2 * chunk - 1)),
        };
        Ok(Some(Box::new(Chunks { chunk, next, older })))
    }

    fn cache_policy(&self) -> CachePolicy {
        CachePolicy::Unrotated
    }
}
