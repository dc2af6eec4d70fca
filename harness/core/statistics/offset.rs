//! Curves of one shape at different heights, `y_k(x) = f(x) + c_k`: what each precision costs at equal bits of a whole
//! model (Dettmers and Zettlemoyer 2023, who found their curves nearly parallel and power laws in both variables poor).
//!
//! `f` is piecewise linear in `log x` with a knot at each point of the reference curve, whose own offset is 0; beyond the
//! outermost knots it goes on with its last piece. All is linear, so least squares has one answer.

mod control;
mod frontier;

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

pub use control::BivariateControl;
pub use frontier::BudgetChoice;

use super::beta::incomplete_beta;
use super::{Bootstrap, Interval, quantile};
use crate::record::Observation;

/// Where the curves stand in bits a weight.
#[derive(Debug, Clone, PartialEq)]
pub struct OffsetCurves {
    /// Bits of each curve.
    pub bits: Vec<f64>,
    /// Which of them has the offset 0 and the knots.
    pub reference: usize,
}

/// A measured point of a curve.
#[derive(Debug, Clone, Copy)]
pub struct OffsetPoint<'a> {
    /// Its curve.
    pub curve: usize,
    /// The model it belongs to: points of one size stand on all curves, sizes ascending.
    pub size: usize,
    /// Bits of the whole model, positive.
    pub x: f64,
    /// What was measured; its value is y, and smaller is better.
    pub seen: &'a Observation,
}

/// Why no curves were fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OffsetRefusal {
    /// The reference curve makes the knots.
    #[error("the reference curve has {0} points of different x; the shared curve needs 2")]
    Reference(usize),
    /// There is nothing to compare with the reference.
    #[error("there is no curve beside the reference")]
    Alone,
    /// A value or a place that has no logarithm.
    #[error("a point has no finite value or no positive x")]
    Value,
    /// As many numbers as points.
    #[error("{points} points are too few for the {parameters} numbers of the curves")]
    Few {
        /// Points.
        points: usize,
        /// Numbers of the model.
        parameters: usize,
    },
}

/// The height of a curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Offset {
    /// Height over the reference curve in units of y; 0 for the reference itself.
    pub value: f64,
    /// Its interval when documents are drawn again.
    pub interval: Option<Interval>,
    /// Height over the lowest curve, 0 for that.
    pub behind: f64,
    /// Its interval; a curve is told apart from the lowest where this lies above 0.
    pub behind_interval: Option<Interval>,
}

/// The F-test of curves with slopes of their own against parallel ones.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Parallelism {
    /// The statistic.
    pub f: f64,
    /// Degrees of freedom of the slopes and of what is left.
    pub freedom: (usize, usize),
    /// Chance of so large a statistic where the curves are parallel.
    pub probability: f64,
}

/// The lowest curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Optimum {
    /// It.
    pub curve: usize,
    /// Bits of the lowest curve in 95 % of the draws of documents, from and to.
    pub bits: Option<(f64, f64)>,
    /// Share of the draws in which it is the lowest.
    pub share: Option<f64>,
    /// Whether it is told apart from every other curve.
    pub decided: bool,
}

/// Fitted curves, how well they fit, and which is the lowest.
#[derive(Debug, Clone, PartialEq)]
pub struct OffsetEstimate {
    /// x and height of the knots.
    pub knots: Vec<(f64, f64)>,
    /// By curve; `None` for one without points.
    pub offsets: Vec<Option<Offset>>,
    /// Points that were fitted.
    pub points: usize,
    /// Root of the mean squared residual, in units of y.
    pub residual: f64,
    /// Akaike's criterion, `n ln(RSS / n) + 2 p`.
    pub aic: f64,
    /// Whether the curves are parallel; `None` where points are too few to tell.
    pub parallelism: Option<Parallelism>,
    /// The bivariate law that stands beside as a control; `None` where a size has no reference.
    pub control: Option<BivariateControl>,
    /// The lowest curve.
    pub optimum: Optimum,
    /// The lowest measured curve at budgets that all curves span.
    pub frontier: Vec<BudgetChoice>,
}

