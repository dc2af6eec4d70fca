//! Sums of products of bf16, one lane a weight row, two columns at a time.

use crate::lines::Line;
use crate::vector::{Scalar, Vector};

/// Sixteen f32 sums, one a weight row.
///
/// # Safety
/// Methods of the SIMD implementations may only run on a processor that has the instructions; pointers must be valid
/// for what they name.
pub(crate) trait Pairs: Copy {
    /// The same lanes as a vector.
    type Float: Vector;
    /// Two columns of sixteen rows.
    type Weights: Copy;
    /// How activations lie in memory.
    type Element: Copy;
    /// Two activations, the same for every lane.
    type Inputs: Copy;

    unsafe fn zero() -> Self;
    /// Reads a line.
    unsafe fn weights(from: *const Line) -> Self::Weights;
    /// Reads two activations.
    unsafe fn inputs(from: *const Self::Element) -> Self::Inputs;
    /// Adds the two products of each lane.
    unsafe fn dot(self, weights: Self::Weights, inputs: Self::Inputs) -> Self;
    /// As a vector.
    unsafe fn float(self) -> Self::Float;
}

/// Lanes that widen two bf16 of each 32-bit word.
///
/// # Safety
/// As for [`Vector`].
pub(crate) trait Widen: Vector {
    /// The lower and the upper halves of sixteen words, as f32.
    unsafe fn widen(from: *const Line) -> [Self; 2];
}

/// Widened to f32 and multiplied one after the other, the first column first.
#[derive(Clone, Copy)]
pub(crate) struct Widened<V>(V);

impl<V: Widen> Pairs for Widened<V> {
    type Float = V;
    type Weights = [V; 2];
    type Element = f32;
    type Inputs = [V; 2];

    #[inline(always)]
    unsafe fn zero() -> Self {
        unsafe { Self(V::splat(0.0)) }
    }
    #[inline(always)]
    unsafe fn weights(from: *const Line) -> [V; 2] {
        unsafe { V::widen(from) }
    }
    #[inline(always)]
    unsafe fn inputs(from: *const f32) -> [V; 2] {
        unsafe { [V::splat(*from), V::splat(*from.add(1))] }
    }
    #[inline(always)]
    unsafe fn dot(self, weights: [V; 2], inputs: [V; 2]) -> Self {
        unsafe { Self(weights[1].fma(inputs[1], weights[0].fma(inputs[0], self.0))) }
    }
    #[inline(always)]
    unsafe fn float(self) -> V {
        self.0
    }
}

impl Widen for Scalar {
    #[inline(always)]
    unsafe fn widen(from: *const Line) -> [Self; 2] {
        let words = unsafe { from.cast::<[u32; 16]>().read() };
        [Self(words.map(|word| f32::from_bits(word << 16))), Self(words.map(|word| f32::from_bits(word & 0xffff_0000)))]
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m512, __m512bh, __m512i, _mm256_and_si256, _mm256_castsi256_ps, _mm256_load_si256, _mm256_set1_epi32,
        _mm256_slli_epi32, _mm512_and_si512, _mm512_castsi512_ps, _mm512_dpbf16_ps, _mm512_load_si512,
        _mm512_set1_epi32, _mm512_setzero_ps, _mm512_slli_epi32,
    };

    use super::{Pairs, Widen};
    use crate::lines::Line;
    use crate::vector::{Avx2, Avx512};

    const UPPER: i32 = 0xffff_0000_u32.cast_signed();

