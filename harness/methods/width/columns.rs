//! Removing groups of columns of a matrix one after the other, each time the one that costs least, and fitting the others to what it did.
//!
//! With `H = (2/n) XᵀX + λ mean(diag) I (K, K)` of inputs `X (n, K)` and `W (N, K)`, the group g of least `tr(W_g ([H⁻¹]_gg)⁻¹ W_gᵀ)` goes:
//! `W −= W_g ([H⁻¹]_gg)⁻¹ H⁻¹_g,:`, its columns become zero, and `H⁻¹ −= H⁻¹_:,g ([H⁻¹]_gg)⁻¹ H⁻¹_g,:` leaves it out of what follows.
//! What is left after each removal is a level; what is removed at one is removed at every later one.
//!
//! Source: Kurtic, Frantar, Alistarh, ZipLM: Inference-Aware Structured Pruning of Language Models, 2023, as DarwinLM (Tang et al., 2025) uses it.
//!
//! # Difference from the reference
//! All in f64. A matrix that cannot be inverted is an error; the damping is never raised unasked.

use crate::lowrank::linalg::{cholesky, over_lower, product, transposed};

/// Why groups could not be removed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ColumnsError {
    /// Numbers that do not fit together.
    #[error("{what}: {found} numbers where {expected} are needed")]
    Shape {
        /// Of what.
        what: &'static str,
        /// Numbers given.
        found: usize,
        /// Numbers needed.
        expected: usize,
    },
    /// Groups of a size that does not divide the columns.
    #[error("groups of {unit} do not divide {cols} columns; choose a divisor")]
    Unit {
        /// Columns of a group.
        unit: usize,
        /// Columns.
        cols: usize,
    },
    /// More groups are to go than there are.
    #[error("{asked} of {groups} groups cannot be removed")]
    Groups {
        /// Groups to remove.
        asked: usize,
        /// Groups there are.
        groups: usize,
    },
    /// A second moment that cannot be inverted.
    #[error(
        "the second moment of the inputs is singular at column {column}; give more calibration text or more damping"
    )]
    Singular {
        /// Where a pivot was nothing or less.
        column: usize,
    },
}

/// `(2/n) XᵀX` of a sum `XᵀX (cols, cols)` over `rows` inputs, with `damp` times its mean diagonal added to that.
pub fn hessian(moment: &[f64], rows: usize, cols: usize, damp: f64) -> Vec<f64> {
    let mut found: Vec<f64> = moment.iter().map(|value| 2.0 * value / rows.max(1) as f64).collect();
    let mean = (0..cols).map(|at| found[at * cols + at]).sum::<f64>() / cols.max(1) as f64;
    (0..cols).for_each(|at| found[at * cols + at] += damp * mean);
    found
}

/// From so many rows on, matrices are inverted by their Cholesky factor, in blocks.
const LARGE: usize = 64;

/// The inverse of a symmetric positive definite matrix `(n, n)`.
///
/// # Errors
/// [`ColumnsError::Singular`].
pub fn inverse(matrix: &[f64], n: usize) -> Result<Vec<f64>, ColumnsError> {
    let Some(lower) = (n >= LARGE).then(|| cholesky(matrix, n)).flatten() else { return eliminated(matrix, n) };
    let unit: Vec<f64> = (0..n * n).map(|at| f64::from(u8::from(at / n == at % n))).collect();
    let half = over_lower(&unit, &lower, n);
    Ok(product(&transposed(&half, n), &half, (n, n, n)))
}

/// The inverse by elimination without pivoting, which knows where it fails.
fn eliminated(matrix: &[f64], n: usize) -> Result<Vec<f64>, ColumnsError> {
    let mut left = matrix.to_vec();
    let mut right: Vec<f64> = (0..n * n).map(|at| f64::from(u8::from(at / n == at % n))).collect();
    for column in 0..n {
        let pivot = left[column * n + column];
        if !(pivot.is_finite() && pivot > f64::MIN_POSITIVE) {
            return Err(ColumnsError::Singular { column });
        }
        for at in 0..n {
            left[column * n + at] /= pivot;
            right[column * n + at] /= pivot;
        }
        for row in (0..n).filter(|row| *row != column) {
            let factor = left[row * n + column];
            if factor != 0.0 {
                for at in 0..n {
                    left[row * n + at] -= factor * left[column * n + at];
                    right[row * n + at] -= factor * right[column * n + at];
                }
            }
        }
    }
    Ok(right)
}

