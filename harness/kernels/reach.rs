//! What queries look at where that is not all keys before them at their own positions: windows, kept first keys, distances with
//! a ceiling, remapped positions.
//!
//! A rule cuts what a query sees into stretches of keys; in each stretch the query and the keys are turned to places of the
//! rule's choosing, and one softmax goes over all stretches.

use std::fmt;
use std::ops::Range;

/// Keys that are turned in one way, and the queries that meet them.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// Positions of the keys.
    pub keys: Range<usize>,
    /// Where each of them is turned to.
    pub key_places: Vec<f32>,
    /// Where each query is turned to to meet them.
    pub query_places: Vec<f32>,
    /// Positions of the keys that each query sees here; none where it is empty.
    pub seen: Vec<Range<usize>>,
}

impl Look {
    /// Some of the keys, for `queries`: the positions of the keys that a query sees, and where a query and a key are turned to.
    /// Keys that no query sees are left out.
    pub fn new(
        queries: Range<usize>,
        seen: impl Fn(usize) -> Range<usize>,
        query_place: impl Fn(usize) -> f32,
        key_place: impl Fn(usize) -> f32,
    ) -> Self {
        let query_places = queries.clone().map(query_place).collect();
        let seen: Vec<Range<usize>> = queries.map(seen).collect();
        let some = || seen.iter().filter(|seen| !seen.is_empty());
        let first = some().map(|seen| seen.start).min().unwrap_or(0);
        let keys = first..some().map(|seen| seen.end).max().unwrap_or(first);
        Self { key_places: keys.clone().map(key_place).collect(), keys, query_places, seen }
    }
}

/// First and last keys that later queries may still look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// From the start of a text.
    pub first: usize,
    /// Before the next query.
    pub last: usize,
}

/// A rule of what queries look at.
pub trait Reach: fmt::Debug + Send + Sync {
    /// Whether a text of so many positions is read as without the rule, but for [`Self::query_factor`].
    fn is_whole(&self, length: usize) -> bool;

    /// What the queries at some positions look at. Every key a query sees is in one of them, once.
    fn looks(&self, queries: Range<usize>) -> Vec<Look>;

    /// What the query at a position is multiplied by.
    fn query_factor(&self, _position: usize) -> f32 {
        1.0
    }

    /// Whether a key may be turned to another place than its own, so that caches hold keys as computed.
    fn moves(&self) -> bool {
        true
    }

    /// Keys a cache must hold; all where there is no bound.
    fn kept(&self) -> Option<Kept> {
        None
    }

    /// The longest text it can read.
    fn longest(&self) -> Option<usize> {
        None
    }
}
