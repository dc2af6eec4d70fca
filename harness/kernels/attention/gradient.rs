//! Gradients of causal softmax attention, whose scores are computed again block by block.

use rayon::prelude::*;

use super::{KEYS, QUERIES, Shape, dot, pack_keys};
use crate::buffer::Shared;
use crate::instruction_set;
use crate::tile::{Strided, multiply};
use crate::vector::{WIDTH, exp, vectorised};

/// Gradients of [`attention`] of its queries, keys, values and biases by distance, in their shapes, for keys and values without gaps;
/// none of biases where there are none.
///
/// `output` and `log_sums` are what [`attention`] returned, `gradient` the gradient of its output. Scores are
/// recomputed block by block.
pub fn attention_gradient(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    output: &[f32],
    log_sums: &[f32],
    gradient: &[f32],
    shape: &Shape<'_>,
) -> [Vec<f32>; 4] {
    shape.check(q, k, v);
    assert_eq!(shape.key_batch_stride, shape.keys * shape.key_width(), "gradients need keys without gaps");
    assert!(output.len() == q.len() && gradient.len() == q.len(), "output and gradient are shaped like the queries");
    assert_eq!(log_sums.len(), shape.batch * shape.heads * shape.queries, "one sum a query and head");
    let set = instruction_set();
    let packed_keys = pack_keys(set, k, shape);
    let packed_values = pack_keys(set, v, shape);
    // A unit is one (batch, kv_head): it owns the gradients of its keys and values, and of its group's queries.
    let mut dq = vec![0.0; q.len()];
    let mut dk = vec![0.0; k.len()];
    let mut dv = vec![0.0; v.len()];
    // One row a sequence and head, added up behind.
    let distances = shape.biases_of(0).map_or(0, <[f32]>::len);
    let mut rows = vec![0.0; shape.batch * shape.heads * distances];
    let targets = [&mut dq, &mut dk, &mut dv, &mut rows].map(|target| Shared::new(target));
    let sources =
        Sources { q, k, output, log_sums, gradient, packed_keys: &packed_keys, packed_values: &packed_values };
    (0..shape.batch * shape.kv_heads).into_par_iter().with_max_len(1).for_each(|unit| {
        unit_gradient(set, &sources, shape, unit / shape.kv_heads, unit % shape.kv_heads, targets);
    });
    let mut biases = vec![0.0; shape.heads * distances];
    for rows in rows.chunks_exact(biases.len().max(1)) {
        biases.iter_mut().zip(rows).for_each(|(bias, row)| *bias += row);
    }
    [dq, dk, dv, biases]
}

struct Sources<'a> {
    q: &'a [f32],
    k: &'a [f32],
    output: &'a [f32],
    log_sums: &'a [f32],
    gradient: &'a [f32],
    packed_keys: &'a [f32],
    packed_values: &'a [f32],
}