    impl Widen for Avx512 {
        #[inline(always)]
        unsafe fn widen(from: *const Line) -> [Self; 2] {
            unsafe {
                let words = _mm512_load_si512(from.cast());
                [
                    Self(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(words))),
                    Self(_mm512_castsi512_ps(_mm512_and_si512(words, _mm512_set1_epi32(UPPER)))),
                ]
            }
        }
    }

    impl Widen for Avx2 {
        #[inline(always)]
        unsafe fn widen(from: *const Line) -> [Self; 2] {
            unsafe {
                let words = [_mm256_load_si256(from.cast()), _mm256_load_si256(from.cast::<u8>().add(32).cast())];
                [
                    Self(words.map(|words| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(words)))),
                    Self(words.map(|words| _mm256_castsi256_ps(_mm256_and_si256(words, _mm256_set1_epi32(UPPER))))),
                ]
            }
        }
    }

    /// `vdpbf16ps`.
    #[derive(Clone, Copy)]
    pub(crate) struct PairProducts(__m512);

    impl Pairs for PairProducts {
        type Float = Avx512;
        type Weights = __m512bh;
        type Element = u16;
        type Inputs = __m512bh;

        #[inline(always)]
        unsafe fn zero() -> Self {
            unsafe { Self(_mm512_setzero_ps()) }
        }
        #[inline(always)]
        unsafe fn weights(from: *const Line) -> __m512bh {
            unsafe { std::mem::transmute::<__m512i, __m512bh>(_mm512_load_si512(from.cast())) }
        }
        #[inline(always)]
        unsafe fn inputs(from: *const u16) -> __m512bh {
            unsafe { std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi32(from.cast::<i32>().read_unaligned())) }
        }
        #[inline(always)]
        unsafe fn dot(self, weights: __m512bh, inputs: __m512bh) -> Self {
            unsafe { Self(_mm512_dpbf16_ps(self.0, weights, inputs)) }
        }
        #[inline(always)]
        unsafe fn float(self) -> Avx512 {
            Avx512(self.0)
        }
    }
}
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::PairProducts;

/// Compiles a generic `fn name<P: Pairs, M, N>(inputs, …)` body for each kind of instructions and defines `name(set,
/// inputs, …)` that runs the one whose form `inputs` has. `M` activation rows and `N` blocks of sixteen weight rows are what
/// the registers of that kind hold.
macro_rules! paired {
    ($(#[$attribute:meta])* $visibility:vis fn $name:ident<$pairs:ident, $m:ident, $n:ident>($inputs:ident, $($argument:ident: $kind:ty),* $(,)?) $body:block) => {
        $(#[$attribute])*
        $visibility fn $name(set: $crate::bfloat16::Bf16Set, inputs: &$crate::bfloat16::inputs::Inputs, $($argument: $kind),*) {
            use $crate::bfloat16::{Bf16Set, inputs::Inputs, pairs};
            #[inline(always)]
            unsafe fn generic<$pairs: pairs::Pairs, const $m: usize, const $n: usize>($inputs: &[$pairs::Element], $($argument: $kind),*) {
                #[allow(unused_unsafe)]
                unsafe { $body }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c,popcnt,bmi1,bmi2")]
            unsafe fn avx512bf16(inputs: &[u16], $($argument: $kind),*) {
                unsafe { generic::<pairs::PairProducts, 8, 3>(inputs, $($argument),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,popcnt,bmi1,bmi2")]
            unsafe fn avx512(inputs: &[f32], $($argument: $kind),*) {
                unsafe { generic::<pairs::Widened<$crate::vector::Avx512>, 8, 3>(inputs, $($argument),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c,popcnt,bmi1,bmi2")]
            unsafe fn avx2(inputs: &[f32], $($argument: $kind),*) {
                unsafe { generic::<pairs::Widened<$crate::vector::Avx2>, 4, 1>(inputs, $($argument),*) }
            }
            // SAFETY: callers pass a set only where `Bf16Set::is_available` found it; every generic body checks the slice
            // lengths its pointers cover.
            match (set, inputs) {
                #[cfg(target_arch = "x86_64")]
                (Bf16Set::Avx512Bf16, Inputs::Pairs(inputs)) => unsafe { avx512bf16(inputs, $($argument),*) },
                #[cfg(target_arch = "x86_64")]
                (Bf16Set::Avx512, Inputs::Wide(inputs)) => unsafe { avx512(inputs, $($argument),*) },
                #[cfg(target_arch = "x86_64")]
                (Bf16Set::Avx2, Inputs::Wide(inputs)) => unsafe { avx2(inputs, $($argument),*) },
                (_, Inputs::Wide(inputs)) => unsafe { generic::<pairs::Widened<$crate::vector::Scalar>, 4, 1>(inputs, $($argument),*) },
                _ => panic!("{set:?} does not read these inputs"),
            }
        }
    };
}
pub(crate) use paired;
