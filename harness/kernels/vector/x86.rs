//! The lanes in 512-bit and in 256-bit registers.

use std::arch::x86_64::{
    __m256, __m512, __mmask16, _CMP_GE_OQ, _CMP_LT_OQ, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT, _mm_loadu_si128,
    _mm256_add_epi32, _mm256_add_ps, _mm256_and_ps, _mm256_and_si256, _mm256_blendv_ps, _mm256_castsi256_ps,
    _mm256_cmp_ps, _mm256_cmpeq_epi32, _mm256_cvtepu16_epi32, _mm256_cvtph_ps, _mm256_cvtps_epi32, _mm256_div_ps,
    _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_max_ps, _mm256_min_ps, _mm256_movemask_ps,
    _mm256_mul_ps, _mm256_permutevar8x32_ps, _mm256_round_ps, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setr_epi32,
    _mm256_slli_epi32, _mm256_storeu_ps, _mm256_sub_ps, _mm512_add_epi32, _mm512_add_ps, _mm512_castsi512_ps,
    _mm512_cmp_ps_mask, _mm512_cvtepu16_epi32, _mm512_cvtph_ps, _mm512_cvtps_epi32, _mm512_div_ps, _mm512_fmadd_ps,
    _mm512_loadu_ps, _mm512_mask_blend_ps, _mm512_mask_loadu_ps, _mm512_mask_storeu_ps, _mm512_maskz_compress_epi32,
    _mm512_maskz_compress_ps, _mm512_maskz_expand_ps, _mm512_max_ps, _mm512_min_ps, _mm512_mul_ps,
    _mm512_roundscale_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setr_epi32, _mm512_slli_epi32, _mm512_storeu_ps,
    _mm512_storeu_si512, _mm512_sub_ps,
};

use half::{bf16, f16};

use super::{Vector, WIDTH, compress_lanes};

/// For every mask of eight lanes, which of the loaded elements goes on each: the number of set bits before it.
static PLACES: [[i32; 8]; 256] = {
    let mut places = [[0; 8]; 256];
    let mut mask = 0;
    while mask < 256 {
        let (mut lane, mut at) = (0, 0);
        while lane < 8 {
            places[mask][lane] = at;
            at += (mask >> lane & 1) as i32;
            lane += 1;
        }
        mask += 1;
    }
    places
};

const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

#[derive(Clone, Copy)]
pub(crate) struct Avx512(pub(crate) __m512);

#[inline(always)]
fn mask(count: usize) -> __mmask16 {
    ((1u32 << count.min(WIDTH)) - 1) as __mmask16
}

