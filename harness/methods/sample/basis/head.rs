//! The directions of a head that a token is judged by.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par, Side};

use super::lanes::Lanes;

/// Rows of the head that are brought to f64 at a time.
const CHUNK: usize = 2048;

/// Directions whose signs tell groups of similar tokens apart.
const GROUPING: usize = 6;

/// Deviation of a direction, against the largest, that is no more than the rounding of f32.
const NOTHING: f64 = 1e-6;

/// A head in the basis of its first right singular vectors: `W V_c`, vocabulary × directions, computed in f64 from `Wᵀ W`
/// without centring. The first columns of a larger basis are a smaller basis.
#[derive(Debug, Clone)]
pub struct Basis {
    pub(super) rows: Lanes,
    /// Deviation of each column about its mean; one for a direction that tells no tokens apart.
    pub(super) scales: Vec<f64>,
    /// Groups of similar tokens, by the signs of the first columns about their medians.
    pub(super) groups: Vec<u8>,
}

/// Why a head has no such basis.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BasisError {
    /// The values are not those of such a matrix.
    #[error("a head of {vocabulary} tokens and width {width} has {} values; {values} are given", vocabulary * width)]
    Shape {
        /// Tokens.
        vocabulary: usize,
        /// Width of the hidden state.
        width: usize,
        /// Values given.
        values: usize,
    },
    /// More directions than there are.
    #[error("{directions} directions are asked of a head of width {width}; set `directions` to at most {width}")]
    Directions {
        /// Directions asked for.
        directions: usize,
        /// Width of the hidden state.
        width: usize,
    },
    /// A value that is no finite number.
    #[error("the head holds a value that is not finite in the row of token {token}; the model is broken")]
    NotFinite {
        /// The first such token.
        token: usize,
    },
    /// The decomposition failed.
    #[error("the singular vectors of the head, of width {width}, could not be computed")]
    Decomposition {
        /// Width of the hidden state.
        width: usize,
    },
}

impl Basis {
    /// The first `directions` right singular vectors' basis of a head, `weight` vocabulary × width, row-major.
    ///
    /// # Errors
    /// A [`BasisError`].
    pub fn of(weight: &[f32], vocabulary: usize, width: usize, directions: usize) -> Result<Self, BasisError> {
        if vocabulary.checked_mul(width) != Some(weight.len()) {
            return Err(BasisError::Shape { vocabulary, width, values: weight.len() });
        }
        if directions > width {
            return Err(BasisError::Directions { directions, width });
        }
        if let Some(at) = weight.iter().position(|value| !value.is_finite()) {
            return Err(BasisError::NotFinite { token: at / width });
        }
        if directions == 0 {
            let mut rows = Lanes::new(0);
            (0..vocabulary).for_each(|_| rows.push([]));
            return Ok(Self { rows, scales: Vec::new(), groups: vec![0; vocabulary] });
        }
        let mut moment = Mat::<f64>::zeros(width, width);
        let mut wide = Vec::with_capacity(CHUNK * width);
        for part in weight.chunks(CHUNK * width) {
            wide.clear();
            wide.extend(part.iter().map(|value| f64::from(*value)));
            let rows = MatRef::from_row_major_slice(&wide, part.len() / width, width);
            // The same bits with any number of threads.
            matmul(moment.as_mut(), Accum::Add, rows.transpose(), rows, 1.0, Par::Seq);
        }
        let eigen = moment.self_adjoint_eigen(Side::Lower).map_err(|_| BasisError::Decomposition { width })?;
        // Eigenvalues rise; the sign of a vector is that of its largest element.
        let vectors = Mat::<f64>::from_fn(width, directions, |row, column| {
            let vector = eigen.U().col(width - 1 - column);
            let largest =
                (0..width).fold(0.0f64, |most, at| if vector[at].abs() > most.abs() { vector[at] } else { most });
            vector[row] * largest.signum()
        });
        let mut rows = Lanes::new(directions);
        for part in weight.chunks(CHUNK * width) {
            wide.clear();
            wide.extend(part.iter().map(|value| f64::from(*value)));
            let count = part.len() / width;
            let from = MatRef::from_row_major_slice(&wide, count, width);
            let mut moved = Mat::<f64>::zeros(count, directions);
            matmul(moved.as_mut(), Accum::Replace, from, vectors.as_ref(), 1.0, Par::Seq);
            (0..count).for_each(|row| rows.push((0..directions).map(|column| moved[(row, column)])));
        }
        Ok(Self::from_rows(rows))
    }

    fn from_rows(mut rows: Lanes) -> Self {
        let (count, width) = (rows.len(), rows.width());
        let mut groups = vec![0u8; count];
        let mut scales = Vec::with_capacity(width);
        for at in 0..width {
            let mut column: Vec<f64> = (0..count).map(|row| rows.value(row, at)).collect();
            let mean = column.iter().sum::<f64>() / count as f64;
            scales.push((column.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count as f64).sqrt());
            if at < GROUPING && count > 0 {
                let median = *column.select_nth_unstable_by(count / 2, f64::total_cmp).1;
                let bits = groups.iter_mut().enumerate();
                bits.for_each(|(row, group)| *group |= u8::from(rows.value(row, at) >= median) << at);
            }
        }
        // A direction the head does not have, or that all tokens share, is rounding and tells no token from another.
        let largest = scales.iter().copied().fold(0.0, f64::max);
        for (at, scale) in scales.iter_mut().enumerate() {
            if *scale <= NOTHING * largest || *scale == 0.0 {
                *scale = 1.0;
                (0..count).for_each(|row| rows.set_value(row, at, 0.0));
            }
        }
        Self { rows, scales, groups }
    }

    /// Tokens of the head.
    pub fn vocabulary(&self) -> usize {
        self.rows.len()
    }

    /// Directions of the basis.
    pub fn directions(&self) -> usize {
        self.rows.width()
    }

    /// The row of a token.
    pub fn row(&self, token: u32) -> Vec<f64> {
        self.rows.row(token as usize).collect()
    }
}
