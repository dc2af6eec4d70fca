//! Unlimiformer for decoders (Bertsch et al., 2023): texts that are longer than the model was trained at are read through the newest `W` keys
//! and, in the upper blocks, the `k` keys before them that each head of each query scores highest, in one softmax. The blocks below see
//! the newest keys alone, as many as the model was trained at, `L`; so does everything where the text is no longer.
//!
//! The search is exact. Chosen keys are turned to where they stand in the text, drawn together to the places that the window leaves of `L`:
//! key `j` of the `n'` that are drawn together stands at `⌊j (L − W) / n'⌋`, the query at `L − 1`, so that no distance is new and none is one
//! of the window's.
//!
//! # Difference from the reference
//! It draws together by the length of the prompt, `⌊j / n' · window⌋`, and leaves prompts that follow one another to the caller; here `n'` is `L`
//! doubled until it holds the query, so that a query's distances do not depend on what follows it. Where models encode and decode, one index of
//! encoder states serves all heads; a decoder's keys are those of its blocks, and each head searches its own.

use std::ops::Range;

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};
use harness_kernels::reach::{Blocks, Look, Reach};

use crate::position::window::{beyond, near, within};
use crate::position::{CachePolicy, Change, Kind, Position, PositionError, Scheme};
use crate::registry::Method;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Keys that each head of a query chooses, `k`; as many as the window leaves of the trained length where it is not set.
        k: Option<usize> = None, Domain::closed(1.0, 1_073_741_824.0);
        /// Newest keys, the query's own among them, `W`; half of the trained length where it is not set.
        window: Option<usize> = None, Domain::closed(1.0, 1_073_741_824.0);
        /// Share of the blocks that do not choose, the lowest.
        skip: f64 = 0.5, Domain::half_open(0.0, 1.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "unlimiformer",
        axis: Axis::Position,
        about: "lets each head of a query choose the distant keys it scores highest, beside the newest",
        source: "Bertsch et al., 2023, Unlimiformer: long-range transformers with unlimited length input, and its code",
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
struct Retrieving {
    trained: usize,
    k: usize,
    window: usize,
    skip: f64,
}

impl Retrieving {
    /// The newest keys of queries behind the trained length, all of the others.
    fn newest(&self, queries: Range<usize>) -> Look {
        let Self { trained, window, .. } = *self;
        let first = |i: usize| if i < trained { 0 } else { beyond(i, window) };
        let origin = first(queries.start);
        let own = |position: usize| (position - origin) as f32;
        Look::new(queries, |i| first(i)..i + 1, own, own)
    }

    /// What the queries choose from whose `n'` is `length`.
    fn distant(&self, queries: Range<usize>, length: usize) -> Look {
        let Self { trained, window, .. } = *self;
        let of_length = length / 2..length;
        let seen = |i: usize| 0..if of_length.contains(&i) { beyond(i, window) } else { 0 };
        let place = |j: usize| (j as u64 * (trained - window) as u64 / length as u64) as f32;
        Look::new(queries, seen, |_| (trained - 1) as f32, place).choosing(self.k)
    }
}

impl Reach for Retrieving {
    fn is_whole(&self, length: usize) -> bool {
        length <= self.trained
    }

    fn looks(&self, queries: Range<usize>) -> Vec<Look> {
        let (trained, upper) = (self.trained, Blocks::From(self.skip));
        let below = near(queries.clone(), trained, beyond(queries.start, trained));
        let mut looks = vec![below.in_blocks(Blocks::Before(self.skip)), self.newest(queries.clone()).in_blocks(upper)];
        let lengths = std::iter::successors(Some(2 * trained), |length| Some(2 * length));
        for length in lengths.skip_while(|length| *length <= queries.start).take_while(|length| length / 2 < queries.end) {
            looks.push(self.distant(queries.clone(), length).in_blocks(upper));
        }
        looks
    }
}

impl Position for Settings {
    fn kind(&self) -> Kind {
        Kind::remap(&[Change::Mask, Change::Distances])
    }

    fn supports(&self, scheme: Scheme) -> bool {
        scheme != Scheme::Learned
    }

    fn reach(&self, trained: usize) -> Result<Option<Box<dyn Reach>>, PositionError> {
        within("trained", trained, 2..usize::MAX, "the window and what is chosen share it")?;
        let window = self.window.unwrap_or(trained / 2);
        within("window", window, 1..trained, "chosen keys stand at the places it leaves of the trained length")?;
        let k = self.k.unwrap_or(trained - window);
        within("k", k, 1..trained + 1, "a softmax over more keys was not trained")?;
        Ok(Some(Box::new(Retrieving { trained, k, window, skip: self.skip })))
    }

    fn cache_policy(&self) -> CachePolicy {
        CachePolicy::Unrotated
    }
}
