//! Attention of one new position of each sequence over codes and the newest keys and values behind them.
//!
//! Codes are never written out. `Σ_c q_c (code · scale_c + minimum_c)` is `Σ_c (q_c scale_c) · code + Σ_c q_c minimum_c`: for
//! each group of tokens the query is multiplied by the scales once, and its product with the minima is where the sums begin.
//! In the same way a group of channels of the output is `Σ_j (p_j scale_j) · code + Σ_j p_j minimum_j`. Query heads that
//! share keys and values read the codes together.

use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use super::HeadCache;
use super::lanes::Lanes;
use crate::attention::{add_linear, soften};
use crate::buffer::filled;
use crate::vector::{InstructionSet, WIDTH, instruction_set, vectorised};

/// Values whose scales are taken apart at a time.
const BLOCK: usize = 64;

/// Products that are not worth another thread.
const SMALL: usize = 1 << 16;

/// Shapes of one call: queries are `(batch, heads, head_dim)`.
#[derive(Debug, Clone, Copy)]
pub struct Shape<'a> {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Channels of a head.
    pub head_dim: usize,
    /// Factor of the scores.
    pub scale: f32,
    /// One slope a head: `slope · (key − query)` is added to the scores.
    pub slopes: Option<&'a [f32]>,
}

/// The keys and values that are no codes, `(batch, token, kv_heads, head_dim)`.
#[derive(Debug, Clone, Copy)]
pub struct Window<'a> {
    /// Keys of the tokens behind those whose keys are codes.
    pub keys: &'a [f32],
    /// Values of the tokens behind those whose values are codes.
    pub values: &'a [f32],
    /// Tokens with such keys.
    pub key_count: usize,
    /// Tokens with such values.
    pub value_count: usize,
    /// Elements from one sequence to the next, of both.
    pub batch_stride: usize,
}

/// The attention output `(batch, heads, head_dim)`; `heads` holds the codes, `(batch, kv_heads)`.
///
/// # Panics
/// When shapes do not fit, or keys and values are not of equally many tokens.
pub fn attention(q: &[f32], heads: &[HeadCache], window: &Window<'_>, shape: &Shape<'_>) -> Vec<f32> {
    attention_on(instruction_set(), q, heads, window, shape)
}

pub(super) fn attention_on(
    set: InstructionSet,
    q: &[f32],
    heads: &[HeadCache],
    window: &Window<'_>,
    shape: &Shape<'_>,
) -> Vec<f32> {
    assert!(shape.kv_heads > 0 && shape.heads.is_multiple_of(shape.kv_heads), "kv heads divide heads");
    assert_eq!(q.len() * shape.kv_heads, heads.len() * shape.heads * shape.head_dim, "queries of {shape:?}");
    assert!(shape.slopes.is_none_or(|slopes| slopes.len() == shape.heads), "one slope a head");
    let unit = shape.heads / shape.kv_heads * shape.head_dim;
    let from = |newest: &'_ [f32], start: usize| start.min(newest.len());
    filled(q.len(), |out| {
        let one = |(place, ((out, q), codes)): (usize, ((&mut [f32], &[f32]), &HeadCache))| {
            let start = place / shape.kv_heads * window.batch_stride + place % shape.kv_heads * shape.head_dim;
            let keys = &window.keys[from(window.keys, start)..];
            let values = &window.values[from(window.values, start)..];
            head(set, q, codes, &Window { keys, values, ..*window }, shape, place % shape.kv_heads, out);
        };
        let positions = heads.first().map_or(0, HeadCache::keys) + window.key_count;
        if q.len() * positions < SMALL {
            out.chunks_mut(unit).zip(q.chunks(unit)).zip(heads).enumerate().for_each(one);
        } else {
            out.par_chunks_mut(unit).zip(q.par_chunks(unit)).zip(heads).enumerate().for_each(one);
        }
    })
}

