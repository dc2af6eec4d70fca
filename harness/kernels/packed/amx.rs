//! Matrix tiles of bytes (AMX): sixteen rows of activations with sixteen weight rows at once.
//!
//! Activations lie as tiles read them, one behind the other: loads of rows that lie far apart in memory take twice
//! as long, which is longer than the products.

use std::arch::asm;
use std::arch::x86_64::{
    __m512i, _mm512_and_si512, _mm512_cvtepi32_ps, _mm512_load_si512, _mm512_set1_epi8, _mm512_srli_epi16,
    _mm512_store_si512, _mm512_sub_epi8,
};
use std::mem::MaybeUninit;
use std::ops::Range;

use super::activations::{Bytes, TILE_ROWS};
use super::block_int8::Panel;
use super::matrix::Bits;
use crate::buffer::Shared;
use crate::lines::Line;
use crate::tiles::{self, Configuration};
use crate::vector::{Avx512, Vector, WIDTH};

/// Codes of some blocks less `base`, as signed bytes: four columns of sixteen rows a line.
pub(crate) fn spread(packed: &[Line], bits: Bits, base: i32) -> Vec<Line> {
    // SAFETY: this runs only where `available` found tiles, and `integer_set` 512-bit registers.
    unsafe { spread_lines(packed, bits, base) }
}

#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn spread_lines(packed: &[Line], bits: Bits, base: i32) -> Vec<Line> {
    let base = _mm512_set1_epi8(base as i8);
    let count = if bits == Bits::Four { packed.len() * 2 } else { packed.len() };
    let mut lines: Vec<Line> = Vec::with_capacity(count);
    // SAFETY: each line written lies within the capacity, and all are written.
    unsafe {
        let to = lines.as_mut_ptr().cast::<__m512i>();
        for (l, line) in packed.iter().enumerate() {
            let codes = _mm512_load_si512(line.0.as_ptr().cast());
            if bits == Bits::Four {
                let mask = _mm512_set1_epi8(15);
                let (low, high) =
                    (_mm512_and_si512(codes, mask), _mm512_and_si512(_mm512_srli_epi16::<4>(codes), mask));
                _mm512_store_si512(to.add(2 * l), _mm512_sub_epi8(low, base));
                _mm512_store_si512(to.add(2 * l + 1), _mm512_sub_epi8(high, base));
            } else {
                _mm512_store_si512(to.add(l), _mm512_sub_epi8(codes, base));
            }
        }
        lines.set_len(count);
    }
    lines
}

/// Integer sums of two times two tiles: sixteen activation rows, for each block of the pair in turn, then the others.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Sums([[Line; WIDTH]; 4]);

/// Groups whose sums wait to be scaled together.
const WAITING: usize = 2;

/// Multiplies a panel with the rows `span` of the activations and writes their part of `out`.
pub(crate) fn multiply(panel: &Panel<'_>, x: &Bytes, span: Range<usize>, out: Shared) {
    // Tiles read whole sixteens of rows, two at a time; the activations are filled up to that.
    let filled = span.end.next_multiple_of(TILE_ROWS);
    assert!(x.tiled && span.start.is_multiple_of(TILE_ROWS) && x.codes.len() >= filled * x.cols);
    assert!(x.scales.len() >= filled * x.groups() && x.sums.len() >= filled * x.groups());
    assert!(panel.lines.len() * 4 >= panel.blocks.len() * x.cols);
    assert!(panel.scaling.scales.len() >= panel.blocks.len() * x.groups() * WIDTH);
    let step = x.step();
    // SAFETY: this runs only where `available` found the instructions; the lengths that pointers cover were checked.
    unsafe {
        Configuration::new(step).load();
        for i in span.clone().step_by(TILE_ROWS) {
            for b in (0..panel.blocks.len()).step_by(2) {
                let tile = Tile { panel, x, i, b, wide: (panel.blocks.len() - b).min(2), step };
                if panel.scaling.offsets.is_empty() {
                    tile.multiply::<false>((span.end - i).min(TILE_ROWS), out);
                } else {
                    tile.multiply::<true>((span.end - i).min(TILE_ROWS), out);
                }
            }
        }
        tiles::release();
    }
}

/// Thirty-two rows of activations from row `i` on with `wide` blocks of the panel (1 or 2) from block `b` on.
#[derive(Clone, Copy)]
struct Tile<'a> {
    panel: &'a Panel<'a>,
    x: &'a Bytes,
    i: usize,
    b: usize,
    wide: usize,
    /// Columns of a tile of activations.
    step: usize,
}

