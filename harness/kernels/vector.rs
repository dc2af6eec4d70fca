//! Sixteen-lane vectors: one trait, three instruction sets, the same bits from each.

use std::sync::OnceLock;

use half::{bf16, f16};

/// Lanes of every vector, whatever registers carry them.
pub(crate) const WIDTH: usize = 16;

/// The instruction set the vector loops run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InstructionSet {
    /// Portable code, the oracle of the other two.
    Scalar,
    /// 256-bit registers with fused multiply-add and half-precision conversion.
    Avx2,
    /// 512-bit registers.
    Avx512,
}

/// The widest instruction set this processor has, found once.
pub fn instruction_set() -> InstructionSet {
    static CHOICE: OnceLock<InstructionSet> = OnceLock::new();
    *CHOICE.get_or_init(|| {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
            {
                return InstructionSet::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c") {
                return InstructionSet::Avx2;
            }
        }
        InstructionSet::Scalar
    })
}

/// Sixteen `f32` lanes.
///
/// # Safety
/// Methods of the SIMD implementations may only run on a processor that has the instruction set; pointers must be
/// valid for sixteen elements (or `count` of them).
pub(crate) trait Vector: Copy {
    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    /// The first `count` lanes from memory, the rest `fill`.
    unsafe fn load_partial(from: *const f32, count: usize, fill: f32) -> Self;
    unsafe fn load_f16(from: *const f16) -> Self;
    unsafe fn load_bf16(from: *const bf16) -> Self;
    unsafe fn store(self, to: *mut f32);
    unsafe fn store_partial(self, to: *mut f32, count: usize);
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    unsafe fn div(self, other: Self) -> Self;
    /// `self > other ? self : other`, so that a NaN in `other` passes through.
    unsafe fn max(self, other: Self) -> Self;
    /// `self < other ? self : other`.
    unsafe fn min(self, other: Self) -> Self;
    /// `self · factor + addend`, rounded once.
    unsafe fn fma(self, factor: Self, addend: Self) -> Self;
    /// To the nearest integer, halves to even.
    unsafe fn round(self) -> Self;
    /// `2^self` for integral lanes in -127..=127; -127 gives zero.
    unsafe fn power_of_two(self) -> Self;
    /// `self < bound ? yes : no`, lane by lane.
    unsafe fn select_less(self, bound: Self, yes: Self, no: Self) -> Self;
    unsafe fn to_array(self) -> [f32; WIDTH];

    /// Sum of the lanes in a fixed tree order.
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        unsafe { tree(self.to_array(), |a, b| a + b) }
    }
    /// Largest lane.
    #[inline(always)]
    unsafe fn maximum(self) -> f32 {
        unsafe { tree(self.to_array(), |a, b| if a > b { a } else { b }) }
    }
}

#[inline(always)]
fn tree(mut lanes: [f32; WIDTH], combine: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = WIDTH / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] = combine(lanes[lane], lanes[lane + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// `e^x`, within 1.2e-7 relative; zero below -87.33, and NaN stays NaN.
#[inline(always)]
pub(crate) unsafe fn exp<V: Vector>(x: V) -> V {
    // Range reduction and polynomial of the Cephes library (expf).
    unsafe {
        let lowest = V::splat(-87.336_54);
        let clamped = lowest.max(V::splat(88.37).min(x));
        let n = clamped.mul(V::splat(std::f32::consts::LOG2_E)).round();
        let r = n.fma(V::splat(-0.693_359_4), clamped);
        let r = n.fma(V::splat(2.121_944_4e-4), r);
        let mut p = V::splat(1.987_569_1e-4);
        for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
            p = p.fma(r, V::splat(coefficient));
        }
        let y = p.fma(r.mul(r), r).add(V::splat(1.0)).mul(n.power_of_two());
        x.select_less(lowest, V::splat(0.0), y)
    }
}

/// Portable lanes.
#[derive(Clone, Copy)]
pub(crate) struct Scalar([f32; WIDTH]);

impl Scalar {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|lane| f(self.0[lane], other.0[lane])))
    }
}

