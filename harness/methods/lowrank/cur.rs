//! `C U R`: columns of a matrix, the middle that is best for them, and rows of it.

use super::Factor;
use super::linalg::{product, pseudoinverse, squares};

/// Singular values below this share of the greatest count as none in pseudoinverses.
const RCOND: f64 = 1e-6;

/// The largest rank with `r² + r (N + K) < N K`.
pub fn most(rows: usize, cols: usize) -> usize {
    let saves = |rank: usize| rank * rank + rank * (rows + cols) < rows * cols;
    (1..=rows.min(cols)).take_while(|rank| saves(*rank)).last().unwrap_or(0)
}

/// The smallest rank whose squared singular values are a share of all.
pub fn kept(singular: &[f64], energy: f64) -> usize {
    let all = squares(singular);
    (1..singular.len()).find(|&rank| squares(&singular[..rank]) >= energy * all).unwrap_or(singular.len())
}

/// `C U R` of chosen rows and columns; `norm` is `D` where the middle is best in `‖E D‖`.
pub fn joined(
    weight: &[f64],
    (rows, cols): (usize, usize),
    (from_rows, from_cols): (&[usize], &[usize]),
    norm: Option<&[f64]>,
) -> Option<[Factor; 3]> {
    let rank = from_rows.len();
    let right: Vec<f64> = from_rows.iter().flat_map(|row| weight[row * cols..(row + 1) * cols].to_vec()).collect();
    let left: Vec<f64> =
        weight.chunks_exact(cols).flat_map(|row| from_cols.iter().map(|&column| row[column])).collect();
    let seen = |matrix: &[f64], height: usize| match norm {
        Some(norm) => product(matrix, norm, (height, cols, cols)),
        None => matrix.to_vec(),
    };
    let before = product(&pseudoinverse(&left, rows, rank, RCOND)?, &seen(weight, rows), (rank, rows, cols));
    let middle = product(&before, &pseudoinverse(&seen(&right, rank), rank, cols, RCOND)?, (rank, cols, rank));
    Some([Factor::matrix(rank, cols, right), Factor::matrix(rank, rank, middle), Factor::matrix(rows, rank, left)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_rows_that_save_anything() {
        assert_eq!([most(4096, 4096), most(14336, 4096), most(1536, 576), most(576, 576)], [1696, 2769, 358, 238]);
        assert_eq!(most(2, 2), 0);
    }

    #[test]
    fn energy_is_of_squares() {
        // Squares 9, 1, 0.04: shares 0.8964, 0.9960, 1.
        assert_eq!([0.8, 0.9, 0.98, 0.999].map(|energy| kept(&[3.0, 1.0, 0.2], energy)), [1, 2, 2, 3]);
    }
}