/// A matrix that loses groups of columns. Only what is left of it is held and gone through.
#[derive(Debug, Clone, PartialEq)]
pub struct Columns {
    rows: usize,
    cols: usize,
    unit: usize,
    /// Groups that are left, rising.
    left: Vec<usize>,
    /// Their columns of the matrix as it is now, row-major.
    weight: Vec<f64>,
    /// Their rows and columns of `H⁻¹` without what is gone.
    inverse: Vec<f64>,
}

impl Columns {
    /// A matrix `weight (rows, cols)` whose inputs have this Hessian, in groups of `unit` neighbouring columns.
    ///
    /// # Errors
    /// [`ColumnsError`].
    pub fn new(weight: &[f64], hessian: &[f64], rows: usize, cols: usize, unit: usize) -> Result<Self, ColumnsError> {
        for (what, found, expected) in
            [("weights", weight.len(), rows * cols), ("second moment", hessian.len(), cols * cols)]
        {
            if found != expected {
                return Err(ColumnsError::Shape { what, found, expected });
            }
        }
        if unit == 0 || !cols.is_multiple_of(unit) {
            return Err(ColumnsError::Unit { unit, cols });
        }
        let inverse = inverse(hessian, cols)?;
        Ok(Self { rows, cols, unit, left: (0..cols / unit).collect(), weight: weight.to_vec(), inverse })
    }

    /// Groups that are left, rising.
    pub fn left(&self) -> &[usize] {
        &self.left
    }

    /// Columns that are left.
    fn width(&self) -> usize {
        self.left.len() * self.unit
    }

    /// The matrix as it is now, with zeros in the columns that are gone.
    pub fn weight(&self) -> Vec<f64> {
        let (unit, width) = (self.unit, self.width().max(1));
        let mut whole = vec![0.0; self.rows * self.cols];
        for (to, from) in whole.chunks_exact_mut(self.cols).zip(self.weight.chunks_exact(width)) {
            for (group, values) in self.left.iter().zip(from.chunks_exact(unit)) {
                to[group * unit..(group + 1) * unit].copy_from_slice(values);
            }
        }
        whole
    }

    /// What removing each group that is left would cost now.
    ///
    /// # Errors
    /// [`ColumnsError::Singular`].
    pub fn scores(&self) -> Result<Vec<f64>, ColumnsError> {
        let inners = (0..self.left.len()).map(|at| self.block(at)).collect::<Result<Vec<Vec<f64>>, _>>()?;
        let rows = self.weight.chunks_exact(self.width().max(1));
        let mut scores = vec![0.0; self.left.len()];
        if self.unit == 1 {
            let add = |row: &[f64]| row.iter().zip(&mut scores).for_each(|(own, score)| *score += own * own);
            rows.for_each(add);
            scores.iter_mut().zip(&inners).for_each(|(score, inner)| *score *= inner[0]);
            return Ok(scores);
        }
        for row in rows {
            for ((own, inner), score) in row.chunks_exact(self.unit).zip(&inners).zip(&mut scores) {
                for (a, inner) in own.iter().zip(inner.chunks_exact(self.unit)) {
                    *score += a * inner.iter().zip(own).map(|(c, b)| c * b).sum::<f64>();
                }
            }
        }
        Ok(scores)
    }

    /// `([H⁻¹]_gg)⁻¹` of the group at a place among those that are left.
    fn block(&self, at: usize) -> Result<Vec<f64>, ColumnsError> {
        let (unit, width, start) = (self.unit, self.width(), at * self.unit);
        let part: Vec<f64> = (start..start + unit)
            .flat_map(|row| self.inverse[row * width + start..row * width + start + unit].iter().copied())
            .collect();
        inverse(&part, unit).map_err(|error| match error {
            ColumnsError::Singular { column } => ColumnsError::Singular { column: self.left[at] * unit + column },
            other => other,
        })
    }

