//! Causal softmax attention in blocks, without a query-by-key matrix, forwards and backwards.

mod chosen;
mod few;
mod gradient;
#[cfg(test)]
mod inputs;
mod online;
mod parts;
mod progressive;
mod received;
mod spread;

use std::ops::Range;

use rayon::prelude::*;

use crate::buffer::{Shared, filled};
use crate::tile::{Strided, multiply};
use crate::vector::{Vector, WIDTH, exp, vectorised};
use crate::{InstructionSet, instruction_set};
pub use gradient::attention_gradient;
use online::Online;
pub use parts::{Part, attention_of_parts};
pub use progressive::{EPSILON, Progressive};
pub use received::received;
pub use spread::{Spread, spread};

/// Queries in a block.
const QUERIES: usize = 32;
/// Keys in a block.
const KEYS: usize = 64;
/// Fewer queries than this meet the keys as they lie.
const FEW_QUERIES: usize = 8;

/// Shapes of one attention call. Queries are `(batch, queries, heads, head_dim)`, keys and values
/// `(batch, keys, kv_heads, head_dim)`; the last query stands at the last key, so query `i` sees keys
/// `0 ..= keys − queries + i`.
#[derive(Debug, Clone, Copy)]
pub struct Shape<'a> {
    /// Independent sequences.
    pub batch: usize,
    /// Query positions.
    pub queries: usize,
    /// Key positions, at least `queries`.
    pub keys: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Dimensions of one head.
    pub head_dim: usize,
    /// Factor of the scores, usually `1/√head_dim`.
    pub scale: f32,
    /// One slope a head: `slope · (key − query)` is added to the scores.
    pub slopes: Option<&'a [f32]>,
    /// Added to the scores of keys by their distance before the query, of at least as many distances as there are keys.
    pub biases: Option<Biases<'a>>,
    /// Elements between the keys (and values) of one sequence and the next.
    pub key_batch_stride: usize,
}

/// Biases by the distance of a key before its query.
#[derive(Debug, Clone, Copy)]
pub enum Biases<'a> {
    /// `(heads, distances)`, for all queries the same.
    Table(&'a [f32]),
    /// Functions that also know where the query stands.
    Progressive(&'a Progressive),
}

impl Shape<'_> {
    fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }
    fn key_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }
    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }
    fn check(&self, q: &[f32], k: &[f32], v: &[f32]) {
        assert!(self.kv_heads > 0 && self.heads.is_multiple_of(self.kv_heads), "kv heads divide heads");
        assert!(self.queries <= self.keys, "as many keys as queries");
        assert_eq!(q.len(), self.batch * self.queries * self.query_width(), "queries of {self:?}");
        let needed = self.batch.saturating_sub(1) * self.key_batch_stride + self.keys * self.key_width();
        assert!(k.len() >= needed && v.len() >= needed, "keys and values of {self:?}");
        assert!(self.slopes.is_none_or(|slopes| slopes.len() == self.heads), "one slope a head");
        let known = match self.biases {
            None => usize::MAX,
            Some(Biases::Table(biases)) => biases.len() / self.heads,
            Some(Biases::Progressive(net)) => {
                if net.heads() == self.heads {
                    net.distances()
                } else {
                    0
                }
            }
        };
        assert!(known >= self.keys, "a bias for every distance and head");
    }
    /// A head's line of a table of biases.
    fn biases_of(&self, head: usize) -> Option<&[f32]> {
        let Some(Biases::Table(biases)) = self.biases else { return None };
        Some(&biases[biases.len() / self.heads * head..][..biases.len() / self.heads])
    }
    /// Adds to the scores of keys from `first` on, before they are scaled, what the head adds for their distance to a query.
    fn add_biases(&self, head: usize, query: usize, first: usize, scores: &mut [f32]) {
        let slope = self.slope(head);
        if slope != 0.0 {
            add_linear(scores, slope / self.scale, query, first);
        }
        if let Some(biases) = self.biases_of(head) {
            let distances = biases[..=query - first].iter().rev();
            for (score, bias) in scores.iter_mut().zip(distances) {
                *score += bias / self.scale;
            }
        }
        if let Some(Biases::Progressive(net)) = self.biases {
            net.add(head, query as f64, (0..=query - first).rev(), self.scale, scores);
        }
    }
    fn slope(&self, head: usize) -> f32 {
        self.slopes.map_or(0.0, |slopes| slopes[head])
    }
    /// Keys that query `i` sees.
    fn visible(&self, i: usize) -> usize {
        self.keys - self.queries + i + 1
    }
    fn key_blocks(&self) -> usize {
        self.keys.div_ceil(KEYS)
    }
}

