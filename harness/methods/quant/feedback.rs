//! Quantizing column by column, each column's error made up for by the columns still to come.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

use super::QuantError;
use super::grid::{Grid, GridRule, Mode, ScaleType};
use crate::prune::factor::Factor;
use crate::prune::{PruneError, Site};
use crate::statistics::LinearStatistics;

/// Rows that one task handles; fixed, so that results do not depend on the number of threads.
const CHUNK: usize = 96;

harness_core::choice! {
    /// How weights are rounded.
    pub enum Rounding {
        /// To the nearest code.
        Nearest = "rtn",
        /// Column by column, later ones making up for earlier ones.
        Feedback = "gptq",
    }
}

/// Which grid each column of a row is rounded to.
#[derive(Debug, Clone, Copy)]
pub enum Grids<'a> {
    /// Fitted to the weights of a group as they are, errors made up for, when its first column is reached.
    Fitted(GridRule, usize),
    /// Given for every row and column, cols of them a row.
    Given(&'a [Grid]),
}

/// What a sweep found.
#[derive(Debug, Clone, PartialEq)]
pub struct Sweep {
    /// Codes, rows × cols.
    pub codes: Vec<i16>,
    /// The values of the codes, rows × cols.
    pub values: Vec<f32>,
    /// The grids that were fitted, row by row.
    pub grids: Vec<Grid>,
    /// `‖E‖² = tr(ΔW H ΔWᵀ)` with the damped Hessian.
    pub loss: f64,
}

/// One chunk of rows on its way.
struct Rows<'a> {
    weight: &'a mut [f64],
    codes: &'a mut [i16],
    values: &'a mut [f32],
    grids: Vec<Grid>,
    loss: f64,
}

/// Quantizes `weight` (rows × cols, row-major), which is left as the compensated weights before rounding.
///
/// Weights of inputs that are always zero should be zero. `block` is the number of columns between two updates of the columns right of it and changes no result beyond rounding.
///
/// # Errors
/// [`QuantError::Scale`].
pub fn feedback_sweep(
    site: &Site,
    weight: &mut [f64],
    factor: &Factor,
    grids: Grids,
    block: usize,
) -> Result<Sweep, QuantError> {
    let cols = factor.columns;
    let mut codes = vec![0; weight.len()];
    let mut values = vec![0.0; weight.len()];
    let chunks = weight
        .par_chunks_mut(CHUNK * cols)
        .zip(codes.par_chunks_mut(CHUNK * cols))
        .zip(values.par_chunks_mut(CHUNK * cols))
        .enumerate();
    let done = chunks
        .map(|(at, ((weight, codes), values))| {
            let mut rows = Rows { weight, codes, values, grids: Vec::new(), loss: 0.0 };
            sweep_rows(site, &mut rows, at * CHUNK, factor, grids, block)?;
            Ok((rows.grids, rows.loss))
        })
        .collect::<Result<Vec<_>, QuantError>>()?;
    let loss = done.iter().map(|(_, loss)| loss).sum();
    Ok(Sweep { codes, values, grids: done.into_iter().flat_map(|(grids, _)| grids).collect(), loss })
}

/// Where the columns right of what is done have to be brought up to date: after every block, and before a group is fitted.
fn stops(cols: usize, block: usize, grids: Grids) -> Vec<usize> {
    let group = if let Grids::Fitted(_, group) = grids { group } else { cols };
    let mut stops: Vec<usize> = (0..cols).step_by(block.max(1)).chain((0..cols).step_by(group)).collect();
    stops.push(cols);
    stops.sort_unstable();
    stops.dedup();
    stops
}

