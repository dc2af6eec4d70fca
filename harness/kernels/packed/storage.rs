//! Buffers of a packed matrix, each no wider than its values need.

use half::f16;

use super::matrix::{Bits, fit_f16};
use crate::matrix::Element;
use crate::stored::Stored;
use crate::vector::{InstructionSet, WIDTH, vectorised};

/// Floats in sixteens, in 16 bits where those hold them exactly.
#[derive(Debug, Clone)]
pub(crate) enum Floats {
    Half(Stored<f16>),
    Full(Stored<f32>),
}

impl Floats {
    pub fn new(values: &[f32]) -> Self {
        if fit_f16(values) {
            Self::Half(values.iter().map(|value| f16::from_f32(*value)).collect())
        } else {
            Self::Full(Stored::copied(values))
        }
    }

    pub fn bytes(&self) -> usize {
        match self {
            Self::Half(values) => size_of_val(&**values),
            Self::Full(values) => size_of_val(&**values),
        }
    }

    pub fn to_f32(&self) -> Vec<f32> {
        match self {
            Self::Half(values) => values.iter().map(|value| value.to_f32()).collect(),
            Self::Full(values) => values.to_vec(),
        }
    }

    /// Writes the values `start .. start + out.len()`, both multiples of sixteen.
    pub fn read(&self, set: InstructionSet, start: usize, out: &mut [f32]) {
        match self {
            Self::Half(values) => widen(set, &values[start..start + out.len()], out),
            Self::Full(values) => out.copy_from_slice(&values[start..start + out.len()]),
        }
    }
}

vectorised! {
    fn widen<V>(values: &[f16], out: &mut [f32]) {
        assert!(values.len() == out.len() && values.len().is_multiple_of(WIDTH));
        for start in (0..values.len()).step_by(WIDTH) {
            f16::load::<V>(values.as_ptr().add(start)).store(out.as_mut_ptr().add(start));
        }
    }
}

/// Zero points in sixteens. Whole ones in the range of the codes take as many bits as a code.
#[derive(Debug, Clone)]
pub(crate) enum Zeros {
    /// Byte `r` of eight: row `r` in the low half, row `r + 8` in the high half.
    Nibbles(Stored<u8>),
    Bytes(Stored<u8>),
    Floats(Floats),
}

impl Zeros {
    pub fn new(values: &[f32], bits: Bits) -> Self {
        let whole =
            |value: &f32| value.to_bits() == f32::from(*value as u8).to_bits() && *value as u8 <= bits.largest();
        if !values.iter().all(whole) {
            return Self::Floats(Floats::new(values));
        }
        match bits {
            Bits::Eight => Self::Bytes(values.iter().map(|value| *value as u8).collect()),
            Bits::Four => Self::Nibbles(
                values
                    .chunks_exact(WIDTH)
                    .flat_map(|lanes| (0..8).map(|r| lanes[r] as u8 | (lanes[r + 8] as u8) << 4))
                    .collect(),
            ),
        }
    }

    pub fn bytes(&self) -> usize {
        match self {
            Self::Nibbles(values) | Self::Bytes(values) => values.len(),
            Self::Floats(values) => values.bytes(),
        }
    }

    pub fn to_f32(&self) -> Vec<f32> {
        let count = match self {
            Self::Nibbles(values) => values.len() * 2,
            Self::Bytes(values) => values.len(),
            Self::Floats(values) => return values.to_f32(),
        };
        let mut out = vec![0.0; count];
        self.read(InstructionSet::Scalar, 0, &mut out);
        out
    }

    /// Writes the values `start .. start + out.len()`, both multiples of sixteen.
    pub fn read(&self, set: InstructionSet, start: usize, out: &mut [f32]) {
        match self {
            Self::Nibbles(values) => {
                let bytes = values[start / 2..].chunks_exact(8);
                for (lanes, bytes) in out.chunks_exact_mut(WIDTH).zip(bytes) {
                    for r in 0..8 {
                        lanes[r] = f32::from(bytes[r] & 15);
                        lanes[r + 8] = f32::from(bytes[r] >> 4);
                    }
                }
            }
            Self::Bytes(values) => {
                for (value, byte) in out.iter_mut().zip(&values[start..]) {
                    *value = f32::from(*byte);
                }
            }
            Self::Floats(values) => values.read(set, start, out),
        }
    }
}
