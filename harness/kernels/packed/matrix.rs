//! Weights as codes with a scale for each group of columns, laid out as the kernels stream them.

use std::ops::Range;

use half::f16;
use rayon::prelude::*;

use super::error::PackError;
use super::storage::{Floats, Zeros};
use crate::lines::Line;
use crate::stored::Stored;
use crate::vector::WIDTH;

/// Codes of a weight matrix and what they stand for, as a quantizer gives them.
#[derive(Debug, Clone, Copy)]
pub struct Quantized<'a> {
    /// Output dimension.
    pub rows: usize,
    /// Input dimension, a multiple of `group`.
    pub cols: usize,
    /// Bits of a code.
    pub bits: Bits,
    /// Columns that share a scale: a multiple of 32. The whole row is `cols`.
    pub group: usize,
    /// One code a weight, row-major `(rows, cols)`, not packed.
    pub codes: &'a [u8],
    /// Row-major `(rows, cols / group)`. Kept in 16 bits when f16 holds every one of them exactly, else in 32.
    pub scales: &'a [f32],
    /// What a code stands for.
    pub meaning: Meaning<'a>,
}

/// Bits of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bits {
    /// Codes in 0..=15.
    Four,
    /// Codes in 0..=255.
    Eight,
}

impl Bits {
    /// As a number.
    pub fn count(self) -> u32 {
        match self {
            Self::Four => 4,
            Self::Eight => 8,
        }
    }

    /// The largest code.
    pub fn largest(self) -> u8 {
        match self {
            Self::Four => 15,
            Self::Eight => 255,
        }
    }

    /// The middle of the range, which the kernels take off every code.
    pub(crate) fn centre(self) -> i32 {
        match self {
            Self::Four => 8,
            Self::Eight => 128,
        }
    }
}

