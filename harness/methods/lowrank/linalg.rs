//! Decompositions of row-major `f64` matrices, on one thread, so that no bit depends on how many there are.

use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::factor::{LltRegularization, cholesky_in_place, cholesky_in_place_scratch};
use faer::linalg::evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch};
use faer::linalg::matmul::matmul;
use faer::linalg::svd::{self, ComputeSvdVectors, svd_scratch};
use faer::linalg::triangular_solve::solve_upper_triangular_in_place;
use faer::{Accum, Mat, MatMut, MatRef, Par, Spec};

/// `A = left · diag(singular) · right`.
#[derive(Debug, Clone, PartialEq)]
pub struct Svd {
    /// Rows × ranks: one column a left vector, its greatest entry positive.
    pub left: Vec<f64>,
    /// Falling.
    pub singular: Vec<f64>,
    /// Ranks × cols: one row a right vector.
    pub right: Vec<f64>,
}

/// The thin singular value decomposition of a matrix; `None` where it does not converge.
pub fn decomposed(matrix: &[f64], rows: usize, cols: usize) -> Option<Svd> {
    let ranks = rows.min(cols);
    let thin = ComputeSvdVectors::Thin;
    let mut memory = MemBuffer::new(svd_scratch::<f64>(rows, cols, thin, thin, Par::Seq, Spec::default()));
    let (mut u, mut v) = (Mat::<f64>::zeros(rows, ranks), Mat::<f64>::zeros(cols, ranks));
    let mut s = Diag::<f64>::zeros(ranks);
    let view = MatRef::from_row_major_slice(matrix, rows, cols);
    let stack = MemStack::new(&mut memory);
    svd::svd(view, s.as_mut(), Some(u.as_mut()), Some(v.as_mut()), Par::Seq, stack, Spec::default()).ok()?;
    let singular: Vec<f64> = s.column_vector().iter().copied().collect();
    // Which of two opposite vectors comes out is a matter of the algorithm.
    let sign = |k: usize| {
        let most = (0..rows)
            .map(|i| u[(i, k)])
            .fold(0.0f64, |most, value| if value.abs() > most.abs() { value } else { most });
        if most < 0.0 { -1.0 } else { 1.0 }
    };
    let signs: Vec<f64> = (0..ranks).map(sign).collect();
    let left = (0..rows).flat_map(|i| (0..ranks).map(move |k| (i, k))).map(|(i, k)| signs[k] * u[(i, k)]).collect();
    let right = (0..ranks).flat_map(|k| (0..cols).map(move |j| (k, j))).map(|(k, j)| signs[k] * v[(j, k)]).collect();
    let found = Svd { left, singular, right };
    let finite = |values: &[f64]| values.iter().all(|value| value.is_finite());
    (finite(&found.left) && finite(&found.singular) && finite(&found.right)).then_some(found)
}

/// `a (m, k) · b (k, n)`.
pub fn product(a: &[f64], b: &[f64], (m, k, n): (usize, usize, usize)) -> Vec<f64> {
    let mut out = vec![0.0; m * n];
    let (a, b) = (MatRef::from_row_major_slice(a, m, k), MatRef::from_row_major_slice(b, k, n));
    matmul(MatMut::from_row_major_slice_mut(&mut out, m, n), Accum::Replace, a, b, 1.0, Par::Seq);
    out
}

/// `(rows, cols)` as `(cols, rows)`.
pub fn transposed(matrix: &[f64], rows: usize) -> Vec<f64> {
    let cols = matrix.len() / rows.max(1);
    (0..cols).flat_map(|j| matrix[j..].iter().step_by(cols)).copied().collect()
}

/// The matrix with some numbers on its diagonal and zeros beside.
pub fn diagonal(values: &[f64]) -> Vec<f64> {
    let mut matrix = vec![0.0; values.len() * values.len()];
    matrix.iter_mut().step_by(values.len() + 1).zip(values).for_each(|(entry, value)| *entry = *value);
    matrix
}

/// A matrix with each column multiplied.
pub fn with_columns(matrix: &[f64], factors: &[f64]) -> Vec<f64> {
    let rows = matrix.chunks_exact(factors.len().max(1));
    rows.flat_map(|row| row.iter().zip(factors).map(|(value, factor)| value * factor)).collect()
}

/// The sum of the squares.
pub fn squares(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum()
}

/// `S` lower triangular with `S Sᵀ` the symmetric matrix; `None` where it is not positive definite.
pub fn cholesky(matrix: &[f64], size: usize) -> Option<Vec<f64>> {
    let mut lower = MatRef::from_row_major_slice(matrix, size, size).to_owned();
    let mut memory = MemBuffer::new(cholesky_in_place_scratch::<f64>(size, Par::Seq, Spec::default()));
    let stack = MemStack::new(&mut memory);
    cholesky_in_place(lower.as_mut(), LltRegularization::default(), Par::Seq, stack, Spec::default()).ok()?;
    let entry = |(i, j): (usize, usize)| if j <= i { lower[(i, j)] } else { 0.0 };
    let found: Vec<f64> = (0..size).flat_map(|i| (0..size).map(move |j| (i, j))).map(entry).collect();
    found.iter().all(|value| value.is_finite()).then_some(found)
}

/// `rows · S⁻¹` for rows of `size` and a lower triangular `S`.
pub fn over_lower(rows: &[f64], lower: &[f64], size: usize) -> Vec<f64> {
    let mut solved = rows.to_vec();
    let target = MatMut::from_row_major_slice_mut(&mut solved, rows.len() / size.max(1), size);
    let upper = MatRef::from_row_major_slice(lower, size, size).transpose();
    solve_upper_triangular_in_place(upper, target.transpose_mut(), Par::Seq);
    solved
}

