//! What keys receive: the probabilities of attention added up by key, from a second pass over blocks of keys, without a
//! query-by-key matrix.

use rayon::prelude::*;

use super::{FEW_QUERIES, KEYS, QUERIES, Shape, dot, pack};
use crate::tile::{Strided, multiply};
use crate::vector::{Vector, WIDTH, exp, vectorised};
use crate::{InstructionSet, instruction_set};

/// The probabilities that each key receives, added up over the queries and over the query heads that share it,
/// `(batch, kv_heads, keys)`. `log_sums` are what [`super::attention`] gave for the same queries and keys.
pub fn received(q: &[f32], k: &[f32], log_sums: &[f32], shape: &Shape<'_>) -> Vec<f32> {
    received_on(instruction_set(), q, k, log_sums, shape)
}

fn received_on(set: InstructionSet, q: &[f32], k: &[f32], log_sums: &[f32], shape: &Shape<'_>) -> Vec<f32> {
    shape.check(q, k, k);
    assert_eq!(log_sums.len(), shape.batch * shape.heads * shape.queries, "one sum a query and head");
    let mut sums = vec![0.0; shape.batch * shape.kv_heads * shape.keys];
    if sums.is_empty() {
        return sums;
    }
    // A task is a block of keys of one head and adds up all of its queries in their order, on whatever thread.
    let blocks = sums.par_chunks_mut(shape.keys).enumerate().flat_map(|(unit, sums)| {
        sums.par_chunks_mut(KEYS).enumerate().map(move |(block, sums)| (unit, block * KEYS, sums))
    });
    blocks.for_each(|(unit, first, sums)| {
        let (batch, kv_head) = (unit / shape.kv_heads, unit % shape.kv_heads);
        let rows = &k[batch * shape.key_batch_stride + first * shape.key_width() + kv_head * shape.head_dim..];
        if shape.queries < FEW_QUERIES {
            receive_few(set, q, rows, log_sums, shape, batch, kv_head, first, sums);
        } else {
            let mut packed = vec![0.0; KEYS * shape.head_dim];
            pack(set, rows, shape.key_width(), sums.len(), shape.head_dim, &mut packed);
            receive_many(set, q, &packed, log_sums, shape, batch, kv_head, first, sums);
        }
    });
    sums
}

/// Scores as they come from products to probabilities, added to `sums`; scores past `count` count nothing.
#[inline(always)]
unsafe fn add_probabilities<V: Vector>(
    scores: &[f32; KEYS],
    count: usize,
    scale: f32,
    log_sum: f32,
    sums: &mut [f32; KEYS],
) {
    unsafe {
        for at in (0..count).step_by(WIDTH) {
            let lanes = (count - at).min(WIDTH);
            let score = V::load_partial(scores.as_ptr().add(at), lanes, f32::NEG_INFINITY);
            let probability = exp(score.fma(V::splat(scale), V::splat(-log_sum)));
            let sum = sums.as_mut_ptr().add(at);
            V::load(sum).add(probability).store(sum);
        }
    }
}

vectorised! {
    /// The first query that sees a key of the block and all after it, a block of them at a time; `packed` holds the keys
    /// `(head_dim, KEYS)`.
    fn receive_many<V>(
        q: &[f32], packed: &[f32], log_sums: &[f32], shape: &Shape<'_>, batch: usize, kv_head: usize, first: usize,
        sums: &mut [f32],
    ) {
        let (d, width, here) = (shape.head_dim, shape.query_width(), sums.len());
        assert!(packed.len() >= KEYS * d && here <= KEYS);
        let wide = here.next_multiple_of(WIDTH);
        let earliest = first.saturating_sub(shape.keys - shape.queries);
        let mut scores = [0.0f32; QUERIES * KEYS];
        let mut total = [0.0f32; KEYS];
        for head in kv_head * shape.group()..(kv_head + 1) * shape.group() {
            for query in (earliest..shape.queries).step_by(QUERIES) {
                let rows = (shape.queries - query).min(QUERIES);
                let start = (batch * shape.queries + query) * width + head * d;
                let queries = q[start..start + (rows - 1) * width + d].as_ptr();
                let queries = Strided { start: queries, row: width, column: 1 };
                multiply::<V>((rows, wide, d), queries, packed.as_ptr(), KEYS, scores.as_mut_ptr(), KEYS, false);
                let log_sums = &log_sums[(batch * shape.heads + head) * shape.queries + query..][..rows];
                for (i, (row, log_sum)) in scores.as_chunks_mut::<KEYS>().0.iter_mut().zip(log_sums).enumerate() {
                    let visible = shape.visible(query + i);
                    let count = visible.saturating_sub(first).min(here);
                    shape.add_biases(head, visible - 1, first, &mut row[..count]);
                    add_probabilities::<V>(row, count, shape.scale, *log_sum, &mut total);
                }
            }
        }
        sums.copy_from_slice(&total[..here]);
    }
}

vectorised! {
    /// As [`receive_many`], of keys as they lie.
    fn receive_few<V>(
        q: &[f32], keys: &[f32], log_sums: &[f32], shape: &Shape<'_>, batch: usize, kv_head: usize, first: usize,
        sums: &mut [f32],
    ) {
        let (d, width, here) = (shape.head_dim, shape.query_width(), sums.len());
        let mut scores = [0.0f32; KEYS];
        let mut total = [0.0f32; KEYS];
        for head in kv_head * shape.group()..(kv_head + 1) * shape.group() {
            for query in 0..shape.queries {
                let visible = shape.visible(query);
                let count = visible.saturating_sub(first).min(here);
                if count == 0 {
                    continue;
                }
                let q = &q[(batch * shape.queries + query) * width + head * d..][..d];
                for (j, score) in scores[..count].iter_mut().enumerate() {
                    *score = dot::<V>(q, &keys[j * shape.key_width()..][..d]);
                }
                shape.add_biases(head, visible - 1, first, &mut scores[..count]);
                let log_sum = log_sums[(batch * shape.heads + head) * shape.queries + query];
                add_probabilities::<V>(&scores, count, shape.scale, log_sum, &mut total);
            }
        }
        sums.copy_from_slice(&total[..here]);
    }
}

#[cfg(test)]
#[path = "received_tests.rs"]
mod tests;
