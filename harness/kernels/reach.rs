//! What queries look at where that is not all keys before them at their own positions: windows, kept first keys, distances with
//! a ceiling, remapped positions.
//!
//! A rule cuts what a query sees into stretches of keys; in each stretch the query and the keys are turned to places of the
//! rule's choosing, and one softmax goes over all stretches. Of a stretch each head may attend to the keys that score highest alone.

use std::fmt;
use std::ops::Range;

/// Blocks of a model, by the share of them that lies below.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Blocks {
    /// All of them.
    All,
    /// Those before a share below 1, rounded down: `Before(0.5)` is the lower half.
    Before(f64),
    /// The others, one at least.
    From(f64),
}

impl Blocks {
    /// Whether a block, of so many, is one of these.
    pub fn contains(self, block: usize, blocks: usize) -> bool {
        let first = |share: f64| (share * blocks as f64) as usize;
        match self {
            Self::All => true,
            Self::Before(share) => block < first(share),
            Self::From(share) => block >= first(share),
        }
    }

    /// Whether the last block of any model is one of these.
    pub fn contains_last(self) -> bool {
        !matches!(self, Self::Before(_))
    }
}

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
    /// How many of these each head of a query attends to: those with the largest scores, of equal ones the first. All where not set.
    pub chosen: Option<usize>,
    /// Where in the model it is looked at.
    pub blocks: Blocks,
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
        let key_places = keys.clone().map(key_place).collect();
        Self { key_places, keys, query_places, seen, chosen: None, blocks: Blocks::All }
    }

    /// This with as many keys chosen by each head of a query.
    #[must_use]
    pub fn choosing(self, count: usize) -> Self {
        Self { chosen: Some(count), ..self }
    }

    /// This in some blocks only.
    #[must_use]
    pub fn in_blocks(self, blocks: Blocks) -> Self {
        Self { blocks, ..self }
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

    /// What the queries at some positions look at. Every key a query sees in a block is in one look of that block, once, and in every block
    /// it sees one.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_those_before_a_share_and_those_from_it() {
        for (share, blocks, first) in
            [(0.5, 4, 2), (0.5, 5, 2), (0.0, 3, 0), (0.125, 32, 4), (0.125, 4, 0), (0.99, 6, 5)]
        {
            for block in 0..blocks {
                assert!(Blocks::All.contains(block, blocks));
                assert_eq!(Blocks::From(share).contains(block, blocks), block >= first, "{share} of {blocks}: {block}");
                assert_ne!(Blocks::From(share).contains(block, blocks), Blocks::Before(share).contains(block, blocks));
            }
        }
    }
}
