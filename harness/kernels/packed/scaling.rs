//! Scales and zero points of a few blocks of rows, in f32.

use super::matrix::{Bits, Decoding, PackedMatrix};
use crate::vector::{InstructionSet, WIDTH};

/// Scales of some blocks, and what their zero points add.
///
/// A kernel sums `(code − base) · x`; with `base` not the zero point, `scale · (base − zero)` times the sum of the
/// activations of the group makes up for it.
pub(crate) struct Scaling {
    /// `(blocks, groups, 16)`.
    pub scales: Vec<f32>,
    /// `scale · (base − zero)`, as `scales`; empty when the base is the zero point everywhere.
    pub offsets: Vec<f32>,
}

/// Blocks whose scales are read at once while codes stream by: few enough to stay in the first-level cache, many enough
/// that the stream does not pause for each.
pub(crate) fn scaled_together(matrix: &PackedMatrix) -> usize {
    (64 / matrix.groups()).max(1)
}

impl Scaling {
    pub fn with_capacity(matrix: &PackedMatrix, blocks: usize) -> Self {
        let count = blocks * matrix.groups() * WIDTH;
        Self { scales: vec![0.0; count], offsets: Vec::with_capacity(count) }
    }

    /// Reads the blocks from `first` on, as many as there is room for.
    pub fn read(&mut self, set: InstructionSet, matrix: &PackedMatrix, first: usize, blocks: usize, base: f32) {
        let per_block = matrix.groups() * WIDTH;
        let start = first * per_block;
        self.scales.resize(blocks * per_block, 0.0);
        matrix.scales().read(set, start, &mut self.scales);
        // Those of the next blocks come while this one's codes are multiplied: the stream of codes would wait for them.
        let (next, end) = (start + self.scales.len(), matrix.blocks() * per_block);
        let ahead = self.scales.len().min(end - next);
        matrix.scales().prefetch(next, ahead);
        if let Decoding::Zeros(zeros) = matrix.decoding() {
            zeros.prefetch(next, ahead);
        }
        match matrix.decoding() {
            Decoding::Table(_) => self.offsets.clear(),
            Decoding::Zero(zero) if *zero == base => self.offsets.clear(),
            Decoding::Zero(zero) => {
                self.offsets.clear();
                self.offsets.extend(self.scales.iter().map(|scale| scale * (base - zero)));
            }
            Decoding::Zeros(zeros) => {
                self.offsets.resize(self.scales.len(), 0.0);
                zeros.read(set, start, &mut self.offsets);
                for (offset, scale) in self.offsets.iter_mut().zip(&self.scales) {
                    *offset = scale * (base - *offset);
                }
            }
        }
    }
}

impl PackedMatrix {
    /// What the integer kernels take off every code, so that codes less this fit signed bytes: the zero point where it
    /// is one whole number that does, else the centre.
    pub(crate) fn integer_base(&self) -> i32 {
        match (self.decoding(), self.bits()) {
            (Decoding::Zero(zero), Bits::Four) if zero.fract() == 0.0 && (0.0..=15.0).contains(zero) => *zero as i32,
            _ => self.bits().centre(),
        }
    }

    /// The sixteen values of a code of four bits, and what was taken off them.
    pub(crate) fn table(&self) -> ([f32; 16], f32) {
        let base = match self.decoding() {
            Decoding::Table(table) => return (**table, 0.0),
            Decoding::Zero(zero) => *zero,
            Decoding::Zeros(_) => self.bits().centre() as f32,
        };
        (std::array::from_fn(|code| code as f32 - base), base)
    }

    /// Whether sums of activations are needed to multiply by codes less `base`.
    pub(crate) fn has_offsets(&self, base: f32) -> bool {
        match self.decoding() {
            Decoding::Table(_) => false,
            Decoding::Zero(zero) => *zero != base,
            Decoding::Zeros(_) => true,
        }
    }
}
