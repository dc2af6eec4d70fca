//! Scales and zero points of a few blocks of rows, in f32.

use super::matrix::{Bits, Decoding, PackedMatrix};
use crate::matrix::Element;
use crate::vector::{InstructionSet, Vector, WIDTH};

/// Scales of some blocks, and what their zero points add.
///
/// A kernel sums `(code − base) · x`; with `base` not the zero point, `scale · (base − zero)` times the sum of the
/// activations of the group makes up for it.
#[derive(Clone, Default)]
pub(crate) struct Scaling {
    /// `(blocks, groups, 16)`.
    pub scales: Vec<f32>,
    /// `scale · (base − zero)`, as `scales`; empty when the base is the zero point everywhere.
    pub offsets: Vec<f32>,
}

/// Scales of the block that a stream of codes has come to.
///
/// # Safety
/// Lanes may only be asked for of groups that the matrix has, on a processor that has the instructions, and after a first block was
/// reached.
pub(crate) trait BlockScales: Clone {
    /// Comes to a block; `left` blocks of the stream are left, this one counted.
    fn reach(&mut self, block: usize, left: usize);
    /// Sixteen scales of a group.
    unsafe fn scale<V: Vector>(&self, group: usize) -> V;
    /// `scale · (base − zero)` of a group, where the base is not the zero point everywhere.
    unsafe fn offset<V: Vector>(&self, group: usize) -> Option<V>;
}

/// Scales that are all there is: read as they lie, one more stream beside that of the codes. Read for several blocks at once they hold
/// that one up: a tenth of the bandwidth with codes of four bits.
#[derive(Clone)]
pub(crate) struct Direct<'a, E> {
    values: &'a [E],
    per_block: usize,
    start: usize,
}

impl<'a, E: Element> Direct<'a, E> {
    pub fn new(matrix: &PackedMatrix, values: &'a [E]) -> Self {
        Self { values, per_block: matrix.groups() * WIDTH, start: 0 }
    }
}

impl<E: Element> BlockScales for Direct<'_, E> {
    #[inline(always)]
    fn reach(&mut self, block: usize, _left: usize) {
        self.start = block * self.per_block;
        assert!(self.start + self.per_block <= self.values.len());
    }
    #[inline(always)]
    unsafe fn scale<V: Vector>(&self, group: usize) -> V {
        unsafe { E::load(self.values.as_ptr().add(self.start + group * WIDTH)) }
    }
    #[inline(always)]
    unsafe fn offset<V: Vector>(&self, _group: usize) -> Option<V> {
        None
    }
}

/// Scales and offsets, written out for a few blocks at once: zero points are narrower than lanes.
#[derive(Clone)]
pub(crate) struct Ahead<'a> {
    set: InstructionSet,
    matrix: &'a PackedMatrix,
    base: f32,
    held: Scaling,
    /// Blocks that are held from `first` on, few enough to stay in the first-level cache.
    first: usize,
    count: usize,
    start: usize,
}

impl<'a> Ahead<'a> {
    pub fn new(set: InstructionSet, matrix: &'a PackedMatrix, base: f32) -> Self {
        Self { set, matrix, base, held: Scaling::default(), first: 0, count: 0, start: 0 }
    }
}

impl BlockScales for Ahead<'_> {
    #[inline(always)]
    fn reach(&mut self, block: usize, left: usize) {
        if block >= self.first + self.count {
            (self.first, self.count) = (block, (64 / self.matrix.groups()).max(1).min(left));
            self.held.read(self.set, self.matrix, self.first, self.count, self.base);
        }
        self.start = (block - self.first) * self.matrix.groups() * WIDTH;
    }
    #[inline(always)]
    unsafe fn scale<V: Vector>(&self, group: usize) -> V {
        unsafe { V::load(self.held.scales.as_ptr().add(self.start + group * WIDTH)) }
    }
    #[inline(always)]
    unsafe fn offset<V: Vector>(&self, group: usize) -> Option<V> {
        if self.held.offsets.is_empty() {
            return None;
        }
        unsafe { Some(V::load(self.held.offsets.as_ptr().add(self.start + group * WIDTH))) }
    }
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
