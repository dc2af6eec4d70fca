//! Matrices with many zeros, of which only what is left is held and read: bitmaps, two of every four, and lists of places (CSR).
//!
//! Their products are those of the dense matrix to the bit for finite inputs: the same lanes take the same sums in the same order, and a weight of zero, whose
//! product changes no sum, is left out. Decoding reads every weight once, so a format pays when it takes less memory than the dense matrix by more than
//! its spreading of values over lanes costs.

mod csr;
mod masked;

use std::ops::Range;

use rayon::prelude::*;

use crate::buffer::{Shared, filled};
use crate::vector::{InstructionSet, instruction_set};
use csr::Csr;
use masked::Masked;

/// How a matrix with zeros is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// One bit a weight, and the weights that are not zero.
    Bitmap,
    /// Of every four consecutive weights of a row two and their places, whether they are zero or not.
    TwoOfFour,
    /// The weights that are not zero, each with its column.
    Csr,
}

/// Why a matrix cannot be held so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SparseError {
    /// More than two weights of a group of four are not zero.
    Group {
        /// Row from 0.
        row: usize,
        /// First column of the group.
        column: usize,
    },
    /// Groups of four do not tile a row.
    Columns(usize),
    /// More columns than places can name.
    Wide(usize),
}

impl std::fmt::Display for SparseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Group { row, column } => write!(
                f,
                "row {row} has more than two weights that are not zero in columns {column} to {}; prune with `pattern = 2:4`",
                column + 3
            ),
            Self::Columns(columns) => write!(f, "groups of four do not tile rows of {columns}; hold it as a bitmap"),
            Self::Wide(columns) => write!(f, "{columns} columns are more than 65536; hold it as a bitmap"),
        }
    }
}

impl std::error::Error for SparseError {}

#[derive(Debug, Clone, PartialEq)]
enum Held {
    Masked(Masked),
    Csr(Csr),
}

/// A matrix (rows × cols) without most of its zeros.
#[derive(Debug, Clone, PartialEq)]
pub struct SparseMatrix {
    rows: usize,
    cols: usize,
    format: Format,
    held: Held,
}

/// Products smaller than this are not worth handing to other threads.
const SMALL: usize = 1 << 18;

impl SparseMatrix {
    /// Of a dense matrix (rows × cols, row-major). Weights of either zero count as zero.
    ///
    /// # Errors
    /// [`SparseError`].
    ///
    /// # Panics
    /// When the slice is not rows × cols.
    pub fn of(weight: &[f32], rows: usize, cols: usize, format: Format) -> Result<Self, SparseError> {
        assert_eq!(weight.len(), rows * cols, "{rows} rows of {cols}");
        let held = match format {
            Format::Bitmap => Held::Masked(Masked::bitmap(weight, rows, cols)),
            Format::TwoOfFour => Held::Masked(Masked::two_of_four(weight, rows, cols)?),
            Format::Csr => Held::Csr(Csr::of(weight, rows, cols)?),
        };
        Ok(Self { rows, cols, format, held })
    }

    /// Outputs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// How it is held.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Bytes it takes, in memory and in a file.
    pub fn bytes(&self) -> usize {
        match &self.held {
            Held::Masked(masked) => masked.bytes(),
            Held::Csr(csr) => csr.bytes(),
        }
    }

    /// Rows × cols with its zeros.
    pub fn dense(&self) -> Vec<f32> {
        self.dense_with(instruction_set())
    }

    pub(crate) fn dense_with(&self, set: InstructionSet) -> Vec<f32> {
        let (length, cols) = (self.rows * self.cols, self.cols.max(1));
        let span = self.rows.div_ceil(rayon::current_num_threads()).max(1);
        let spread = |(at, out): (usize, &mut [f32])| match &self.held {
            Held::Masked(masked) => masked.spread(set, cols, at * span, out),
            Held::Csr(csr) => csr.spread(cols, at * span, out),
        };
        filled(length, |out| {
            if length < SMALL {
                out.chunks_mut(span * cols).enumerate().for_each(spread);
            } else {
                out.par_chunks_mut(span * cols).enumerate().for_each(spread);
            }
        })
    }

    /// `out (m, rows) = x (m, cols) · Wᵀ + bias`. Meant for few rows of `x`: each four of them read all weights.
    ///
    /// # Panics
    /// On slices of other lengths.
    pub fn linear(&self, x: &[f32], m: usize, bias: Option<&[f32]>, out: &mut [f32]) {
        self.linear_with(instruction_set(), x, m, bias, out);
    }

    pub(crate) fn linear_with(&self, set: InstructionSet, x: &[f32], m: usize, bias: Option<&[f32]>, out: &mut [f32]) {
        assert_eq!((x.len(), out.len()), (m * self.cols, m * self.rows), "a product of {m} rows");
        assert!(bias.is_none_or(|bias| bias.len() == self.rows), "one bias an output");
        let span = self.rows.div_ceil(rayon::current_num_threads()).max(4);
        let starts: Vec<usize> = (0..self.rows).step_by(span).collect();
        let shared = Shared::new(out);
        let run = |start: &usize| {
            let rows: Range<usize> = *start..(start + span).min(self.rows);
            match &self.held {
                Held::Masked(masked) => masked.rows(set, x, m, (self.rows, self.cols), bias, rows, shared),
                Held::Csr(csr) => csr.rows(set, x, m, (self.rows, self.cols), bias, rows, shared),
            }
        };
        if self.rows * self.cols * m < SMALL {
            starts.iter().for_each(run);
        } else {
            starts.par_iter().with_max_len(1).for_each(run);
        }
    }
}

#[cfg(test)]
mod tests;
