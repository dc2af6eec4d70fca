//! Which curve is the lowest at which budget, by the measured points alone.

use serde::{Deserialize, Serialize};

use super::{OffsetCurves, OffsetPoint, lowest};
use crate::statistics::{Bootstrap, Interval};

/// Budgets on a logarithmic grid, the ends included.
const BUDGETS: usize = 9;

/// The lowest curve at a budget.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BudgetChoice {
    /// The budget.
    pub x: f64,
    /// The lowest curve and its height there.
    pub best: (usize, f64),
    /// The next curve.
    pub second: usize,
    /// How far the next one lies above.
    pub margin: f64,
    /// Interval of that when documents are drawn again; the best is told apart where it lies above 0.
    pub interval: Option<Interval>,
}

/// Two points and how far between them a budget lies.
type Between = (usize, usize, f64);

impl Bootstrap {
    /// The lowest curve at budgets that every curve with two points spans, straight in `log x` between points of neighbouring
    /// sizes; nothing is continued beyond them, and where a size is missing there is no curve.
    pub(super) fn frontier(
        &self,
        curves: &OffsetCurves,
        points: &[OffsetPoint],
        ys: &[f64],
        draws: Option<&[Vec<f64>]>,
    ) -> Vec<BudgetChoice> {
        let of = |curve: usize| points.iter().enumerate().filter(move |(_, point)| point.curve == curve);
        let spans: Vec<(f64, f64)> = (0..curves.bits.len())
            .filter(|curve| of(*curve).count() > 1)
            .map(|curve| {
                let xs = of(curve).map(|(_, point)| point.x);
                (xs.clone().fold(f64::INFINITY, f64::min), xs.fold(0.0, f64::max))
            })
            .collect();
        let low = spans.iter().map(|(low, _)| *low).fold(0.0, f64::max);
        let high = spans.iter().map(|(_, high)| *high).fold(f64::INFINITY, f64::min);
        if spans.len() < 2 || low >= high {
            return Vec::new();
        }
        let place = |step: usize| match step {
            0 => low,
            step if step == BUDGETS - 1 => high,
            step => low * (high / low).powf(step as f64 / (BUDGETS - 1) as f64),
        };
        let at = |x: f64, curve: usize| -> Option<Between> {
            let own: Vec<(usize, &OffsetPoint)> = of(curve).collect();
            let pair = own.windows(2).find(|pair| pair[0].1.x <= x && x <= pair[1].1.x)?;
            let ((left, from), (right, to)) = (pair[0], pair[1]);
            let share = (x / from.x).ln() / (to.x / from.x).ln();
            (to.size == from.size + 1).then_some((left, right, share))
        };
        let choice = |x: f64| {
            let between: Vec<Option<Between>> = (0..curves.bits.len()).map(|curve| at(x, curve)).collect();
            let heights = |ys: &[f64]| -> Vec<Option<f64>> {
                let height = |(left, right, share): Between| ys[left] * (1.0 - share) + ys[right] * share;
                between.iter().map(|between| between.map(height)).collect()
            };
            let measured = heights(ys);
            let best = lowest(&measured)?;
            let others: Vec<Option<f64>> =
                measured.iter().enumerate().map(|(curve, height)| height.filter(|_| curve != best)).collect();
            let second = lowest(&others)?;
            let margin = |heights: &[Option<f64>]| Some(heights[second]? - heights[best]?);
            let mut drawn: Vec<f64> = draws.into_iter().flatten().filter_map(|ys| margin(&heights(ys))).collect();
            let interval = self.middle(&mut drawn);
            Some(BudgetChoice { x, best: (best, measured[best]?), second, margin: margin(&measured)?, interval })
        };
        (0..BUDGETS).filter_map(|step| choice(place(step))).collect()
    }
}