/// The attention output `(batch, queries, heads, head_dim)` and, per `(batch, head, query)`, the log-sum-exp of the
/// scores that [`attention_gradient`] takes.
pub fn attention(q: &[f32], k: &[f32], v: &[f32], shape: &Shape<'_>) -> (Vec<f32>, Vec<f32>) {
    attention_on(instruction_set(), q, k, v, shape)
}

fn attention_on(set: InstructionSet, q: &[f32], k: &[f32], v: &[f32], shape: &Shape<'_>) -> (Vec<f32>, Vec<f32>) {
    shape.check(q, k, v);
    let mut log_sums = vec![0.0; shape.batch * shape.heads * shape.queries];
    if shape.queries < FEW_QUERIES {
        let out = filled(q.len(), |out| few::attend(set, q, k, v, shape, out, &mut log_sums));
        return (out, log_sums);
    }
    let packed = pack_keys(set, k, shape);
    let segments = [Segment { q, packed: &packed, v, shape: *shape, part: None }];
    let out = blockwise(set, &segments, shape, &mut log_sums);
    (out, log_sums)
}

/// The output of the queries of all segments, a softmax for each query over what it sees of every segment.
fn blockwise(set: InstructionSet, segments: &[Segment<'_>], shape: &Shape<'_>, log_sums: &mut [f32]) -> Vec<f32> {
    let sums = Shared::new(log_sums);
    filled(shape.batch * shape.queries * shape.query_width(), |out| {
        let out = Shared::new(out);
        let blocks = shape.queries.div_ceil(QUERIES);
        (0..shape.batch * shape.heads * blocks).into_par_iter().with_max_len(1).for_each(|task| {
            // The last blocks see the most keys: they go first, so that the tail of the work is short.
            let (unit, block) = (task % (shape.batch * shape.heads), blocks - 1 - task / (shape.batch * shape.heads));
            many(set, segments, unit / shape.heads, unit % shape.heads, block * QUERIES, out, sums);
        });
    })
}

/// The keys of every `(batch, kv_head)` transposed block by block: `(batch, kv_head, block, head_dim, KEYS)`, zero
/// past the last key.
fn pack_keys(set: InstructionSet, k: &[f32], shape: &Shape<'_>) -> Vec<f32> {
    let unit = shape.key_blocks() * KEYS * shape.head_dim;
    filled(shape.batch * shape.kv_heads * unit, |packed| {
        packed.par_chunks_mut(unit).enumerate().for_each(|(index, packed)| {
            let (batch, head) = (index / shape.kv_heads, index % shape.kv_heads);
            let start = batch * shape.key_batch_stride + head * shape.head_dim;
            pack(set, &k[start..], shape.key_width(), shape.keys, shape.head_dim, packed);
        });
    })
}

vectorised! {
    fn pack<V>(rows: &[f32], stride: usize, count: usize, head_dim: usize, packed: &mut [f32]) {
        // Only the instruction set of the copies differs; there is nothing to compute.
        let _ = V::splat(0.0);
        for (block, packed) in packed.chunks_exact_mut(KEYS * head_dim).enumerate() {
            let first = block * KEYS;
            let here = (count - first).min(KEYS);
            if here < KEYS {
                packed.fill(0.0);
            }
            for group in (0..here).step_by(WIDTH) {
                let lanes = (here - group).min(WIDTH);
                for d in 0..head_dim {
                    for lane in 0..lanes {
                        packed[d * KEYS + group + lane] = rows[(first + group + lane) * stride + d];
                    }
                }
            }
        }
    }
}

/// Adds `slope · (key − query)` to the scores of the keys from `first` on.
pub(crate) fn add_linear(scores: &mut [f32], slope: f32, query: usize, first: usize) {
    for (j, score) in scores.iter_mut().enumerate() {
        *score += slope * ((first + j) as f32 - query as f32);
    }
}

/// Scales the first `count` scores and replaces all of them by `e^(score − max)`, where `max` also covers `previous`; scores past
/// `count` become zero. Returns the maximum and the sum.
#[inline(always)]
pub(crate) unsafe fn soften<V: Vector>(scores: &mut [f32], count: usize, scale: f32, previous: f32) -> (f32, f32) {
    unsafe {
        let factor = V::splat(scale);
        let mut largest = V::splat(f32::NEG_INFINITY);
        for at in (0..scores.len()).step_by(WIDTH) {
            let lanes = count.saturating_sub(at).min(WIDTH);
            let pointer = scores.as_mut_ptr().add(at);
            let score = V::load_partial(pointer, lanes, f32::NEG_INFINITY).mul(factor);
            score.store(pointer);
            largest = largest.max(score);
        }
        let max = largest.maximum();
        let max = if max > previous { max } else { previous };
        let shift = V::splat(max);
        let mut sum = V::splat(0.0);
        for at in (0..scores.len()).step_by(WIDTH) {
            let pointer = scores.as_mut_ptr().add(at);
            let e = exp(V::load(pointer).sub(shift));
            e.store(pointer);
            sum = sum.add(e);
        }
        (max, sum.sum())
    }
}

/// Keys in one place, packed, the queries that meet them, and which of them each query sees.
struct Segment<'a> {
    q: &'a [f32],
    packed: &'a [f32],
    v: &'a [f32],
    /// Of these keys.
    shape: Shape<'a>,
    /// Where not all before a query are seen.
    part: Option<&'a Part<'a>>,
}

