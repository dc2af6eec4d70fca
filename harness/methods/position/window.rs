//! What methods that mask or remap share: the newest keys at their own distances, and checks of windows.

use std::ops::Range;

use harness_kernels::reach::Look;

use super::PositionError;

/// The keys less than `window` before a query, at their own distances. Places begin at `origin`, which no such key lies before,
/// so that they stay small.
pub(crate) fn near(queries: Range<usize>, window: usize, origin: usize) -> Look {
    let own = |position: usize| (position - origin) as f32;
    Look::new(queries, |i| beyond(i, window)..i + 1, own, own)
}

/// How many keys are at least `window` before the query at a position.
pub(crate) fn beyond(position: usize, window: usize) -> usize {
    (position + 1).saturating_sub(window)
}

/// Refuses a number that lies outside of a range.
pub(crate) fn within(name: &'static str, value: usize, range: Range<usize>, of: &str) -> Result<(), PositionError> {
    if range.contains(&value) {
        return Ok(());
    }
    let last = range.end.saturating_sub(1);
    let allowed = match range.start {
        _ if range.is_empty() => format!("smaller than the model allows: {of}"),
        0 => format!("at most {last}: {of}"),
        first => format!("between {first} and {last}: {of}"),
    };
    Err(PositionError::Window { name, value, allowed })
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
