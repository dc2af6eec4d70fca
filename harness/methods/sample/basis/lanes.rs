//! A matrix whose rows stand eight side by side, so that products with a vector run through registers of any width.

/// Rows side by side.
pub const LANES: usize = 8;

/// A matrix, count × width. What is missing in the last eight rows is zero.
#[derive(Debug, Clone, Default)]
pub struct Lanes {
    width: usize,
    count: usize,
    values: Vec<f64>,
}

impl Lanes {
    /// An empty matrix.
    pub fn new(width: usize) -> Self {
        Self { width, ..Self::default() }
    }

    /// Begins anew, with room kept.
    pub fn clear(&mut self, width: usize) {
        (self.width, self.count) = (width, 0);
        self.values.clear();
    }

    /// Appends a row of `width` values.
    pub fn push(&mut self, row: impl IntoIterator<Item = f64>) {
        if self.count.is_multiple_of(LANES) {
            self.values.resize(self.values.len() + LANES * self.width, 0.0);
        }
        self.count += 1;
        self.set(self.count - 1, row);
    }

    /// Replaces a row.
    pub fn set(&mut self, row: usize, values: impl IntoIterator<Item = f64>) {
        let start = self.start(row);
        for (column, value) in values.into_iter().take(self.width).enumerate() {
            self.values[start + column * LANES] = value;
        }
    }

    /// Replaces a value.
    pub fn set_value(&mut self, row: usize, column: usize, value: f64) {
        let at = self.start(row) + column * LANES;
        self.values[at] = value;
    }

    /// Rows.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// A value.
    pub fn value(&self, row: usize, column: usize) -> f64 {
        self.values[self.start(row) + column * LANES]
    }

    /// The values of a row.
    pub fn row(&self, row: usize) -> impl Iterator<Item = f64> {
        let start = self.start(row);
        (0..self.width).map(move |column| self.values[start + column * LANES])
    }

    /// Writes the product of every row with a vector, which may be shorter than the rows: then of their beginnings. `out`
    /// is filled up with zeros to whole groups of rows.
    pub fn products(&self, vector: &[f64], out: &mut Vec<f64>) {
        out.resize(self.count.next_multiple_of(LANES), 0.0);
        if self.width == 0 {
            return out.fill(0.0);
        }
        let vector = &vector[..vector.len().min(self.width)];
        for (group, out) in self.values.chunks_exact(LANES * self.width).zip(out.chunks_exact_mut(LANES)) {
            let mut sums = [0.0; LANES];
            for (column, factor) in group.chunks_exact(LANES).zip(vector) {
                for (sum, value) in sums.iter_mut().zip(column) {
                    *sum += value * factor;
                }
            }
            out.copy_from_slice(&sums);
        }
    }

    /// Writes the sum of all rows, each times its weight; rows without a weight count for nothing.
    pub fn combination(&self, weights: &[f64], out: &mut Vec<f64>) {
        out.clear();
        out.resize(self.width, 0.0);
        if self.width == 0 {
            return;
        }
        let mut padded = [0.0; LANES];
        for (group, weights) in self.values.chunks_exact(LANES * self.width).zip(weights.chunks(LANES)) {
            padded.fill(0.0);
            padded[..weights.len()].copy_from_slice(weights);
            for (column, sum) in group.chunks_exact(LANES).zip(out.iter_mut()) {
                *sum += column.iter().zip(&padded).map(|(value, weight)| value * weight).sum::<f64>();
            }
        }
    }

    fn start(&self, row: usize) -> usize {
        row / LANES * LANES * self.width + row % LANES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_and_sums_are_those_of_the_rows() {
        let mut matrix = Lanes::new(3);
        for row in 0..19 {
            matrix.push((0..3).map(|column| f64::from(row * 3 + column)));
        }
        matrix.set(4, [1.0, -1.0, 0.5]);
        let mut out = Vec::new();
        matrix.products(&[2.0, 1.0, -1.0], &mut out);
        assert_eq!((out[18], out[4], out[19]), (2.0 * 54.0 + 55.0 - 56.0, 0.5, 0.0));
        matrix.products(&[2.0], &mut out);
        assert_eq!(out[18], 108.0);
        let weights: Vec<f64> = (0..19).map(|row| f64::from(u8::from(row == 4 || row == 18))).collect();
        matrix.combination(&weights, &mut out);
        assert_eq!(out, [55.0, 54.0, 56.5]);
        assert_eq!(matrix.row(18).collect::<Vec<_>>(), [54.0, 55.0, 56.0]);
        let mut empty = Lanes::new(0);
        empty.push([]);
        empty.products(&[], &mut out);
        assert!(out.iter().all(|value| *value == 0.0) && empty.len() == 1);
    }
}
