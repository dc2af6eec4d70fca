//! Matrix tiles of bytes (AMX): sixteen rows of activations with sixteen weight rows at once.
//!
//! The instructions have no stable intrinsics, so they stand as assembly. Tile registers are never used by compiled
//! code, and a thread keeps them between the blocks of assembly below.

use std::arch::asm;
use std::arch::x86_64::{
    __cpuid, __cpuid_count, __m512i, _mm512_and_si512, _mm512_cvtepi32_ps, _mm512_load_si512, _mm512_set1_epi8,
    _mm512_srli_epi16, _mm512_store_si512, _mm512_sub_epi8,
};
use std::mem::MaybeUninit;
use std::ops::Range;

use super::activations::Bytes;
use super::block_int8::Panel;
use super::matrix::Bits;
use super::storage::Line;
use crate::buffer::Shared;
use crate::vector::{Avx512, Vector, WIDTH};

/// Whether the processor has tiles of bytes and the system lets this process use them; asks for it.
pub(crate) fn available() -> bool {
    const TILES: u32 = 1 << 24;
    const BYTES: u32 = 1 << 25;
    if __cpuid(0).eax < 7 || __cpuid_count(7, 0).edx & (TILES | BYTES) != TILES | BYTES {
        return false;
    }
    permitted()
}

/// Linux lets a process use the tile registers only after it has asked, because they make signal frames larger.
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const REQUEST_PERMISSION: libc::c_int = 0x1023;
    const TILE_DATA: libc::c_ulong = 18;
    // SAFETY: the call changes which registers the process may use and nothing else; it fails on older systems.
    unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

/// Shapes of the eight tiles, as `ldtilecfg` reads them.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Configuration {
    /// Tiles 0 to 3 sum, 4 and 5 hold activations, 6 and 7 weights of `step` columns (64 or 32).
    fn new(step: usize) -> Self {
        let mut configuration = Self { palette: 1, start: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        for tile in 0..8 {
            let (rows, bytes) = match tile {
                0..4 => (16, 64),
                4..6 => (16, step),
                _ => (step / 4, 64),
            };
            configuration.rows[tile] = rows as u8;
            configuration.row_bytes[tile] = bytes as u16;
        }
        configuration
    }
}

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
    let filled = span.end.next_multiple_of(2 * WIDTH);
    assert!(span.start.is_multiple_of(2 * WIDTH) && x.codes.len() >= filled * x.cols);
    assert!(x.scales.len() >= filled * x.groups() && x.sums.len() >= filled * x.groups());
    assert!(panel.lines.len() * 4 >= panel.blocks.len() * x.cols);
    assert!(panel.scaling.scales.len() >= panel.blocks.len() * x.groups() * WIDTH);
    let step = if x.group.is_multiple_of(64) { 64 } else { 32 };
    let configuration = Configuration::new(step);
    // SAFETY: this runs only where `available` found the instructions; the configuration is one of palette 1; the lengths
    // that pointers cover were checked.
    unsafe {
        asm!("ldtilecfg [{}]", in(reg) &raw const configuration, options(nostack));
        // The codes of a pair of blocks stay in the first-level cache while the activations pass by.
        for b in (0..panel.blocks.len()).step_by(2) {
            for i in span.clone().step_by(2 * WIDTH) {
                let tile = Tile { panel, x, i, b, wide: (panel.blocks.len() - b).min(2), step };
                if panel.scaling.offsets.is_empty() {
                    tile.multiply::<false>((span.end - i).min(2 * WIDTH), out);
                } else {
                    tile.multiply::<true>((span.end - i).min(2 * WIDTH), out);
                }
            }
        }
        asm!("tilerelease", options(nostack, nomem));
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
    step: usize,
}

impl Tile<'_> {
    /// Writes the first `m` rows of the products to `out`.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    unsafe fn multiply<const OFFSETS: bool>(self, m: usize, out: Shared) {
        let groups = self.x.groups();
        let mut sums = [Line([0; 64]); 2 * WIDTH * 2];
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
            let codes = self.x.codes.as_ptr().add(self.i * cols);
            let lines = self.panel.lines.as_ptr().cast::<u8>().add(self.b * cols * WIDTH);
            // A block that is not there is the first one again; its sums are not used.
            let second = lines.add((self.wide - 1) * cols * WIDTH);
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
                    a = in(reg) codes.add(column),
                    b = in(reg) lines.add(column * WIDTH),
                    c = in(reg) codes.add(WIDTH * cols + column),
                    d = in(reg) second.add(column * WIDTH),
                    row = in(reg) cols,
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
        const ROWS: usize = 4;
        let groups = self.x.groups();
        unsafe {
            let scales = self.panel.scaling.scales.as_ptr();
            let offsets = self.panel.scaling.offsets.as_ptr();
            for v in 0..self.wide {
                for r in (0..WIDTH).step_by(ROWS) {
                    let at = (self.i + part * WIDTH + r) * groups;
                    let to = sums.add(((part * WIDTH + r) * 2 + v) * WIDTH);
                    let mut totals = [Avx512::load(to); ROWS];
                    for row in 1..ROWS {
                        totals[row] = Avx512::load(to.add(row * 2 * WIDTH));
                    }
                    for g in span.clone() {
                        let lines = (*whole.add(g - span.start)).0[part * 2 + v].as_ptr().add(r);
                        let place = ((self.b + v) * groups + g) * WIDTH;
                        let scale = Avx512::load(scales.add(place));
                        for row in 0..ROWS {
                            let product =
                                Avx512(_mm512_cvtepi32_ps(_mm512_load_si512(lines.add(row).cast()))).mul(scale);
                            let factor = *self.x.scales.as_ptr().add(at + row * groups + g);
                            totals[row] = product.fma(Avx512::splat(factor), totals[row]);
                            if OFFSETS {
                                let offset = Avx512::load(offsets.add(place));
                                let factor = factor * *self.x.sums.as_ptr().add(at + row * groups + g) as f32;
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