/// What a code stands for, before the scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Meaning<'a> {
    /// `scale · (code − zero)`, one zero point for the whole matrix; 8 or 128 for symmetric quantization.
    Zero(f32),
    /// `scale · (code − zero)`, one zero point a scale, `(rows, cols / group)`; it need not be whole.
    Zeros(&'a [f32]),
    /// `scale · table[code]`, for codes of four bits.
    Table(&'a [f32; 16]),
}

/// What the codes of a packed matrix stand for, before the scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Levels<'a> {
    /// `code − zero`, one zero point for the whole matrix.
    Zero(f32),
    /// `code − zero`, one zero point a scale: see [`Unpacked::zeros`].
    Zeros,
    /// `table[code]`.
    Table(&'a [f32; 16]),
}

#[derive(Debug, Clone)]
pub(crate) enum Decoding {
    Zero(f32),
    Zeros(Zeros),
    Table(Box<[f32; 16]>),
}

/// A weight matrix `(rows, cols)` of 4- or 8-bit codes, repacked once for the kernels.
///
/// Sixteen rows form a block (the last one filled up with zero scales). A block is a run of 64-byte lines that hold for
/// each of its rows four bytes: the codes of four columns (8 bits), or of columns `0..4` in the low and `4..8` in the
/// high halves (4 bits). Scales and zero points lie as `(blocks, groups, 16)`.
#[derive(Debug, Clone)]
pub struct PackedMatrix {
    rows: usize,
    cols: usize,
    bits: Bits,
    group: usize,
    codes: Stored<Line>,
    scales: Floats,
    decoding: Decoding,
}

/// The codes, scales and zero points of a [`PackedMatrix`], as they were before packing.
#[derive(Debug, Clone, PartialEq)]
pub struct Unpacked {
    /// `(rows, cols)`.
    pub codes: Vec<u8>,
    /// `(rows, cols / group)`.
    pub scales: Vec<f32>,
    /// `(rows, cols / group)`, when the matrix has a zero point for each scale.
    pub zeros: Option<Vec<f32>>,
}

impl PackedMatrix {
    /// Packs codes.
    ///
    /// # Errors
    /// [`PackError`] when a shape, a code, a scale or the group does not fit.
    pub fn new(source: &Quantized<'_>) -> Result<Self, PackError> {
        check(source)?;
        let &Quantized { rows, cols, bits, group, codes, scales, meaning } = source;
        let blocks = rows.div_ceil(WIDTH);
        let per_line = 4 * 8 / bits.count() as usize;
        let pack = |(block, lines): (usize, &mut [Line])| {
            for lane in 0..WIDTH.min(rows - block * WIDTH) {
                let row = &codes[(block * WIDTH + lane) * cols..][..cols];
                for (line, codes) in lines.iter_mut().zip(row.chunks_exact(per_line)) {
                    for (i, &code) in codes.iter().enumerate() {
                        line.0[lane * 4 + i % 4] |= code << (4 * (i / 4));
                    }
                }
            }
        };
        let lines = Stored::filled(blocks * cols / per_line, |lines| {
            lines.par_chunks_mut(cols / per_line).enumerate().for_each(pack);
        });
        let groups = cols / group;
        let interleave = |values: &[f32]| {
            let mut out = vec![0.0; blocks * groups * WIDTH];
            for (row, values) in values.chunks_exact(groups).enumerate() {
                for (g, value) in values.iter().enumerate() {
                    out[(row / WIDTH * groups + g) * WIDTH + row % WIDTH] = *value;
                }
            }
            out
        };
        let decoding = match meaning {
            Meaning::Zero(zero) => Decoding::Zero(zero),
            Meaning::Zeros(zeros) => Decoding::Zeros(Zeros::new(&interleave(zeros), bits)),
            Meaning::Table(table) => Decoding::Table(Box::new(*table)),
        };
        Ok(Self { rows, cols, bits, group, codes: lines, scales: Floats::new(&interleave(scales)), decoding })
    }

    /// Output dimension.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Input dimension.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Bits of a code.
    pub fn bits(&self) -> Bits {
        self.bits
    }

    /// Columns that share a scale.
    pub fn group(&self) -> usize {
        self.group
    }

    /// What its codes stand for, before the scales.
    pub fn levels(&self) -> Levels<'_> {
        match &self.decoding {
            Decoding::Zero(zero) => Levels::Zero(*zero),
            Decoding::Zeros(_) => Levels::Zeros,
            Decoding::Table(table) => Levels::Table(table),
        }
    }

    /// Whether codes choose from a table; then there is no integer kernel.
    pub fn has_table(&self) -> bool {
        matches!(self.decoding, Decoding::Table(_))
    }

    /// Bytes that the codes, scales, zero points and table take in memory, blocks filled up included.
    pub fn bytes(&self) -> usize {
        let decoding = match &self.decoding {
            Decoding::Zero(_) => 0,
            Decoding::Zeros(zeros) => zeros.bytes(),
            Decoding::Table(table) => size_of_val(&**table),
        };
        size_of_val(&*self.codes) + self.scales.bytes() + decoding
    }

    /// Codes, scales and zero points as they were given.
    pub fn unpack(&self) -> Unpacked {
        let groups = self.groups();
        let straighten = |values: &[f32]| -> Vec<f32> {
            (0..self.rows * groups)
                .map(|i| values[(i / groups / WIDTH * groups + i % groups) * WIDTH + i / groups % WIDTH])
                .collect()
        };
        let per_line = self.per_line();
        let mut codes = vec![0; self.rows * self.cols];
        codes.par_chunks_mut(self.cols).enumerate().for_each(|(row, codes)| {
            let lines = &self.codes[row / WIDTH * (self.cols / per_line)..];
            for (line, codes) in lines.iter().zip(codes.chunks_exact_mut(per_line)) {
                for (i, code) in codes.iter_mut().enumerate() {
                    *code = line.0[row % WIDTH * 4 + i % 4] >> (4 * (i / 4)) & self.bits.largest();
                }
            }
        });
        let zeros = match &self.decoding {
            Decoding::Zeros(zeros) => Some(straighten(&zeros.to_f32())),
            _ => None,
        };
        Unpacked { codes, scales: straighten(&self.scales.to_f32()), zeros }
    }

    /// The matrix these codes stand for, row-major `(rows, cols)`.
    pub fn dequantise(&self) -> Vec<f32> {
        let Unpacked { codes, scales, zeros } = self.unpack();
        let groups = self.groups();
        let mut out = vec![0.0; codes.len()];
        out.par_chunks_mut(self.cols).enumerate().for_each(|(row, out)| {
            for (col, value) in out.iter_mut().enumerate() {
                let (code, place) = (codes[row * self.cols + col], row * groups + col / self.group);
                *value = self.level(code, zeros.as_ref().map(|zeros| zeros[place])) * scales[place];
            }
        });
        out
    }

    /// What some columns stand for, `(rows, columns)`.
    ///
    /// # Panics
    /// When there is no such column.
    pub fn columns(&self, columns: &[usize]) -> Vec<f32> {
        let (lines, groups, scales) = (self.cols / self.per_line(), self.groups(), self.scales.to_f32());
        let zeros = match &self.decoding {
            Decoding::Zeros(zeros) => zeros.to_f32(),
            _ => Vec::new(),
        };
        let mut out = vec![0.0; self.rows * columns.len()];
        for (row, out) in out.chunks_exact_mut(columns.len().max(1)).enumerate() {
            let block = &self.codes[row / WIDTH * lines..][..lines];
            for (value, &column) in out.iter_mut().zip(columns) {
                let place = column % self.per_line();
                let byte = block[column / self.per_line()].0[row % WIDTH * 4 + place % 4];
                let code = byte >> (4 * (place / 4)) & self.bits.largest();
                let at = (row / WIDTH * groups + column / self.group) * WIDTH + row % WIDTH;
                *value = scales[at] * self.level(code, zeros.get(at).copied());
            }
        }
        out
    }

    /// What a code stands for before the scale.
    fn level(&self, code: u8, zero: Option<f32>) -> f32 {
        match &self.decoding {
            Decoding::Zero(zero) => f32::from(code) - zero,
            Decoding::Zeros(_) => f32::from(code) - zero.unwrap_or(0.0),
            Decoding::Table(table) => table[usize::from(code)],
        }
    }

    pub(crate) fn groups(&self) -> usize {
        self.cols / self.group
    }

    /// Blocks of sixteen rows, the last one filled up.
    pub(crate) fn blocks(&self) -> usize {
        self.rows.div_ceil(WIDTH)
    }

    /// Columns of one line of codes.
    pub(crate) fn per_line(&self) -> usize {
        4 * 8 / self.bits.count() as usize
    }

    /// The lines of one block.
    pub(crate) fn block(&self, block: usize) -> &[Line] {
        self.blocks_of(block..block + 1)
    }

    /// The lines of some blocks, one after the other.
    pub(crate) fn blocks_of(&self, blocks: Range<usize>) -> &[Line] {
        let lines = self.cols / self.per_line();
        &self.codes[blocks.start * lines..blocks.end * lines]
    }

    pub(crate) fn scales(&self) -> &Floats {
        &self.scales
    }

    pub(crate) fn decoding(&self) -> &Decoding {
        &self.decoding
    }
}