vectorised! {
    fn unit_gradient<V>(sources: &Sources<'_>, shape: &Shape<'_>, batch: usize, kv_head: usize, targets: [Shared; 4]) {
        let (d, width, key_width) = (shape.head_dim, shape.query_width(), shape.key_width());
        let packed = shape.key_blocks() * KEYS * d;
        let unit = (batch * shape.kv_heads + kv_head) * packed;
        let (packed_keys, packed_values) = (&sources.packed_keys[unit..unit + packed], &sources.packed_values[unit..unit + packed]);
        let keys = &sources.k[batch * shape.key_batch_stride + kv_head * d..];
        let mut dk = vec![0.0f32; shape.keys * d];
        let mut dv = vec![0.0f32; shape.keys * d];
        let mut dq = vec![0.0f32; QUERIES * d];
        let mut weights = [0.0f32; QUERIES * KEYS];
        let mut slopes = [0.0f32; QUERIES * KEYS];
        for head in kv_head * shape.group()..(kv_head + 1) * shape.group() {
            let distances = shape.biases_of(head).map_or(0, <[f32]>::len);
            let biases = targets[3].slice((batch * shape.heads + head) * distances, distances);
            for first in (0..shape.queries).step_by(QUERIES) {
                let rows = (shape.queries - first).min(QUERIES);
                let start = (batch * shape.queries + first) * width + head * d;
                let range = start..start + (rows - 1) * width + d;
                let query = Strided { start: sources.q[range.clone()].as_ptr(), row: width, column: 1 };
                let above = Strided { start: sources.gradient[range.clone()].as_ptr(), row: width, column: 1 };
                // The share of the gradient that the softmax normalisation takes back.
                let mut back = [0.0f32; QUERIES];
                for (i, back) in back[..rows].iter_mut().enumerate() {
                    let at = start + i * width;
                    *back = dot::<V>(&sources.gradient[at..at + d], &sources.output[at..at + d]);
                }
                let log_sums = &sources.log_sums[(batch * shape.heads + head) * shape.queries + first..][..rows];
                let last_visible = shape.visible(first + rows - 1);
                for key in (0..last_visible).step_by(KEYS) {
                    let here = (last_visible - key).min(KEYS);
                    let wide = here.next_multiple_of(WIDTH);
                    multiply::<V>((rows, wide, d), query, packed_keys[key * d..].as_ptr(), KEYS, weights.as_mut_ptr(), KEYS, false);
                    multiply::<V>((rows, wide, d), above, packed_values[key * d..].as_ptr(), KEYS, slopes.as_mut_ptr(), KEYS, false);
                    for i in 0..rows {
                        let position = shape.visible(first + i) - 1;
                        let count = (position + 1).saturating_sub(key).min(here);
                        let weights = &mut weights[i * KEYS..i * KEYS + wide];
                        shape.add_biases(head, position, key, &mut weights[..count]);
                        let slopes = slopes[i * KEYS..].as_mut_ptr();
                        for at in (0..wide).step_by(WIDTH) {
                            let lanes = count.saturating_sub(at).min(WIDTH);
                            let score = V::load_partial(weights.as_ptr().add(at), lanes, f32::NEG_INFINITY);
                            let weight = exp(score.fma(V::splat(shape.scale), V::splat(-log_sums[i])));
                            weight.store(weights.as_mut_ptr().add(at));
                            let slope = V::load(slopes.add(at)).sub(V::splat(back[i]));
                            weight.mul(slope).mul(V::splat(shape.scale)).store(slopes.add(at));
                        }
                        if distances > 0 && count > 0 {
                            let scores = std::slice::from_raw_parts(slopes, count).iter();
                            for (bias, slope) in biases[..=position - key].iter_mut().rev().zip(scores) {
                                *bias += slope / shape.scale;
                            }
                        }
                    }
                    let transposed = |values: &[f32]| Strided { start: values.as_ptr(), row: 1, column: KEYS };
                    let gradient = sources.gradient[range.clone()].as_ptr();
                    multiply::<V>((here, d, rows), transposed(&weights), gradient, width, dv[key * d..].as_mut_ptr(), d, true);
                    let queries = sources.q[range.clone()].as_ptr();
                    multiply::<V>((here, d, rows), transposed(&slopes), queries, width, dk[key * d..].as_mut_ptr(), d, true);
                    let straight = Strided { start: slopes.as_ptr(), row: KEYS, column: 1 };
                    let keys = keys[key * key_width..].as_ptr();
                    multiply::<V>((rows, d, here), straight, keys, key_width, dq.as_mut_ptr(), d, key > 0);
                }
                for i in 0..rows {
                    targets[0].slice(start + i * width, d).copy_from_slice(&dq[i * d..(i + 1) * d]);
                }
            }
        }
        for j in 0..shape.keys {
            let at = batch * shape.key_batch_stride + j * key_width + kv_head * d;
            targets[1].slice(at, d).copy_from_slice(&dk[j * d..(j + 1) * d]);
            targets[2].slice(at, d).copy_from_slice(&dv[j * d..(j + 1) * d]);
        }
    }
}