impl Vector for Scalar {
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; WIDTH])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { Self(std::array::from_fn(|lane| *from.add(lane))) }
    }
    #[inline(always)]
    unsafe fn load_partial(from: *const f32, count: usize, fill: f32) -> Self {
        unsafe { Self(std::array::from_fn(|lane| if lane < count { *from.add(lane) } else { fill })) }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const f16) -> Self {
        unsafe { Self(std::array::from_fn(|lane| (*from.add(lane)).to_f32())) }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const bf16) -> Self {
        unsafe { Self(std::array::from_fn(|lane| (*from.add(lane)).to_f32())) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { to.cast::<[f32; WIDTH]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn store_partial(self, to: *mut f32, count: usize) {
        unsafe { std::ptr::copy_nonoverlapping(self.0.as_ptr(), to, count) }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn fma(self, factor: Self, addend: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane].mul_add(factor.0[lane], addend.0[lane])))
    }
    #[inline(always)]
    unsafe fn round(self) -> Self {
        Self(self.0.map(f32::round_ties_even))
    }
    #[inline(always)]
    unsafe fn power_of_two(self) -> Self {
        Self(self.0.map(|n| f32::from_bits(((n as i32 + 127) << 23) as u32)))
    }
    #[inline(always)]
    unsafe fn select_less(self, bound: Self, yes: Self, no: Self) -> Self {
        Self(std::array::from_fn(|lane| if self.0[lane] < bound.0[lane] { yes.0[lane] } else { no.0[lane] }))
    }
    #[inline(always)]
    unsafe fn to_array(self) -> [f32; WIDTH] {
        self.0
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256, __m512, __mmask16, _CMP_LT_OQ, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT, _mm_loadu_si128,
        _mm256_add_epi32, _mm256_add_ps, _mm256_blendv_ps, _mm256_castsi256_ps, _mm256_cmp_ps, _mm256_cvtepu16_epi32,
        _mm256_cvtph_ps, _mm256_cvtps_epi32, _mm256_div_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256,
        _mm256_max_ps, _mm256_min_ps, _mm256_mul_ps, _mm256_round_ps, _mm256_set1_epi32, _mm256_set1_ps,
        _mm256_slli_epi32, _mm256_storeu_ps, _mm256_sub_ps, _mm512_add_epi32, _mm512_add_ps, _mm512_castsi512_ps,
        _mm512_cmp_ps_mask, _mm512_cvtepu16_epi32, _mm512_cvtph_ps, _mm512_cvtps_epi32, _mm512_div_ps, _mm512_fmadd_ps,
        _mm512_loadu_ps, _mm512_mask_blend_ps, _mm512_mask_loadu_ps, _mm512_mask_storeu_ps, _mm512_max_ps,
        _mm512_min_ps, _mm512_mul_ps, _mm512_roundscale_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_slli_epi32,
        _mm512_storeu_ps, _mm512_sub_ps,
    };

    use half::{bf16, f16};

    use super::{Vector, WIDTH};

    const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

    #[derive(Clone, Copy)]
    pub(crate) struct Avx512(__m512);

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
        unsafe fn to_array(self) -> [f32; WIDTH] {
            unsafe { std::mem::transmute(self.0) }
        }
    }

    #[derive(Clone, Copy)]
    pub(crate) struct Avx2([__m256; 2]);

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
                Self([
                    _mm256_cvtph_ps(_mm_loadu_si128(from.cast())),
                    _mm256_cvtph_ps(_mm_loadu_si128(from.add(8).cast())),
                ])
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
        unsafe fn to_array(self) -> [f32; WIDTH] {
            unsafe { std::mem::transmute(self.0) }
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

/// Compiles a generic `fn name<V: Vector>(…)` body for each instruction set and defines `name(set, …)` that runs one.
///
/// The body is an always-inlined function, so its intrinsics end up inside a function that enables their features.
macro_rules! vectorised {
    ($(#[$attribute:meta])* $visibility:vis fn $name:ident<$vector:ident>($($argument:ident: $kind:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        $(#[$attribute])*
        #[allow(clippy::too_many_arguments)]
        $visibility fn $name(set: $crate::vector::InstructionSet, $($argument: $kind),*) $(-> $result)? {
            #[allow(clippy::too_many_arguments)]
            #[inline(always)]
            unsafe fn generic<$vector: $crate::vector::Vector>($($argument: $kind),*) $(-> $result)? {
                #[allow(unused_unsafe)]
                unsafe { $body }
            }
            #[cfg(target_arch = "x86_64")]
            #[allow(clippy::too_many_arguments)]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
            unsafe fn avx512($($argument: $kind),*) $(-> $result)? {
                unsafe { generic::<$crate::vector::Avx512>($($argument),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[allow(clippy::too_many_arguments)]
            #[target_feature(enable = "avx2,fma,f16c")]
            unsafe fn avx2($($argument: $kind),*) $(-> $result)? {
                unsafe { generic::<$crate::vector::Avx2>($($argument),*) }
            }
            // SAFETY: the SIMD variants run only where `instruction_set` found their features (tests pass a narrower
            // set, never a wider one); every generic body checks the slice lengths its pointers cover.
            match set {
                #[cfg(target_arch = "x86_64")]
                $crate::vector::InstructionSet::Avx512 => unsafe { avx512($($argument),*) },
                #[cfg(target_arch = "x86_64")]
                $crate::vector::InstructionSet::Avx2 => unsafe { avx2($($argument),*) },
                _ => unsafe { generic::<$crate::vector::Scalar>($($argument),*) },
            }
        }
    };
}
pub(crate) use vectorised;

/// The instruction sets this processor can run, for comparing them in tests.
#[cfg(test)]
pub(crate) fn available() -> Vec<InstructionSet> {
    match instruction_set() {
        InstructionSet::Scalar => vec![InstructionSet::Scalar],
        InstructionSet::Avx2 => vec![InstructionSet::Scalar, InstructionSet::Avx2],
        InstructionSet::Avx512 => vec![InstructionSet::Scalar, InstructionSet::Avx2, InstructionSet::Avx512],
    }
}

#[cfg(test)]
mod tests {
    use super::{available, exp};

    vectorised! {
        fn exponentials<V>(values: &mut [f32]) {
            for chunk in values.chunks_mut(16) {
                let x = V::load_partial(chunk.as_ptr(), chunk.len(), 0.0);
                exp(x).store_partial(chunk.as_mut_ptr(), chunk.len());
            }
        }
    }

    #[test]
    fn exponential_is_accurate_and_the_same_on_every_instruction_set() {
        let inputs: Vec<f32> = (0..20_001).map(|i| -90.0 + i as f32 * 0.0089).collect();
        let mut oracle = inputs.clone();
        exponentials(super::InstructionSet::Scalar, &mut oracle);
        for (x, y) in inputs.iter().zip(&oracle) {
            let exact = f64::from(*x).exp();
            if *x > -87.3 && *x < 88.3 {
                assert!((f64::from(*y) / exact - 1.0).abs() < 1.3e-7, "exp({x}) = {y}, not {exact}");
            } else if *x < -87.34 {
                assert_eq!(*y, 0.0);
            }
        }
        for set in available() {
            let mut values = inputs.clone();
            exponentials(set, &mut values);
            assert!(values.iter().zip(&oracle).all(|(a, b)| a.to_bits() == b.to_bits()), "{set:?} differs");
            let mut special = [f32::NAN, f32::NEG_INFINITY, 0.0];
            exponentials(set, &mut special);
            assert!(special[0].is_nan() && special[1] == 0.0 && special[2] == 1.0);
        }
    }
}