impl OffsetEstimate {
    /// The fitted height of a curve at x; `None` for a curve without points.
    pub fn at(&self, curve: usize, x: f64) -> Option<f64> {
        let offset = self.offsets.get(curve).copied().flatten()?;
        let knots: Vec<f64> = self.knots.iter().map(|(x, _)| x.log10()).collect();
        let (piece, share) = piece(&knots, x.log10());
        let height = self.knots[piece].1 * (1.0 - share) + self.knots[piece + 1].1 * share;
        Some(height + offset.value)
    }
}

/// The piece that a place falls into, or is reached from, and how far along it lies.
fn piece(knots: &[f64], at: f64) -> (usize, f64) {
    let piece = knots.partition_point(|knot| *knot <= at).saturating_sub(1).min(knots.len().saturating_sub(2));
    (piece, (at - knots[piece]) / (knots[piece + 1] - knots[piece]))
}

impl Bootstrap {
    /// Fits parallel curves, tests whether they are, and finds the lowest one. Documents are drawn again for the intervals,
    /// the same ones for all points that have equally many; they cover the choice of text, neither that of the shape nor what
    /// another training run would give. The order of points does not matter.
    ///
    /// # Errors
    /// [`OffsetRefusal`].
    pub fn offsets(&self, curves: &OffsetCurves, points: &[OffsetPoint]) -> Result<OffsetEstimate, OffsetRefusal> {
        let mut points = points.to_vec();
        let value = |point: &OffsetPoint| point.seen.value().unwrap_or(f64::NAN);
        points.sort_by(|a, b| order(a, b).then_with(|| value(a).total_cmp(&value(b))));
        let ys: Vec<f64> = points.iter().map(value).collect();
        if !points.iter().zip(&ys).all(|(point, y)| point.x > 0.0 && point.x.is_finite() && y.is_finite()) {
            return Err(OffsetRefusal::Value);
        }
        let design = Design::of(curves, &points)?;
        let solver = Solver::of(&design.rows)
            .ok_or(OffsetRefusal::Few { points: points.len(), parameters: design.knots.len() + design.free.len() })?;
        let numbers = solver.solve(&ys);
        let residual = solver.residual(&ys, &numbers);
        let offsets = design.offsets(&numbers);
        let best = lowest(&offsets).ok_or(OffsetRefusal::Alone)?;
        let seen: Vec<&Observation> = points.iter().map(|point| point.seen).collect();
        let draws = self.jointly(&seen);
        let drawn: Option<Vec<Vec<Option<f64>>>> =
            draws.as_ref().map(|draws| draws.iter().map(|values| design.offsets(&solver.solve(values))).collect());
        let spread = |of: &dyn Fn(&[Option<f64>]) -> Option<f64>| {
            let mut values: Vec<f64> = drawn.as_ref()?.iter().filter_map(|offsets| of(offsets)).collect();
            self.middle(&mut values)
        };
        let offset = |curve: usize| {
            let value = offsets[curve]?;
            let behind = value - offsets[best]?;
            let other = curve != best;
            Some(Offset {
                value,
                interval: spread(&|all| all[curve]).filter(|_| curve != curves.reference),
                behind,
                behind_interval: spread(&|all| Some(all[curve]? - all[best]?)).filter(|_| other),
            })
        };
        let found: Vec<Option<Offset>> = (0..curves.bits.len()).map(offset).collect();
        let apart = |(curve, offset): (usize, &Option<Offset>)| {
            let behind = offset.and_then(|offset| offset.behind_interval);
            curve == best || offset.is_none() || behind.is_some_and(|interval| interval.low > 0.0)
        };
        let mut lows: Vec<f64> = drawn.iter().flatten().filter_map(|all| lowest(all).map(|k| curves.bits[k])).collect();
        lows.sort_unstable_by(f64::total_cmp);
        let tail = (1.0 - self.level) / 2.0;
        let place = |share: f64| ((share * lows.len() as f64) as usize).min(lows.len().saturating_sub(1));
        let bits = (!lows.is_empty()).then(|| (lows[place(tail)], lows[lows.len() - 1 - place(tail)]));
        let wins = lows.iter().filter(|bits| **bits == curves.bits[best]).count();
        let optimum = Optimum {
            curve: best,
            bits,
            share: bits.map(|_| wins as f64 / lows.len() as f64),
            decided: found.iter().enumerate().all(apart),
        };
        Ok(OffsetEstimate {
            knots: design.knots.iter().zip(&numbers).map(|(knot, height)| (10f64.powf(*knot), *height)).collect(),
            offsets: found,
            points: points.len(),
            residual: (residual / points.len() as f64).sqrt(),
            aic: akaike(points.len(), residual, numbers.len()),
            parallelism: design.parallelism(&points, &ys, residual),
            control: control::fit(curves, &points, &ys),
            optimum,
            frontier: self.frontier(curves, &points, &ys, draws.as_deref()),
        })
    }