fn sweep_rows(
    site: &Site,
    rows: &mut Rows,
    first: usize,
    factor: &Factor,
    grids: Grids,
    block: usize,
) -> Result<(), QuantError> {
    let cols = factor.columns;
    let height = rows.weight.len() / cols;
    let groups = if let Grids::Fitted(_, group) = grids { cols.div_ceil(group) } else { 0 };
    let mut fitted: Vec<Option<Grid>> = vec![None; height * groups];
    for pair in stops(cols, block, grids).windows(2) {
        let (start, end) = (pair[0], pair[1]);
        let width = end - start;
        let mut errors = vec![0.0; height * width];
        for row in 0..height {
            let line = &mut rows.weight[row * cols..(row + 1) * cols];
            if let Grids::Fitted(rule, group) = grids
                && start.is_multiple_of(group)
            {
                let members: Vec<f32> = line[start..(start + group).min(cols)].iter().map(|w| *w as f32).collect();
                fitted[row * groups + start / group] = Some(rule.fit(site, &members)?);
            }
            for j in start..end {
                let grid = match grids {
                    Grids::Given(grids) => grids[(first + row) * cols + j],
                    Grids::Fitted(_, group) => fitted[row * groups + j / group].unwrap_or_else(|| unreachable!()),
                };
                let upper = &factor.upper[j * cols..(j + 1) * cols];
                let now = line[j];
                let code = grid.code(now as f32);
                let value = grid.value(code);
                let error = (now - f64::from(value)) / upper[j];
                line[j + 1..end].iter_mut().zip(&upper[j + 1..end]).for_each(|(w, u)| *w -= error * u);
                errors[row * width + j - start] = error;
                rows.codes[row * cols + j] = code as i16;
                rows.values[row * cols + j] = value;
                rows.loss += error * error;
            }
        }
        if end < cols {
            // W[:, end..] −= E · U[start..end, end..], (height × width) · (width × rest).
            let errors = MatRef::from_row_major_slice(&errors, height, width);
            let upper = MatRef::from_row_major_slice(&factor.upper, cols, cols);
            let target = MatMut::from_row_major_slice_mut(rows.weight, height, cols).subcols_mut(end, cols - end);
            matmul(target, Accum::Add, errors, upper.submatrix(start, end, width, cols - end), -1.0, Par::Seq);
        }
    }
    rows.grids = fitted.into_iter().flatten().collect();
    Ok(())
}

