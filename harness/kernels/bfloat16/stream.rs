//! Few rows: every weight is read once, so memory bandwidth is the ceiling.

use std::ops::Range;

use super::matrix::Bf16Matrix;
use super::pairs::{Pairs, paired};
use crate::buffer::Shared;
use crate::prefetch::{AHEAD, prefetch};
use crate::streams::{STREAMS, streams};
use crate::vector::{Vector, WIDTH};

paired! {
    /// Multiplies some blocks of sixteen weight rows with all `m` rows of activations and writes their columns of `out
    /// (m, rows)`.
    pub(crate) fn blocks<P, M, N>(
        inputs, matrix: &Bf16Matrix, bias: Option<&[f32]>, m: usize, span: Range<usize>, out: Shared,
    ) {
        let (rows, depth) = (matrix.rows(), matrix.depth());
        assert!(span.end <= matrix.blocks() && inputs.len() >= m * depth);
        assert!(bias.is_none_or(|bias| bias.len() == rows));
        if m > 1 {
            return walk::<P, 1>(inputs, matrix, bias, m, [span.start], span.len(), out);
        }
        let (starts, each, rest) = streams::<STREAMS>(&span);
        walk::<P, STREAMS>(inputs, matrix, bias, m, starts, each, out);
        walk::<P, 1>(inputs, matrix, bias, m, [rest.start], rest.len(), out);
    }
}

/// The `each` blocks from every one of `starts` on, those of all streams side by side.
#[inline(always)]
unsafe fn walk<P: Pairs, const S: usize>(
    inputs: &[P::Element],
    matrix: &Bf16Matrix,
    bias: Option<&[f32]>,
    m: usize,
    starts: [usize; S],
    each: usize,
    out: Shared,
) {
    let (rows, depth) = (matrix.rows(), matrix.depth());
    for step in 0..each {
        let blocks = starts.map(|start| start + step);
        let mut i = 0;
        while i < m {
            let wide = (m - i).min(if S == 1 { 4 } else { 1 });
            let x = &inputs[i * depth..];
            unsafe {
                let products = match wide {
                    1 => products::<P, 1, S>(x, matrix, blocks),
                    2 if S == 1 => products::<P, 2, S>(x, matrix, blocks),
                    3 if S == 1 => products::<P, 3, S>(x, matrix, blocks),
                    _ => products::<P, 4, S>(x, matrix, blocks),
                };
                for (block, products) in blocks.into_iter().zip(products) {
                    let lanes = matrix.lanes(block);
                    let add = match bias {
                        Some(bias) => P::Float::load_partial(bias[block * WIDTH..].as_ptr(), lanes, 0.0),
                        None => P::Float::splat(0.0),
                    };
                    for c in 0..wide {
                        let to = out.slice((i + c) * rows + block * WIDTH, lanes);
                        products[c].add(add).store_partial(to.as_mut_ptr(), lanes);
                    }
                }
            }
            i += wide;
        }
    }
}

/// Products of one block of each stream with `C` rows of `x`; neither `C` nor `S` changes the order of additions. Two sums take turns, so that one
/// line need not wait for the additions of the line before.
#[inline(always)]
unsafe fn products<P: Pairs, const C: usize, const S: usize>(
    x: &[P::Element],
    matrix: &Bf16Matrix,
    blocks: [usize; S],
) -> [[P::Float; 4]; S] {
    let depth = matrix.depth();
    unsafe {
        let lines = blocks.map(|block| matrix.block(block).as_ptr());
        let x = x.as_ptr();
        let mut sums = [[[P::zero(); C]; 2]; S];
        for pair in (0..depth / 2).step_by(2) {
            for turn in 0..2 {
                for s in 0..S {
                    let line = lines[s].add(pair + turn);
                    prefetch(line, AHEAD);
                    let weights = P::weights(line);
                    for c in 0..C {
                        let inputs = P::inputs(x.add(c * depth + 2 * (pair + turn)));
                        sums[s][turn][c] = sums[s][turn][c].dot(weights, inputs);
                    }
                }
            }
        }
        let mut out = [[P::Float::splat(0.0); 4]; S];
        for s in 0..S {
            for c in 0..C {
                out[s][c] = sums[s][0][c].float().add(sums[s][1][c].float());
            }
        }
        out
    }
}
