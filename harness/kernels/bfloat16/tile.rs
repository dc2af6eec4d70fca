//! Many rows in matrix tiles: thirty-two rows of activations with two blocks of weights at once.

use std::arch::asm;
use std::ops::Range;

use super::inputs::TILE_ROWS;
use super::matrix::{Bf16Matrix, DEPTH};
use crate::buffer::Shared;
use crate::lines::Line;
use crate::tiles::{self, Configuration};
use crate::vector::{Avx512, Vector, WIDTH};

/// Lines of one tile.
const TILE: usize = WIDTH;

/// Multiplies some blocks of sixteen weight rows with the rows `span` of the activations and writes their part of `out
/// (m, rows)`. `inputs` are the tiles of [`super::inputs::Inputs`].
pub(crate) fn product(
    inputs: &[Line],
    matrix: &Bf16Matrix,
    bias: Option<&[f32]>,
    blocks: Range<usize>,
    span: Range<usize>,
    out: Shared,
) {
    let steps = matrix.depth() / DEPTH;
    assert!(span.start.is_multiple_of(TILE_ROWS) && blocks.end <= matrix.blocks());
    assert!(inputs.len() >= span.end.next_multiple_of(TILE_ROWS) * steps);
    assert!(bias.is_none_or(|bias| bias.len() == matrix.rows()));
    // SAFETY: this runs only where `Bf16Set::is_available` found tiles and 512-bit registers; the lengths that pointers cover
    // were checked.
    unsafe {
        Configuration::new(64).load();
        for i in span.clone().step_by(TILE_ROWS) {
            for b in blocks.clone().step_by(2) {
                let wide = (blocks.end - b).min(2);
                quarter(inputs, matrix, bias, (b, wide), (i, (span.end - i).min(TILE_ROWS)), out);
            }
        }
        tiles::release();
    }
}

/// `tall` rows (at most 32) from row `i` on with `wide` blocks (1 or 2) from block `b` on.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn quarter(
    inputs: &[Line],
    matrix: &Bf16Matrix,
    bias: Option<&[f32]>,
    (b, wide): (usize, usize),
    (i, tall): (usize, usize),
    out: Shared,
) {
    let steps = matrix.depth() / DEPTH;
    let rows = matrix.rows();
    unsafe {
        let upper = inputs.as_ptr().add(i * steps);
        let lower = upper.add(WIDTH * steps);
        let left = matrix.block(b).as_ptr();
        // A block that is not there is the first one again; its sums are not used.
        let right = matrix.block(b + wide - 1).as_ptr();
        asm!("tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3", options(nostack, nomem));
        for step in 0..steps {
            asm!(
                "tileloadd tmm4, [{a} + {line}*1]",
                "tileloadd tmm6, [{b} + {line}*1]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{d} + {line}*1]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{c} + {line}*1]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                a = in(reg) upper.add(step * TILE),
                b = in(reg) left.add(step * TILE),
                c = in(reg) lower.add(step * TILE),
                d = in(reg) right.add(step * TILE),
                line = in(reg) 64usize,
                options(nostack, readonly),
            );
        }
        let whole = tall == TILE_ROWS && wide == 2 && matrix.lanes(b + 1) == WIDTH;
        if whole && bias.is_none() {
            // The last element is inside, and so is all that lies before it.
            let _ = out.at((i + TILE_ROWS - 1) * rows + (b + 2) * WIDTH - 1);
            store(out.at(i * rows + b * WIDTH), out.at((i + WIDTH) * rows + b * WIDTH), rows * 4, WIDTH * 4);
            return;
        }
        let mut sums = [Line([0; 64]); 4 * TILE];
        let to = sums.as_mut_ptr().cast::<f32>();
        store(to, to.add(2 * TILE * WIDTH), 64, TILE * 64);
        for v in 0..wide {
            let (lanes, column) = (matrix.lanes(b + v), (b + v) * WIDTH);
            let add = match bias {
                Some(bias) => Avx512::load_partial(bias[column..].as_ptr(), lanes, 0.0),
                None => Avx512::splat(0.0),
            };
            for r in 0..tall {
                let sum = Avx512::load(to.add(((r / WIDTH * 2 + v) * TILE + r % WIDTH) * WIDTH)).add(add);
                sum.store_partial(out.slice((i + r) * rows + column, lanes).as_mut_ptr(), lanes);
            }
        }
    }
}

/// Stores the four sums: two side by side, `aside` bytes apart, at each of two places, rows `stride` bytes apart.
#[inline(always)]
unsafe fn store(upper: *mut f32, lower: *mut f32, stride: usize, aside: usize) {
    unsafe {
        asm!(
            "tilestored [{upper} + {stride}*1], tmm0",
            "tilestored [{beside} + {stride}*1], tmm1",
            "tilestored [{lower} + {stride}*1], tmm2",
            "tilestored [{below} + {stride}*1], tmm3",
            upper = in(reg) upper,
            beside = in(reg) upper.byte_add(aside),
            lower = in(reg) lower,
            below = in(reg) lower.byte_add(aside),
            stride = in(reg) stride,
            options(nostack),
        );
    }
}