    /// Removes the group that costs least, of equal costs the first, and says which and what it cost.
    ///
    /// # Errors
    /// [`ColumnsError::Groups`] when none is left, [`ColumnsError::Singular`].
    pub fn remove(&mut self) -> Result<(usize, f64), ColumnsError> {
        let groups = self.cols / self.unit;
        if self.left.is_empty() {
            return Err(ColumnsError::Groups { asked: groups + 1, groups });
        }
        let (mut at, mut least) = (0, f64::INFINITY);
        for (place, score) in self.scores()?.into_iter().enumerate() {
            if score < least {
                (at, least) = (place, score);
            }
        }
        let (unit, width, start) = (self.unit, self.width(), at * self.unit);
        let inner = self.block(at)?;
        // ([H⁻¹]_gg)⁻¹ H⁻¹_g,: , (unit, width).
        let mut step = vec![0.0; unit * width];
        for (out, inner) in step.chunks_exact_mut(width).zip(inner.chunks_exact(unit)) {
            for (row, factor) in inner.iter().enumerate() {
                let from = &self.inverse[(start + row) * width..(start + row + 1) * width];
                out.iter_mut().zip(from).for_each(|(out, value)| *out += factor * value);
            }
        }
        leave(&mut self.weight, &step, start, unit);
        // The inverse is symmetric: what goes of its columns goes of its rows.
        self.inverse.drain(start * width..(start + unit) * width);
        leave(&mut self.inverse, &step, start, unit);
        Ok((self.left.remove(at), least))
    }

    /// Removes groups until so many are gone.
    ///
    /// # Errors
    /// [`ColumnsError::Groups`] where more are gone or there are not as many, [`ColumnsError::Singular`].
    pub fn remove_to(&mut self, asked: usize) -> Result<(), ColumnsError> {
        let groups = self.cols / self.unit;
        if asked > groups || asked < groups - self.left.len() {
            return Err(ColumnsError::Groups { asked, groups });
        }
        while groups - self.left.len() < asked {
            self.remove()?;
        }
        Ok(())
    }
}