    /// The percentile interval of values, which are put in order.
    fn middle(&self, values: &mut [f64]) -> Option<Interval> {
        values.sort_unstable_by(f64::total_cmp);
        let tail = (1.0 - self.level) / 2.0;
        Some(Interval { low: quantile(values, tail)?, high: quantile(values, 1.0 - tail)?, level: self.level })
    }
}

fn order(a: &OffsetPoint, b: &OffsetPoint) -> Ordering {
    a.curve.cmp(&b.curve).then_with(|| a.x.total_cmp(&b.x))
}

fn akaike(points: usize, residual: f64, parameters: usize) -> f64 {
    points as f64 * (residual / points as f64).ln() + 2.0 * parameters as f64
}

/// The curve of the least height; the first of equal ones.
fn lowest(heights: &[Option<f64>]) -> Option<usize> {
    let all = heights.iter().enumerate().filter_map(|(curve, height)| Some((curve, (*height)?)));
    all.min_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0))).map(|(curve, _)| curve)
}

/// The linear equations of the curves: a row for each point.
struct Design {
    /// Logarithms of the places of the knots.
    knots: Vec<f64>,
    /// Curves that have an offset of their own.
    free: Vec<usize>,
    curves: usize,
    reference: usize,
    rows: Vec<Vec<f64>>,
}

impl Design {
    fn of(curves: &OffsetCurves, points: &[OffsetPoint]) -> Result<Self, OffsetRefusal> {
        let own = points.iter().filter(|point| point.curve == curves.reference);
        let mut knots: Vec<f64> = own.map(|point| point.x.log10()).collect();
        knots.dedup_by(|a, b| (*a - *b).abs() < 1e-12);
        if knots.len() < 2 {
            return Err(OffsetRefusal::Reference(knots.len()));
        }
        let free: Vec<usize> = (0..curves.bits.len())
            .filter(|curve| *curve != curves.reference && points.iter().any(|point| point.curve == *curve))
            .collect();
        if free.is_empty() {
            return Err(OffsetRefusal::Alone);
        }
        let parameters = knots.len() + free.len();
        if points.len() <= parameters {
            return Err(OffsetRefusal::Few { points: points.len(), parameters });
        }
        let row = |point: &OffsetPoint| {
            let mut row = vec![0.0; parameters];
            let (piece, share) = piece(&knots, point.x.log10());
            row[piece] = 1.0 - share;
            row[piece + 1] = share;
            if let Ok(place) = free.binary_search(&point.curve) {
                row[knots.len() + place] = 1.0;
            }
            row
        };
        let rows = points.iter().map(row).collect();
        Ok(Self { curves: curves.bits.len(), reference: curves.reference, knots, free, rows })
    }

