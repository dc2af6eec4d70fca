//! What AWQ searches: factors that spare the weights of loud inputs, and how far the range of a group is cut.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

use super::QuantError;
use super::grid::GridRule;
use crate::prune::Site;
use crate::statistics::LinearStatistics;

/// Even grids for groups of a row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rounding {
    pub rule: GridRule,
    /// Weights of a group; `None` for whole rows.
    pub group: Option<usize>,
}

impl Rounding {
    /// Weights of a group of a row of so many.
    pub fn group(self, cols: usize) -> usize {
        self.group.unwrap_or(cols)
    }

    /// What the codes of weights stand for.
    pub fn values(self, site: &Site, weight: &[f32]) -> Result<Vec<f32>, QuantError> {
        let mut values = vec![0.0; weight.len()];
        let group = self.group(site.cols);
        values
            .par_chunks_mut(group)
            .zip(weight.par_chunks(group))
            .try_for_each(|(values, weight)| {
                let grid = self.rule.fit(site, weight)?;
                values.iter_mut().zip(weight).for_each(|(value, &weight)| *value = grid.value(grid.code(weight)));
                Ok(())
            })
            .map(|()| values)
    }

    /// The weights that act on the inputs as they were when columns are multiplied by factors, rounded, and divided again.
    pub fn values_scaled(self, site: &Site, weight: &[f32], factors: &[f32]) -> Result<Vec<f32>, QuantError> {
        let scaled: Vec<f32> =
            weight.chunks_exact(site.cols).flat_map(|row| row.iter().zip(factors).map(|(w, s)| w * s)).collect();
        let mut values = self.values(site, &scaled)?;
        for row in values.chunks_exact_mut(site.cols) {
            row.iter_mut().zip(factors).for_each(|(value, factor)| *value /= factor);
        }
        Ok(values)
    }
}

/// `x̄^ratio`, 1e-4 at least, over the geometric mean of the greatest and the least.
pub(crate) fn factors(mean: &[f64], ratio: f64) -> Vec<f32> {
    let powers: Vec<f64> = mean.iter().map(|mean| mean.powf(ratio).max(1e-4)).collect();
    let (least, most) = powers.iter().fold((f64::INFINITY, 0.0_f64), |(low, high), &s| (low.min(s), high.max(s)));
    let middle = (least * most).sqrt();
    powers.iter().map(|power| (power / middle) as f32).collect()
}

/// The factors with the least loss out of `steps` ratios from 0 on; `None` where 0, which is no factor at all, is best.
pub(crate) fn search<E>(
    mean: &[f64],
    steps: usize,
    mut loss: impl FnMut(&[f32]) -> Result<f64, E>,
) -> Result<Option<Vec<f32>>, E> {
    let mut best = (f64::INFINITY, None);
    for step in 0..steps {
        let factors = factors(mean, step as f64 / steps as f64);
        let found = loss(&factors)?;
        if found < best.0 {
            best = (found, (step > 0).then_some(factors));
        }
    }
    Ok(best.1)
}

/// Cuts the weights of every group of a row at the share of its largest magnitude that changes the outputs least when rounded:
/// `1 − i / steps` for `i` below `shrink · steps`.
///
/// The change of outputs is that of the group alone, `Σ (x_g · (w_g − ŵ_g))²` over all calibration tokens.
pub(crate) fn clip(
    site: &Site,
    weight: &mut [f32],
    rounding: Rounding,
    moment: &[f64],
    steps: usize,
    shrink: f64,
) -> Result<(), QuantError> {
    let (rows, cols, group) = (site.rows, site.cols, rounding.group(site.cols));
    let cuts = ((shrink * steps as f64) as usize).max(1);
    let one = |at: usize| -> Result<Vec<f32>, QuantError> {
        let gram: Vec<f64> =
            (0..group).flat_map(|i| &moment[(at * group + i) * cols + at * group..][..group]).copied().collect();
        let gram = MatRef::from_row_major_slice(&gram, group, group);
        let members = |row: usize| &weight[row * cols + at * group..][..group];
        let largest: Vec<f32> =
            (0..rows).map(|row| members(row).iter().fold(0.0_f32, |most, w| most.max(w.abs()))).collect();
        let mut best = vec![(f64::INFINITY, 0.0_f32); rows];
        let (mut change, mut product) = (vec![0.0; rows * group], vec![0.0; rows * group]);
        for cut in 0..cuts {
            let share = 1.0 - cut as f32 / steps as f32;
            for row in 0..rows {
                let bound = largest[row] * share;
                let cut: Vec<f32> = members(row).iter().map(|w| w.clamp(-bound, bound)).collect();
                let grid = rounding.rule.fit(site, &cut)?;
                let places = change[row * group..].iter_mut().zip(&cut).zip(members(row));
                places.for_each(|((change, &cut), &was)| *change = f64::from(grid.value(grid.code(cut)) - was));
            }
            let changes = MatRef::from_row_major_slice(&change, rows, group);
            let target = MatMut::from_row_major_slice_mut(&mut product, rows, group);
            matmul(target, Accum::Replace, changes, gram, 1.0, Par::Seq);
            for (row, best) in best.iter_mut().enumerate() {
                let span = row * group..(row + 1) * group;
                let loss: f64 = product[span.clone()].iter().zip(&change[span]).map(|(a, b)| a * b).sum();
                if loss < best.0 {
                    *best = (loss, largest[row] * share);
                }
            }
        }
        Ok(best.into_iter().map(|(_, bound)| bound).collect())
    };
    let bounds: Vec<Vec<f32>> = (0..cols / group).into_par_iter().map(one).collect::<Result<_, _>>()?;
    for (row, weights) in weight.chunks_exact_mut(cols).enumerate() {
        for (members, bounds) in weights.chunks_exact_mut(group).zip(&bounds) {
            for weight in members {
                *weight = weight.clamp(-bounds[row], bounds[row]);
            }
        }
    }
    Ok(())
}

