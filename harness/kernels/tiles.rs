//! Matrix tiles (AMX): whether they may be used, and their shapes.
//!
//! The instructions have no stable intrinsics, so kernels write them as assembly. Tile registers are never used by
//! compiled code, and a thread keeps them between blocks of assembly.

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};

/// What tiles multiply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TileProduct {
    /// Bytes, summed in 32 bits.
    Bytes,
    /// Brain floats, summed in f32.
    Brain,
}

/// Whether the processor has these products and the system lets this process use them; asks for it.
pub(crate) fn available(product: TileProduct) -> bool {
    const TILES: u32 = 1 << 24;
    let wanted = TILES
        | match product {
            TileProduct::Bytes => 1 << 25,
            TileProduct::Brain => 1 << 22,
        };
    if __cpuid(0).eax < 7 || __cpuid_count(7, 0).edx & wanted != wanted {
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
pub(crate) struct Configuration {
    palette: u8,
    start: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Configuration {
    /// Tiles 0 to 3 sum, 4 and 5 hold sixteen rows of activations in `step` bytes each (64 or 32), 6 and 7 the weights
    /// that meet them.
    pub fn new(step: usize) -> Self {
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

    /// Gives the tiles of this thread these shapes.
    ///
    /// # Safety
    /// [`available`] said so for some product.
    pub unsafe fn load(&self) {
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const *self, options(nostack)) };
    }
}

/// Hands the tiles back.
///
/// # Safety
/// [`available`] said so for some product.
pub(crate) unsafe fn release() {
    unsafe { asm!("tilerelease", options(nostack, nomem)) };
}