/// Symmetric codes of a matrix with one scale for all of it, rounded column by column, and the scale.
///
/// # Errors
/// [`QuantError`] where the Hessian of the inputs cannot be factored or the scale is not finite.
pub(crate) fn round_with_feedback(
    site: &Site,
    weight: &[f32],
    statistics: &LinearStatistics,
    damp: f64,
    bits: u32,
) -> Result<(Vec<i8>, f32), QuantError> {
    let failed = |source| PruneError::Factor { site: site.name.to_owned(), source };
    let factor = statistics.inverse_factor(damp).map_err(failed)?;
    let rule = GridRule { bits, mode: Mode::Sym, scales: ScaleType::F32, mse_clip: false };
    let grid = rule.fit(site, weight)?;
    let mut wide: Vec<f64> = weight.iter().map(|&weight| f64::from(weight)).collect();
    let found = feedback_sweep(site, &mut wide, &factor, Grids::Given(&vec![grid; weight.len()]), 128)?;
    Ok((found.codes.iter().map(|&code| code as i8).collect(), grid.scale))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::prune::factor::hinv_upper;

    const SITE: Site = Site { name: "w", layer: 0, rows: 2, cols: 4 };
    const WEIGHT: [f64; 8] = [0.9, -0.35, 0.6, -1.2, 0.15, 0.8, -0.45, 0.33];

    fn rule(bits: u32, mode: Mode) -> GridRule {
        GridRule { bits, mode, scales: ScaleType::F32, mse_clip: false }
    }

    /// `tr(ΔW H ΔWᵀ)`.
    fn loss(weight: &[f64], values: &[f32], hessian: &[f64], cols: usize) -> f64 {
        let change: Vec<f64> = weight.iter().zip(values).map(|(w, v)| w - f64::from(*v)).collect();
        let of = |row: &[f64]| -> f64 {
            (0..cols)
                .flat_map(|i| (0..cols).map(move |j| (i, j)))
                .map(|(i, j)| row[i] * hessian[i * cols + j] * row[j])
                .sum()
        };
        change.chunks(cols).map(of).sum()
    }

    #[test]
    fn two_weights_by_hand() {
        let hessian = vec![2.0, 1.2, 1.2, 1.0];
        let factor = hinv_upper(hessian.clone(), 2, 0.0).unwrap();
        let site = Site { rows: 1, cols: 2, ..SITE };
        let grid = rule(3, Mode::Sym).fit(&site, &[3.0]).unwrap();
        let mut weight = [0.6, 0.6];
        let found = feedback_sweep(&site, &mut weight, &factor, Grids::Given(&[grid; 2]), 128).unwrap();
        assert_eq!(found.codes, [1, 0]);
        assert!((weight[1] - 0.12).abs() < 1e-12 && (found.loss - 0.104).abs() < 1e-12, "{weight:?} {}", found.loss);
        // Rounding alone takes 1 and 1.
        assert!((loss(&[0.6, 0.6], &[1.0, 1.0], &hessian, 2) - 0.864).abs() < 1e-12);
    }

    #[test]
    fn two_rows_in_three_bits() {
        let hessian = vec![2.0, 1.8, 1.6, 1.4, 1.8, 2.0, 1.7, 1.5, 1.6, 1.7, 2.0, 1.6, 1.4, 1.5, 1.6, 2.0];
        let factor = hinv_upper(hessian.clone(), 4, 0.01).unwrap();
        let first = [1.574_387, -1.203_085, -0.209_026, -0.032_215];
        assert!(factor.upper.iter().zip(first).all(|(a, b)| (a - b).abs() < 1e-6), "{:?}", factor.upper);
        let mut weight = WEIGHT;
        let found = feedback_sweep(&SITE, &mut weight, &factor, Grids::Fitted(rule(3, Mode::GptqSym), 4), 128).unwrap();
        assert_eq!(found.codes, [7, 3, 5, 1, 5, 7, 2, 6]);
        assert!((found.loss - 0.063_754_939).abs() < 1e-7, "{}", found.loss);
        let scales: Vec<f32> = found.grids.iter().map(|grid| grid.scale).collect();
        assert!(scales.iter().zip([0.342_857, 0.228_571]).all(|(a, b)| (a - b).abs() < 1e-6), "{scales:?}");
        // The loss is that of the damped Hessian.
        let mut damped = hessian;
        damped.iter_mut().step_by(5).for_each(|value| *value += factor.lambda);
        assert!((loss(&WEIGHT, &found.values, &damped, 4) - found.loss).abs() < 1e-9);
        let rounded: Vec<f32> = WEIGHT
            .chunks(4)
            .zip(&found.grids)
            .flat_map(|(row, grid)| row.iter().map(|w| grid.value(grid.code(*w as f32))).collect::<Vec<_>>())
            .collect();
        assert!((loss(&WEIGHT, &rounded, &damped, 4) - 0.079_114_939).abs() < 1e-7);
    }

    /// `W − Q = E U`, so the loss of a large matrix is `‖E‖²` as well, and almost always below that of rounding.
    #[test]
    fn the_loss_is_that_of_the_change_and_below_that_of_rounding() {
        let (rows, cols) = (16, 48);
        let mut better = 0;
        for seed in 0..40_u32 {
            let noise = |i: usize| {
                let hash = (i as u32 + 1).wrapping_mul(0x9E37_79B1 ^ seed.wrapping_mul(40_503)).rotate_left(13);
                f64::from(hash.wrapping_mul(0x9E37_79B9) >> 8) / f64::from(1_u32 << 23) - 1.0
            };
            let weight: Vec<f64> = (0..rows * cols).map(|i| f64::from(noise(i) as f32)).collect();
            let x: Vec<f64> = (0..4 * cols * cols).map(|i| noise(i + 7000) + 0.7 * noise(i / cols + 90_000)).collect();
            let mut hessian = vec![0.0; cols * cols];
            for row in x.chunks(cols) {
                (0..cols * cols).for_each(|at| hessian[at] += row[at / cols] * row[at % cols]);
            }
            let factor = hinv_upper(hessian.clone(), cols, 0.01).unwrap();
            hessian.iter_mut().step_by(cols + 1).for_each(|value| *value += factor.lambda);
            let site = Site { rows, cols, ..SITE };
            let rule = rule(3, Mode::Asym);
            let found = feedback_sweep(&site, &mut weight.clone(), &factor, Grids::Fitted(rule, cols), 16).unwrap();
            let direct = loss(&weight, &found.values, &hessian, cols);
            assert!((direct / found.loss - 1.0).abs() < 1e-9, "{direct} {}", found.loss);
            let rounded: Vec<f32> = weight
                .chunks(cols)
                .flat_map(|row| {
                    let row: Vec<f32> = row.iter().map(|w| *w as f32).collect();
                    let grid = rule.fit(&site, &row).unwrap();
                    row.iter().map(|&w| grid.value(grid.code(w))).collect::<Vec<_>>()
                })
                .collect();
            better += usize::from(direct <= loss(&weight, &rounded, &hessian, cols));
        }
        assert!(better >= 39, "{better} of 40");
    }
}
