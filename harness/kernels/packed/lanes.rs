//! Codes as `f32` lanes: one lane a weight row, in the three instruction sets.

use crate::vector::{Scalar, Vector, WIDTH};

/// Sixteen 32-bit words of codes, one a weight row, and what turns their nibbles and bytes into `f32` lanes.
///
/// # Safety
/// As for [`Vector`]: the instruction set is there, and pointers are valid for what they name.
pub(crate) trait Codes: Vector {
    /// Sixteen words.
    type Words: Copy;
    /// Sixteen `f32` a nibble chooses from.
    type Table: Copy;

    /// Reads 64 bytes.
    unsafe fn words(from: *const u8) -> Self::Words;
    /// Reads sixteen entries.
    unsafe fn table(from: *const f32) -> Self::Table;
    /// The table's entry for the four bits of each word that begin at bit `SHIFT`.
    unsafe fn look_up<const SHIFT: u32>(words: Self::Words, table: Self::Table) -> Self;
    /// The eight bits of each word that begin at bit `SHIFT`, less 128.
    unsafe fn centred_byte<const SHIFT: u32>(words: Self::Words) -> Self;
    /// The bits of the largest magnitude of `vectors` times sixteen values; a NaN is the largest of all.
    unsafe fn largest_magnitude(from: *const f32, vectors: usize) -> u32;
    /// Multiplies `vectors` times sixteen values by a factor that leaves them in -127.5..127.5, rounds halves to even,
    /// stores them as bytes and returns their sum.
    unsafe fn round_bytes(from: *const f32, vectors: usize, factor: f32, to: *mut i8) -> i32;
}

impl Codes for Scalar {
    type Words = [u32; WIDTH];
    type Table = [f32; WIDTH];

