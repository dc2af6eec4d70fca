//! The ceilings: each instruction on registers alone, and the bandwidth of reading.
#![allow(unsafe_code)]

use std::time::Instant;

use super::Form;
use harness_kernels::bfloat16::{Bf16Set, bf16_set};
use harness_kernels::packed::{Activations, IntegerSet, integer_set};
use harness_kernels::stored::Stored;
use rayon::prelude::*;

/// Names and GOP/s of what this processor has, all threads together; 0 where it has it not.
pub struct Peaks {
    f32: f64,
    bytes: f64,
    pairs: f64,
    byte_tiles: f64,
    brain_tiles: f64,
    read: f64,
}

/// Runs `work` on every thread at once `rounds` times; operations a second of the fastest round, in 1e9.
fn rate(rounds: usize, operations: f64, work: impl Fn() + Sync) -> f64 {
    let threads = rayon::current_num_threads();
    let mut best = f64::INFINITY;
    for _ in 0..rounds {
        let started = Instant::now();
        (0..threads).into_par_iter().with_max_len(1).for_each(|_| work());
        best = best.min(started.elapsed().as_secs_f64());
    }
    operations * threads as f64 / best / 1e9
}

impl Peaks {
    pub fn measure(rounds: usize) -> Self {
        let mut peaks = Self { f32: 0.0, bytes: 0.0, pairs: 0.0, byte_tiles: 0.0, brain_tiles: 0.0, read: 0.0 };
        let reader = Reader::new();
        let read = (0..rounds).map(|_| reader.seconds(Reader::BYTES)).fold(f64::INFINITY, f64::min);
        peaks.read = Reader::BYTES as f64 / read / 1e9;
        #[cfg(target_arch = "x86_64")]
        x86::fill(&mut peaks, rounds);
        peaks
    }

    pub fn print(&self) {
        println!("| ceiling | GOP/s, GB/s |\n|---|---:|");
        for (name, value) in [
            ("f32 fused multiply-add", self.f32),
            ("bytes in fours (vpdpbusd)", self.bytes),
            ("bf16 in pairs (vdpbf16ps)", self.pairs),
            ("tiles of bytes (tdpbssd)", self.byte_tiles),
            ("tiles of bf16 (tdpbf16ps)", self.brain_tiles),
            ("read", self.read),
        ] {
            println!("| {name} | {value:.1} |");
        }
    }

    /// The instructions that multiply a form with many rows here, and the vector instruction beside a tile one.
    pub fn of(&self, form: Form) -> Vec<(&'static str, f64)> {
        let all = match form {
            Form::Bf16 if bf16_set() == Bf16Set::Amx => {
                vec![("tdpbf16ps", self.brain_tiles), ("vdpbf16ps", self.pairs)]
            }
            Form::Bf16 if bf16_set() == Bf16Set::Avx512Bf16 => vec![("vdpbf16ps", self.pairs)],
            Form::Packed(_, _, Activations::Int8, _) if integer_set() == IntegerSet::Amx => {
                vec![("tdpbssd", self.byte_tiles), ("vpdpbusd", self.bytes)]
            }
            Form::Packed(_, _, Activations::Int8, _) => vec![("vpdpbusd", self.bytes)],
            Form::F32 | Form::Bf16 | Form::Packed(..) => vec![("fma", self.f32)],
        };
        all.into_iter().filter(|(_, ceiling)| *ceiling > 0.0).collect()
    }
}

/// A large buffer on huge pages that all threads read together, each its own part.
pub struct Reader(Stored<f32>);

impl Reader {
    pub const BYTES: usize = 512 << 20;

    pub fn new() -> Self {
        Self(Stored::filled(Self::BYTES / 4, |values| values.fill(1.0)))
    }