vectorised! {
    /// The query heads of one key-value head; `window` begins at its first key and value.
    fn head<V: Lanes>(
        q: &[f32], codes: &HeadCache, window: &Window<'_>, shape: &Shape<'_>, kv_head: usize, out: &mut [f32],
    ) {
        let (d, stride) = (shape.head_dim, shape.kv_heads * shape.head_dim);
        let (heads, old) = (q.len() / d, codes.keys());
        let total = old + window.key_count;
        assert_eq!(total, codes.values() + window.value_count, "as many values as keys");
        assert!(codes.head_dim == d && total > 0 && out.len() == q.len());
        let reach = |count: usize| if count == 0 { 0 } else { (count - 1) * stride + d };
        assert!(window.keys.len() >= reach(window.key_count) && window.values.len() >= reach(window.value_count));
        let row = total.next_multiple_of(WIDTH);
        let mut scores = vec![0.0_f32; heads * row];
        match codes.grid.bits.count() {
            2 => old_scores::<V, 2>(q, codes, &mut scores, row),
            4 => old_scores::<V, 4>(q, codes, &mut scores, row),
            _ => old_scores::<V, 8>(q, codes, &mut scores, row),
        }
        for token in 0..window.key_count {
            let key = window.keys.as_ptr().add(token * stride);
            for head in 0..heads {
                let query = q.as_ptr().add(head * d);
                let mut sum = V::splat(0.0);
                for at in (0..d).step_by(WIDTH) {
                    let count = (d - at).min(WIDTH);
                    let left = V::load_partial(query.add(at), count, 0.0);
                    sum = left.fma(V::load_partial(key.add(at), count, 0.0), sum);
                }
                scores[head * row + old + token] = sum.sum();
            }
        }
        let mut sums = vec![0.0_f32; heads];
        for head in 0..heads {
            let slope = shape.slopes.map_or(0.0, |slopes| slopes[kv_head * heads + head]);
            let scores = &mut scores[head * row..][..row];
            if slope != 0.0 {
                add_linear(&mut scores[..total], slope / shape.scale, total - 1, 0);
            }
            sums[head] = soften::<V>(scores, total, shape.scale, f32::NEG_INFINITY).1;
        }
        out.fill(0.0);
        match codes.grid.bits.count() {
            2 => old_values::<V, 2>(codes, &scores, row, out),
            4 => old_values::<V, 4>(codes, &scores, row, out),
            _ => old_values::<V, 8>(codes, &scores, row, out),
        }
        let first = codes.values();
        for head in 0..heads {
            let weights = &scores[head * row + first..][..window.value_count];
            let share = V::splat(1.0 / sums[head]);
            for at in (0..d).step_by(WIDTH) {
                let count = (d - at).min(WIDTH);
                let to = out.as_mut_ptr().add(head * d + at);
                let mut total = V::load_partial(to, count, 0.0);
                for (token, weight) in weights.iter().enumerate() {
                    let value = V::load_partial(window.values.as_ptr().add(token * stride + at), count, 0.0);
                    total = V::splat(*weight).fma(value, total);
                }
                total.mul(share).store_partial(to, count);
            }
        }
    }
}

/// Scores of the tokens whose keys are codes, before they are scaled.
///
/// # Safety
/// The instruction set is there; `q` holds whole heads and `scores` a row for each.
#[inline(always)]
unsafe fn old_scores<V: Lanes, const BITS: usize>(q: &[f32], codes: &HeadCache, scores: &mut [f32], row: usize) {
    let (d, group) = (codes.head_dim, codes.grid.group);
    let heads = q.len() / d;
    let mut scaled = vec![0.0_f32; q.len()];
    let mut starts = vec![0.0_f32; heads];
    let bytes = group * BITS / 8;
    // SAFETY: codes, scales and minima are of whole groups of `d` channels; partial vectors stay within them.
    unsafe {
        for index in 0..codes.keys() / group {
            let scales = codes.key_scales[index * d..][..d].as_ptr();
            let minima = codes.key_minima[index * d..][..d].as_ptr();
            for head in 0..heads {
                let mut start = V::splat(0.0);
                for at in (0..d).step_by(WIDTH) {
                    let count = (d - at).min(WIDTH);
                    let query = V::load_partial(q.as_ptr().add(head * d + at), count, 0.0);
                    query
                        .mul(V::halves(scales.add(at), count))
                        .store_partial(scaled.as_mut_ptr().add(head * d + at), count);
                    start = query.fma(V::halves(minima.add(at), count), start);
                }
                starts[head] = start.sum();
            }
            let packed = &codes.key_codes[index * d * bytes..][..d * bytes];
            for first in (0..group).step_by(WIDTH) {
                let count = (group - first).min(WIDTH);
                let from = packed.as_ptr().add(first * BITS / 8);
                let at = index * group + first;
                let mut head = 0;
                while head < heads {
                    let (scaled, starts) = (&scaled[head * d..], &starts[head..]);
                    let to = scores[head * row + at..].as_mut_ptr();
                    head += match heads - head {
                        1 => some_scores::<V, BITS, 1>(from, bytes, d, scaled, starts, to, row, count),
                        2 => some_scores::<V, BITS, 2>(from, bytes, d, scaled, starts, to, row, count),
                        3 => some_scores::<V, BITS, 3>(from, bytes, d, scaled, starts, to, row, count),
                        _ => some_scores::<V, BITS, 4>(from, bytes, d, scaled, starts, to, row, count),
                    };
                }
            }
        }
    }
}

