//! Many rows of f32 activations: tiles of codes become f32 and go through the dense product.

use std::ops::Range;

use faer::linalg::matmul::matmul;
use faer::{Accum, MatRef, Par};

use super::lanes::Codes;
use super::matrix::{Bits, Decoding, PackedMatrix};
use super::scaling::Scaling;
use crate::buffer::filled;
use crate::product::tiled;
use crate::vector::{InstructionSet, WIDTH, instruction_set, vectorised};

/// `out (m, rows) = x (m, cols) · weightᵀ`.
pub(crate) fn product(matrix: &PackedMatrix, x: &[f32], m: usize, out: &mut [f32]) {
    let (rows, cols) = (matrix.rows(), matrix.cols());
    let x = MatRef::from_row_major_slice(x, m, cols);
    let set = instruction_set();
    tiled(out, (m, cols, rows), |activations, weights, target| {
        // Tiles begin at multiples of 32 rows.
        let blocks = weights.start / WIDTH..weights.end.div_ceil(WIDTH);
        let wide = blocks.len() * WIDTH;
        let panel = filled(cols * wide, |panel| expand(set, matrix, blocks, panel));
        let panel = MatRef::from_row_major_slice(&panel, cols, wide).subcols(0, weights.len());
        matmul(target, Accum::Replace, x.subrows(activations.start, activations.len()), panel, 1.0, Par::Seq);
    });
}

/// Writes the values of some blocks, transposed: `(cols, 16 · blocks)`, the bits of [`PackedMatrix::dequantise`].
pub(crate) fn expand(set: InstructionSet, matrix: &PackedMatrix, blocks: Range<usize>, out: &mut [f32]) {
    expand_blocks(set, set, matrix, blocks, out);
}

vectorised! {
    fn expand_blocks<V: Codes>(set: InstructionSet, matrix: &PackedMatrix, blocks: Range<usize>, out: &mut [f32]) {
        match (matrix.bits(), matrix.decoding()) {
            (Bits::Four, Decoding::Zeros(_)) => expand_generic::<V, true, true>(set, matrix, blocks, out),
            (Bits::Four, _) => expand_generic::<V, true, false>(set, matrix, blocks, out),
            (Bits::Eight, Decoding::Zeros(_)) => expand_generic::<V, false, true>(set, matrix, blocks, out),
            (Bits::Eight, _) => expand_generic::<V, false, false>(set, matrix, blocks, out),
        }
    }
}

#[inline(always)]
unsafe fn expand_generic<V: Codes, const NIBBLES: bool, const ZEROS: bool>(
    set: InstructionSet,
    matrix: &PackedMatrix,
    blocks: Range<usize>,
    out: &mut [f32],
) {
    let (cols, group, groups) = (matrix.cols(), matrix.group(), matrix.groups());
    let wide = blocks.len() * WIDTH;
    assert!(blocks.end <= matrix.blocks() && out.len() == cols * wide);
    let per_group = group / matrix.per_line();
    let table = if ZEROS { std::array::from_fn(|code| code as f32) } else { matrix.table().0 };
    let common = if let Decoding::Zero(zero) = matrix.decoding() { *zero } else { 0.0 };
    let mut scaling = Scaling::with_capacity(matrix, 1);
    let mut zeros = vec![0.0; if ZEROS { groups * WIDTH } else { 0 }];
    unsafe {
        let table = V::table(table.as_ptr());
        for (b, block) in blocks.enumerate() {
            matrix.scales().read(set, block * groups * WIDTH, &mut scaling.scales);
            if let Decoding::Zeros(stored) = matrix.decoding() {
                stored.read(set, block * groups * WIDTH, &mut zeros);
            }
            let lines = matrix.block(block);
            for g in 0..groups {
                let scale = V::load(scaling.scales.as_ptr().add(g * WIDTH));
                let zero = if ZEROS { V::load(zeros.as_ptr().add(g * WIDTH)) } else { V::splat(common) };
                for l in 0..per_group {
                    let words = V::words(lines.as_ptr().add(g * per_group + l).cast());
                    let column = g * group + l * matrix.per_line();
                    let to = out.as_mut_ptr().add(column * wide + b * WIDTH);
                    macro_rules! nibble {
                        ($column:literal, $shift:literal) => {
                            let level = V::look_up::<$shift>(words, table);
                            let level = if ZEROS { level.sub(zero) } else { level };
                            level.mul(scale).store(to.add($column * wide));
                        };
                    }
                    macro_rules! byte {
                        ($column:literal, $shift:literal) => {
                            let code = V::centred_byte::<$shift>(words).add(V::splat(128.0));
                            code.sub(zero).mul(scale).store(to.add($column * wide));
                        };
                    }
                    if NIBBLES {
                        nibble!(0, 0);
                        nibble!(1, 8);
                        nibble!(2, 16);
                        nibble!(3, 24);
                        nibble!(4, 4);
                        nibble!(5, 12);
                        nibble!(6, 20);
                        nibble!(7, 28);
                    } else {
                        byte!(0, 0);
                        byte!(1, 8);
                        byte!(2, 16);
                        byte!(3, 24);
                    }
                }
            }
        }
    }
}
