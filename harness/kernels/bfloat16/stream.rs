//! Few rows: every weight is read once, so memory bandwidth is the ceiling.

use std::ops::Range;

use super::matrix::Bf16Matrix;
use super::pairs::{Pairs, paired};
use crate::buffer::Shared;
use crate::prefetch::prefetch;
use crate::vector::{Vector, WIDTH};

/// How far ahead of their use weights are asked for, in bytes.
const AHEAD: usize = 4096;

paired! {
    /// Multiplies some blocks of sixteen weight rows with all `m` rows of activations and writes their columns of `out
    /// (m, rows)`.
    pub(crate) fn blocks<P, M, N>(
        inputs, matrix: &Bf16Matrix, bias: Option<&[f32]>, m: usize, span: Range<usize>, out: Shared,
    ) {
        let (rows, depth) = (matrix.rows(), matrix.depth());
        assert!(span.end <= matrix.blocks() && inputs.len() >= m * depth);
        assert!(bias.is_none_or(|bias| bias.len() == rows));
        for block in span {
            let lanes = matrix.lanes(block);
            let add = match bias {
                Some(bias) => P::Float::load_partial(bias[block * WIDTH..].as_ptr(), lanes, 0.0),
                None => P::Float::splat(0.0),
            };
            let mut i = 0;
            while i < m {
                let wide = (m - i).min(4);
                let x = &inputs[i * depth..];
                let products = match wide {
                    1 => products::<P, 1>(x, matrix, block),
                    2 => products::<P, 2>(x, matrix, block),
                    3 => products::<P, 3>(x, matrix, block),
                    _ => products::<P, 4>(x, matrix, block),
                };
                for c in 0..wide {
                    let to = out.slice((i + c) * rows + block * WIDTH, lanes);
                    products[c].add(add).store_partial(to.as_mut_ptr(), lanes);
                }
                i += wide;
            }
        }
    }
}

/// Products of one block with `C` rows of `x`; `C` does not change the order of additions. Two sums take turns, so that one
/// line need not wait for the additions of the line before.
#[inline(always)]
unsafe fn products<P: Pairs, const C: usize>(x: &[P::Element], matrix: &Bf16Matrix, block: usize) -> [P::Float; 4] {
    let depth = matrix.depth();
    unsafe {
        let lines = matrix.block(block).as_ptr();
        let x = x.as_ptr();
        let mut sums = [[P::zero(); C]; 2];
        for pair in (0..depth / 2).step_by(2) {
            for turn in 0..2 {
                let line = lines.add(pair + turn);
                prefetch(line, AHEAD);
                let weights = P::weights(line);
                for c in 0..C {
                    let inputs = P::inputs(x.add(c * depth + 2 * (pair + turn)));
                    sums[turn][c] = sums[turn][c].dot(weights, inputs);
                }
            }
        }
        let mut out = [P::Float::splat(0.0); 4];
        for c in 0..C {
            out[c] = sums[0][c].float().add(sums[1][c].float());
        }
        out
    }
}