    /// The offset of each curve out of the solved numbers.
    fn offsets(&self, numbers: &[f64]) -> Vec<Option<f64>> {
        let mut offsets = vec![None; self.curves];
        offsets[self.reference] = Some(0.0);
        for (place, curve) in self.free.iter().enumerate() {
            offsets[*curve] = Some(numbers[self.knots.len() + place]);
        }
        offsets
    }

    fn parallelism(&self, points: &[OffsetPoint], ys: &[f64], residual: f64) -> Option<Parallelism> {
        let mut rows = self.rows.clone();
        let mut slopes = 0;
        for curve in &self.free {
            let own: Vec<f64> = points.iter().filter(|point| point.curve == *curve).map(|p| p.x.log10()).collect();
            let middle = own.iter().sum::<f64>() / own.len() as f64;
            if own.iter().all(|at| (at - middle).abs() < 1e-12) {
                continue;
            }
            slopes += 1;
            for (row, point) in rows.iter_mut().zip(points) {
                row.push(if point.curve == *curve { point.x.log10() - middle } else { 0.0 });
            }
        }
        let left = points.len().checked_sub(rows.first()?.len()).filter(|left| *left > 0 && slopes > 0)?;
        let solver = Solver::of(&rows)?;
        let own = solver.residual(ys, &solver.solve(ys));
        let f = ((residual - own).max(0.0) / slopes as f64) / (own / left as f64);
        let (numerator, denominator) = (slopes as f64, left as f64);
        let whole = denominator + numerator * f;
        let (x, y) = (denominator / whole, numerator * f / whole);
        let probability = incomplete_beta(denominator / 2.0, numerator / 2.0, x, y);
        f.is_finite().then_some(Parallelism { f, freedom: (slopes, left), probability })
    }
}

/// Least squares of one set of equations for many right sides: each answer is a product with a matrix.
struct Solver<'a> {
    rows: &'a [Vec<f64>],
    /// `(XᵀX)⁻¹ Xᵀ`, a row for each number.
    inverse: Vec<Vec<f64>>,
}

impl<'a> Solver<'a> {
    /// `None` where the equations have no single answer.
    fn of(rows: &'a [Vec<f64>]) -> Option<Self> {
        let width = rows.first()?.len();
        let dot = |i: usize, j: usize| rows.iter().map(|row| row[i] * row[j]).sum::<f64>();
        // The normal equations beside the transposed rows, brought to the identity by elimination with pivots.
        let mut system: Vec<Vec<f64>> =
            (0..width).map(|i| (0..width).map(|j| dot(i, j)).chain(rows.iter().map(|row| row[i])).collect()).collect();
        let largest = (0..width).map(|i| system[i][i]).fold(0.0, f64::max);
        for column in 0..width {
            let size = |row: &usize| system[*row][column].abs();
            let pivot = (column..width).max_by(|a, b| size(a).total_cmp(&size(b)))?;
            if size(&pivot) <= 1e-12 * largest {
                return None;
            }
            system.swap(column, pivot);
            let by = system[column][column];
            system[column].iter_mut().for_each(|entry| *entry /= by);
            let upper = system[column].clone();
            for (_, row) in system.iter_mut().enumerate().filter(|(row, _)| *row != column) {
                let factor = row[column];
                row.iter_mut().zip(&upper).for_each(|(entry, above)| *entry -= factor * above);
            }
        }
        Some(Self { rows, inverse: system.into_iter().map(|row| row[width..].to_vec()).collect() })
    }

    fn solve(&self, ys: &[f64]) -> Vec<f64> {
        self.inverse.iter().map(|row| row.iter().zip(ys).map(|(weight, y)| weight * y).sum()).collect()
    }

    /// Σ of the squared residuals.
    fn residual(&self, ys: &[f64], numbers: &[f64]) -> f64 {
        let fitted = |row: &[f64]| row.iter().zip(numbers).map(|(entry, number)| entry * number).sum::<f64>();
        self.rows.iter().zip(ys).map(|(row, y)| (y - fitted(row)).powi(2)).sum()
    }
}

#[cfg(test)]
#[path = "offset_tests.rs"]
mod tests;
