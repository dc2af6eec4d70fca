//! Few queries: keys and values are read once for all heads that share them, so memory bandwidth is the ceiling.
//!
//! A task is a block of keys of one head of keys and values; what the blocks give is put together in their order, so that the
//! number of threads changes nothing.

use rayon::prelude::*;

use super::{KEYS, Shape, soften};
use crate::InstructionSet;
use crate::buffer::filled;
use crate::prefetch::prefetch;
use crate::vector::{Vector, WIDTH, vectorised};

/// Fewer products than this are computed on the calling thread.
const SMALL: usize = 1 << 16;

/// Keys that are asked for ahead of the one that is read: rows of one head lie apart, which the hardware does not follow.
/// Values are asked for while their keys are read.
const AHEAD: usize = 16;
/// Floats of a line of memory.
const LINE: usize = 64 / size_of::<f32>();

/// Writes the outputs, and the log-sum-exp of the scores of each `(batch, head, query)`.
pub(super) fn attend(
    set: InstructionSet,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    shape: &Shape<'_>,
    out: &mut [f32],
    log_sums: &mut [f32],
) {
    let (blocks, rows, width) = (shape.key_blocks(), shape.queries * shape.group(), shape.head_dim + 2);
    let tasks = shape.batch * shape.kv_heads * blocks;
    let parts = filled(tasks * rows * width, |parts| {
        let one = |(task, parts): (usize, &mut [f32])| {
            let (unit, block) = (task / blocks, task % blocks);
            attend_block(set, q, k, v, shape, unit / shape.kv_heads, unit % shape.kv_heads, block * KEYS, parts);
        };
        if q.len() * shape.keys < SMALL {
            parts.chunks_exact_mut(rows * width).enumerate().for_each(one);
        } else {
            parts.par_chunks_exact_mut(rows * width).enumerate().for_each(one);
        }
    });
    for (at, out) in out.chunks_exact_mut(shape.head_dim).enumerate() {
        let (place, head) = (at / shape.heads, at % shape.heads);
        let (batch, query) = (place / shape.queries, place % shape.queries);
        let unit = batch * shape.kv_heads + head / shape.group();
        let row = query * shape.group() + head % shape.group();
        let seen = shape.visible(query).div_ceil(KEYS);
        let parts = (0..seen).map(|block| &parts[((unit * blocks + block) * rows + row) * width..][..width]);
        log_sums[(batch * shape.heads + head) * shape.queries + query] = put_together(parts, out);
    }
}

/// The output of a query from those of its blocks, each `[largest score, sum of e^(score − largest), sums of values]`;
/// returns the log-sum-exp of the scores.
fn put_together<'a>(parts: impl Iterator<Item = &'a [f32]> + Clone, out: &mut [f32]) -> f32 {
    // A NaN is passed over here and comes back with its factor.
    let largest = parts.clone().map(|part| part[0]).fold(f32::NEG_INFINITY, f32::max);
    let factor = |part: &[f32]| if part[0] == largest { 1.0 } else { (part[0] - largest).exp() };
    let sum: f32 = parts.clone().map(|part| part[1] * factor(part)).sum();
    out.fill(0.0);
    for part in parts {
        let share = factor(part) / sum;
        for (out, value) in out.iter_mut().zip(&part[2..]) {
            *out += value * share;
        }
    }
    largest + sum.ln()
}

vectorised! {
    /// One block of keys with all queries of all heads that share them; `parts` takes a row for each query and head.
    fn attend_block<V>(
        q: &[f32], k: &[f32], v: &[f32], shape: &Shape<'_>, batch: usize, kv_head: usize, first: usize, parts: &mut [f32],
    ) {
        let (d, group, stride) = (shape.head_dim, shape.group(), shape.key_width());
        let start = batch * shape.key_batch_stride + first * stride + kv_head * d;
        let width = d + 2;
        for i in 0..shape.queries {
            let count = shape.visible(i).saturating_sub(first).min(KEYS);
            let rows = &mut parts[i * group * width..][..group * width];
            if count == 0 {
                rows.fill(0.0);
                continue;
            }
            let end = start + (count - 1) * stride + d;
            let (keys, values) = (k[start..end].as_ptr(), v[start..end].as_ptr());
            let at = ((batch * shape.queries + i) * shape.heads + kv_head * group) * d;
            let queries = &q[at..at + group * d];
            let position = shape.visible(i) - 1;
            for head in (0..group).step_by(4) {
                let wide = (group - head).min(4);
                let block = Block { keys, values, stride, count, first, position, shape: *shape, head: kv_head * group + head };
                let (queries, rows) = (&queries[head * d..], &mut rows[head * width..]);
                match wide {
                    1 => block.attend::<V, 1>(queries, d, rows),
                    2 => block.attend::<V, 2>(queries, d, rows),
                    3 => block.attend::<V, 3>(queries, d, rows),
                    _ => block.attend::<V, 4>(queries, d, rows),
                }
            }
        }
    }
}

