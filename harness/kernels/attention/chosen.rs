//! Attention of each head of a query to the keys of a part that score highest: an exact search of nearest keys by inner product, without a
//! query-by-key matrix.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use rayon::prelude::*;

use super::{Block, KEYS, Online, Part, QUERIES, Segment, Shape, dot};
use crate::InstructionSet;
use crate::buffer::filled;
use crate::vector::{Vector, WIDTH, vectorised};

/// A key and its score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scored {
    pub score: f32,
    pub key: u32,
}

impl Scored {
    /// What it is chosen by. What is not a number is chosen first, so that it is not lost.
    fn rank(self) -> f32 {
        if self.score.is_nan() { f32::INFINITY } else { self.score }
    }
}

impl Eq for Scored {}

impl PartialOrd for Scored {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What is given up first is the greatest: the lowest score, and of equal ones the last key.
impl Ord for Scored {
    fn cmp(&self, other: &Self) -> Ordering {
        other.rank().partial_cmp(&self.rank()).unwrap_or(Ordering::Equal).then(self.key.cmp(&other.key))
    }
}

/// The keys with the largest scores so far, of equal ones the first.
pub(super) struct Largest {
    count: usize,
    held: BinaryHeap<Scored>,
}

impl Largest {
    pub fn new(count: usize) -> Self {
        Self { count, held: BinaryHeap::new() }
    }

    /// Looks at the scores of the keys from `first` on, which come after all that were looked at.
    #[inline(always)]
    pub fn offer(&mut self, scores: &[f32], first: usize) {
        for (group, scores) in scores.chunks(WIDTH).enumerate() {
            // Most groups have nothing to offer once enough is held. A NaN is not below anything.
            if self.held.len() == self.count
                && let Some(worst) = self.held.peek()
            {
                let bound = worst.rank();
                // Without branches, which the compiler makes vectors of.
                #[allow(clippy::needless_bitwise_bool)]
                let below = scores.iter().fold(true, |none, score| none & (*score <= bound));
                if below {
                    continue;
                }
            }
            for (key, score) in (first + group * WIDTH..).zip(scores) {
                let scored = Scored { score: *score, key: key as u32 };
                if self.held.len() < self.count {
                    self.held.push(scored);
                } else if let Some(mut worst) = self.held.peek_mut()
                    && scored < *worst
                {
                    *worst = scored;
                }
            }
        }
    }

    /// What is held, by key.
    pub fn into_keys(self) -> Vec<Scored> {
        let mut held = self.held.into_vec();
        held.sort_unstable_by_key(|scored| scored.key);
        held
    }
}

/// The `count` keys of a segment with the largest scores for each query of a block.
#[inline(always)]
pub(super) unsafe fn choose<V: Vector>(
    segment: &Segment<'_>,
    block: Block,
    count: usize,
    scores: &mut [f32; QUERIES * KEYS],
) -> Vec<Vec<Scored>> {
    let mut largest: Vec<Largest> = (0..block.rows).map(|_| Largest::new(count)).collect();
    // SAFETY: as the caller's.
    unsafe {
        for (key, here, wide) in segment.blocks_of_keys(block) {
            segment.score::<V>(block, key, wide, scores);
            for (i, largest) in largest.iter_mut().enumerate() {
                let row = &mut scores[i * KEYS..i * KEYS + here];
                if let Some(seen) = segment.biased(block, i, key, row) {
                    largest.offer(&row[seen.clone()], key + seen.start);
                }
            }
        }
    }
    largest.into_iter().map(Largest::into_keys).collect()
}

/// Adds the attention of a block of queries to the `count` keys of a segment that score highest for each.
#[inline(always)]
pub(super) unsafe fn attend<V: Vector>(
    segment: &Segment<'_>,
    block: Block,
    count: usize,
    scores: &mut [f32; QUERIES * KEYS],
    online: &mut Online,
) {
    let shape = &segment.shape;
    let values = &segment.v[block.batch * shape.key_batch_stride + block.kv_head * shape.head_dim..];
    // SAFETY: as the caller's.
    unsafe {
        for (row, keys) in choose::<V>(segment, block, count, scores).iter().enumerate() {
            add::<V>(keys, row, values, shape, online);
        }
    }
    online.begun = true;
}

/// Adds what one query gets of the keys it has chosen; `values` begin at the first key's.
#[inline(always)]
unsafe fn add<V: Vector>(keys: &[Scored], row: usize, values: &[f32], shape: &Shape<'_>, online: &mut Online) {
    let mut weights = [0.0; KEYS];
    for keys in keys.chunks(KEYS) {
        for (weight, scored) in weights.iter_mut().zip(keys) {
            *weight = scored.score;
        }
        // SAFETY: whole vectors of weights, and values of `head_dim` elements.
        unsafe {
            online.begun = true;
            online.soften::<V>(row, &mut weights[..keys.len().next_multiple_of(WIDTH)], keys.len(), shape.scale);
            for (weight, scored) in weights.iter().zip(keys) {
                online.add::<V>(row, *weight, &values[scored.key as usize * shape.key_width()..]);
            }
        }
    }
}

/// The output of a single query and, for each head, the log-sum-exp of the scores of what it has chosen.
pub(super) fn one_query(set: InstructionSet, part: &Part<'_>, count: usize, shape: &Shape<'_>) -> (Vec<f32>, Vec<f32>) {
    let mut sums = vec![0.0; shape.heads];
    let out = filled(shape.query_width(), |out| {
        let heads = out.par_chunks_exact_mut(shape.head_dim).zip(&mut sums).enumerate();
        heads.for_each(|(head, (out, sum))| *sum = one_head(set, part, count, shape, head, out));
    });
    (out, sums)
}

vectorised! {
    fn one_head<V>(part: &Part<'_>, count: usize, shape: &Shape<'_>, head: usize, out: &mut [f32]) -> f32 {
        let (d, stride, at) = (shape.head_dim, shape.key_width(), head / shape.group() * shape.head_dim);
        let query = &part.q[head * d..(head + 1) * d];
        let mut largest = Largest::new(count);
        let mut scores = [0.0; KEYS];
        for first in part.seen[0].clone().step_by(KEYS) {
            let here = (part.seen[0].end - first).min(KEYS);
            for (j, score) in scores[..here].iter_mut().enumerate() {
                *score = dot::<V>(query, &part.k[(first + j) * stride + at..][..d]);
            }
            largest.offer(&scores[..here], first);
        }
        let mut online = Online::new(1, d);
        add::<V>(&largest.into_keys(), 0, &part.v[at..], shape, &mut online);
        online.finish(0, out);
        online.log_sum(0)
    }
}

#[cfg(test)]
#[path = "chosen_tests.rs"]
mod tests;