/// Queries of one head that are computed together.
#[derive(Clone, Copy)]
struct Block {
    batch: usize,
    head: usize,
    kv_head: usize,
    /// The first of them.
    first: usize,
    rows: usize,
}

impl Segment<'_> {
    /// Keys that query `i` sees.
    fn seen(&self, i: usize) -> Range<usize> {
        self.part.map_or_else(|| 0..self.shape.visible(i), |part| part.seen[i].clone())
    }

    /// Keys that some of the queries see.
    fn seen_by_any(&self, queries: Range<usize>) -> Range<usize> {
        let seen = queries.map(|i| self.seen(i)).filter(|seen| !seen.is_empty());
        seen.reduce(|all, seen| all.start.min(seen.start)..all.end.max(seen.end)).unwrap_or_default()
    }

    /// The blocks of keys that some queries see: the first key, how many there are, and that number rounded up to whole vectors. Walked in a
    /// loop and not by a closure, which would not be compiled for the instruction set of its function.
    fn blocks_of_keys(&self, block: Block) -> impl Iterator<Item = (usize, usize, usize)> + use<> {
        let Range { start, end } = self.seen_by_any(block.first..block.first + block.rows);
        (start / KEYS * KEYS..end).step_by(KEYS).map(move |key| {
            let here = (end - key).min(KEYS);
            (key, here, here.next_multiple_of(WIDTH))
        })
    }

    /// The products of the queries with `wide` keys from `key` on.
    #[inline(always)]
    unsafe fn score<V: Vector>(&self, block: Block, key: usize, wide: usize, scores: &mut [f32; QUERIES * KEYS]) {
        let Block { batch, head, kv_head, first, rows } = block;
        let (shape, d, width) = (&self.shape, self.shape.head_dim, self.shape.query_width());
        let start = (batch * shape.queries + first) * width + head * d;
        let query = Strided { start: self.q[start..start + (rows - 1) * width + d].as_ptr(), row: width, column: 1 };
        let unit = shape.key_blocks() * KEYS * d;
        let packed = &self.packed[(batch * shape.kv_heads + kv_head) * unit..][..unit];
        // SAFETY: the slices above cover the queries and the whole block of packed keys.
        unsafe {
            let keys = packed[key * d..].as_ptr();
            multiply::<V>((rows, wide, d), query, keys, KEYS, scores.as_mut_ptr(), KEYS, false);
        }
    }

    /// Adds biases to the scores of the keys from `key` on that the query of a row sees, and says which of them those are; none where it
    /// sees none.
    #[inline(always)]
    fn biased(&self, block: Block, row: usize, key: usize, scores: &mut [f32]) -> Option<Range<usize>> {
        let seen = self.seen(block.first + row);
        let count = seen.end.saturating_sub(key).min(scores.len());
        let unseen = seen.start.saturating_sub(key).min(count);
        if unseen == count {
            return None;
        }
        match self.part {
            Some(part) => part.add_biases(&self.shape, block.head, block.first + row, key, &mut scores[..count]),
            None => self.shape.add_biases(block.head, seen.end - 1, key, &mut scores[..count]),
        }
        Some(unseen..count)
    }
}

