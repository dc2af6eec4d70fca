//! Packed codes as `f32` lanes, in the three instruction sets.

use half::f16;

use crate::vector::{Scalar, Vector, WIDTH};

/// Sixteen codes that lie one behind the other, low bits first.
///
/// # Safety
/// As for [`Vector`]; `2 · BITS` bytes can be read.
pub(super) trait Lanes: Vector {
    /// The codes as numbers, the first in the first lane.
    unsafe fn codes<const BITS: usize>(from: *const u8) -> Self;

    /// The first `count` codes; what the other lanes are is open.
    #[inline(always)]
    unsafe fn some_codes<const BITS: usize>(from: *const u8, count: usize) -> Self {
        unsafe {
            if count == WIDTH {
                return Self::codes::<BITS>(from);
            }
            let mut bytes = [0_u8; WIDTH];
            std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), (count * BITS).div_ceil(8));
            Self::codes::<BITS>(bytes.as_ptr())
        }
    }

    /// The first `count` halves, the rest zero.
    #[inline(always)]
    unsafe fn halves(from: *const f16, count: usize) -> Self {
        unsafe {
            if count == WIDTH {
                return Self::load_f16(from);
            }
            let mut halves = [f16::ZERO; WIDTH];
            std::ptr::copy_nonoverlapping(from, halves.as_mut_ptr(), count);
            Self::load_f16(halves.as_ptr())
        }
    }
}

impl Lanes for Scalar {
    #[inline(always)]
    unsafe fn codes<const BITS: usize>(from: *const u8) -> Self {
        let mask = ((1_u32 << BITS) - 1) as u8;
        Self(std::array::from_fn(|lane| {
            let bit = lane * BITS;
            f32::from(unsafe { *from.add(bit / 8) } >> (bit % 8) & mask)
        }))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m128i, _mm_and_si128, _mm_loadl_epi64, _mm_loadu_si128, _mm_set1_epi8, _mm_srli_epi16, _mm_srli_si128,
        _mm_unpacklo_epi8, _mm256_and_si256, _mm256_cvtepi32_ps, _mm256_cvtepu8_epi32, _mm256_set1_epi32,
        _mm256_setr_epi32, _mm256_srlv_epi32, _mm512_and_si512, _mm512_cvtepi32_ps, _mm512_cvtepu8_epi32,
        _mm512_set1_epi32, _mm512_setr_epi32, _mm512_srlv_epi32,
    };

    use super::Lanes;
    use crate::vector::{Avx2, Avx512};

    /// Sixteen codes of two bits.
    #[inline(always)]
    unsafe fn word(from: *const u8) -> i32 {
        unsafe { from.cast::<i32>().read_unaligned() }
    }

    /// Sixteen codes of four or eight bits, a byte each.
    #[inline(always)]
    unsafe fn bytes<const BITS: usize>(from: *const u8) -> __m128i {
        unsafe {
            if BITS == 8 {
                return _mm_loadu_si128(from.cast());
            }
            let (pairs, low) = (_mm_loadl_epi64(from.cast()), _mm_set1_epi8(15));
            _mm_unpacklo_epi8(_mm_and_si128(pairs, low), _mm_and_si128(_mm_srli_epi16::<4>(pairs), low))
        }
    }

    impl Lanes for Avx512 {
        #[inline(always)]
        unsafe fn codes<const BITS: usize>(from: *const u8) -> Self {
            unsafe {
                if BITS == 2 {
                    let shifts = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
                    let moved = _mm512_srlv_epi32(_mm512_set1_epi32(word(from)), shifts);
                    return Self(_mm512_cvtepi32_ps(_mm512_and_si512(moved, _mm512_set1_epi32(3))));
                }
                Self(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes::<BITS>(from))))
            }
        }
    }

    impl Lanes for Avx2 {
        #[inline(always)]
        unsafe fn codes<const BITS: usize>(from: *const u8) -> Self {
            unsafe {
                if BITS == 2 {
                    let all = _mm256_set1_epi32(word(from));
                    let half = |shifts| {
                        let moved = _mm256_srlv_epi32(all, shifts);
                        _mm256_cvtepi32_ps(_mm256_and_si256(moved, _mm256_set1_epi32(3)))
                    };
                    return Self([
                        half(_mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14)),
                        half(_mm256_setr_epi32(16, 18, 20, 22, 24, 26, 28, 30)),
                    ]);
                }
                let all = bytes::<BITS>(from);
                let half = |bytes| _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
                Self([half(all), half(_mm_srli_si128::<8>(all))])
            }
        }
    }
}