/// Scores of up to sixteen tokens of a group for `N` heads.
#[inline(always)]
unsafe fn some_scores<V: Lanes, const BITS: usize, const N: usize>(
    from: *const u8,
    bytes: usize,
    d: usize,
    scaled: &[f32],
    starts: &[f32],
    to: *mut f32,
    row: usize,
    count: usize,
) -> usize {
    unsafe {
        let mut sums = [V::splat(0.0); N];
        for n in 0..N {
            sums[n] = V::splat(starts[n]);
        }
        for channel in 0..d {
            let codes = V::some_codes::<BITS>(from.add(channel * bytes), count);
            for n in 0..N {
                sums[n] = V::splat(*scaled.get_unchecked(n * d + channel)).fma(codes, sums[n]);
            }
        }
        for n in 0..N {
            sums[n].store_partial(to.add(n * row), count);
        }
    }
    N
}

/// Adds to the output `(head, channel)` what the tokens whose values are codes give, by their weights.
///
/// # Safety
/// As [`old_scores`].
#[inline(always)]
unsafe fn old_values<V: Lanes, const BITS: usize>(codes: &HeadCache, weights: &[f32], row: usize, out: &mut [f32]) {
    let (d, group) = (codes.head_dim, codes.grid.group);
    let (heads, parts, tokens) = (out.len() / d, d / group, codes.values());
    let mut halves = vec![0.0_f32; BLOCK * parts];
    // Of a block of tokens, `(group of channels, token)`.
    let mut scales = vec![0.0_f32; BLOCK * parts];
    let mut minima = vec![0.0_f32; BLOCK * parts];
    let mut scaled = vec![0.0_f32; heads * BLOCK];
    let mut starts = vec![0.0_f32; heads * parts];
    let bytes = d * BITS / 8;
    // SAFETY: codes, scales and minima are of whole tokens; partial vectors stay within them.
    unsafe {
        for first in (0..tokens).step_by(BLOCK) {
            let here = (tokens - first).min(BLOCK);
            for (source, target) in [(&codes.value_scales, &mut scales), (&codes.value_minima, &mut minima)] {
                let halves = &mut halves[..here * parts];
                source[first * parts..][..here * parts].convert_to_f32_slice(halves);
                for (token, halves) in halves.chunks_exact(parts).enumerate() {
                    for (part, half) in halves.iter().enumerate() {
                        target[part * BLOCK + token] = *half;
                    }
                }
            }
            for part in 0..parts {
                for head in 0..heads {
                    let mut start = V::splat(0.0);
                    for at in (0..here).step_by(WIDTH) {
                        let count = (here - at).min(WIDTH);
                        let weight = V::load_partial(weights.as_ptr().add(head * row + first + at), count, 0.0);
                        let scale = V::load_partial(scales.as_ptr().add(part * BLOCK + at), count, 0.0);
                        weight.mul(scale).store_partial(scaled.as_mut_ptr().add(head * BLOCK + at), count);
                        let minimum = V::load_partial(minima.as_ptr().add(part * BLOCK + at), count, 0.0);
                        start = weight.fma(minimum, start);
                    }
                    starts[head * parts + part] += start.sum();
                }
                let packed = &codes.value_codes[first * bytes..][..here * bytes];
                for at in (0..group).step_by(WIDTH) {
                    let count = (group - at).min(WIDTH);
                    let channel = part * group + at;
                    let from = packed.as_ptr().add(channel * BITS / 8);
                    let mut head = 0;
                    while head < heads {
                        let scaled = &scaled[head * BLOCK..];
                        let to = out[head * d + channel..].as_mut_ptr();
                        head += match heads - head {
                            1 => some_values::<V, BITS, 1>(from, bytes, here, scaled, to, d, count),
                            2 => some_values::<V, BITS, 2>(from, bytes, here, scaled, to, d, count),
                            3 => some_values::<V, BITS, 3>(from, bytes, here, scaled, to, d, count),
                            _ => some_values::<V, BITS, 4>(from, bytes, here, scaled, to, d, count),
                        };
                    }
                }
            }
        }
    }
    for (out, start) in out.chunks_exact_mut(group).zip(&starts) {
        for out in out {
            *out += start;
        }
    }
}

/// Adds up to sixteen channels of a block of tokens for `N` heads.
#[inline(always)]
unsafe fn some_values<V: Lanes, const BITS: usize, const N: usize>(
    from: *const u8,
    bytes: usize,
    tokens: usize,
    scaled: &[f32],
    to: *mut f32,
    d: usize,
    count: usize,
) -> usize {
    unsafe {
        let mut sums = [V::splat(0.0); N];
        for n in 0..N {
            sums[n] = V::load_partial(to.add(n * d), count, 0.0);
        }
        for token in 0..tokens {
            let codes = V::some_codes::<BITS>(from.add(token * bytes), count);
            for n in 0..N {
                sums[n] = V::splat(*scaled.get_unchecked(n * BLOCK + token)).fma(codes, sums[n]);
            }
        }
        for n in 0..N {
            sums[n].store_partial(to.add(n * d), count);
        }
    }
    N
}
