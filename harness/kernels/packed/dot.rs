//! Integer dot products of unsigned codes with signed activations, one lane a weight row.

use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
use crate::tiles::{self, TileProduct};
use crate::vector::{InstructionSet, Scalar, Vector, WIDTH, instruction_set};

/// The instructions the integer kernels run on, the best last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IntegerSet {
    /// Portable code, the oracle of the others.
    Scalar,
    /// Products of bytes in pairs (`vpmaddubsw`), within the range where they do not saturate.
    Avx2,
    /// Products of bytes in fours (`vpdpbusd`) in 512-bit registers.
    Vnni,
    /// [`IntegerSet::Vnni`] for a few rows, tile products (`tdpbssd`) for many.
    Amx,
}

impl IntegerSet {
    /// The name that stands in a kernel's identity.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Vnni => "avx512vnni",
            Self::Amx => "amx",
        }
    }
}

/// The best integer instructions this processor has, found once.
pub fn integer_set() -> IntegerSet {
    static CHOICE: OnceLock<IntegerSet> = OnceLock::new();
    *CHOICE.get_or_init(|| match instruction_set() {
        InstructionSet::Scalar => IntegerSet::Scalar,
        InstructionSet::Avx2 => IntegerSet::Avx2,
        InstructionSet::Avx512 => {
            #[cfg(target_arch = "x86_64")]
            if is_x86_feature_detected!("avx512vnni") {
                return if tiles::available(TileProduct::Bytes) { IntegerSet::Amx } else { IntegerSet::Vnni };
            }
            IntegerSet::Avx2
        }
    })
}

/// Sixteen 32-bit sums, one a weight row.
///
/// # Safety
/// Methods of the SIMD implementations may only run on a processor that has the instructions; pointers must be valid
/// for what they name. Activations lie in -127..=127.
pub(crate) trait Dot: Copy {
    /// The same lanes in f32.
    type Float: Vector;
    /// Four codes of each of sixteen rows.
    type Bytes: Copy;
    /// Four activations, the same for every lane.
    type Quad: Copy;

    unsafe fn splat(value: i32) -> Self;
    /// Reads four bytes for each of sixteen rows, 64 in all.
    unsafe fn bytes(from: *const u8) -> Self::Bytes;
    /// Writes them.
    unsafe fn store(bytes: Self::Bytes, to: *mut u8);
    /// The low four bits of each byte.
    unsafe fn low(bytes: Self::Bytes) -> Self::Bytes;
    /// The high four bits of each byte.
    unsafe fn high(bytes: Self::Bytes) -> Self::Bytes;
    /// Reads four activations.
    unsafe fn quad(from: *const i8) -> Self::Quad;
    /// Adds the four products of each lane; wraps around.
    unsafe fn dot(self, codes: Self::Bytes, quad: Self::Quad) -> Self;
    /// Lane by lane.
    unsafe fn add(self, other: Self) -> Self;
    /// Each lane, rounded to f32.
    unsafe fn float(self) -> Self::Float;
}

/// Portable lanes, for codes of any range.
#[derive(Clone, Copy)]
pub(crate) struct ScalarDot([i32; WIDTH]);

impl Dot for ScalarDot {
    type Float = Scalar;
    type Bytes = [[u8; 4]; WIDTH];
    type Quad = [i8; 4];

    #[inline(always)]
    unsafe fn splat(value: i32) -> Self {
        Self([value; WIDTH])
    }
    #[inline(always)]
    unsafe fn bytes(from: *const u8) -> Self::Bytes {
        unsafe { from.cast::<Self::Bytes>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(bytes: Self::Bytes, to: *mut u8) {
        unsafe { to.cast::<Self::Bytes>().write_unaligned(bytes) }
    }
    #[inline(always)]
    unsafe fn low(bytes: Self::Bytes) -> Self::Bytes {
        bytes.map(|lane| lane.map(|byte| byte & 15))
    }
    #[inline(always)]
    unsafe fn high(bytes: Self::Bytes) -> Self::Bytes {
        bytes.map(|lane| lane.map(|byte| byte >> 4))
    }
    #[inline(always)]
    unsafe fn quad(from: *const i8) -> [i8; 4] {
        unsafe { from.cast::<[i8; 4]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn dot(self, codes: Self::Bytes, quad: [i8; 4]) -> Self {
        Self(std::array::from_fn(|lane| {
            let products = (0..4).map(|i| i32::from(codes[lane][i]) * i32::from(quad[i])).sum();
            self.0[lane].wrapping_add(products)
        }))
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane].wrapping_add(other.0[lane])))
    }
    #[inline(always)]
    unsafe fn float(self) -> Scalar {
        Scalar(self.0.map(|sum| sum as f32))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2Bytes, Avx2Nibbles, Vnni};

/// Compiles a generic `fn name<D: Dot, M, N>(…)` body for each kind of integer instructions and defines
/// `name(set, nibbles, …)` that runs one. `nibbles` says that no code exceeds 15. `M` activation rows and `N` blocks of
/// sixteen weight rows are what the registers of that kind hold.
macro_rules! integers {
    ($(#[$attribute:meta])* $visibility:vis fn $name:ident<$dot:ident, $m:ident, $n:ident>($($argument:ident: $kind:ty),* $(,)?) $body:block) => {
        $(#[$attribute])*
        $visibility fn $name(set: $crate::packed::dot::IntegerSet, nibbles: bool, $($argument: $kind),*) {
            #[inline(always)]
            unsafe fn generic<$dot: $crate::packed::dot::Dot, const $m: usize, const $n: usize>($($argument: $kind),*) {
                #[allow(unused_unsafe)]
                unsafe { $body }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c,popcnt,bmi1,bmi2")]
            unsafe fn vnni($($argument: $kind),*) {
                unsafe { generic::<$crate::packed::dot::Vnni, 8, 3>($($argument),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c,popcnt,bmi1,bmi2")]
            unsafe fn avx2_nibbles($($argument: $kind),*) {
                unsafe { generic::<$crate::packed::dot::Avx2Nibbles, 4, 1>($($argument),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c,popcnt,bmi1,bmi2")]
            unsafe fn avx2_bytes($($argument: $kind),*) {
                unsafe { generic::<$crate::packed::dot::Avx2Bytes, 4, 1>($($argument),*) }
            }
            // SAFETY: the SIMD variants run only where `integer_set` found their features (tests pass a narrower set,
            // never a wider one); every generic body checks the slice lengths its pointers cover.
            match (set, nibbles) {
                #[cfg(target_arch = "x86_64")]
                ($crate::packed::dot::IntegerSet::Amx | $crate::packed::dot::IntegerSet::Vnni, _) => unsafe { vnni($($argument),*) },
                #[cfg(target_arch = "x86_64")]
                ($crate::packed::dot::IntegerSet::Avx2, true) => unsafe { avx2_nibbles($($argument),*) },
                #[cfg(target_arch = "x86_64")]
                ($crate::packed::dot::IntegerSet::Avx2, false) => unsafe { avx2_bytes($($argument),*) },
                _ => unsafe { generic::<$crate::packed::dot::ScalarDot, 4, 1>($($argument),*) },
            }
        }
    };
}
pub(crate) use integers;

/// The kinds of integer instructions this processor can run, for comparing them in tests.
#[cfg(test)]
pub(crate) fn available() -> Vec<IntegerSet> {
    use IntegerSet::{Amx, Avx2, Scalar, Vnni};
    let all = [Scalar, Avx2, Vnni, Amx];
    let best = all.iter().position(|set| *set == integer_set()).unwrap_or(0);
    all[..=best].to_vec()
}
