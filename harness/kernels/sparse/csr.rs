//! Lists of weights with their columns, row by row.

use std::ops::Range;

use super::SparseError;
use crate::buffer::Shared;
use crate::vector::{InstructionSet, WIDTH};

/// Weights, their columns, and where rows begin.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Csr {
    values: Vec<f32>,
    columns: Vec<u16>,
    /// Rows + 1.
    starts: Vec<u32>,
}

impl Csr {
    pub(super) fn of(weight: &[f32], rows: usize, cols: usize) -> Result<Self, SparseError> {
        if cols > usize::from(u16::MAX) + 1 {
            return Err(SparseError::Wide(cols));
        }
        let mut held = Self { values: Vec::new(), columns: Vec::new(), starts: Vec::with_capacity(rows + 1) };
        held.starts.push(0);
        for row in weight.chunks_exact(cols.max(1)) {
            for (column, value) in row.iter().enumerate().filter(|(_, value)| **value != 0.0) {
                held.values.push(*value);
                held.columns.push(column as u16);
            }
            held.starts.push(held.values.len() as u32);
        }
        Ok(held)
    }

    pub(super) fn bytes(&self) -> usize {
        self.values.len() * 6 + self.starts.len() * 4
    }

    fn row(&self, row: usize) -> impl Iterator<Item = (usize, f32)> + '_ {
        let span = self.starts[row] as usize..self.starts[row + 1] as usize;
        self.columns[span.clone()].iter().zip(&self.values[span]).map(|(column, value)| (usize::from(*column), *value))
    }

    /// Writes rows of `cols` columns with their zeros, from `first` on as many as `out` holds.
    pub(super) fn spread(&self, cols: usize, first: usize, out: &mut [f32]) {
        out.fill(0.0);
        for (row, out) in out.chunks_exact_mut(cols).enumerate() {
            self.row(first + row).for_each(|(column, value)| out[column] = value);
        }
    }

    /// One code for all instruction sets: gathers are no faster than single loads where few weights are left.
    pub(super) fn rows(
        &self,
        _: InstructionSet,
        x: &[f32],
        m: usize,
        (n, k): (usize, usize),
        bias: Option<&[f32]>,
        span: Range<usize>,
        out: Shared,
    ) {
        // Columns of the dense kernel's four sums, of the vectors left over, and of its scalar end.
        let (unrolled, whole) = (k / (4 * WIDTH) * 4 * WIDTH, k / WIDTH * WIDTH);
        for row in span {
            for (at, x) in x.chunks_exact(k.max(1)).take(m).enumerate() {
                let mut lanes = [[0.0f32; WIDTH]; 4];
                let mut ends = Vec::new();
                for (column, value) in self.row(row) {
                    if column >= whole {
                        ends.push((column, value));
                        continue;
                    }
                    let part = if column < unrolled { column / WIDTH % 4 } else { 0 };
                    let sum = &mut lanes[part][column % WIDTH];
                    *sum = value.mul_add(x[column], *sum);
                }
                let mut sums: [f32; WIDTH] =
                    std::array::from_fn(|l| (lanes[0][l] + lanes[1][l]) + (lanes[2][l] + lanes[3][l]));
                let mut width = WIDTH / 2;
                while width > 0 {
                    for lane in 0..width {
                        sums[lane] += sums[lane + width];
                    }
                    width /= 2;
                }
                let sum = ends.into_iter().fold(sums[0], |sum, (column, value)| value.mul_add(x[column], sum));
                // SAFETY: spans of rows are disjoint, so is what they write.
                let target = unsafe { out.slice(at * n + row, 1) };
                target[0] = sum + bias.map_or(0.0, |bias| bias[row]);
            }
        }
    }
}
