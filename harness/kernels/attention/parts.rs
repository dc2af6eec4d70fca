//! Attention to keys that are turned in several ways, each query to its own stretch of each: windows, distant keys at one place,
//! remapped positions, keys that each head chooses. One softmax goes over all of it.

use std::ops::Range;

use super::{Biases, Segment, Shape, attention_on, blockwise, chosen, pack_keys};
use crate::{InstructionSet, instruction_set};

/// Keys turned in one way, and queries turned to meet them.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// `(queries, heads, head_dim)`.
    pub q: &'a [f32],
    /// `(keys, kv_heads, head_dim)`.
    pub k: &'a [f32],
    /// As the keys.
    pub v: &'a [f32],
    /// The keys that each query sees.
    pub seen: &'a [Range<usize>],
    /// How many of them each head of a query attends to, those with the largest scores and of equal ones the first; all where it is not set.
    pub chosen: Option<usize>,
    /// Where the first of the queries stands in its text, whatever its place here: for biases that know of it.
    pub first_query: usize,
    /// Places of the queries and of the keys, whose difference linear biases are of.
    pub places: (&'a [f32], &'a [f32]),
}

impl Part<'_> {
    /// Adds to the scores of keys from `first` on, before they are scaled, what the head adds for how far their places lie before
    /// that of a query; whole numbers, for biases by distance.
    pub(super) fn add_biases(&self, shape: &Shape<'_>, head: usize, query: usize, first: usize, scores: &mut [f32]) {
        let (queries, keys) = self.places;
        let distances = keys[first..].iter().map(|key| queries[query] - key);
        let slope = shape.slope(head);
        if slope != 0.0 {
            for (score, distance) in scores.iter_mut().zip(distances.clone()) {
                *score -= slope / shape.scale * distance;
            }
        }
        let whole = distances.map(|distance| distance.round() as usize);
        if let Some(biases) = shape.biases_of(head) {
            for (score, distance) in scores.iter_mut().zip(whole) {
                *score += biases[distance] / shape.scale;
            }
        } else if let Some(Biases::Progressive(net)) = shape.biases {
            net.add(head, (self.first_query + query) as f64, whole, shape.scale, scores);
        }
    }

    /// Of one sequence.
    fn shape<'a>(&self, shape: &Shape<'a>) -> Shape<'a> {
        Shape {
            batch: 1,
            queries: self.seen.len(),
            keys: self.k.len() / shape.key_width(),
            key_batch_stride: self.k.len(),
            ..*shape
        }
    }
}

/// The attention output `(queries, heads, head_dim)` of one sequence. Every query sees a key of some part. Of `shape`, heads,
/// dimensions, scale, slopes and biases count, these for every distance of places.
pub fn attention_of_parts(parts: &[Part<'_>], shape: &Shape<'_>) -> Vec<f32> {
    attention_of_parts_on(instruction_set(), parts, shape)
}

pub(super) fn attention_of_parts_on(set: InstructionSet, parts: &[Part<'_>], shape: &Shape<'_>) -> Vec<f32> {
    let seen = check(parts, shape);
    match *seen {
        [(_, first), ..] if first.seen.len() == 1 && shape.slopes.is_none() && shape.biases.is_none() => {
            one_query(set, &seen, shape)
        }
        [(_, first), ..] => {
            let packed = pack_parts(set, parts, shape);
            let segments: Vec<Segment<'_>> = packed.iter().map(Packed::segment).collect();
            let shape = first.shape(shape);
            blockwise(set, &segments, &shape, &mut vec![0.0; shape.heads * shape.queries])
        }
        [] => Vec::new(),
    }
}

/// The parts that some query sees, with their places among all.
fn check<'a, 'b>(parts: &'a [Part<'b>], shape: &Shape<'_>) -> Vec<(usize, &'a Part<'b>)> {
    let seen = |(_, part): &(usize, &Part<'_>)| part.seen.iter().any(|seen| !seen.is_empty());
    let parts: Vec<(usize, &Part<'_>)> = parts.iter().enumerate().filter(seen).collect();
    for (_, part) in &parts {
        let keys = part.k.len() / shape.key_width();
        assert_eq!(
            (part.q.len(), part.v.len()),
            (part.seen.len() * shape.query_width(), part.k.len()),
            "one part's sizes"
        );
        assert!(part.seen.iter().all(|seen| seen.end <= keys), "queries see keys that are there");
        assert!(part.chosen != Some(0), "some keys are chosen");
    }
    parts
}

/// A part that some query sees, with its keys transposed.
pub(super) struct Packed<'a> {
    part: &'a Part<'a>,
    keys: Vec<f32>,
    shape: Shape<'a>,
    /// Its place among all parts.
    pub at: usize,
}

impl Packed<'_> {
    pub fn segment(&self) -> Segment<'_> {
        Segment { q: self.part.q, packed: &self.keys, v: self.part.v, shape: self.shape, part: Some(self.part) }
    }
}

pub(super) fn pack_parts<'a>(set: InstructionSet, parts: &'a [Part<'a>], shape: &Shape<'a>) -> Vec<Packed<'a>> {
    let pack = |(at, part): (usize, &'a Part<'a>)| {
        let shape = part.shape(shape);
        Packed { part, keys: pack_keys(set, part.k, &shape), shape, at }
    };
    check(parts, shape).into_iter().map(pack).collect()
}

/// A single query needs no transposed keys: each part alone, put together by the sums of their exponentials.
fn one_query(set: InstructionSet, parts: &[(usize, &Part<'_>)], shape: &Shape<'_>) -> Vec<f32> {
    let alone: Vec<(Vec<f32>, Vec<f32>)> = (parts.iter())
        .map(|(_, part)| {
            if let Some(count) = part.chosen {
                return chosen::one_query(set, part, count, shape);
            }
            let seen = part.seen[0].start * shape.key_width()..part.seen[0].end * shape.key_width();
            let here = Shape { keys: part.seen[0].len(), ..part.shape(shape) };
            attention_on(set, part.q, &part.k[seen.clone()], &part.v[seen], &here)
        })
        .collect();
    let d = shape.head_dim;
    let mut out = vec![0.0; shape.query_width()];
    for (head, out) in out.chunks_exact_mut(d).enumerate() {
        let largest = alone.iter().map(|(_, sums)| sums[head]).fold(f32::NEG_INFINITY, f32::max);
        let shares = alone.iter().map(|(_, sums)| (sums[head] - largest).exp());
        let all: f32 = shares.clone().sum();
        for ((values, _), share) in alone.iter().zip(shares) {
            for (out, value) in out.iter_mut().zip(&values[head * d..]) {
                *out += value * (share / all);
            }
        }
    }
    out
}

#[cfg(test)]
#[path = "parts_tests.rs"]
mod tests;