fn check(source: &Quantized<'_>) -> Result<(), PackError> {
    let &Quantized { rows, cols, bits, group, codes, scales, meaning } = source;
    if rows == 0 || cols == 0 {
        return Err(PackError::Empty { rows, cols });
    }
    if group == 0 || !group.is_multiple_of(32) || !cols.is_multiple_of(group) {
        return Err(PackError::Group { cols, group });
    }
    let bound = i32::MAX as usize / (usize::from(bits.largest()) * 127);
    if group > bound {
        return Err(PackError::Accumulator { group, bound: bound / 32 * 32 });
    }
    let length = |what, found, expected| {
        if found == expected { Ok(()) } else { Err(PackError::Length { what, found, expected }) }
    };
    let finite = |what, values: &[f32]| match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(PackError::NonFinite { what, index }),
        None => Ok(()),
    };
    length("codes", codes.len(), rows * cols)?;
    length("scales", scales.len(), rows * (cols / group))?;
    if let Some(place) = codes.iter().position(|code| *code > bits.largest()) {
        let (row, col, code) = (place / cols, place % cols, codes[place]);
        return Err(PackError::Code { row, col, code, bits: bits.count() });
    }
    finite("scales", scales)?;
    match meaning {
        Meaning::Zero(zero) => finite("zeros", &[zero]),
        Meaning::Zeros(zeros) => {
            length("zeros", zeros.len(), scales.len())?;
            finite("zeros", zeros)
        }
        Meaning::Table(_) if bits != Bits::Four => Err(PackError::TableBits { bits: bits.count() }),
        Meaning::Table(table) => finite("table", table),
    }
}

/// Whether f16 holds each value exactly.
pub(crate) fn fit_f16(values: &[f32]) -> bool {
    values.iter().all(|value| f16::from_f32(*value).to_f32().to_bits() == value.to_bits())
}
