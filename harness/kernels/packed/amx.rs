//! Matrix tiles of bytes (AMX): sixteen rows of activations with sixteen weight rows at once.
//!
//! The instructions have no stable intrinsics, so they stand as assembly. Tile registers are never used by compiled
//! code, and a thread keeps them between the blocks of assembly below.

use std::arch::asm;
use std::arch::x86_64::{
    __cpuid, __cpuid_count, _mm512_add_epi32, _mm512_cvtepi32_ps, _mm512_load_si512, _mm512_set1_epi32,
};
use std::ops::Range;

use super::activations::Bytes;
use super::block_int8::Panel;
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

/// Integer sums of two times two tiles.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Sums([[Line; WIDTH]; 4]);

/// Multiplies a panel with the rows `span` of the activations and writes their part of `out`.
pub(crate) fn multiply(panel: &Panel<'_>, x: &Bytes, span: Range<usize>, out: Shared) {
    // Tiles read whole sixteens of rows, two at a time; the activations are filled up to that.
    assert!(x.codes.len() >= span.end.next_multiple_of(2 * WIDTH) * x.cols && span.start.is_multiple_of(2 * WIDTH));
    assert!(panel.lines.len() * 4 >= panel.blocks.len() * x.cols);
    let step = if x.group.is_multiple_of(64) { 64 } else { 32 };
    let configuration = Configuration::new(step);
    // SAFETY: this runs only where `available` found the instructions; the configuration is one of palette 1.
    unsafe {
        asm!("ldtilecfg [{}]", in(reg) &raw const configuration, options(nostack));
        for i in span.clone().step_by(2 * WIDTH) {
            let mut b = 0;
            while b < panel.blocks.len() {
                let wide = (panel.blocks.len() - b).min(2);
                tiles(panel, x, i, (span.end - i).min(2 * WIDTH), b, wide, step, out);
                b += wide;
            }
        }
        asm!("tilerelease", options(nostack, nomem));
    }
}

/// Thirty-two rows of activations from row `i` on (`m` of them wanted) with `wide` blocks of the panel, 1 or 2.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn tiles(panel: &Panel<'_>, x: &Bytes, i: usize, m: usize, b: usize, wide: usize, step: usize, out: Shared) {
    let (cols, group, groups) = (x.cols, x.group, x.groups());
    let mut sums = [Line([0; 64]); 2 * WIDTH * 2];
    // Sums of one group are scaled while the tiles work on the next.
    let mut whole = [Sums([[Line([0; 64]); WIDTH]; 4]); 2];
    unsafe {
        let sums = sums.as_mut_ptr().cast::<f32>();
        let codes = x.codes.as_ptr().add(i * cols);
        let lines = panel.lines.as_ptr().cast::<u8>().add(b * cols * WIDTH);
        for g in 0..=groups {
            if g < groups {
                asm!("tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3", options(nostack, nomem));
                let second = lines.add((wide - 1) * cols * WIDTH);
                for column in (g * group..(g + 1) * group).step_by(step) {
                    asm!(
                        "tileloadd tmm4, [{a} + {row}*1]",
                        "tileloadd tmm6, [{b} + {line}*1]",
                        "tdpbsud tmm0, tmm4, tmm6",
                        "tileloadd tmm5, [{c} + {row}*1]",
                        "tdpbsud tmm2, tmm5, tmm6",
                        "tileloadd tmm7, [{d} + {line}*1]",
                        "tdpbsud tmm1, tmm4, tmm7",
                        "tdpbsud tmm3, tmm5, tmm7",
                        a = in(reg) codes.add(column),
                        c = in(reg) codes.add(WIDTH * cols + column),
                        row = in(reg) cols,
                        b = in(reg) lines.add(column * WIDTH),
                        d = in(reg) second.add(column * WIDTH),
                        line = in(reg) 64usize,
                        options(nostack, readonly),
                    );
                }
                let to = whole[g % 2].0.as_mut_ptr().cast::<u8>();
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
            if g > 0 {
                scale(panel, x, i, m, b, wide, g - 1, &whole[(g - 1) % 2], sums);
            }
        }
        panel.write::<Avx512>(sums, 2 * WIDTH, m, i, b, wide, out);
    }
}

/// Scales the integer sums of group `g` and adds them to `sums (32, 32)`.
#[inline(always)]
unsafe fn scale(
    panel: &Panel<'_>,
    x: &Bytes,
    i: usize,
    m: usize,
    b: usize,
    wide: usize,
    g: usize,
    whole: &Sums,
    sums: *mut f32,
) {
    let groups = x.groups();
    unsafe {
        for v in 0..wide {
            let place = ((b + v) * groups + g) * WIDTH;
            let scale = Avx512::load(panel.scaling.scales.as_ptr().add(place));
            let offset = panel.scaling.offsets.get(place..place + WIDTH).map(|offsets| Avx512::load(offsets.as_ptr()));
            for r in 0..m {
                let at = (i + r) * groups + g;
                let correction = (*x.sums.get_unchecked(at)).wrapping_mul(-panel.base);
                let line = whole.0[r / WIDTH * 2 + v].as_ptr().add(r % WIDTH);
                let product = Avx512(_mm512_cvtepi32_ps(_mm512_add_epi32(
                    _mm512_load_si512(line.cast()),
                    _mm512_set1_epi32(correction),
                )))
                .mul(scale);
                let factor = *x.scales.get_unchecked(at);
                let sum = sums.add((r * 2 + v) * WIDTH);
                let mut total = product.fma(Avx512::splat(factor), Avx512::load(sum));
                if let Some(offset) = offset {
                    total = offset.fma(Avx512::splat(factor * *x.sums.get_unchecked(at) as f32), total);
                }
                total.store(sum);
            }
        }
    }
}