vectorised! {
    /// A block of queries of one head, online over blocks of keys of every segment.
    fn many<V>(segments: &[Segment<'_>], batch: usize, head: usize, first: usize, out: Shared, sums: Shared) {
        let Some(Segment { shape, .. }) = segments.first() else { return };
        let (d, width) = (shape.head_dim, shape.query_width());
        let kv_head = head / shape.group();
        let rows = (shape.queries - first).min(QUERIES);
        let start = (batch * shape.queries + first) * width + head * d;
        let mut scores = [0.0f32; QUERIES * KEYS];
        let mut online = Online::new(rows, d);
        for segment in segments {
            let block = Block { batch, head, kv_head, first, rows };
            if let Some(count) = segment.part.and_then(|part| part.chosen) {
                chosen::attend::<V>(segment, block, count, &mut scores, &mut online);
                continue;
            }
            let shape = &segment.shape;
            let values = &segment.v[batch * shape.key_batch_stride + kv_head * d..];
            assert!(values.len() >= (shape.keys - 1) * shape.key_width() + d);
            for (key, here, wide) in segment.blocks_of_keys(block) {
                segment.score::<V>(block, key, wide, &mut scores);
                for i in 0..rows {
                    let row = &mut scores[i * KEYS..i * KEYS + wide];
                    let Some(seen) = segment.biased(block, i, key, &mut row[..here]) else {
                        row.fill(0.0);
                        continue;
                    };
                    row[..seen.start].fill(f32::NEG_INFINITY);
                    online.soften::<V>(i, row, seen.end, shape.scale);
                }
                let weights = Strided { start: scores.as_ptr(), row: KEYS, column: 1 };
                let values = values[key * shape.key_width()..].as_ptr();
                let output = online.output.as_mut_ptr();
                multiply::<V>((rows, d, here), weights, values, shape.key_width(), output, d, online.begun);
                online.begun = true;
            }
        }
        for i in 0..rows {
            sums.slice((batch * shape.heads + head) * shape.queries + first + i, 1)[0] = online.log_sum(i);
            online.finish(i, out.slice(start + i * width, d));
        }
    }
}

#[inline(always)]
unsafe fn dot<V: Vector>(a: &[f32], b: &[f32]) -> f32 {
    unsafe {
        let mut sum = V::splat(0.0);
        for at in (0..a.len()).step_by(WIDTH) {
            let count = (a.len() - at).min(WIDTH);
            let left = V::load_partial(a.as_ptr().add(at), count, 0.0);
            sum = left.fma(V::load_partial(b.as_ptr().add(at), count, 0.0), sum);
        }
        sum.sum()
    }
}

#[cfg(test)]
#[path = "attention_tests.rs"]
mod tests;
