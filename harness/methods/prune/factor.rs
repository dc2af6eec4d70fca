//! The upper triangular factor of an inverse Hessian, in `f64`.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::factor::{cholesky_in_place, cholesky_in_place_scratch};
use faer::linalg::triangular_inverse::invert_lower_triangular;
use faer::{Mat, MatRef, Par};

/// How often the damping is raised before the factorisation is given up.
const TRIES: usize = 3;

/// The largest error of `UᵀU·H z = z` for vectors of ±1, relative to the largest entry on the way, that passes.
const RESIDUAL: f64 = 1e-4;

/// `U` with `(H + λI)⁻¹ = UᵀU`.
#[derive(Debug, Clone, PartialEq)]
pub struct Factor {
    /// `U`, columns × columns, row-major, zero under the diagonal.
    pub upper: Vec<f64>,
    /// Columns of the linear map.
    pub columns: usize,
    /// Inputs that are zero on every token.
    pub dead: Vec<bool>,
    /// What was added to the diagonal, as a share of its mean; more than asked for when that failed.
    pub damp: f64,
    /// What was added to the diagonal.
    pub lambda: f64,
}

/// Why there is no factor.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FactorError {
    /// The statistics hold no second moment.
    #[error("the second moment of the inputs was not collected")]
    NoHessian,
    /// The Hessian is not positive definite even when damped.
    #[error("the Hessian of {columns} inputs cannot be factored with damping {}", list(tried))]
    NotPositive {
        /// Inputs of the map.
        columns: usize,
        /// Dampings tried.
        tried: Vec<f64>,
    },
}

