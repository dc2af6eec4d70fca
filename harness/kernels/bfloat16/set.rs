//! Which instructions multiply bf16.

use std::sync::OnceLock;

use crate::vector::{InstructionSet, instruction_set};

/// The instructions that multiply bf16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bf16Set {
    /// Portable code, the oracle of the others.
    Scalar,
    /// Widened to f32 in 256-bit registers.
    Avx2,
    /// Widened to f32 in 512-bit registers.
    Avx512,
    /// Sums of two products at once (`vdpbf16ps`).
    Avx512Bf16,
    /// Matrix tiles (`tdpbf16ps`) for many rows, [`Bf16Set::Avx512`] for a few: processors with tiles give pairs of products
    /// half the rate of f32.
    Amx,
}

impl Bf16Set {
    /// All of them, from the plainest on.
    pub const ALL: [Self; 5] = [Self::Scalar, Self::Avx2, Self::Avx512, Self::Avx512Bf16, Self::Amx];

    /// The name that stands in a kernel's identity.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512bf16",
            Self::Amx => "amx",
        }
    }

    /// Whether this processor has these instructions.
    pub fn is_available(self) -> bool {
        let set = instruction_set();
        match self {
            Self::Scalar => true,
            Self::Avx2 => set != InstructionSet::Scalar,
            Self::Avx512 => set == InstructionSet::Avx512,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 => set == InstructionSet::Avx512 && is_x86_feature_detected!("avx512bf16"),
            #[cfg(target_arch = "x86_64")]
            Self::Amx => set == InstructionSet::Avx512 && crate::tiles::available(crate::tiles::TileProduct::Brain),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx512Bf16 | Self::Amx => false,
        }
    }

    /// What multiplies a few rows where this multiplies many.
    pub(crate) fn for_few_rows(self) -> Self {
        if self == Self::Amx { Self::Avx512 } else { self }
    }
}

/// The best of them that this processor has, found once.
pub fn bf16_set() -> Bf16Set {
    static CHOICE: OnceLock<Bf16Set> = OnceLock::new();
    *CHOICE.get_or_init(|| Bf16Set::ALL.into_iter().rev().find(|set| set.is_available()).unwrap_or(Bf16Set::Scalar))
}
