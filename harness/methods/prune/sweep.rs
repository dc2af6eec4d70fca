//! Pruning with compensation: columns are walked from left to right, and what a pruned weight takes away is made up
//! for by the weights of its row that are still to come.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use harness_core::Pattern;
use rayon::prelude::*;

use super::factor::Factor;
use super::select::{CountRule, nm_mask, select_lowest, select_share};

/// Rows that one task handles; fixed, so that results do not depend on the number of threads.
const CHUNK: usize = 96;

/// How the pruned weights are chosen.
#[derive(Debug, Clone, Copy)]
pub enum MaskRule<'a> {
    /// The lowest share of each block of columns, all rows together, chosen when the block is reached.
    Share(f64, CountRule),
    /// The lowest of each block, so many that all blocks together lose this number.
    Count(usize),
    /// All but the best of every group of a row, chosen when the group is reached.
    Pattern(Pattern),
    /// Given: rows × cols, `true` where a weight is pruned.
    Fixed(&'a [bool]),
}

/// What a sweep did.
#[derive(Debug, Clone, PartialEq)]
pub struct Sweep {
    /// Rows × cols, `true` where a weight was pruned.
    pub pruned: Vec<bool>,
    /// `½ tr(ΔW H ΔWᵀ)` with the damped Hessian.
    pub loss: f64,
}

/// Prunes `weight` (rows × cols, row-major) and moves the weights that remain.
///
/// `block` is the number of columns between two updates of the columns right of it; with a share it is also what is
/// compared. It must be a multiple of a pattern's group, and `factor` must be of the matrix' width.
///
/// Weights of inputs that are always zero score 0, so they go first.
pub fn obs_sweep(weight: &mut [f64], factor: &Factor, rule: MaskRule, block: usize) -> Sweep {
    let cols = factor.columns;
    let rows = weight.len() / cols.max(1);
    let block = block.clamp(1, cols.max(1));
    let mut pruned = if let MaskRule::Fixed(mask) = rule { mask.to_vec() } else { vec![false; weight.len()] };
    let mut losses = vec![0.0; rows];
    // Errors of the current block, rows × block.
    let mut errors = vec![0.0; rows * block];
    for start in (0..cols).step_by(block) {
        let width = block.min(cols - start);
        if matches!(rule, MaskRule::Share(..) | MaskRule::Count(_)) {
            let mut scores = vec![0.0; rows * width];
            scores.par_chunks_mut(width).zip(weight.par_chunks(cols)).for_each(|(scores, row)| {
                score(&row[start..start + width], factor, start, scores);
            });
            let mut chosen = vec![false; rows * width];
            match rule {
                MaskRule::Share(share, count_rule) => select_share(&scores, share, count_rule, &mut chosen),
                MaskRule::Count(all) => {
                    // What is due up to the end of the block, less what was due before it.
                    let due = |columns: usize| (all as u128 * columns as u128 / cols as u128) as usize;
                    select_lowest(&scores, due(start + width) - due(start), &mut chosen);
                }
                MaskRule::Pattern(_) | MaskRule::Fixed(_) => {}
            }
            for (row, chosen) in pruned.chunks_mut(cols).zip(chosen.chunks(width)) {
                row[start..start + width].copy_from_slice(chosen);
            }
        }
        let chunks = weight
            .par_chunks_mut(CHUNK * cols)
            .zip(pruned.par_chunks_mut(CHUNK * cols))
            .zip(errors.par_chunks_mut(CHUNK * block))
            .zip(losses.par_chunks_mut(CHUNK));
        chunks.for_each(|(((weight, pruned), errors), losses)| {
            for (at, loss) in losses.iter_mut().enumerate() {
                let row = at * cols + start..at * cols + start + width;
                let errors = &mut errors[at * block..at * block + width];
                sweep_row(&mut weight[row.clone()], &mut pruned[row], errors, factor, start, rule);
                *loss += errors.iter().map(|error| error * error / 2.0).sum::<f64>();
            }
            let (height, end) = (losses.len(), start + width);
            if end < cols {
                // W[:, end..] −= E · U[start..end, end..], (height × width) · (width × rest).
                let errors = MatRef::from_row_major_slice(errors, height, block).subcols(0, width);
                let upper = MatRef::from_row_major_slice(&factor.upper, cols, cols);
                let target = MatMut::from_row_major_slice_mut(weight, height, cols).subcols_mut(end, cols - end);
                matmul(target, Accum::Add, errors, upper.submatrix(start, end, width, cols - end), -1.0, Par::Seq);
            }
        });
    }
    Sweep { pruned, loss: losses.iter().sum() }
}

/// `w² / U_jj²` of the weights of a row from column `start` on.
fn score(row: &[f64], factor: &Factor, start: usize, scores: &mut [f64]) {
    for (at, (score, value)) in scores.iter_mut().zip(row).enumerate() {
        let j = start + at;
        let diagonal = factor.upper[j * (factor.columns + 1)];
        *score = if factor.dead[j] { 0.0 } else { (value / diagonal).powi(2) };
    }
}

/// Prunes one row inside one block and passes each error on to the rest of the block.
fn sweep_row(row: &mut [f64], pruned: &mut [bool], errors: &mut [f64], factor: &Factor, start: usize, rule: MaskRule) {
    let width = row.len();
    errors.fill(0.0);
    let mut scores = Vec::new();
    for j in 0..width {
        if let MaskRule::Pattern(pattern) = rule
            && j % pattern.group == 0
        {
            scores.resize(pattern.group, 0.0);
            let group = j..j + pattern.group;
            score(&row[group.clone()], factor, start + j, &mut scores);
            nm_mask(&scores, pattern, &mut pruned[group]);
        }
        if pruned[j] {
            let upper = &factor.upper[(start + j) * factor.columns + start..][..width];
            let error = row[j] / upper[j];
            errors[j] = error;
            row[j] = 0.0;
            row[j + 1..].iter_mut().zip(&upper[j + 1..]).for_each(|(value, upper)| *value -= error * upper);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::factor::hinv_upper;
    use super::*;

    #[test]
    fn two_weights_by_hand() {
        let factor = hinv_upper(vec![2.0, 1.0, 1.0, 2.0], 2, 0.0).unwrap();
        let mut weight = [1.0, 0.6];
        let sweep = obs_sweep(&mut weight, &factor, MaskRule::Share(0.5, CountRule::Exact), 128);
        assert_eq!((weight, sweep.pruned.as_slice()), ([1.0, 0.0], [false, true].as_slice()));
        assert!((sweep.loss - 0.36).abs() < 1e-12);

        let mut weight = [1.0, 0.6];
        obs_sweep(&mut weight, &factor, MaskRule::Fixed(&[true, false]), 128);
        assert!(weight[0] == 0.0 && (weight[1] - 1.1).abs() < 1e-12);
    }
}