/// Subtracts from every row what it has at `start .. start + unit` times `step (unit, width)`, and closes the gap that these columns leave.
fn leave(matrix: &mut Vec<f64>, step: &[f64], start: usize, unit: usize) {
    let width = step.len() / unit;
    let (rows, left) = (matrix.len() / width, width - unit);
    for row in 0..rows {
        let (from, to) = (row * width, row * left);
        let values = &mut matrix[from..from + width];
        for at in 0..unit {
            let factor = values[start + at];
            // The factors of a group are those from before any of it went.
            let step = &step[at * width..(at + 1) * width];
            values[..start].iter_mut().zip(step).for_each(|(value, step)| *value -= factor * step);
            let behind = start + unit;
            values[behind..].iter_mut().zip(&step[behind..]).for_each(|(value, step)| *value -= factor * step);
        }
        matrix.copy_within(from..from + start, to);
        matrix.copy_within(from + start + unit..from + width, to + start);
    }
    matrix.truncate(rows * left);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const WEIGHT: [f64; 12] = [4.0, -1.0, 0.5, -2.0, 1.0, 3.0, -0.2, 0.8, -0.6, 0.4, 2.0, -5.0];
    const INPUTS: [[f64; 4]; 4] =
        [[1.0, 0.0, 2.0, 0.0], [0.0, 2.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.5], [0.0, 1.0, 3.0, 0.5]];

    fn moment() -> Vec<f64> {
        (0..16).map(|at| INPUTS.iter().map(|x| x[at / 4] * x[at % 4]).sum()).collect()
    }

    fn columns(unit: usize) -> Columns {
        Columns::new(&WEIGHT, &hessian(&moment(), 4, 4, 0.01), 3, 4, unit).unwrap()
    }

    /// `‖(W − Ŵ) Xᵀ‖²`.
    fn error(weight: &[f64]) -> f64 {
        let difference: Vec<f64> = WEIGHT.iter().zip(weight).map(|(a, b)| a - b).collect();
        let of = |row: &[f64], x: &[f64; 4]| row.iter().zip(x).map(|(a, b)| a * b).sum::<f64>().powi(2);
        difference.chunks_exact(4).flat_map(|row| INPUTS.iter().map(move |x| of(row, x))).sum()
    }

    #[test]
    fn large_matrices_are_inverted_as_small_ones_are() {
        let n = LARGE + 13;
        let x: Vec<f64> = (0..2 * n * n).map(|at| (at as f64 * 0.37 + (at * at % 17) as f64).sin()).collect();
        let sum = |i: usize, j: usize| (0..2 * n).map(|t| x[t * n + i] * x[t * n + j]).sum::<f64>();
        let matrix: Vec<f64> =
            (0..n * n).map(|at| sum(at / n, at % n) + f64::from(u8::from(at / n == at % n))).collect();
        let (found, expected) = (inverse(&matrix, n).unwrap(), eliminated(&matrix, n).unwrap());
        assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-9));
        let mut singular = matrix;
        singular[n * 70..n * 71].fill(0.0);
        (0..n).for_each(|row| singular[row * n + 70] = 0.0);
        assert_eq!(inverse(&singular, n), Err(ColumnsError::Singular { column: 70 }));
    }

    #[test]
    fn the_worked_example_of_four_columns() {
        // The example leaves the sum over inputs undivided, which multiplies all scores and changes no choice.
        let undivided = hessian(&moment(), 1, 4, 0.01);
        let mut found = Columns::new(&WEIGHT, &undivided, 3, 4, 1).unwrap();
        for (score, expected) in found.scores().unwrap().iter().zip([49.173_85, 60.340_402, 55.399_13, 20.452_523]) {
            assert!((score - expected).abs() < 1e-6 * expected, "{score} for {expected}");
        }
        assert_eq!(found.remove().unwrap().0, 3);
        let mut divided = columns(1);
        divided.remove().unwrap();
        assert!(divided.weight().iter().zip(found.weight()).all(|(a, b)| (a - b).abs() < 1e-12));
        let left = found.weight();
        let expected = [
            3.654_116, -1.054_593, 0.355_18, 0.0, 1.138_354, 3.021_837, -0.142_072, 0.0, -1.464_71, 0.263_518,
            1.637_949, 0.0,
        ];
        assert!(left.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{left:?}");
        assert!((error(&left) - 8.575_922).abs() < 1e-5);
        let mut zeroed = WEIGHT;
        zeroed.chunks_exact_mut(4).for_each(|row| row[3] = 0.0);
        assert!((error(&zeroed) - 14.82).abs() < 1e-9);
    }

    #[test]
    fn what_is_removed_stays_removed_to_the_last() {
        for unit in [1, 2] {
            let groups = 4 / unit;
            let mut matrix = columns(unit);
            let mut level = |count: usize| {
                matrix.remove_to(count).unwrap();
                assert_eq!(matrix.left().len(), groups - count);
                matrix.weight()
            };
            let levels: Vec<Vec<f64>> = (0..groups).map(&mut level).collect();
            assert_eq!(levels[0], WEIGHT);
            let gone =
                |level: &[f64]| (0..4).filter(|c| level.chunks_exact(4).all(|row| row[*c] == 0.0)).collect::<Vec<_>>();
            for pair in levels.windows(2) {
                assert!(gone(&pair[0]).iter().all(|column| gone(&pair[1]).contains(column)));
                assert_eq!(gone(&pair[1]).len(), gone(&pair[0]).len() + unit);
                assert!(error(&pair[1]) >= error(&pair[0]) - 1e-9);
            }
            matrix.remove_to(groups).unwrap();
            assert!(matrix.left().is_empty() && matrix.remove().is_err());
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let h = hessian(&moment(), 4, 4, 0.01);
        assert!(matches!(Columns::new(&WEIGHT, &h, 3, 4, 3), Err(ColumnsError::Unit { unit: 3, cols: 4 })));
        assert!(matches!(Columns::new(&WEIGHT[1..], &h, 3, 4, 1), Err(ColumnsError::Shape { found: 11, .. })));
        assert!(matches!(Columns::new(&WEIGHT, &[0.0; 16], 3, 4, 1), Err(ColumnsError::Singular { column: 0 })));
        assert!(matches!(columns(1).remove_to(5), Err(ColumnsError::Groups { asked: 5, groups: 4 })));
        let mut some = columns(1);
        some.remove_to(2).unwrap();
        assert!(matches!(some.remove_to(1), Err(ColumnsError::Groups { asked: 1, .. })));
    }
}
