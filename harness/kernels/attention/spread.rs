//! How the probabilities of attention are spread over keys: their entropy and what the first keys get, without a query-by-key matrix.

use rayon::prelude::*;

use super::parts::{Packed, pack_parts};
use super::{Block, KEYS, Part, QUERIES, Segment, Shape, chosen};
use crate::buffer::{Shared, filled};
use crate::vector::{Vector, WIDTH, exp, vectorised};
use crate::{InstructionSet, instruction_set};

/// The probabilities that one head of one query gives the keys it sees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// `−Σ p ln p` in nats: 0 where one key gets everything, `ln n` where `n` get alike.
    pub entropy: f32,
    /// What the first keys get together.
    pub first: f32,
}

/// The spread of every `(head, query)`. The arguments are those of [`super::attention_of_parts`], but for values, which do not count; each part
/// comes with how many keys at its start are first ones.
pub fn spread(parts: &[(Part<'_>, usize)], shape: &Shape<'_>) -> Vec<Spread> {
    spread_on(instruction_set(), parts, shape)
}

fn spread_on(set: InstructionSet, parts: &[(Part<'_>, usize)], shape: &Shape<'_>) -> Vec<Spread> {
    let (parts, firsts): (Vec<Part<'_>>, Vec<usize>) = parts.iter().copied().unzip();
    let packed = pack_parts(set, &parts, shape);
    let segments: Vec<Segment<'_>> = packed.iter().map(Packed::segment).collect();
    let Some(queries) = segments.first().map(|segment| segment.shape.queries) else { return Vec::new() };
    let firsts: Vec<usize> = packed.iter().map(|packed| firsts[packed.at]).collect();
    let blocks = queries.div_ceil(QUERIES);
    let out = filled(2 * shape.heads * queries, |out| {
        let out = Shared::new(out);
        (0..shape.heads * blocks).into_par_iter().with_max_len(1).for_each(|task| {
            let (head, first) = (task % shape.heads, (blocks - 1 - task / shape.heads) * QUERIES);
            let rows = (queries - first).min(QUERIES);
            let block = Block { batch: 0, head, kv_head: head / shape.group(), first, rows };
            spread_of_block(set, &segments, &firsts, block, queries, out);
        });
    });
    out.as_chunks::<2>().0.iter().map(|[entropy, first]| Spread { entropy: *entropy, first: *first }).collect()
}

/// Sums over the scores `s` of a row so far, with `m` the largest.
#[derive(Clone, Copy)]
struct Sums {
    max: f32,
    /// `Σ e^(s − m)`.
    all: f64,
    /// `Σ e^(s − m) (s − m)`.
    weighted: f64,
    /// Of the first keys alone.
    first: f64,
}

impl Sums {
    const NONE: Self = Self { max: f32::NEG_INFINITY, all: 0.0, weighted: 0.0, first: 0.0 };

    /// Adds the keys of products that are not scaled yet, at most [`KEYS`]; `is_first` tells which are first ones.
    #[inline(always)]
    unsafe fn add<V: Vector>(&mut self, scores: &[f32], scale: f32, is_first: impl Fn(usize) -> bool) {
        // Far enough below for an exponential of zero, near enough for a product with it to be zero too.
        const FAR_BELOW: f32 = -1e6;
        let mut weights = [0.0; KEYS];
        // SAFETY: partial loads stay within the scores, stores within `KEYS` weights.
        unsafe {
            let factor = V::splat(scale);
            let mut largest = V::splat(f32::NEG_INFINITY);
            for at in (0..scores.len()).step_by(WIDTH) {
                let lanes = (scores.len() - at).min(WIDTH);
                let score = V::load_partial(scores.as_ptr().add(at), lanes, f32::NEG_INFINITY).mul(factor);
                largest = largest.max(score);
            }
            let largest = largest.maximum();
            if largest > self.max {
                let shift = f64::from(self.max - largest);
                if self.all > 0.0 {
                    let correction = shift.exp();
                    self.weighted = correction * (self.weighted + shift * self.all);
                    self.all *= correction;
                    self.first *= correction;
                }
                self.max = largest;
            }
            let (max, floor) = (V::splat(self.max), V::splat(FAR_BELOW));
            let (mut all, mut weighted) = (V::splat(0.0), V::splat(0.0));
            for at in (0..scores.len()).step_by(WIDTH) {
                let lanes = (scores.len() - at).min(WIDTH);
                let score = V::load_partial(scores.as_ptr().add(at), lanes, f32::NEG_INFINITY).mul(factor);
                let below = score.sub(max).max(floor);
                let weight = exp(below);
                weight.store(weights.as_mut_ptr().add(at));
                all = all.add(weight);
                weighted = weight.fma(below, weighted);
            }
            self.all += f64::from(all.sum());
            self.weighted += f64::from(weighted.sum());
        }
        let first = weights[..scores.len()].iter().enumerate().filter(|(at, _)| is_first(*at));
        self.first += first.map(|(_, weight)| f64::from(*weight)).sum::<f64>();
    }

    fn spread(self) -> [f32; 2] {
        [(self.all.ln() - self.weighted / self.all) as f32, (self.first / self.all) as f32]
    }
}

vectorised! {
    /// A block of queries of one head over all segments, a pair for each query.
    fn spread_of_block<V>(segments: &[Segment<'_>], firsts: &[usize], block: Block, queries: usize, out: Shared) {
        let mut scores = [0.0f32; QUERIES * KEYS];
        let mut sums = [Sums::NONE; QUERIES];
        for (segment, first) in segments.iter().zip(firsts) {
            let scale = segment.shape.scale;
            if let Some(count) = segment.part.and_then(|part| part.chosen) {
                for (keys, sums) in chosen::choose::<V>(segment, block, count, &mut scores).iter().zip(&mut sums) {
                    for keys in keys.chunks(KEYS) {
                        let mut scores = [0.0; KEYS];
                        scores.iter_mut().zip(keys).for_each(|(score, scored)| *score = scored.score);
                        sums.add::<V>(&scores[..keys.len()], scale, |at| (keys[at].key as usize) < *first);
                    }
                }
                continue;
            }
            for (key, here, wide) in segment.blocks_of_keys(block) {
                segment.score::<V>(block, key, wide, &mut scores);
                for (i, sums) in sums[..block.rows].iter_mut().enumerate() {
                    let row = &mut scores[i * KEYS..i * KEYS + here];
                    if let Some(seen) = segment.biased(block, i, key, row) {
                        sums.add::<V>(&row[seen.clone()], scale, |at| key + seen.start + at < *first);
                    }
                }
            }
        }
        // Every task writes the rows of its own head and block.
        let out = out.slice(2 * (block.head * queries + block.first), 2 * block.rows);
        for (out, sums) in out.as_chunks_mut::<2>().0.iter_mut().zip(sums) {
            *out = sums.spread();
        }
    }
}

#[cfg(test)]
#[path = "spread_tests.rs"]
mod tests;