fn list(tried: &[f64]) -> String {
    tried.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Factors the inverse of a Hessian (columns × columns, symmetric) damped by `damp` times the mean of its diagonal.
///
/// An input that is always zero has a zero diagonal; it is set to one first, as SparseGPT does. When the factorisation
/// fails the damping is raised tenfold, three times at most.
///
/// # Errors
/// [`FactorError::NotPositive`] with the dampings that were tried.
pub fn hinv_upper(mut hessian: Vec<f64>, columns: usize, damp: f64) -> Result<Factor, FactorError> {
    let diagonal = |hessian: &[f64], j: usize| hessian[j * (columns + 1)];
    let dead: Vec<bool> = (0..columns).map(|j| diagonal(&hessian, j) == 0.0).collect();
    for (j, _) in dead.iter().enumerate().filter(|(_, dead)| **dead) {
        hessian[j * (columns + 1)] = 1.0;
    }
    let mean = (0..columns).map(|j| diagonal(&hessian, j)).sum::<f64>() / columns.max(1) as f64;
    let undamped: Vec<f64> = (0..columns).map(|j| diagonal(&hessian, j)).collect();
    let mut tried = Vec::new();
    for attempt in 0..=TRIES {
        let damp = damp * 10f64.powi(attempt as i32);
        let lambda = damp * mean;
        for (j, value) in undamped.iter().enumerate() {
            hessian[j * (columns + 1)] = value + lambda;
        }
        tried.push(damp);
        if let Some(upper) = invert(&hessian, columns).filter(|upper| residual(upper, &hessian, columns) < RESIDUAL) {
            return Ok(Factor { upper, columns, dead, damp, lambda });
        }
        if damp == 0.0 {
            break;
        }
    }
    Err(FactorError::NotPositive { columns, tried })
}

/// `U` by one Cholesky factorisation and one triangular inverse: with rows and columns reversed, `H = L Lᵀ` becomes
/// `H = R Rᵀ` with `R` upper triangular, so `H⁻¹ = R⁻ᵀ R⁻¹` and `U = R⁻¹`. The inverse itself is never formed.
fn invert(hessian: &[f64], columns: usize) -> Option<Vec<f64>> {
    let reversed = MatRef::from_row_major_slice(hessian, columns, columns).reverse_rows_and_cols();
    let mut lower: Mat<f64> = reversed.to_owned();
    let mut memory = MemBuffer::new(cholesky_in_place_scratch::<f64>(columns, Par::Seq, faer::Spec::default()));
    let stack = MemStack::new(&mut memory);
    // One thread: the cost is small beside the passes over the text, and the bits do not depend on the threads.
    cholesky_in_place(
        lower.as_mut(),
        faer::linalg::cholesky::llt::factor::LltRegularization::default(),
        Par::Seq,
        stack,
        faer::Spec::default(),
    )
    .ok()?;
    let mut inverse = Mat::<f64>::zeros(columns, columns);
    invert_lower_triangular(inverse.as_mut(), lower.as_ref(), Par::Seq);
    let mut upper = vec![0.0; columns * columns];
    for row in 0..columns {
        for column in row..columns {
            upper[row * columns + column] = inverse[(columns - 1 - row, columns - 1 - column)];
        }
    }
    upper.iter().all(|value| value.is_finite()).then_some(upper)
}

/// The largest entry of `UᵀU H z − z` over a few vectors of ±1: `‖UᵀUH − I‖` without forming the product.
fn residual(upper: &[f64], hessian: &[f64], columns: usize) -> f64 {
    let rows = |matrix: &'_ [f64], z: &[f64]| -> Vec<f64> {
        matrix.chunks_exact(columns.max(1)).map(|row| row.iter().zip(z).map(|(a, b)| a * b).sum()).collect()
    };
    let mut worst = 0.0f64;
    for probe in 0..4u32 {
        // Signs from the bits of a multiplicative hash: fixed, and unlike any structure of the matrix.
        let sign = |j: usize| {
            if (j as u32 + 1).wrapping_mul(2_654_435_769).rotate_left(probe * 7) & 1 == 0 { 1.0 } else { -1.0 }
        };
        let z: Vec<f64> = (0..columns).map(sign).collect();
        let right = rows(upper, &rows(hessian, &z));
        let mut back = vec![0.0; columns];
        for (row, weight) in upper.chunks_exact(columns.max(1)).zip(&right) {
            back.iter_mut().zip(row).for_each(|(sum, value)| *sum += weight * value);
        }
        let error = back.iter().zip(&z).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        worst = if error.is_finite() { worst.max(error) } else { f64::INFINITY };
    }
    worst
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_factor_of_two_inputs_by_hand() {
        let factor = hinv_upper(vec![2.0, 1.0, 1.0, 2.0], 2, 0.0).unwrap();
        let expected = [(2.0f64 / 3.0).sqrt(), -1.0 / 6.0f64.sqrt(), 0.0, 0.5f64.sqrt()];
        assert!(factor.upper.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-15), "{factor:?}");
    }

    #[test]
    fn squared_diagonal_is_the_inverse_of_what_is_left() {
        // U_jj² = [(H_{j:,j:})⁻¹]_jj; for the last two of three inputs that is an inverse of 2 × 2.
        let h = vec![4.0, 1.0, 0.5, 1.0, 3.0, 0.25, 0.5, 0.25, 2.0];
        let factor = hinv_upper(h, 3, 0.0).unwrap();
        let determinant = 3.0 * 2.0 - 0.25 * 0.25;
        assert!((factor.upper[4].powi(2) - 2.0 / determinant).abs() < 1e-15);
        assert!((factor.upper[8].powi(2) - 0.5).abs() < 1e-15);
    }

    #[test]
    fn a_dead_input_stands_alone() {
        let factor = hinv_upper(vec![2.0, 0.0, 0.0, 0.0], 2, 0.5).unwrap();
        assert_eq!((factor.dead.as_slice(), factor.lambda), ([false, true].as_slice(), 0.75));
        assert!((factor.upper[3] - 1.75f64.powf(-0.5)).abs() < 1e-15 && factor.upper[1] == 0.0);
    }

    #[test]
    fn damping_is_raised_and_then_given_up() {
        // Eigenvalues 3 and −1 with mean diagonal 1: damping must exceed 1.
        let indefinite = vec![1.0, 2.0, 2.0, 1.0];
        let factor = hinv_upper(indefinite.clone(), 2, 0.5).unwrap();
        assert_eq!(factor.damp, 5.0);
        let error = hinv_upper(indefinite.clone(), 2, 1e-4).unwrap_err();
        assert_eq!(error, FactorError::NotPositive { columns: 2, tried: vec![1e-4, 1e-3, 1e-2, 0.1] });
        assert_eq!(
            hinv_upper(indefinite, 2, 0.0).unwrap_err(),
            FactorError::NotPositive { columns: 2, tried: vec![0.0] }
        );
    }
}
