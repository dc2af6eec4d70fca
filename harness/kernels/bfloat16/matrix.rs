//! Weights in bf16, laid out as the kernels stream them.

use half::bf16;
use rayon::prelude::*;

use crate::lines::Line;
use crate::matrix::MatrixRef;
use crate::stored::Stored;
use crate::vector::WIDTH;

/// Columns are filled up with zeros to a multiple of this many, which is what a tile holds of a row.
pub(crate) const DEPTH: usize = 32;

/// A weight matrix `(rows, cols)` in bf16, repacked once for the kernels.
///
/// Sixteen rows form a block (the last one filled up with zeros), columns are filled up to a multiple of 32. A block is a
/// run of 64-byte lines that hold two columns of each of its rows.
#[derive(Debug, Clone)]
pub struct Bf16Matrix {
    rows: usize,
    cols: usize,
    lines: Stored<Line>,
}

impl Bf16Matrix {
    /// Rounds and packs row-major `weight (rows, cols)`; halves go to even.
    ///
    /// # Panics
    /// When the matrix is empty or `weight` has another length.
    pub fn new(rows: usize, cols: usize, weight: MatrixRef<'_>) -> Self {
        assert!(rows > 0 && cols > 0 && weight.len() == rows * cols, "a {rows}x{cols} matrix of {}", weight.len());
        let per_block = cols.next_multiple_of(DEPTH) / 2;
        let pack = |(block, lines): (usize, &mut [Line])| {
            let mut row = vec![0.0; cols];
            for lane in 0..WIDTH.min(rows - block * WIDTH) {
                weight.row_to_f32(cols, block * WIDTH + lane, &mut row);
                for (line, pair) in lines.iter_mut().zip(row.chunks(2)) {
                    for (value, bytes) in pair.iter().zip(line.0[lane * 4..].chunks_exact_mut(2)) {
                        bytes.copy_from_slice(&bf16::from_f32(*value).to_bits().to_ne_bytes());
                    }
                }
            }
        };
        let lines = Stored::filled(rows.div_ceil(WIDTH) * per_block, |lines| {
            lines.par_chunks_mut(per_block).enumerate().for_each(pack);
        });
        Self { rows, cols, lines }
    }

    /// Output dimension.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Input dimension.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes in memory, what was filled up included.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.lines)
    }

    /// The rounded weights, row-major `(rows, cols)`.
    pub fn values(&self) -> Vec<bf16> {
        let per_block = self.depth() / 2;
        let mut values = vec![bf16::ZERO; self.rows * self.cols];
        values.par_chunks_mut(self.cols).enumerate().for_each(|(row, values)| {
            let lines = &self.lines[row / WIDTH * per_block..];
            for (pair, line) in values.chunks_mut(2).zip(lines) {
                for (value, bytes) in pair.iter_mut().zip(line.0[row % WIDTH * 4..].chunks_exact(2)) {
                    *value = bf16::from_bits(u16::from_ne_bytes([bytes[0], bytes[1]]));
                }
            }
        });
        values
    }

    /// Columns, filled up.
    pub(crate) fn depth(&self) -> usize {
        self.cols.next_multiple_of(DEPTH)
    }

    /// Blocks of sixteen rows, the last one filled up.
    pub(crate) fn blocks(&self) -> usize {
        self.rows.div_ceil(WIDTH)
    }

    /// Used lanes of a block.
    pub(crate) fn lanes(&self, block: usize) -> usize {
        WIDTH.min(self.rows - block * WIDTH)
    }

    /// The lines of one block, `depth / 2`.
    pub(crate) fn block(&self, block: usize) -> &[Line] {
        let lines = self.depth() / 2;
        &self.lines[block * lines..(block + 1) * lines]
    }
}