impl Tile<'_> {
    /// Writes the first `m` rows of the products to `out`.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    unsafe fn multiply<const OFFSETS: bool>(self, m: usize, out: Shared) {
        let groups = self.x.groups();
        let mut sums = [Line([0; 64]); TILE_ROWS * 2];
        let mut whole = [[MaybeUninit::<Sums>::uninit(); WAITING]; 2];
        unsafe {
            let sums = sums.as_mut_ptr().cast::<f32>();
            // The tiles work on one batch of groups while the batch before is scaled, half a batch at a time, so that
            // both kinds of work stand close together in the stream of instructions.
            let batches = groups.div_ceil(WAITING);
            for batch in 0..=batches {
                for part in 0..WAITING {
                    let g = batch * WAITING + part;
                    if g < groups {
                        self.sum_group(g, whole[batch % 2][part].as_mut_ptr());
                    }
                    if batch > 0 {
                        let first = (batch - 1) * WAITING;
                        let waiting = whole[(batch - 1) % 2].as_ptr().cast::<Sums>();
                        self.scale::<OFFSETS>(first..(first + WAITING).min(groups), part, waiting, sums);
                    }
                }
            }
            self.panel.write::<Avx512>(sums, 2 * WIDTH, m, self.i, self.b, self.wide, out);
        }
    }

    /// Integer sums of group `g`.
    #[inline(always)]
    unsafe fn sum_group(self, g: usize, to: *mut Sums) {
        let (cols, group) = (self.x.cols, self.x.group);
        unsafe {
            let upper = self.x.codes.as_ptr().add(self.i * cols);
            let lower = upper.add(WIDTH * cols);
            let left = self.panel.lines.as_ptr().cast::<u8>().add(self.b * cols * WIDTH);
            // A block that is not there is the first one again; its sums are not used.
            let right = left.add((self.wide - 1) * cols * WIDTH);
            asm!("tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3", options(nostack, nomem));
            for column in (g * group..(g + 1) * group).step_by(self.step) {
                asm!(
                    "tileloadd tmm4, [{a} + {row}*1]",
                    "tileloadd tmm6, [{b} + {line}*1]",
                    "tdpbssd tmm0, tmm4, tmm6",
                    "tileloadd tmm7, [{d} + {line}*1]",
                    "tdpbssd tmm1, tmm4, tmm7",
                    "tileloadd tmm5, [{c} + {row}*1]",
                    "tdpbssd tmm2, tmm5, tmm6",
                    "tdpbssd tmm3, tmm5, tmm7",
                    a = in(reg) upper.add(column * WIDTH),
                    b = in(reg) left.add(column * WIDTH),
                    c = in(reg) lower.add(column * WIDTH),
                    d = in(reg) right.add(column * WIDTH),
                    row = in(reg) self.step,
                    line = in(reg) 64usize,
                    options(nostack, readonly),
                );
            }
            asm!(
                "tilestored [{to} + {line}*1], tmm0",
                "tilestored [{to} + {line}*1 + 1024], tmm1",
                "tilestored [{to} + {line}*1 + 2048], tmm2",
                "tilestored [{to} + {line}*1 + 3072], tmm3",
                to = in(reg) to,
                line = in(reg) 64usize,
                options(nostack),
            );
        }
    }

    /// Scales the integer sums of some groups and adds them, group by group, to half `part` of `sums (32, 32)`.
    #[inline(always)]
    unsafe fn scale<const OFFSETS: bool>(self, span: Range<usize>, part: usize, whole: *const Sums, sums: *mut f32) {
        // As many as hide the latency of the additions.
        const ROWS: usize = 8;
        let groups = self.x.groups();
        unsafe {
            let scales = self.panel.scaling.scales.as_ptr();
            let offsets = self.panel.scaling.offsets.as_ptr();
            for v in 0..self.wide {
                for r in (part * WIDTH..(part + 1) * WIDTH).step_by(ROWS) {
                    let to = sums.add((r * 2 + v) * WIDTH);
                    let mut totals = [Avx512::load(to); ROWS];
                    for row in 1..ROWS {
                        totals[row] = Avx512::load(to.add(row * 2 * WIDTH));
                    }
                    for g in span.clone() {
                        let lines = (*whole.add(g - span.start)).0[part * 2 + v].as_ptr().add(r % WIDTH);
                        let place = ((self.b + v) * groups + g) * WIDTH;
                        let scale = Avx512::load(scales.add(place));
                        let at = self.i * groups + g * TILE_ROWS + r;
                        let factors = self.x.scales.as_ptr().add(at);
                        for row in 0..ROWS {
                            let product =
                                Avx512(_mm512_cvtepi32_ps(_mm512_load_si512(lines.add(row).cast()))).mul(scale);
                            totals[row] = product.fma(Avx512::splat(*factors.add(row)), totals[row]);
                        }
                        if OFFSETS {
                            let offset = Avx512::load(offsets.add(place));
                            for row in 0..ROWS {
                                let factor = *factors.add(row) * *self.x.sums.as_ptr().add(at + row) as f32;
                                totals[row] = offset.fma(Avx512::splat(factor), totals[row]);
                            }
                        }
                    }
                    for row in 0..ROWS {
                        totals[row].store(to.add(row * 2 * WIDTH));
                    }
                }
            }
        }
    }
}
