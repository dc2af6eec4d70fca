//! Truncated singular value decompositions of weighted matrices: `W S = U Σ Vᵀ` and `W ≈ (U_r Σ_r^½) (Σ_r^½ V_rᵀ S⁻¹)`.

use super::linalg::{Svd, decomposed, inverted, product, squares, transposed};
use super::{Factor, Factorisation, LowRankError};
use crate::prune::Site;

harness_core::choice! {
    /// Which factor takes the singular values.
    pub enum Split {
        /// Both their square roots.
        Both = "both",
        /// The one that gives the outputs.
        Left = "left",
        /// The one that reads the inputs.
        Right = "right",
    }
}

impl Split {
    /// What the left and the right vector of a singular value are multiplied by.
    fn shares(self, singular: f64) -> (f64, f64) {
        match self {
            Self::Both => (singular.sqrt(), singular.sqrt()),
            Self::Left => (singular, 1.0),
            Self::Right => (1.0, singular),
        }
    }
}

/// The factors of rank `rank` of a matrix whose weighted form `W S` (rows × cols, row-major) is given; `over` divides rows by
/// `S`.
///
/// # Errors
/// [`LowRankError::NotConverged`].
pub fn truncated(
    site: &Site,
    weighted: &[f64],
    rank: usize,
    split: Split,
    over: impl FnOnce(Vec<f64>) -> Vec<f64>,
) -> Result<Factorisation, LowRankError> {
    let (rows, cols) = (site.rows, site.cols);
    let not = || LowRankError::NotConverged { site: site.name.to_owned() };
    let Svd { left, singular, right } = decomposed(weighted, rows, cols).ok_or_else(not)?;
    let ranks = singular.len();
    let shares: Vec<(f64, f64)> = singular[..rank].iter().map(|&s| split.shares(s)).collect();
    let outputs = left.chunks_exact(ranks).flat_map(|row| row.iter().zip(&shares).map(|(u, (share, _))| u * share));
    let inputs = right.chunks_exact(cols).zip(&shares).flat_map(|(row, (_, share))| row.iter().map(move |v| v * share));
    Ok(Factorisation {
        factors: vec![
            Factor::matrix(rank, cols, over(inputs.collect())),
            Factor::matrix(rows, rank, outputs.collect()),
        ],
        lost: (squares(&singular[rank..]), squares(&singular)),
        kept: vec![rank],
        singular: vec![singular],
        ..Factorisation::default()
    })
}

/// Rows with each column divided.
pub fn over_columns(rows: &[f64], divisors: &[f64]) -> Vec<f64> {
    rows.chunks_exact(divisors.len().max(1)).flat_map(|row| row.iter().zip(divisors).map(|(a, b)| a / b)).collect()
}

/// Factors that say how many of the scales of inputs are below the least that they are raised to.
pub fn raised(found: Factorisation, scales: &[f64], least: f64) -> Factorisation {
    match scales.iter().filter(|scale| **scale < least).count() {
        0 => found,
        dead => {
            let note =
                Some(format!("{dead} of {} inputs have a scale below {least:e} and were raised to it", scales.len()));
            Factorisation { jitter: least, note, ..found }
        }
    }
}

/// The left factor `A` that makes `A (B x)` nearest to `W x` over inputs of second moment `moment`, `W G Bᵀ (B G Bᵀ)⁻¹`, and how many
/// directions of `B x` it leaves out because no input has them.
///
/// # Errors
/// [`LowRankError::NotConverged`].
pub fn fitted(site: &Site, weight: &[f64], right: &Factor, moment: &[f64]) -> Result<(Factor, usize), LowRankError> {
    let (rows, cols, rank) = (site.rows, site.cols, right.rows);
    let not = || LowRankError::NotConverged { site: site.name.to_owned() };
    let turned = transposed(&right.values, rank);
    let seen = product(moment, &turned, (cols, cols, rank));
    let inner = product(&right.values, &seen, (rank, cols, rank));
    // As a least squares solver leaves them.
    let (inverse, left_out) = inverted(&inner, rank, rank, 1e-13).ok_or_else(not)?;
    let outer = product(weight, &seen, (rows, cols, rank));
    Ok((Factor::matrix(rows, rank, product(&outer, &inverse, (rows, rank, rank))), left_out))
}
