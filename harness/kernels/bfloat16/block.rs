//! Many rows against some blocks of weights, in register tiles.

use std::ops::Range;

use super::matrix::Bf16Matrix;
use super::pairs::{Pairs, paired};
use crate::buffer::Shared;
use crate::vector::{Vector, WIDTH};

paired! {
    /// Multiplies some blocks of sixteen weight rows with the rows `span` of the activations and writes their part of `out
    /// (m, rows)`.
    pub(crate) fn product<P, M, N>(
        inputs, matrix: &Bf16Matrix, bias: Option<&[f32]>, blocks: Range<usize>, span: Range<usize>, out: Shared,
    ) {
        assert!(blocks.end <= matrix.blocks() && inputs.len() >= span.end * matrix.depth());
        assert!(bias.is_none_or(|bias| bias.len() == matrix.rows()));
        let mut i = span.start;
        while i < span.end {
            let left = span.end - i;
            if left >= M {
                across::<P, M, N>(inputs, matrix, bias, blocks.clone(), i, out);
                i += M;
            } else {
                across::<P, 1, N>(inputs, matrix, bias, blocks.clone(), i, out);
                i += 1;
            }
        }
    }
}

/// `M` rows of activations from row `i` on with all the blocks.
#[inline(always)]
unsafe fn across<P: Pairs, const M: usize, const N: usize>(
    inputs: &[P::Element],
    matrix: &Bf16Matrix,
    bias: Option<&[f32]>,
    blocks: Range<usize>,
    i: usize,
    out: Shared,
) {
    let mut b = blocks.start;
    unsafe {
        while b + N <= blocks.end {
            tile::<P, M, N>(inputs, matrix, bias, b, i, out);
            b += N;
        }
        while b < blocks.end {
            tile::<P, M, 1>(inputs, matrix, bias, b, i, out);
            b += 1;
        }
    }
}

#[inline(always)]
unsafe fn tile<P: Pairs, const M: usize, const N: usize>(
    inputs: &[P::Element],
    matrix: &Bf16Matrix,
    bias: Option<&[f32]>,
    block: usize,
    i: usize,
    out: Shared,
) {
    let depth = matrix.depth();
    unsafe {
        let lines = matrix.block(block).as_ptr();
        let x = inputs.as_ptr().add(i * depth);
        let mut sums = [[P::zero(); N]; M];
        for pair in 0..depth / 2 {
            let mut weights = [P::weights(lines.add(pair)); N];
            for v in 1..N {
                weights[v] = P::weights(lines.add(v * depth / 2 + pair));
            }
            for r in 0..M {
                let inputs = P::inputs(x.add(r * depth + 2 * pair));
                for v in 0..N {
                    sums[r][v] = sums[r][v].dot(weights[v], inputs);
                }
            }
        }
        for v in 0..N {
            let (lanes, column) = (matrix.lanes(block + v), (block + v) * WIDTH);
            let add = match bias {
                Some(bias) => P::Float::load_partial(bias[column..].as_ptr(), lanes, 0.0),
                None => P::Float::splat(0.0),
            };
            for r in 0..M {
                let to = out.slice((i + r) * matrix.rows() + column, lanes);
                sums[r][v].float().add(add).store_partial(to.as_mut_ptr(), lanes);
            }
        }
    }
}