/// Keys and values of one block and what a query sees of them.
struct Block<'a> {
    keys: *const f32,
    values: *const f32,
    /// Elements from one key to the next.
    stride: usize,
    count: usize,
    first: usize,
    /// Of the query.
    position: usize,
    shape: Shape<'a>,
    /// The first of the heads of queries.
    head: usize,
}

impl Block<'_> {
    /// `C` heads of one query; a row is the largest score, the sum of exponentials and the sums of values.
    #[inline(always)]
    unsafe fn attend<V: Vector, const C: usize>(&self, queries: &[f32], d: usize, rows: &mut [f32]) {
        let mut scores = [[0.0_f32; KEYS]; C];
        unsafe {
            self.score::<V, C>(queries, d, &mut scores);
            for (c, scores) in scores.iter_mut().enumerate() {
                let filled = &mut scores[..self.count.next_multiple_of(WIDTH)];
                self.shape.add_biases(self.head + c, self.position, self.first, &mut filled[..self.count]);
                let (largest, sum) = soften::<V>(filled, self.count, self.shape.scale, f32::NEG_INFINITY);
                rows[c * (d + 2)..][..2].copy_from_slice(&[largest, sum]);
            }
            for at in (0..d).step_by(4 * WIDTH) {
                let count = (d - at).min(4 * WIDTH);
                match count.div_ceil(WIDTH) {
                    1 => self.add_up::<V, C, 1>(&scores, at, count, d, rows),
                    2 => self.add_up::<V, C, 2>(&scores, at, count, d, rows),
                    3 => self.add_up::<V, C, 3>(&scores, at, count, d, rows),
                    _ => self.add_up::<V, C, 4>(&scores, at, count, d, rows),
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn score<V: Vector, const C: usize>(&self, queries: &[f32], d: usize, scores: &mut [[f32; KEYS]; C]) {
        assert!(queries.len() >= C * d && self.count <= KEYS);
        let (queries, whole) = (queries.as_ptr(), d / WIDTH * WIDTH);
        unsafe {
            for j in 0..self.count {
                let key = self.keys.add(j * self.stride);
                for line in (0..d).step_by(LINE) {
                    prefetch(key.add(line), AHEAD * self.stride * size_of::<f32>());
                    prefetch(self.values.add(j * self.stride + line), 0);
                }
                let mut sums = [V::splat(0.0); C];
                for at in (0..whole).step_by(WIDTH) {
                    let key = V::load(key.add(at));
                    for c in 0..C {
                        sums[c] = V::load(queries.add(c * d + at)).fma(key, sums[c]);
                    }
                }
                if whole < d {
                    let key = V::load_partial(key.add(whole), d - whole, 0.0);
                    for c in 0..C {
                        sums[c] = V::load_partial(queries.add(c * d + whole), d - whole, 0.0).fma(key, sums[c]);
                    }
                }
                for c in 0..C {
                    scores[c][j] = sums[c].sum();
                }
            }
        }
    }

    /// The `count` dimensions from `at` on, `U` vectors, of the values weighted by the scores.
    #[inline(always)]
    unsafe fn add_up<V: Vector, const C: usize, const U: usize>(
        &self,
        scores: &[[f32; KEYS]; C],
        at: usize,
        count: usize,
        d: usize,
        rows: &mut [f32],
    ) {
        let last = count - (U - 1) * WIDTH;
        unsafe {
            let mut sums = [[V::splat(0.0); U]; C];
            for j in 0..self.count {
                let value = self.values.add(j * self.stride + at);
                let weights: [V; C] = std::array::from_fn(|c| V::splat(scores[c][j]));
                for u in 0..U {
                    let here = value.add(u * WIDTH);
                    let value =
                        if u + 1 == U && last < WIDTH { V::load_partial(here, last, 0.0) } else { V::load(here) };
                    for c in 0..C {
                        sums[c][u] = weights[c].fma(value, sums[c][u]);
                    }
                }
            }
            for (c, sums) in sums.iter().enumerate() {
                let row = &mut rows[c * (d + 2) + 2 + at..][..count];
                for (u, sum) in sums.iter().enumerate() {
                    let lanes = if u + 1 == U { last } else { WIDTH };
                    sum.store_partial(row[u * WIDTH..].as_mut_ptr(), lanes);
                }
            }
        }
    }
}
