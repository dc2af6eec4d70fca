//! Row-major matrices in the element types checkpoints store.

use half::{bf16, f16};
use rayon::prelude::*;

use crate::vector::{InstructionSet, Vector, WIDTH, instruction_set, vectorised};

/// The values of a row-major matrix, borrowed.
#[derive(Debug, Clone, Copy)]
pub enum MatrixRef<'a> {
    /// 32-bit floats.
    F32(&'a [f32]),
    /// IEEE half precision.
    F16(&'a [f16]),
    /// Brain floats.
    Bf16(&'a [bf16]),
}

/// An element type that converts to `f32` exactly.
pub(crate) trait Element: Copy + Send + Sync {
    /// Sixteen elements as `f32` lanes.
    unsafe fn load<V: Vector>(from: *const Self) -> V;
    fn single(self) -> f32;
}

impl Element for f32 {
    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const Self) -> V {
        unsafe { V::load(from) }
    }
    #[inline(always)]
    fn single(self) -> f32 {
        self
    }
}

impl Element for f16 {
    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const Self) -> V {
        unsafe { V::load_f16(from) }
    }
    #[inline(always)]
    fn single(self) -> f32 {
        self.to_f32()
    }
}

impl Element for bf16 {
    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const Self) -> V {
        unsafe { V::load_bf16(from) }
    }
    #[inline(always)]
    fn single(self) -> f32 {
        self.to_f32()
    }
}

impl<'a> MatrixRef<'a> {
    /// Reinterprets little-endian bytes: f32 when `is_f32`, else bf16 when `is_bf16`, else f16.
    ///
    /// # Panics
    /// When the bytes are not aligned for the element type or not a whole number of elements.
    pub fn from_bytes(bytes: &'a [u8], is_f32: bool, is_bf16: bool) -> Self {
        fn cast<T>(bytes: &[u8]) -> &[T] {
            // SAFETY: the three element types accept every bit pattern; alignment and size are checked below.
            let (before, values, after) = unsafe { bytes.align_to::<T>() };
            assert!(before.is_empty() && after.is_empty(), "weight bytes must be aligned and whole");
            values
        }
        if is_f32 {
            Self::F32(cast(bytes))
        } else if is_bf16 {
            Self::Bf16(cast(bytes))
        } else {
            Self::F16(cast(bytes))
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F16(values) => values.len(),
            Self::Bf16(values) => values.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements `start .. end`, as a matrix of the same type.
    #[must_use]
    pub fn range(&self, start: usize, end: usize) -> Self {
        match self {
            Self::F32(values) => Self::F32(&values[start..end]),
            Self::F16(values) => Self::F16(&values[start..end]),
            Self::Bf16(values) => Self::Bf16(&values[start..end]),
        }
    }

    /// All values in f32.
    pub fn to_f32(&self) -> Vec<f32> {
        crate::buffer::filled(self.len(), |out| self.copy_to(out))
    }

    /// Converts all values into `out` (same length), several threads at once.
    pub fn copy_to(&self, out: &mut [f32]) {
        const CHUNK: usize = 1 << 14;
        assert_eq!(self.len(), out.len(), "conversion needs an output of the same length");
        out.par_chunks_mut(CHUNK).enumerate().for_each(|(i, part)| {
            self.range(i * CHUNK, i * CHUNK + part.len()).convert(instruction_set(), part);
        });
    }

    /// Converts row `row` of a matrix with `cols` columns into `out` (`cols` values).
    pub fn row_to_f32(&self, cols: usize, row: usize, out: &mut [f32]) {
        assert_eq!(out.len(), cols, "a row has {cols} values");
        self.range(row * cols, (row + 1) * cols).convert(instruction_set(), out);
    }

    /// Converts all values into `out` on the calling thread.
    pub(crate) fn widen(&self, out: &mut [f32]) {
        self.convert(instruction_set(), out);
    }

    fn convert(&self, set: InstructionSet, out: &mut [f32]) {
        match self {
            Self::F32(values) => out.copy_from_slice(values),
            Self::F16(values) => convert_f16(set, values, out),
            Self::Bf16(values) => convert_bf16(set, values, out),
        }
    }
}

#[inline(always)]
unsafe fn convert<V: Vector, E: Element>(values: &[E], out: &mut [f32]) {
    assert_eq!(values.len(), out.len());
    let whole = values.len() / WIDTH * WIDTH;
    for start in (0..whole).step_by(WIDTH) {
        unsafe { E::load::<V>(values.as_ptr().add(start)).store(out.as_mut_ptr().add(start)) };
    }
    for i in whole..values.len() {
        out[i] = values[i].single();
    }
}

vectorised! {
    fn convert_f16<V>(values: &[f16], out: &mut [f32]) { convert::<V, f16>(values, out) }
}
vectorised! {
    fn convert_bf16<V>(values: &[bf16], out: &mut [f32]) { convert::<V, bf16>(values, out) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vector::available;

    #[test]
    fn every_half_value_converts_exactly() {
        let halves: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).filter(|v| !v.is_nan()).collect();
        let brains: Vec<bf16> = (0..=u16::MAX).map(bf16::from_bits).filter(|v| !v.is_nan()).collect();
        for set in available() {
            let mut out = vec![0.0; halves.len()];
            MatrixRef::F16(&halves).convert(set, &mut out);
            assert!(out.iter().zip(&halves).all(|(a, b)| a.to_bits() == b.to_f32().to_bits()), "{set:?}");
            let mut out = vec![0.0; brains.len()];
            MatrixRef::Bf16(&brains).convert(set, &mut out);
            assert!(out.iter().zip(&brains).all(|(a, b)| a.to_bits() == b.to_f32().to_bits()), "{set:?}");
        }
    }

    #[test]
    fn bytes_rows_and_ranges_agree() {
        let values: Vec<f32> = (0..70_000).map(|i| i as f32 * 0.5).collect();
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let mut aligned = vec![0f32; values.len()];
        // SAFETY: a float buffer seen as bytes.
        let view = unsafe { std::slice::from_raw_parts_mut(aligned.as_mut_ptr().cast::<u8>(), bytes.len()) };
        view.copy_from_slice(&bytes);
        let matrix = MatrixRef::from_bytes(view, true, false);
        assert_eq!(matrix.to_f32(), values);
        let mut row = vec![0.0; 7];
        matrix.row_to_f32(7, 3, &mut row);
        assert_eq!(row, &values[21..28]);
    }
}