/// Eigenvalues of a symmetric matrix, rising, and one eigenvector a column; `None` where they are not found.
pub fn eigen(matrix: &[f64], size: usize) -> Option<(Vec<f64>, Vec<f64>)> {
    let with = ComputeEigenvectors::Yes;
    let mut memory = MemBuffer::new(self_adjoint_evd_scratch::<f64>(size, with, Par::Seq, Spec::default()));
    let (mut s, mut u) = (Diag::<f64>::zeros(size), Mat::<f64>::zeros(size, size));
    let view = MatRef::from_row_major_slice(matrix, size, size);
    let stack = MemStack::new(&mut memory);
    self_adjoint_evd(view, s.as_mut(), Some(u.as_mut()), Par::Seq, stack, Spec::default()).ok()?;
    let values = s.column_vector().iter().copied().collect();
    Some((values, (0..size).flat_map(|i| (0..size).map(move |k| (i, k))).map(|(i, k)| u[(i, k)]).collect()))
}

/// The pseudoinverse `(cols, rows)`: singular values below `rcond` of the greatest count as none.
pub fn pseudoinverse(matrix: &[f64], rows: usize, cols: usize, rcond: f64) -> Option<Vec<f64>> {
    inverted(matrix, rows, cols, rcond).map(|(inverse, _)| inverse)
}

/// The pseudoinverse, and how many singular values counted as none.
pub fn inverted(matrix: &[f64], rows: usize, cols: usize, rcond: f64) -> Option<(Vec<f64>, usize)> {
    let Svd { left, singular, right } = decomposed(matrix, rows, cols)?;
    let least = rcond * singular.first().copied().unwrap_or(0.0);
    let inverses: Vec<f64> = singular.iter().map(|&s| if s > least { 1.0 / s } else { 0.0 }).collect();
    let (ranks, none) = (singular.len(), inverses.iter().filter(|inverse| **inverse == 0.0).count());
    let sides = (transposed(&right, ranks), transposed(&with_columns(&left, &inverses), rows));
    Some((product(&sides.0, &sides.1, (cols, ranks, rows)), none))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn matrix(rows: usize, cols: usize) -> Vec<f64> {
        (0..rows * cols).map(|i| (i as f64 * 0.37 + (i * i % 11) as f64).sin()).collect()
    }

    fn near(a: &[f64], b: &[f64], tolerance: f64) {
        assert_eq!(a.len(), b.len());
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() <= tolerance), "{a:?} for {b:?}");
    }

    #[test]
    fn a_matrix_is_the_product_of_its_parts() {
        for (rows, cols) in [(1, 1), (3, 5), (5, 3), (40, 17), (17, 40), (64, 64)] {
            let a = matrix(rows, cols);
            let Svd { left, singular, right } = decomposed(&a, rows, cols).unwrap();
            let ranks = singular.len();
            assert!(singular.is_sorted_by(|a, b| a >= b) && singular.iter().all(|value| *value >= 0.0));
            near(&product(&with_columns(&left, &singular), &right, (rows, ranks, cols)), &a, 1e-12);
            let mut unit = vec![0.0; ranks * ranks];
            unit.iter_mut().step_by(ranks + 1).for_each(|one| *one = 1.0);
            near(&product(&transposed(&left, rows), &left, (ranks, rows, ranks)), &unit, 1e-12);
            near(&product(&right, &transposed(&right, ranks), (ranks, cols, ranks)), &unit, 1e-12);
        }
        // A matrix of rank one has one singular value.
        let ones = decomposed(&[1.0; 12], 3, 4).unwrap();
        near(&ones.singular, &[12f64.sqrt(), 0.0, 0.0], 1e-12);
        assert_eq!(decomposed(&[0.0; 6], 2, 3).unwrap().singular, [0.0, 0.0]);
    }

    #[test]
    fn triangles_give_the_matrix_back_and_are_divided_by() {
        let x = matrix(6, 9);
        let gram = product(&x, &transposed(&x, 6), (6, 9, 6));
        let lower = cholesky(&gram, 6).unwrap();
        assert!((0..6).all(|i| (i + 1..6).all(|j| lower[i * 6 + j] == 0.0)));
        near(&product(&lower, &transposed(&lower, 6), (6, 6, 6)), &gram, 1e-12);
        let rows = matrix(4, 6);
        near(&product(&over_lower(&rows, &lower, 6), &lower, (4, 6, 6)), &rows, 1e-10);
        assert_eq!(cholesky(&[1.0, 2.0, 2.0, 1.0], 2), None);
        let (values, vectors) = eigen(&gram, 6).unwrap();
        assert!(values.is_sorted());
        near(&product(&with_columns(&vectors, &values), &transposed(&vectors, 6), (6, 6, 6)), &gram, 1e-12);
    }

    #[test]
    fn pseudoinverses_are_moore_and_penrose_s() {
        for (rows, cols) in [(5, 3), (3, 5), (4, 4)] {
            let a = matrix(rows, cols);
            let p = pseudoinverse(&a, rows, cols, 1e-12).unwrap();
            near(&product(&product(&a, &p, (rows, cols, rows)), &a, (rows, rows, cols)), &a, 1e-10);
            near(&product(&product(&p, &a, (cols, rows, cols)), &p, (cols, cols, rows)), &p, 1e-9);
        }
        // Of rank one, whatever rounding makes of the rest.
        near(&pseudoinverse(&[2.0; 4], 2, 2, 1e-6).unwrap(), &[0.125; 4], 1e-12);
    }
}
