//! Few rows of f32 activations: every code is read once and becomes an f32 lane on the way.

use std::ops::Range;

use super::lanes::Codes;
use super::matrix::{Bits, PackedMatrix};
use super::scaling::{Ahead, BlockScales, Direct};
use super::storage::Floats;
use crate::buffer::Shared;
use crate::prefetch::{AHEAD, prefetch};
use crate::vector::{InstructionSet, WIDTH, vectorised};

/// Multiplies some blocks of sixteen weight rows with all `m` rows of `x (m, cols)` and writes their columns of `out
/// (m, rows)`. `sums (m, groups)` are those of [`super::activations::group_sums`], or empty where no zero point needs
/// them.
pub(crate) fn blocks(
    set: InstructionSet,
    matrix: &PackedMatrix,
    x: &[f32],
    sums: &[f32],
    m: usize,
    bias: Option<&[f32]>,
    span: Range<usize>,
    out: Shared,
) {
    match matrix.bits() {
        Bits::Four => blocks_of_nibbles(set, set, matrix, x, sums, m, bias, span, out),
        Bits::Eight => blocks_of_bytes(set, set, matrix, x, sums, m, bias, span, out),
    }
}

vectorised! {
    fn blocks_of_nibbles<V: Codes>(
        set: InstructionSet, matrix: &PackedMatrix, x: &[f32], sums: &[f32], m: usize, bias: Option<&[f32]>, span: Range<usize>, out: Shared,
    ) {
        generic_blocks::<V, true>(set, matrix, x, sums, m, bias, span, out);
    }
}
vectorised! {
    fn blocks_of_bytes<V: Codes>(
        set: InstructionSet, matrix: &PackedMatrix, x: &[f32], sums: &[f32], m: usize, bias: Option<&[f32]>, span: Range<usize>, out: Shared,
    ) {
        generic_blocks::<V, false>(set, matrix, x, sums, m, bias, span, out);
    }
}

#[inline(always)]
unsafe fn generic_blocks<V: Codes, const NIBBLES: bool>(
    set: InstructionSet,
    matrix: &PackedMatrix,
    x: &[f32],
    sums: &[f32],
    m: usize,
    bias: Option<&[f32]>,
    span: Range<usize>,
    out: Shared,
) {
    let (rows, cols, groups) = (matrix.rows(), matrix.cols(), matrix.groups());
    let (table, base) = if NIBBLES { matrix.table() } else { ([0.0; 16], 128.0) };
    assert!(x.len() == m * cols && span.end <= matrix.blocks() && bias.is_none_or(|bias| bias.len() == rows));
    assert!(!matrix.has_offsets(base) || sums.len() == m * groups);
    unsafe {
        match matrix.scales() {
            _ if matrix.has_offsets(base) => {
                walk::<V, NIBBLES, _>(Ahead::new(set, matrix, base), matrix, &table, x, sums, m, bias, span, out);
            }
            Floats::Half(values) => {
                walk::<V, NIBBLES, _>(Direct::new(matrix, values), matrix, &table, x, sums, m, bias, span, out);
            }
            Floats::Full(values) => {
                walk::<V, NIBBLES, _>(Direct::new(matrix, values), matrix, &table, x, sums, m, bias, span, out);
            }
        }
    }
}

#[inline(always)]
unsafe fn walk<V: Codes, const NIBBLES: bool, T: BlockScales>(
    mut scales: T,
    matrix: &PackedMatrix,
    table: &[f32; 16],
    x: &[f32],
    sums: &[f32],
    m: usize,
    bias: Option<&[f32]>,
    span: Range<usize>,
    out: Shared,
) {
    let (rows, cols, groups) = (matrix.rows(), matrix.cols(), matrix.groups());
    let end = span.end;
    unsafe {
        for block in span {
            scales.reach(block, end - block);
            let lanes = WIDTH.min(rows - block * WIDTH);
            let add = bias.map_or(V::splat(0.0), |bias| V::load_partial(bias.as_ptr().add(block * WIDTH), lanes, 0.0));
            let mut i = 0;
            while i < m {
                let wide = (m - i).min(4);
                let (x, sums) = (&x[i * cols..], sums.get(i * groups..).unwrap_or(&[]));
                let products = match wide {
                    1 => products::<V, NIBBLES, T, 1>(matrix, block, table, &scales, x, sums),
                    2 => products::<V, NIBBLES, T, 2>(matrix, block, table, &scales, x, sums),
                    3 => products::<V, NIBBLES, T, 3>(matrix, block, table, &scales, x, sums),
                    _ => products::<V, NIBBLES, T, 4>(matrix, block, table, &scales, x, sums),
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

/// Products of one block, which `scales` have come to, with `C` rows of `x`, one weight row a lane; `C` does not change the order of additions.
#[inline(always)]
unsafe fn products<V: Codes, const NIBBLES: bool, T: BlockScales, const C: usize>(
    matrix: &PackedMatrix,
    block: usize,
    table: &[f32; 16],
    scales: &T,
    x: &[f32],
    sums: &[f32],
) -> [V; 4] {
    let (cols, group, groups) = (matrix.cols(), matrix.group(), matrix.groups());
    let lines = matrix.block(block);
    let per_group = group / matrix.per_line();
    unsafe {
        let table = V::table(table.as_ptr());
        let x = x.as_ptr();
        let mut out = [V::splat(0.0); 4];
        for g in 0..groups {
            // Four sums hide the latency of the additions: with two, a line of nibbles waits sixteen cycles for them.
            let mut partial = [[V::splat(0.0); C]; 4];
            for l in 0..per_group {
                let line = lines.as_ptr().add(g * per_group + l).cast::<u8>();
                prefetch(line, AHEAD);
                let words = V::words(line);
                let x = x.add(g * group + l * (if NIBBLES { 8 } else { 4 }));
                macro_rules! column {
                    ($column:literal, $weights:expr) => {
                        let weights: V = $weights;
                        for c in 0..C {
                            let activation = V::splat(*x.add(c * cols + $column));
                            partial[$column % 4][c] = weights.fma(activation, partial[$column % 4][c]);
                        }
                    };
                }
                if NIBBLES {
                    column!(0, V::look_up::<0>(words, table));
                    column!(1, V::look_up::<8>(words, table));
                    column!(2, V::look_up::<16>(words, table));
                    column!(3, V::look_up::<24>(words, table));
                    column!(4, V::look_up::<4>(words, table));
                    column!(5, V::look_up::<12>(words, table));
                    column!(6, V::look_up::<20>(words, table));
                    column!(7, V::look_up::<28>(words, table));
                } else {
                    column!(0, V::centred_byte::<0>(words));
                    column!(1, V::centred_byte::<8>(words));
                    column!(2, V::centred_byte::<16>(words));
                    column!(3, V::centred_byte::<24>(words));
                }
            }
            let scale = scales.scale::<V>(g);
            for c in 0..C {
                let sum = partial[0][c].add(partial[1][c]).add(partial[2][c].add(partial[3][c]));
                out[c] = sum.fma(scale, out[c]);
            }
            if let Some(offset) = scales.offset::<V>(g) {
                for c in 0..C {
                    out[c] = offset.fma(V::splat(sums[c * groups + g]), out[c]);
                }
            }
        }
        out
    }
}
