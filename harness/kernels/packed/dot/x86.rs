//! The sums in 512-bit and in 256-bit registers.

use std::arch::x86_64::{
    __m256i, __m512i, _mm256_add_epi32, _mm256_and_si256, _mm256_cvtepi32_ps, _mm256_loadu_si256, _mm256_madd_epi16,
    _mm256_maddubs_epi16, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_srli_epi16,
    _mm256_storeu_si256, _mm512_add_epi32, _mm512_and_si512, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32,
    _mm512_loadu_si512, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_srli_epi16, _mm512_storeu_si512,
};

use super::Dot;
use crate::vector::{Avx2, Avx512};

/// `vpdpbusd`: four products of bytes at once, summed in 32 bits without saturation.
#[derive(Clone, Copy)]
pub(crate) struct Vnni(__m512i);

impl Dot for Vnni {
    type Float = Avx512;
    type Bytes = __m512i;
    type Quad = __m512i;

    #[inline(always)]
    unsafe fn splat(value: i32) -> Self {
        unsafe { Self(_mm512_set1_epi32(value)) }
    }
    #[inline(always)]
    unsafe fn bytes(from: *const u8) -> __m512i {
        unsafe { _mm512_loadu_si512(from.cast()) }
    }
    #[inline(always)]
    unsafe fn store(bytes: __m512i, to: *mut u8) {
        unsafe { _mm512_storeu_si512(to.cast(), bytes) }
    }
    #[inline(always)]
    unsafe fn low(bytes: __m512i) -> __m512i {
        unsafe { _mm512_and_si512(bytes, _mm512_set1_epi8(15)) }
    }
    #[inline(always)]
    unsafe fn high(bytes: __m512i) -> __m512i {
        unsafe { _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), _mm512_set1_epi8(15)) }
    }
    #[inline(always)]
    unsafe fn quad(from: *const i8) -> __m512i {
        unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn dot(self, codes: __m512i, quad: __m512i) -> Self {
        unsafe { Self(_mm512_dpbusd_epi32(self.0, codes, quad)) }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        unsafe { Self(_mm512_add_epi32(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn float(self) -> Avx512 {
        unsafe { Avx512(_mm512_cvtepi32_ps(self.0)) }
    }
}

#[inline(always)]
unsafe fn both(a: [__m256i; 2], f: impl Fn(__m256i) -> __m256i) -> [__m256i; 2] {
    [f(a[0]), f(a[1])]
}

/// Sums of neighbouring pairs, then of pairs of pairs: `vpmaddubsw` and `vpmaddwd` by ones.
///
/// The sums of pairs have 16 bits and saturate, so two products must stay below 32,768.
#[inline(always)]
unsafe fn fours(codes: __m256i, quad: __m256i) -> __m256i {
    unsafe { _mm256_madd_epi16(_mm256_maddubs_epi16(codes, quad), _mm256_set1_epi16(1)) }
}

macro_rules! avx2_dot {
    ($(#[$attribute:meta])* $name:ident, |$codes:ident, $quad:ident| $products:expr) => {
        $(#[$attribute])*
        #[derive(Clone, Copy)]
        pub(crate) struct $name([__m256i; 2]);

        impl Dot for $name {
            type Float = Avx2;
            type Bytes = [__m256i; 2];
            type Quad = __m256i;

            #[inline(always)]
            unsafe fn splat(value: i32) -> Self {
                unsafe { Self([_mm256_set1_epi32(value); 2]) }
            }
            #[inline(always)]
            unsafe fn bytes(from: *const u8) -> Self::Bytes {
                unsafe { [_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(32).cast())] }
            }
            #[inline(always)]
            unsafe fn store(bytes: Self::Bytes, to: *mut u8) {
                unsafe {
                    _mm256_storeu_si256(to.cast(), bytes[0]);
                    _mm256_storeu_si256(to.add(32).cast(), bytes[1]);
                }
            }
            #[inline(always)]
            unsafe fn low(bytes: Self::Bytes) -> Self::Bytes {
                unsafe { both(bytes, |half| _mm256_and_si256(half, _mm256_set1_epi8(15))) }
            }
            #[inline(always)]
            unsafe fn high(bytes: Self::Bytes) -> Self::Bytes {
                unsafe { both(bytes, |half| _mm256_and_si256(_mm256_srli_epi16::<4>(half), _mm256_set1_epi8(15))) }
            }
            #[inline(always)]
            unsafe fn quad(from: *const i8) -> __m256i {
                unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) }
            }
            #[inline(always)]
            unsafe fn dot(self, codes: Self::Bytes, $quad: __m256i) -> Self {
                unsafe {
                    let one = |sum, $codes: __m256i| _mm256_add_epi32(sum, $products);
                    Self([one(self.0[0], codes[0]), one(self.0[1], codes[1])])
                }
            }
            #[inline(always)]
            unsafe fn add(self, other: Self) -> Self {
                unsafe { Self([_mm256_add_epi32(self.0[0], other.0[0]), _mm256_add_epi32(self.0[1], other.0[1])]) }
            }
            #[inline(always)]
            unsafe fn float(self) -> Avx2 {
                unsafe { Avx2([_mm256_cvtepi32_ps(self.0[0]), _mm256_cvtepi32_ps(self.0[1])]) }
            }
        }
    };
}

avx2_dot! {
    /// For codes up to 15: two products stay within 2 · 15 · 127 = 3,810.
    Avx2Nibbles, |codes, quad| fours(codes, quad)
}
avx2_dot! {
    /// For codes up to 255: the low seven bits (2 · 127 · 127 = 32,258) and the top one (2 · 128 · 127 = 32,512) apart,
    /// since two products of whole bytes could reach 64,770 and saturate.
    Avx2Bytes, |codes, quad| {
        let top = _mm256_set1_epi8(-128);
        let low = fours(_mm256_and_si256(codes, _mm256_set1_epi8(127)), quad);
        _mm256_add_epi32(low, fours(_mm256_and_si256(codes, top), quad))
    }
}
