//! Few rows of activations in bytes: every code is read once and multiplied as an integer.

use std::ops::Range;

use super::activations::Bytes;
use super::dot::{Dot, IntegerSet, integers};
use super::matrix::{Bits, PackedMatrix};
use super::scaling::{Scaling, scaled_together};
use crate::buffer::Shared;
use crate::prefetch::prefetch;
use crate::vector::{InstructionSet, Vector, WIDTH};

/// How far ahead of their use codes are asked for, in bytes.
const AHEAD: usize = 4096;

/// Multiplies some blocks of sixteen weight rows with all `m` rows of activations and writes their columns of `out
/// (m, rows)`.
pub(crate) fn blocks(
    integers: IntegerSet,
    set: InstructionSet,
    matrix: &PackedMatrix,
    x: &Bytes,
    m: usize,
    bias: Option<&[f32]>,
    span: Range<usize>,
    out: Shared,
) {
    match matrix.bits() {
        Bits::Four => blocks_of_nibbles(integers, true, set, matrix, x, m, bias, span, out),
        Bits::Eight => blocks_of_bytes(integers, false, set, matrix, x, m, bias, span, out),
    }
}

integers! {
    fn blocks_of_nibbles<D, M, N>(
        set: InstructionSet, matrix: &PackedMatrix, x: &Bytes, m: usize, bias: Option<&[f32]>, span: Range<usize>, out: Shared,
    ) {
        generic_blocks::<D, true>(set, matrix, x, m, bias, span, out);
    }
}
integers! {
    fn blocks_of_bytes<D, M, N>(
        set: InstructionSet, matrix: &PackedMatrix, x: &Bytes, m: usize, bias: Option<&[f32]>, span: Range<usize>, out: Shared,
    ) {
        generic_blocks::<D, false>(set, matrix, x, m, bias, span, out);
    }
}

#[inline(always)]
unsafe fn generic_blocks<D: Dot, const NIBBLES: bool>(
    set: InstructionSet,
    matrix: &PackedMatrix,
    x: &Bytes,
    m: usize,
    bias: Option<&[f32]>,
    span: Range<usize>,
    out: Shared,
) {
    let rows = matrix.rows();
    let base = matrix.integer_base();
    assert!(x.codes.len() >= m * matrix.cols() && x.scales.len() >= m * matrix.groups() && x.group == matrix.group());
    assert!(span.end <= matrix.blocks() && bias.is_none_or(|bias| bias.len() == rows));
    let together = scaled_together(matrix);
    let mut scaling = Scaling::with_capacity(matrix, together);
    unsafe {
        let (start, end) = (span.start, span.end);
        for block in span {
            let within = (block - start) % together;
            if within == 0 {
                scaling.read(set, matrix, block, together.min(end - block), base as f32);
            }
            let lanes = WIDTH.min(rows - block * WIDTH);
            let add = match bias {
                Some(bias) => D::Float::load_partial(bias.as_ptr().add(block * WIDTH), lanes, 0.0),
                None => D::Float::splat(0.0),
            };
            let mut i = 0;
            while i < m {
                let wide = (m - i).min(4);
                let products = match wide {
                    1 => products::<D, NIBBLES, 1>(matrix, block, base, &scaling, within, x, i),
                    2 => products::<D, NIBBLES, 2>(matrix, block, base, &scaling, within, x, i),
                    3 => products::<D, NIBBLES, 3>(matrix, block, base, &scaling, within, x, i),
                    _ => products::<D, NIBBLES, 4>(matrix, block, base, &scaling, within, x, i),
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

/// Products of one block, number `within` of those whose scales were read, with the `C` rows of `x` from row `i` on, one weight row a lane.
#[inline(always)]
unsafe fn products<D: Dot, const NIBBLES: bool, const C: usize>(
    matrix: &PackedMatrix,
    block: usize,
    base: i32,
    scaling: &Scaling,
    within: usize,
    x: &Bytes,
    i: usize,
) -> [D::Float; 4] {
    let (cols, group, groups) = (matrix.cols(), matrix.group(), matrix.groups());
    let lines = matrix.block(block).as_ptr().cast::<u8>();
    unsafe {
        let codes = x.codes.as_ptr().add(i * cols);
        let mut out = [D::Float::splat(0.0); 4];
        for g in 0..groups {
            let at = i * groups + g;
            let mut sums = [[D::splat(0); C]; 2];
            for c in 0..C {
                sums[0][c] = D::splat(x.sums[at + c * groups].wrapping_mul(-base));
            }
            // Eight columns a step: one line of nibbles or two of bytes.
            for column in (g * group..(g + 1) * group).step_by(8) {
                let (first, second) = if NIBBLES {
                    let line = lines.add(column * 8);
                    prefetch(line, AHEAD);
                    let both = D::bytes(line);
                    (D::low(both), D::high(both))
                } else {
                    let line = lines.add(column * 16);
                    prefetch(line, AHEAD);
                    prefetch(line, AHEAD + 64);
                    (D::bytes(line), D::bytes(line.add(64)))
                };
                for c in 0..C {
                    let quads = codes.add(c * cols + column);
                    sums[0][c] = sums[0][c].dot(first, D::quad(quads));
                    sums[1][c] = sums[1][c].dot(second, D::quad(quads.add(4)));
                }
            }
            let scale = D::Float::load(scaling.scales.as_ptr().add((within * groups + g) * WIDTH));
            for c in 0..C {
                let sum = sums[0][c].add(sums[1][c]).float().mul(scale);
                out[c] = sum.fma(D::Float::splat(x.scales[at + c * groups]), out[c]);
            }
            if !scaling.offsets.is_empty() {
                let offset = D::Float::load(scaling.offsets.as_ptr().add((within * groups + g) * WIDTH));
                for c in 0..C {
                    let place = at + c * groups;
                    out[c] = offset.fma(D::Float::splat(x.scales[place] * x.sums[place] as f32), out[c]);
                }
            }
        }
        out
    }
}
