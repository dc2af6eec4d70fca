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
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c")
                && is_x86_feature_detected!("popcnt")
                && is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2");
            if avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
            {
                return InstructionSet::Avx512;
            }
            if avx2 {
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
    /// One bit a lane, the first lowest: `self >= bound`.
    unsafe fn at_least(self, bound: Self) -> u32;
    /// Stores the lanes whose bit is set one after the other; sixteen elements at `to` may be written.
    unsafe fn compress(self, kept: u32, to: *mut f32);
    /// Stores `start` plus the number of each lane whose bit is set, as [`Vector::compress`] does.
    unsafe fn compress_places(start: u32, kept: u32, to: *mut u32);
    /// Consecutive elements on the lanes whose bit is set, zero on the others; sixteen elements at `from` may be read.
    unsafe fn expand(from: *const f32, kept: u32) -> Self;
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

/// Calls with the number and the lane of every set bit, in order.
#[inline(always)]
fn compress_lanes(mut kept: u32, mut store: impl FnMut(usize, usize)) {
    let mut at = 0;
    while kept != 0 {
        store(at, kept.trailing_zeros() as usize);
        at += 1;
        kept &= kept - 1;
    }
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
pub(crate) struct Scalar(pub(crate) [f32; WIDTH]);

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
    unsafe fn at_least(self, bound: Self) -> u32 {
        (0..WIDTH).map(|lane| u32::from(self.0[lane] >= bound.0[lane]) << lane).sum()
    }
    #[inline(always)]
    unsafe fn compress(self, kept: u32, to: *mut f32) {
        unsafe { compress_lanes(kept, |at, lane| *to.add(at) = self.0[lane]) }
    }
    #[inline(always)]
    unsafe fn compress_places(start: u32, kept: u32, to: *mut u32) {
        unsafe { compress_lanes(kept, |at, lane| *to.add(at) = start + lane as u32) }
    }
    #[inline(always)]
    unsafe fn expand(from: *const f32, kept: u32) -> Self {
        let mut lanes = [0.0; WIDTH];
        unsafe { compress_lanes(kept, |at, lane| lanes[lane] = *from.add(at)) }
        Self(lanes)
    }
    #[inline(always)]
    unsafe fn to_array(self) -> [f32; WIDTH] {
        self.0
    }
}

#[cfg(target_arch = "x86_64")]
mod x86;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

/// Compiles a generic `fn name<V: Vector>(…)` body for each instruction set and defines `name(set, …)` that runs one.
///
/// The body is an always-inlined function, so its intrinsics end up inside a function that enables their features.
macro_rules! vectorised {
    ($(#[$attribute:meta])* $visibility:vis fn $name:ident<$vector:ident $(: $bound:ident)?>($($argument:ident: $kind:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        $(#[$attribute])*
        #[allow(clippy::too_many_arguments)]
        $visibility fn $name(set: $crate::vector::InstructionSet, $($argument: $kind),*) $(-> $result)? {
            #[allow(clippy::too_many_arguments)]
            #[inline(always)]
            unsafe fn generic<$vector: $crate::vector::Vector $(+ $bound)?>($($argument: $kind),*) $(-> $result)? {
                #[allow(unused_unsafe)]
                unsafe { $body }
            }
            #[cfg(target_arch = "x86_64")]
            #[allow(clippy::too_many_arguments)]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,popcnt,bmi1,bmi2")]
            unsafe fn avx512($($argument: $kind),*) $(-> $result)? {
                unsafe { generic::<$crate::vector::Avx512>($($argument),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[allow(clippy::too_many_arguments)]
            #[target_feature(enable = "avx2,fma,f16c,popcnt,bmi1,bmi2")]
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