/// The mean squared change of a map's outputs when its weights are rounded with factors.
pub(crate) fn linear_loss(
    site: &Site,
    weight: &[f32],
    rounding: Rounding,
    statistics: &LinearStatistics,
    factors: &[f32],
) -> Result<f64, QuantError> {
    let values = rounding.values_scaled(site, weight, factors)?;
    let change: Vec<f32> = values.iter().zip(weight).map(|(value, weight)| value - weight).collect();
    let missing = || crate::prune::PruneError::NoCalibration { site: site.name.to_owned() };
    Ok(statistics.mean_squared_outputs(&change).ok_or_else(missing)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::grid::{Mode, ScaleType};
    use super::*;
    use crate::prune::Needs;

    const X: [f32; 16] = [0.1, 2.0, 0.3, -0.2, -0.2, -3.0, 0.1, 0.4, 0.05, 1.0, -0.6, 0.1, 0.3, -2.5, 0.2, -0.3];
    const W: [f32; 8] = [0.5, -0.2, 0.9, -0.4, -0.7, 0.33, 0.1, 0.6];
    const SITE: Site = Site { name: "w", layer: 0, rows: 2, cols: 4 };
    const THREE_BITS: Rounding = Rounding {
        rule: GridRule { bits: 3, mode: Mode::AsymFree, scales: ScaleType::F32, mse_clip: false },
        group: Some(4),
    };

    fn statistics() -> LinearStatistics {
        let mut statistics = LinearStatistics::new(4, Needs::SECOND_MOMENT.union(Needs::MAGNITUDES));
        statistics.add(&X).unwrap();
        statistics
    }

    #[test]
    fn three_inputs_by_hand() {
        let found = factors(&[0.1, 0.4, 1.6], 0.5);
        assert!(found.iter().zip([0.5, 1.0, 2.0]).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}");
    }

    #[test]
    fn losses_of_four_ratios_and_the_best() {
        let statistics = statistics();
        let mean = statistics.mean_magnitudes().unwrap();
        assert!(mean.iter().zip([0.1625, 2.125, 0.3, 0.25]).all(|(a, b)| (a - b).abs() < 1e-6), "{mean:?}");
        let loss = |step: f64| linear_loss(&SITE, &W, THREE_BITS, &statistics, &factors(&mean, step / 20.0)).unwrap();
        for (step, expected, within) in
            [(0.0, 0.004_921_301, 1e-8), (7.0, 0.002_157, 1e-6), (13.0, 0.000_933_030, 1e-8), (19.0, 0.002_047, 1e-6)]
        {
            assert!((loss(step) - expected).abs() < within, "{step} {}", loss(step));
        }
        let best = search(&mean, 20, |factors| linear_loss(&SITE, &W, THREE_BITS, &statistics, factors)).unwrap();
        assert_eq!(best, Some(factors(&mean, 13.0 / 20.0)));
    }

    #[test]
    fn cutting_never_raises_what_it_minimises() {
        let statistics = statistics();
        let moment = statistics.second_moment().unwrap();
        let change = |weight: &[f32]| {
            let values = THREE_BITS.values(&SITE, weight).unwrap();
            let change: Vec<f32> = values.iter().zip(W).map(|(value, was)| value - was).collect();
            statistics.mean_squared_outputs(&change).unwrap()
        };
        let mut cut = W;
        clip(&SITE, &mut cut, THREE_BITS, moment, 20, 0.5).unwrap();
        assert!(change(&cut) <= change(&W), "{} {}", change(&cut), change(&W));
        assert!(cut.iter().zip(W).all(|(cut, was)| cut.abs() <= was.abs()));
    }
}
