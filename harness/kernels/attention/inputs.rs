//! Inputs of attention to parts, for tests.

use std::ops::Range;

use super::{Part, Shape};

/// Query heads, over two of keys.
pub(super) const HEADS: usize = 4;
/// Dimensions of a head.
pub(super) const D: usize = 24;
/// Factor of the scores.
pub(super) const SCALE: f32 = 0.3;

pub(super) fn sample(count: usize, phase: f32) -> Vec<f32> {
    (0..count).map(|i| (i as f32 * 0.731 + phase + (i as f32 * 0.017).cos() * 9.0).sin() * 1.5).collect()
}

pub(super) fn shape(slopes: Option<&[f32]>) -> Shape<'_> {
    Shape {
        batch: 1,
        queries: 0,
        keys: 0,
        heads: HEADS,
        kv_heads: 2,
        head_dim: D,
        scale: SCALE,
        slopes,
        biases: None,
        key_batch_stride: 0,
    }
}

/// Inputs of a part of so many keys, which `seen` has the queries of.
pub(super) struct Inputs {
    pub q: Vec<f32>,
    pub k: Vec<f32>,
    pub v: Vec<f32>,
    pub seen: Vec<Range<usize>>,
    pub chosen: Option<usize>,
    pub places: (Vec<f32>, Vec<f32>),
}

impl Inputs {
    pub fn new(keys: usize, phase: f32, seen: Vec<Range<usize>>, chosen: Option<usize>) -> Self {
        let queries = seen.len();
        Self {
            q: sample(queries * HEADS * D, phase),
            k: sample(keys * 2 * D, phase + 0.1),
            v: sample(keys * 2 * D, phase + 0.2),
            seen,
            chosen,
            places: (sample(queries, phase + 0.3), sample(keys, phase + 0.4)),
        }
    }

    /// As [`Self::new`], places in order and the last query at the last key.
    pub fn in_order(keys: usize, phase: f32, seen: Vec<Range<usize>>, chosen: Option<usize>) -> Self {
        let first = keys - seen.len();
        let places = ((first..keys).map(|at| at as f32).collect(), (0..keys).map(|at| at as f32).collect());
        Self { places, ..Self::new(keys, phase, seen, chosen) }
    }

    pub fn part(&self) -> Part<'_> {
        let places = (&*self.places.0, &*self.places.1);
        Part { q: &self.q, k: &self.k, v: &self.v, seen: &self.seen, chosen: self.chosen, first_query: 0, places }
    }
}
