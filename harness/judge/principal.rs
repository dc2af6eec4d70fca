//! Principal components of rows, as many as explain a share of the variance.

use faer::{Mat, MatRef, Side};

use crate::JudgeError;
use crate::error::{parameter, same_length};

/// Rows in the directions of their largest variance.
#[derive(Debug, Clone, PartialEq)]
pub struct Principal {
    /// Coordinates of the rows, shape `(rows, kept)`; centred, not scaled (no whitening).
    pub coordinates: Vec<f64>,
    /// Components kept, at least 1.
    pub kept: usize,
    /// The share of the variance that each kept component explains, descending.
    pub explained: Vec<f64>,
}

/// Projects rows, shape `(rows, dimension)`, on their first principal components: all up to the first with which the
/// explained share of the variance reaches `share`. Rows without variance keep one coordinate, 0.
///
/// # Errors
/// A share outside (0, 1], no rows, a length that is no multiple of the dimension.
pub fn project(rows: &[f64], dimension: usize, share: f64) -> Result<Principal, JudgeError> {
    if !(share > 0.0 && share <= 1.0) {
        return Err(parameter("explained variance", share, "in (0, 1]"));
    }
    if dimension == 0 || rows.is_empty() {
        return Err(JudgeError::Empty { what: "rows to project" });
    }
    let count = rows.len() / dimension;
    same_length("values of the rows", rows.len(), count * dimension)?;
    let mut mean = vec![0.0; dimension];
    for row in rows.chunks_exact(dimension) {
        mean.iter_mut().zip(row).for_each(|(mean, value)| *mean += value / count as f64);
    }
    let centred: Vec<f64> =
        rows.chunks_exact(dimension).flat_map(|row| row.iter().zip(&mean).map(|(value, mean)| value - mean)).collect();
    let centred = MatRef::from_row_major_slice(&centred, count, dimension);
    // (dimension, dimension); the factor 1 / (rows − 1) does not change shares.
    let covariance = sequential(centred.transpose(), centred);
    let Ok(eigen) = covariance.self_adjoint_eigen(Side::Lower) else {
        return Err(JudgeError::Value { what: "covariance", index: 0, value: f64::NAN, allowed: "decomposable" });
    };
    // Ascending; rounding may leave tiny negative ones.
    let values: Vec<f64> = (0..dimension).rev().map(|i| eigen.S().column_vector()[i].max(0.0)).collect();
    let total: f64 = values.iter().sum();
    if total <= 0.0 {
        return Ok(Principal { coordinates: vec![0.0; count], kept: 1, explained: vec![1.0] });
    }
    let mut explained = Vec::new();
    let mut reached = 0.0;
    for value in &values {
        explained.push(value / total);
        reached += value / total;
        if reached >= share {
            break;
        }
    }
    let kept = explained.len();
    let directions = eigen.U().subcols(dimension - kept, kept);
    let projected = sequential(centred, directions);
    // The last column is the direction of the largest variance.
    let coordinates = (0..count).flat_map(|row| (0..kept).rev().map(move |column| (row, column)));
    Ok(Principal { coordinates: coordinates.map(|at| projected[at]).collect(), kept, explained })
}

/// A matrix product in one thread, so that its sums are added in one order.
fn sequential(left: MatRef<'_, f64>, right: MatRef<'_, f64>) -> Mat<f64> {
    let mut product = Mat::zeros(left.nrows(), right.ncols());
    faer::linalg::matmul::matmul(&mut product, faer::Accum::Replace, left, right, 1.0, faer::Par::Seq);
    product
}

#[cfg(test)]
mod tests {
    use super::project;

    #[test]
    fn a_line_needs_one_component() {
        // (t, 2t, 0) for t = −1, 0, 1 around (1, 0, 5).
        let rows = [0.0, -2.0, 5.0, 1.0, 0.0, 5.0, 2.0, 2.0, 5.0];
        let found = project(&rows, 3, 0.9).unwrap();
        assert_eq!(found.kept, 1);
        assert!((found.explained[0] - 1.0).abs() < 1e-12);
        let length = 5f64.sqrt();
        let sign = found.coordinates[2].signum();
        for (found, expected) in found.coordinates.iter().zip([-length, 0.0, length]) {
            assert!((sign * found - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn the_first_component_that_reaches_the_share_is_kept() {
        // Variances 4, 1 along the axes: 0.8 and 0.2.
        let rows = [2.0, 0.0, -2.0, 0.0, 0.0, 1.0, 0.0, -1.0];
        assert_eq!(project(&rows, 2, 0.79).unwrap().kept, 1);
        assert_eq!(project(&rows, 2, 0.81).unwrap().kept, 2);
        assert_eq!(project(&[3.0, 4.0, 3.0, 4.0], 2, 0.9).unwrap().coordinates, [0.0, 0.0]);
        assert!(project(&rows, 2, 0.0).is_err() && project(&rows, 3, 0.9).is_err() && project(&[], 2, 0.9).is_err());
    }
}
