//! Few rows of activations in bytes: every code is read once and multiplied as an integer.

use std::ops::Range;

use super::activations::Bytes;
use super::dot::{Dot, IntegerSet, integers};
use super::matrix::{Bits, PackedMatrix};
use super::scaling::{Ahead, BlockScales, Direct};
use super::storage::Floats;
use crate::buffer::Shared;
use crate::prefetch::{AHEAD, prefetch};
use crate::streams::{STREAMS, streams};
use crate::vector::{InstructionSet, Vector, WIDTH};

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
    assert!(x.codes.len() >= m * matrix.cols() && x.scales.len() >= m * matrix.groups() && x.group == matrix.group());
    assert!(span.end <= matrix.blocks() && bias.is_none_or(|bias| bias.len() == rows));
    let base = matrix.integer_base();
    unsafe {
        match matrix.scales() {
            _ if matrix.has_offsets(base as f32) => {
                scaled::<D, NIBBLES, _>(&Ahead::new(set, matrix, base as f32), matrix, x, m, bias, span, out);
            }
            Floats::Half(values) => {
                scaled::<D, NIBBLES, _>(&Direct::new(matrix, values), matrix, x, m, bias, span, out);
            }
            Floats::Full(values) => {
                scaled::<D, NIBBLES, _>(&Direct::new(matrix, values), matrix, x, m, bias, span, out);
            }
        }
    }
}

#[inline(always)]
unsafe fn scaled<D: Dot, const NIBBLES: bool, T: BlockScales>(
    scales: &T,
    matrix: &PackedMatrix,
    x: &Bytes,
    m: usize,
    bias: Option<&[f32]>,
    span: Range<usize>,
    out: Shared,
) {
    unsafe {
        if m > 1 {
            return walk::<D, NIBBLES, T, 1>(scales, matrix, x, m, bias, [span.start], span.len(), out);
        }
        let (starts, each, rest) = streams::<STREAMS>(&span);
        walk::<D, NIBBLES, T, STREAMS>(scales, matrix, x, m, bias, starts, each, out);
        walk::<D, NIBBLES, T, 1>(scales, matrix, x, m, bias, [rest.start], rest.len(), out);
    }
}

/// The `each` blocks from every one of `starts` on, those of all streams side by side.
#[inline(always)]
unsafe fn walk<D: Dot, const NIBBLES: bool, T: BlockScales, const S: usize>(
    scales: &T,
    matrix: &PackedMatrix,
    x: &Bytes,
    m: usize,
    bias: Option<&[f32]>,
    starts: [usize; S],
    each: usize,
    out: Shared,
) {
    let (rows, base) = (matrix.rows(), matrix.integer_base());
    let mut scales: [T; S] = std::array::from_fn(|_| scales.clone());
    for step in 0..each {
        let blocks = starts.map(|start| start + step);
        for (scales, block) in scales.iter_mut().zip(blocks) {
            scales.reach(block, each - step);
        }
        let mut i = 0;
        while i < m {
            let wide = (m - i).min(if S == 1 { 4 } else { 1 });
            unsafe {
                let products = match wide {
                    1 => products::<D, NIBBLES, T, 1, S>(matrix, blocks, base, &scales, x, i),
                    2 if S == 1 => products::<D, NIBBLES, T, 2, S>(matrix, blocks, base, &scales, x, i),
                    3 if S == 1 => products::<D, NIBBLES, T, 3, S>(matrix, blocks, base, &scales, x, i),
                    _ => products::<D, NIBBLES, T, 4, S>(matrix, blocks, base, &scales, x, i),
                };
                for (block, products) in blocks.into_iter().zip(products) {
                    let lanes = WIDTH.min(rows - block * WIDTH);
                    let add = match bias {
                        Some(bias) => D::Float::load_partial(bias.as_ptr().add(block * WIDTH), lanes, 0.0),
                        None => D::Float::splat(0.0),
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

/// Products of one block of each stream, which `scales` have come to, with the `C` rows of `x` from row `i` on, one weight row a lane.
#[inline(always)]
unsafe fn products<D: Dot, const NIBBLES: bool, T: BlockScales, const C: usize, const S: usize>(
    matrix: &PackedMatrix,
    blocks: [usize; S],
    base: i32,
    scales: &[T; S],
    x: &Bytes,
    i: usize,
) -> [[D::Float; 4]; S] {
    let (cols, group, groups) = (matrix.cols(), matrix.group(), matrix.groups());
    let lines = blocks.map(|block| matrix.block(block).as_ptr().cast::<u8>());
    unsafe {
        let codes = x.codes.as_ptr().add(i * cols);
        let mut out = [[D::Float::splat(0.0); 4]; S];
        for g in 0..groups {
            let at = i * groups + g;
            let mut sums = [[[D::splat(0); C]; 2]; S];
            for s in 0..S {
                for c in 0..C {
                    sums[s][0][c] = D::splat(x.sums[at + c * groups].wrapping_mul(-base));
                }
            }
            // Eight columns a step: one line of nibbles or two of bytes.
            for column in (g * group..(g + 1) * group).step_by(8) {
                for s in 0..S {
                    let (first, second) = if NIBBLES {
                        let line = lines[s].add(column * 8);
                        prefetch(line, AHEAD);
                        let both = D::bytes(line);
                        (D::low(both), D::high(both))
                    } else {
                        let line = lines[s].add(column * 16);
                        prefetch(line, AHEAD);
                        prefetch(line, AHEAD + 64);
                        (D::bytes(line), D::bytes(line.add(64)))
                    };
                    for c in 0..C {
                        let quads = codes.add(c * cols + column);
                        sums[s][0][c] = sums[s][0][c].dot(first, D::quad(quads));
                        sums[s][1][c] = sums[s][1][c].dot(second, D::quad(quads.add(4)));
                    }
                }
            }
            for s in 0..S {
                let scale = scales[s].scale::<D::Float>(g);
                for c in 0..C {
                    let sum = sums[s][0][c].add(sums[s][1][c]).float().mul(scale);
                    out[s][c] = sum.fma(D::Float::splat(x.scales[at + c * groups]), out[s][c]);
                }
                if let Some(offset) = scales[s].offset::<D::Float>(g) {
                    for c in 0..C {
                        let of = at + c * groups;
                        out[s][c] = offset.fma(D::Float::splat(x.scales[of] * x.sums[of] as f32), out[s][c]);
                    }
                }
            }
        }
        out
    }
}