    #[inline(always)]
    unsafe fn words(from: *const u8) -> [u32; WIDTH] {
        unsafe { from.cast::<[u32; WIDTH]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn table(from: *const f32) -> [f32; WIDTH] {
        unsafe { from.cast::<[f32; WIDTH]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn look_up<const SHIFT: u32>(words: [u32; WIDTH], table: [f32; WIDTH]) -> Self {
        Self(words.map(|word| table[(word >> SHIFT & 15) as usize]))
    }
    #[inline(always)]
    unsafe fn centred_byte<const SHIFT: u32>(words: [u32; WIDTH]) -> Self {
        Self(words.map(|word| (word >> SHIFT & 255) as f32 - 128.0))
    }
    #[inline(always)]
    unsafe fn largest_magnitude(from: *const f32, vectors: usize) -> u32 {
        (0..vectors * WIDTH).map(|i| unsafe { *from.add(i) }.to_bits() & 0x7fff_ffff).max().unwrap_or(0)
    }
    #[inline(always)]
    unsafe fn round_bytes(from: *const f32, vectors: usize, factor: f32, to: *mut i8) -> i32 {
        let mut sum = 0_i32;
        for i in 0..vectors * WIDTH {
            unsafe {
                let code = (*from.add(i) * factor).round_ties_even() as i8;
                to.add(i).write(code);
                sum = sum.wrapping_add(i32::from(code));
            }
        }
        sum
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256, __m256i, __m512, __m512i, _mm_packs_epi16, _mm_packs_epi32, _mm_storeu_si128, _mm256_add_epi32,
        _mm256_and_si256, _mm256_blendv_ps, _mm256_castsi256_ps, _mm256_castsi256_si128, _mm256_cvtepi32_ps,
        _mm256_cvtps_epi32, _mm256_extracti128_si256, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_max_epi32,
        _mm256_mul_ps, _mm256_permutevar8x32_ps, _mm256_set1_epi8, _mm256_set1_epi32, _mm256_set1_ps,
        _mm256_setzero_si256, _mm256_slli_epi32, _mm256_sllv_epi32, _mm256_srai_epi32, _mm256_srlv_epi32,
        _mm256_xor_si256, _mm512_add_epi32, _mm512_and_si512, _mm512_cvtepi32_ps, _mm512_cvtps_epi32,
        _mm512_cvtsepi32_epi8, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_max_epi32, _mm512_mul_ps,
        _mm512_permutexvar_ps, _mm512_reduce_add_epi32, _mm512_reduce_max_epi32, _mm512_set1_epi8, _mm512_set1_epi32,
        _mm512_set1_ps, _mm512_setzero_si512, _mm512_sllv_epi32, _mm512_srai_epi32, _mm512_srli_epi32,
        _mm512_xor_si512,
    };

    use super::Codes;
    use crate::vector::{Avx2, Avx512, WIDTH};

    impl Codes for Avx512 {
        type Words = __m512i;
        type Table = __m512;

        #[inline(always)]
        unsafe fn words(from: *const u8) -> __m512i {
            unsafe { _mm512_loadu_si512(from.cast()) }
        }
        #[inline(always)]
        unsafe fn table(from: *const f32) -> __m512 {
            unsafe { _mm512_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn look_up<const SHIFT: u32>(words: __m512i, table: __m512) -> Self {
            // The permutation reads the low four bits of each index and no others.
            unsafe { Self(_mm512_permutexvar_ps(_mm512_srli_epi32::<SHIFT>(words), table)) }
        }
        #[inline(always)]
        unsafe fn centred_byte<const SHIFT: u32>(words: __m512i) -> Self {
            unsafe {
                let signed = _mm512_xor_si512(words, _mm512_set1_epi8(-128));
                let top = _mm512_sllv_epi32(signed, _mm512_set1_epi32(24 - SHIFT as i32));
                Self(_mm512_cvtepi32_ps(_mm512_srai_epi32::<24>(top)))
            }
        }
        #[inline(always)]
        unsafe fn largest_magnitude(from: *const f32, vectors: usize) -> u32 {
            unsafe {
                let magnitude = _mm512_set1_epi32(i32::MAX);
                let mut largest = _mm512_setzero_si512();
                for i in 0..vectors {
                    let bits = _mm512_loadu_si512(from.add(i * WIDTH).cast());
                    largest = _mm512_max_epi32(largest, _mm512_and_si512(bits, magnitude));
                }
                _mm512_reduce_max_epi32(largest).cast_unsigned()
            }
        }
        #[inline(always)]
        unsafe fn round_bytes(from: *const f32, vectors: usize, factor: f32, to: *mut i8) -> i32 {
            unsafe {
                let factor = _mm512_set1_ps(factor);
                let mut sum = _mm512_setzero_si512();
                for i in 0..vectors {
                    // The conversion rounds to the nearest, halves to even.
                    let codes = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(from.add(i * WIDTH)), factor));
                    sum = _mm512_add_epi32(sum, codes);
                    _mm_storeu_si128(to.add(i * WIDTH).cast(), _mm512_cvtsepi32_epi8(codes));
                }
                _mm512_reduce_add_epi32(sum)
            }
        }
    }

    impl Codes for Avx2 {
        type Words = [__m256i; 2];
        type Table = [__m256; 2];

        #[inline(always)]
        unsafe fn words(from: *const u8) -> [__m256i; 2] {
            unsafe { [_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(32).cast())] }
        }
        #[inline(always)]
        unsafe fn table(from: *const f32) -> [__m256; 2] {
            unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] }
        }
        #[inline(always)]
        unsafe fn look_up<const SHIFT: u32>(words: [__m256i; 2], table: [__m256; 2]) -> Self {
            unsafe {
                Self(words.map(|words| {
                    // Three bits choose within a half of the table, the fourth (moved to the sign) the half.
                    let index = _mm256_srlv_epi32(words, _mm256_set1_epi32(SHIFT as i32));
                    let low = _mm256_permutevar8x32_ps(table[0], index);
                    let high = _mm256_permutevar8x32_ps(table[1], index);
                    _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32::<28>(index)))
                }))
            }
        }
        #[inline(always)]
        unsafe fn centred_byte<const SHIFT: u32>(words: [__m256i; 2]) -> Self {
            unsafe {
                Self(words.map(|words| {
                    let signed = _mm256_xor_si256(words, _mm256_set1_epi8(-128));
                    _mm256_cvtepi32_ps(_mm256_srai_epi32::<24>(_mm256_sllv_epi32(
                        signed,
                        _mm256_set1_epi32(24 - SHIFT as i32),
                    )))
                }))
            }
        }
        #[inline(always)]
        unsafe fn largest_magnitude(from: *const f32, vectors: usize) -> u32 {
            unsafe {
                let magnitude = _mm256_set1_epi32(i32::MAX);
                let mut largest = _mm256_setzero_si256();
                for i in 0..vectors * 2 {
                    let bits = _mm256_loadu_si256(from.add(i * 8).cast());
                    largest = _mm256_max_epi32(largest, _mm256_and_si256(bits, magnitude));
                }
                std::mem::transmute::<__m256i, [u32; 8]>(largest).into_iter().max().unwrap_or(0)
            }
        }
        #[inline(always)]
        unsafe fn round_bytes(from: *const f32, vectors: usize, factor: f32, to: *mut i8) -> i32 {
            unsafe {
                let factor = _mm256_set1_ps(factor);
                let mut sum = _mm256_setzero_si256();
                for i in 0..vectors {
                    let from = from.add(i * WIDTH);
                    // The conversion rounds to the nearest, halves to even.
                    let low = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(from), factor));
                    let high = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(from.add(8)), factor));
                    sum = _mm256_add_epi32(sum, _mm256_add_epi32(low, high));
                    let pack = |a| _mm_packs_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256::<1>(a));
                    _mm_storeu_si128(to.add(i * WIDTH).cast(), _mm_packs_epi16(pack(low), pack(high)));
                }
                std::mem::transmute::<__m256i, [i32; 8]>(sum).into_iter().fold(0, i32::wrapping_add)
            }
        }
    }
}
