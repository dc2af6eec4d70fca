//! Embeddings: rows of equal length in one slice.

use crate::JudgeError;
use crate::error::{not_empty, parameter};

/// Vectors of equal length, one behind the other: shape `(rows, dimension)`, checked to be finite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rows<'a> {
    values: &'a [f32],
    dimension: usize,
}

impl<'a> Rows<'a> {
    /// Looks at a slice as rows.
    ///
    /// # Errors
    /// No rows, a dimension of 0, a length that is no multiple of the dimension, NaN or infinity.
    pub fn new(values: &'a [f32], dimension: usize) -> Result<Self, JudgeError> {
        if dimension == 0 {
            return Err(parameter("dimension", 0, "at least 1"));
        }
        not_empty("embeddings", values)?;
        if !values.len().is_multiple_of(dimension) {
            let expected = values.len().div_ceil(dimension) * dimension;
            return Err(JudgeError::Length { what: "values of the embeddings", found: values.len(), expected });
        }
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(Self { values, dimension }),
            Some(index) => Err(JudgeError::Value {
                what: "value of the embeddings",
                index,
                value: f64::from(values[index]),
                allowed: "finite",
            }),
        }
    }

    /// Number of rows.
    #[allow(clippy::len_without_is_empty, reason = "there is always a row")]
    pub fn len(&self) -> usize {
        self.values.len() / self.dimension
    }

    /// Length of a row.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// One row.
    pub fn row(&self, index: usize) -> &'a [f32] {
        &self.values[index * self.dimension..(index + 1) * self.dimension]
    }

    /// All values in f64, row by row.
    pub(crate) fn wide(&self) -> Vec<f64> {
        self.values.iter().map(|&value| f64::from(value)).collect()
    }

    /// All rows in f64, scaled to length 1.
    ///
    /// # Errors
    /// A row of zeros; `what` names it.
    pub(crate) fn unit(&self, what: &'static str) -> Result<Vec<f64>, JudgeError> {
        let mut wide = self.wide();
        for (row, values) in wide.chunks_exact_mut(self.dimension).enumerate() {
            let norm = dot(values, values).sqrt();
            if norm == 0.0 {
                return Err(JudgeError::ZeroNorm { what, row });
            }
            for value in values {
                *value /= norm;
            }
        }
        Ok(wide)
    }
}

/// Independent sums in the inner loops: wide enough for the vector unit, and always added up in the same order.
const LANES: usize = 8;

/// Σ over corresponding elements, in an order that depends on nothing but the length, so that equal rows give equal
/// sums wherever they stand.
#[inline]
fn summed(a: &[f64], b: &[f64], term: impl Fn(f64, f64) -> f64) -> f64 {
    let mut lanes = [0.0f64; LANES];
    let (left, right) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f64 = left.remainder().iter().zip(right.remainder()).map(|(&x, &y)| term(x, y)).sum();
    for (x, y) in left.zip(right) {
        for lane in 0..LANES {
            lanes[lane] += term(x[lane], y[lane]);
        }
    }
    lanes.iter().sum::<f64>() + rest
}

/// Σ aᵢ bᵢ.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    summed(a, b, |x, y| x * y)
}

/// ‖a − b‖², from differences: exactly 0 for equal rows, symmetric to the bit.
pub(crate) fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    summed(a, b, |x, y| (x - y) * (x - y))
}

#[cfg(test)]
mod tests {
    use super::{Rows, dot, squared_distance};
    use crate::JudgeError;

    #[test]
    fn bad_rows_are_refused() {
        assert!(matches!(Rows::new(&[], 2), Err(JudgeError::Empty { .. })));
        assert!(matches!(Rows::new(&[1.0], 0), Err(JudgeError::Parameter { .. })));
        assert!(matches!(Rows::new(&[1.0; 5], 2), Err(JudgeError::Length { found: 5, expected: 6, .. })));
        assert!(matches!(Rows::new(&[1.0, f32::NAN], 2), Err(JudgeError::Value { index: 1, .. })));
        let rows = Rows::new(&[3.0, 4.0, 0.0, 0.0], 2).unwrap();
        assert_eq!(rows.unit("texts"), Err(JudgeError::ZeroNorm { what: "texts", row: 1 }));
    }

    #[test]
    fn sums_of_every_length_are_whole() {
        for length in 1..40 {
            let a: Vec<f64> = (0..length).map(|i| f64::from(i) - 3.0).collect();
            let b: Vec<f64> = (0..length).map(|i| f64::from(2 * i)).collect();
            let naive: f64 = a.iter().zip(&b).map(|(x, y)| x * y).sum();
            assert_eq!(dot(&a, &b), naive);
            assert_eq!(squared_distance(&a, &b), a.iter().zip(&b).map(|(x, y)| (x - y).powi(2)).sum::<f64>());
        }
    }
}