    /// Seconds to read the first `bytes`.
    pub fn seconds(&self, bytes: usize) -> f64 {
        let values = &self.0[..bytes / 4];
        let part = values.len().div_ceil(rayon::current_num_threads());
        let started = Instant::now();
        let sum = values.par_chunks(part).with_max_len(1).map(read).reduce(|| 0, |a, b| a ^ b);
        std::hint::black_box(sum);
        started.elapsed().as_secs_f64()
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn read(values: &[f32]) -> u64 {
    values.iter().fold(0, |all, value| all ^ u64::from(value.to_bits()))
}

#[cfg(target_arch = "x86_64")]
fn read(values: &[f32]) -> u64 {
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has the instructions.
        unsafe { x86::read(values) }
    } else {
        values.iter().fold(0, |all, value| all ^ u64::from(value.to_bits()))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::asm;
    use std::arch::x86_64::{_mm512_loadu_si512, _mm512_reduce_add_epi64, _mm512_setzero_si512, _mm512_xor_si512};

    use harness_kernels::bfloat16::Bf16Set;
    use harness_kernels::packed::{IntegerSet, integer_set};

    use super::{Peaks, rate};

    /// Turns of a loop of twelve instructions, or four on tiles, that do not wait for each other.
    const TURNS: usize = 4_000_000;
    const TILE_TURNS: usize = 1_000_000;

    macro_rules! turns {
        ($instruction:literal, $register:literal) => {
            // SAFETY: zeros are multiplied in registers that are declared as changed; callers checked the instruction set.
            unsafe {
                asm!(
                    "vpxor xmm14, xmm14, xmm14",
                    "vpxor xmm15, xmm15, xmm15",
                    "2:",
                    concat!($instruction, " ", $register, "0, ", $register, "14, ", $register, "15"),
                    concat!($instruction, " ", $register, "1, ", $register, "14, ", $register, "15"),
                    concat!($instruction, " ", $register, "2, ", $register, "14, ", $register, "15"),
                    concat!($instruction, " ", $register, "3, ", $register, "14, ", $register, "15"),
                    concat!($instruction, " ", $register, "4, ", $register, "14, ", $register, "15"),
                    concat!($instruction, " ", $register, "5, ", $register, "14, ", $register, "15"),
                    concat!($instruction, " ", $register, "6, ", $register, "14, ", $register, "15"),
                    concat!($instruction, " ", $register, "7, ", $register, "14, ", $register, "15"),
                    concat!($instruction, " ", $register, "8, ", $register, "14, ", $register, "15"),
                    concat!($instruction, " ", $register, "9, ", $register, "14, ", $register, "15"),
                    concat!($instruction, " ", $register, "10, ", $register, "14, ", $register, "15"),
                    concat!($instruction, " ", $register, "11, ", $register, "14, ", $register, "15"),
                    "sub {turns}, 1",
                    "jnz 2b",
                    turns = inout(reg) TURNS => _,
                    out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _,
                    out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
                    out("xmm14") _, out("xmm15") _,
                    options(nostack, nomem),
                );
            }
        };
    }

    macro_rules! tile_turns {
        ($instruction:literal) => {
            let mut shapes = [0_u8; 64];
            shapes[0] = 1;
            for tile in 0..8 {
                (shapes[16 + 2 * tile], shapes[48 + tile]) = (64, 16);
            }
            // SAFETY: the process may use tiles where the kernels do; all eight have the largest shape.
            unsafe {
                asm!(
                    "ldtilecfg [{shapes}]",
                    "tilezero tmm4", "tilezero tmm5", "tilezero tmm6", "tilezero tmm7",
                    "2:",
                    concat!($instruction, " tmm0, tmm4, tmm6"),
                    concat!($instruction, " tmm1, tmm4, tmm7"),
                    concat!($instruction, " tmm2, tmm5, tmm6"),
                    concat!($instruction, " tmm3, tmm5, tmm7"),
                    "sub {turns}, 1",
                    "jnz 2b",
                    "tilerelease",
                    shapes = in(reg) shapes.as_ptr(),
                    turns = inout(reg) TILE_TURNS => _,
                    options(nostack),
                );
            }
        };
    }

    pub fn fill(peaks: &mut Peaks, rounds: usize) {
        let lanes = TURNS as f64 * 12.0;
        if is_x86_feature_detected!("avx512f") {
            peaks.f32 = rate(rounds, lanes * 32.0, || turns!("vfmadd231ps", "zmm"));
            if is_x86_feature_detected!("avx512vnni") {
                peaks.bytes = rate(rounds, lanes * 128.0, || turns!("vpdpbusd", "zmm"));
            }
            if is_x86_feature_detected!("avx512bf16") {
                peaks.pairs = rate(rounds, lanes * 64.0, || turns!("vdpbf16ps", "zmm"));
            }
        } else if is_x86_feature_detected!("fma") {
            peaks.f32 = rate(rounds, lanes * 16.0, || turns!("vfmadd231ps", "ymm"));
        }
        let products = TILE_TURNS as f64 * 4.0 * 16.0 * 16.0 * 2.0;
        if integer_set() == IntegerSet::Amx {
            peaks.byte_tiles = rate(rounds, products * 64.0, || {
                tile_turns!("tdpbssd");
            });
        }
        if Bf16Set::Amx.is_available() {
            peaks.brain_tiles = rate(rounds, products * 32.0, || {
                tile_turns!("tdpbf16ps");
            });
        }
    }

    /// # Safety
    /// The processor has AVX-512.
    #[target_feature(enable = "avx512f")]
    pub unsafe fn read(values: &[f32]) -> u64 {
        let mut all = _mm512_setzero_si512();
        for line in values.chunks_exact(16) {
            // SAFETY: a chunk has sixteen values.
            all = _mm512_xor_si512(all, unsafe { _mm512_loadu_si512(line.as_ptr().cast()) });
        }
        _mm512_reduce_add_epi64(all).cast_unsigned()
    }
}