impl Vector for Avx512 {
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        unsafe { Self(_mm512_set1_ps(value)) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { Self(_mm512_loadu_ps(from)) }
    }
    #[inline(always)]
    unsafe fn load_partial(from: *const f32, count: usize, fill: f32) -> Self {
        unsafe { Self(_mm512_mask_loadu_ps(_mm512_set1_ps(fill), mask(count), from)) }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const f16) -> Self {
        unsafe { Self(_mm512_cvtph_ps(_mm256_loadu_si256(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const bf16) -> Self {
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
            Self(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide)))
        }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { _mm512_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn store_partial(self, to: *mut f32, count: usize) {
        unsafe { _mm512_mask_storeu_ps(to, mask(count), self.0) }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        unsafe { Self(_mm512_add_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        unsafe { Self(_mm512_sub_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        unsafe { Self(_mm512_mul_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        unsafe { Self(_mm512_div_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        unsafe { Self(_mm512_max_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        unsafe { Self(_mm512_min_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn fma(self, factor: Self, addend: Self) -> Self {
        unsafe { Self(_mm512_fmadd_ps(self.0, factor.0, addend.0)) }
    }
    #[inline(always)]
    unsafe fn round(self) -> Self {
        unsafe { Self(_mm512_roundscale_ps::<NEAREST>(self.0)) }
    }
    #[inline(always)]
    unsafe fn power_of_two(self) -> Self {
        unsafe {
            let exponent = _mm512_add_epi32(_mm512_cvtps_epi32(self.0), _mm512_set1_epi32(127));
            Self(_mm512_castsi512_ps(_mm512_slli_epi32::<23>(exponent)))
        }
    }
    #[inline(always)]
    unsafe fn select_less(self, bound: Self, yes: Self, no: Self) -> Self {
        unsafe { Self(_mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, bound.0), no.0, yes.0)) }
    }
    #[inline(always)]
    unsafe fn at_least(self, bound: Self) -> u32 {
        unsafe { u32::from(_mm512_cmp_ps_mask::<_CMP_GE_OQ>(self.0, bound.0)) }
    }
    #[inline(always)]
    unsafe fn compress(self, kept: u32, to: *mut f32) {
        unsafe { _mm512_storeu_ps(to, _mm512_maskz_compress_ps(kept as __mmask16, self.0)) }
    }
    #[inline(always)]
    unsafe fn compress_places(start: u32, kept: u32, to: *mut u32) {
        unsafe {
            let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            let places = _mm512_add_epi32(_mm512_set1_epi32(start.cast_signed()), lanes);
            _mm512_storeu_si512(to.cast(), _mm512_maskz_compress_epi32(kept as __mmask16, places));
        }
    }
    #[inline(always)]
    unsafe fn expand(from: *const f32, kept: u32) -> Self {
        unsafe { Self(_mm512_maskz_expand_ps(kept as __mmask16, load_apart(from))) }
    }
    #[inline(always)]
    unsafe fn to_array(self) -> [f32; WIDTH] {
        unsafe { std::mem::transmute(self.0) }
    }
}

/// Sixteen floats that stay in a register of their own: expanding from memory takes twice as long on Zen 4 as loading and expanding.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load_apart(from: *const f32) -> __m512 {
    unsafe {
        let mut loaded = _mm512_loadu_ps(from);
        std::arch::asm!("/* {0} */", inout(zmm_reg) loaded, options(pure, nomem, nostack, preserves_flags));
        loaded
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Avx2(pub(crate) [__m256; 2]);

impl Avx2 {
    #[inline(always)]
    unsafe fn zip(self, other: Self, f: impl Fn(__m256, __m256) -> __m256) -> Self {
        Self([f(self.0[0], other.0[0]), f(self.0[1], other.0[1])])
    }
}

impl Vector for Avx2 {
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        unsafe { Self([_mm256_set1_ps(value); 2]) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { Self([_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))]) }
    }
    #[inline(always)]
    unsafe fn load_partial(from: *const f32, count: usize, fill: f32) -> Self {
        unsafe {
            let mut lanes = [fill; WIDTH];
            std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), count);
            Self::load(lanes.as_ptr())
        }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const f16) -> Self {
        unsafe {
            Self([_mm256_cvtph_ps(_mm_loadu_si128(from.cast())), _mm256_cvtph_ps(_mm_loadu_si128(from.add(8).cast()))])
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const bf16) -> Self {
        unsafe {
            let low = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()));
            let high = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.add(8).cast()));
            Self([
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(low)),
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(high)),
            ])
        }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe {
            _mm256_storeu_ps(to, self.0[0]);
            _mm256_storeu_ps(to.add(8), self.0[1]);
        }
    }
    #[inline(always)]
    unsafe fn store_partial(self, to: *mut f32, count: usize) {
        unsafe { std::ptr::copy_nonoverlapping(self.to_array().as_ptr(), to, count) }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        unsafe { self.zip(other, |a, b| _mm256_add_ps(a, b)) }
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        unsafe { self.zip(other, |a, b| _mm256_sub_ps(a, b)) }
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        unsafe { self.zip(other, |a, b| _mm256_mul_ps(a, b)) }
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        unsafe { self.zip(other, |a, b| _mm256_div_ps(a, b)) }
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        unsafe { self.zip(other, |a, b| _mm256_max_ps(a, b)) }
    }
    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        unsafe { self.zip(other, |a, b| _mm256_min_ps(a, b)) }
    }
    #[inline(always)]
    unsafe fn fma(self, factor: Self, addend: Self) -> Self {
        unsafe {
            Self([
                _mm256_fmadd_ps(self.0[0], factor.0[0], addend.0[0]),
                _mm256_fmadd_ps(self.0[1], factor.0[1], addend.0[1]),
            ])
        }
    }
    #[inline(always)]
    unsafe fn round(self) -> Self {
        unsafe { Self([_mm256_round_ps::<NEAREST>(self.0[0]), _mm256_round_ps::<NEAREST>(self.0[1])]) }
    }
    #[inline(always)]
    unsafe fn power_of_two(self) -> Self {
        unsafe {
            Self(self.0.map(|half| {
                let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(half), _mm256_set1_epi32(127));
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent))
            }))
        }
    }
    #[inline(always)]
    unsafe fn select_less(self, bound: Self, yes: Self, no: Self) -> Self {
        unsafe {
            Self(std::array::from_fn(|i| {
                _mm256_blendv_ps(no.0[i], yes.0[i], _mm256_cmp_ps::<_CMP_LT_OQ>(self.0[i], bound.0[i]))
            }))
        }
    }
    #[inline(always)]
    unsafe fn at_least(self, bound: Self) -> u32 {
        unsafe {
            let half = |i: usize| _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GE_OQ>(self.0[i], bound.0[i])) as u32;
            half(0) | (half(1) << 8)
        }
    }
    #[inline(always)]
    unsafe fn compress(self, kept: u32, to: *mut f32) {
        unsafe {
            let lanes = self.to_array();
            compress_lanes(kept, |at, lane| *to.add(at) = lanes[lane]);
        }
    }
    #[inline(always)]
    unsafe fn compress_places(start: u32, kept: u32, to: *mut u32) {
        unsafe { compress_lanes(kept, |at, lane| *to.add(at) = start + lane as u32) }
    }
    #[inline(always)]
    unsafe fn expand(from: *const f32, kept: u32) -> Self {
        // SAFETY: as the trait says; both halves of `kept` are places of the table.
        unsafe {
            let half = |from: *const f32, kept: u32| {
                let bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
                let set = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(kept.cast_signed()), bits), bits);
                let places = _mm256_loadu_si256(PLACES.get_unchecked(kept as usize).as_ptr().cast());
                _mm256_and_ps(_mm256_permutevar8x32_ps(_mm256_loadu_ps(from), places), _mm256_castsi256_ps(set))
            };
            let (low, high) = (kept & 255, kept >> 8 & 255);
            Self([half(from, low), half(from.add(low.count_ones() as usize), high)])
        }
    }
    #[inline(always)]
    unsafe fn to_array(self) -> [f32; WIDTH] {
        unsafe { std::mem::transmute(self.0) }
    }
}
