//! Laws of scale, `y = floor + scale · x^exponent`, fitted to a few points whose values are reduced from raw samples.

use serde::{Deserialize, Serialize};

use super::{Bootstrap, Interval, quantile};
use crate::record::Observation;

/// Which law is fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LawForm {
    /// `scale · x^exponent`: a straight line where both axes are logarithmic.
    #[default]
    Power,
    /// `floor + scale · x^exponent` with a floor that is not negative (Hoffmann et al. 2022, one variable).
    PowerFloor,
}

impl LawForm {
    /// All forms, as written.
    pub const ALL: [(&'static str, Self); 2] = [("power", Self::Power), ("power-floor", Self::PowerFloor)];

    /// How many numbers it has, which is how many different x it needs.
    pub fn parameters(self) -> usize {
        match self {
            Self::Power => 2,
            Self::PowerFloor => 3,
        }
    }
}

/// A law with its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Law {
    /// What y falls to; 0 for a plain power.
    pub floor: f64,
    /// Factor, in units of y at x = 1.
    pub scale: f64,
    /// Exponent of x.
    pub exponent: f64,
}

impl Law {
    /// The value at x.
    pub fn at(&self, x: f64) -> f64 {
        self.floor + self.scale * x.powf(self.exponent)
    }

    /// The law of least squares of `ln y`, so that every point counts by its relative error. `None` unless all x and y
    /// are positive and finite and there are as many different x as the law has numbers.
    pub fn fit(form: LawForm, points: &[(f64, f64)]) -> Option<Self> {
        let good = |value: f64| value.is_finite() && value > 0.0;
        let mut different: Vec<f64> = points.iter().map(|(x, _)| *x).collect();
        different.sort_by(f64::total_cmp);
        different.dedup();
        if different.len() < form.parameters() || !points.iter().all(|(x, y)| good(*x) && good(*y)) {
            return None;
        }
        // Logarithms around their mean keep the equations well conditioned.
        let middle = points.iter().map(|(x, _)| x.ln()).sum::<f64>() / points.len() as f64;
        let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln() - middle, y.ln())).collect();
        let line = line(&logs);
        let found = match form {
            LawForm::Power => Numbers { floor: 0.0, height: line.0, exponent: line.1 },
            LawForm::PowerFloor => {
                let lowest = points.iter().map(|(_, y)| *y).fold(f64::INFINITY, f64::min);
                let starts = [0.0, 0.5, 0.9, 0.99].into_iter().map(|share| {
                    let floor = share * lowest;
                    let above: Vec<(f64, f64)> = logs.iter().map(|(u, v)| (*u, (v.exp() - floor).ln())).collect();
                    let (height, exponent) = self::line(&above);
                    descend(Numbers { floor, height, exponent }, &logs)
                });
                starts.min_by(|a, b| a.1.total_cmp(&b.1))?.0
            }
        };
        let law = Self {
            floor: found.floor,
            scale: (found.height - found.exponent * middle).exp(),
            exponent: found.exponent,
        };
        [law.floor, law.scale, law.exponent].iter().all(|number| number.is_finite()).then_some(law)
    }
}

/// Least squares of a line: value at 0 and slope.
fn line(points: &[(f64, f64)]) -> (f64, f64) {
    let n = points.len() as f64;
    let (mx, my) = points.iter().fold((0.0, 0.0), |sum, (x, y)| (sum.0 + x / n, sum.1 + y / n));
    let (xx, xy) =
        points.iter().fold((0.0, 0.0), |sum, (x, y)| (sum.0 + (x - mx).powi(2), sum.1 + (x - mx) * (y - my)));
    let slope = if xx > 0.0 { xy / xx } else { 0.0 };
    (my - slope * mx, slope)
}

#[derive(Debug, Clone, Copy)]
struct Numbers {
    floor: f64,
    /// Logarithm of what stands above the floor at the mean of `ln x`.
    height: f64,
    exponent: f64,
}

impl Numbers {
    fn cost(&self, logs: &[(f64, f64)]) -> f64 {
        let cost = logs.iter().map(|(u, v)| (v - (self.floor + (self.height + self.exponent * u).exp()).ln()).powi(2));
        let cost: f64 = cost.sum();
        if cost.is_finite() { cost } else { f64::INFINITY }
    }
}

/// Levenberg and Marquardt's descent with the floor kept from going below zero; the numbers and their cost.
fn descend(start: Numbers, logs: &[(f64, f64)]) -> (Numbers, f64) {
    let (mut at, mut cost, mut damping) = (start, start.cost(logs), 1e-3);
    for _ in 0..400 {
        let mut normal = [[0.0; 3]; 3];
        let mut slope = [0.0; 3];
        for (u, v) in logs {
            let part = (at.height + at.exponent * u).exp();
            let whole = at.floor + part;
            let gap = v - whole.ln();
            let row = [part / whole, part / whole * u, 1.0 / whole];
            for i in 0..3 {
                slope[i] += row[i] * gap;
                for j in 0..3 {
                    normal[i][j] += row[i] * row[j];
                }
            }
        }
        let stuck = at.floor <= 0.0 && slope[2] <= 0.0;
        let mut moved = false;
        for _ in 0..40 {
            let mut system = normal;
            for (i, row) in system.iter_mut().enumerate() {
                row[i] *= 1.0 + damping;
            }
            let step = solve(system, slope, if stuck { 2 } else { 3 });
            let next = Numbers {
                floor: (at.floor + step[2]).max(0.0),
                height: at.height + step[0],
                exponent: at.exponent + step[1],
            };
            let cost_there = next.cost(logs);
            if cost_there <= cost {
                let far = [(step[0], 1.0), (step[1], at.exponent.abs()), (next.floor - at.floor, at.floor)];
                moved = far.iter().any(|(step, size)| step.abs() > 1e-13 * (size + 1e-3));
                (at, cost, damping) = (next, cost_there, (damping * 0.2).max(1e-15));
                break;
            }
            damping *= 4.0;
        }
        if !moved {
            break;
        }
    }
    (at, cost)
}

/// Solves the first `size` of three equations by elimination with pivots; zeros where they have no single answer.
fn solve(mut system: [[f64; 3]; 3], mut right: [f64; 3], size: usize) -> [f64; 3] {
    for column in 0..size {
        let pivot = (column..size).max_by(|a, b| system[*a][column].abs().total_cmp(&system[*b][column].abs()));
        let pivot = pivot.unwrap_or(column);
        if system[pivot][column] == 0.0 {
            return [0.0; 3];
        }
        system.swap(column, pivot);
        right.swap(column, pivot);
        for row in column + 1..size {
            let factor = system[row][column] / system[column][column];
            let upper = system[column];
            for (entry, above) in system[row].iter_mut().zip(upper).take(size) {
                *entry -= factor * above;
            }
            right[row] -= factor * right[column];
        }
    }
    let mut found = [0.0; 3];
    for row in (0..size).rev() {
        let rest: f64 = (row + 1..size).map(|column| system[row][column] * found[column]).sum();
        found[row] = (right[row] - rest) / system[row][row];
    }
    found
}

/// A law with intervals from the samples behind its points.
#[derive(Debug, Clone, PartialEq)]
pub struct LawEstimate {
    /// The law of the values.
    pub law: Law,
    /// Intervals of floor, scale and exponent; `None` when no point has two units to draw from.
    pub intervals: Option<[Interval; 3]>,
    /// The law at the places asked for, with intervals where there are any.
    pub curve: Vec<(f64, f64, Option<Interval>)>,
}

impl Bootstrap {
    /// Fits a law to observations at places, and gives the spread of the law when the units behind the observations
    /// are drawn again: the percentile interval of every number and of the curve at `xs`. Observations with equally
    /// many units are drawn together, so that points measured on the same documents stay paired. The intervals cover
    /// the choice of documents, not whether the law is the right one.
    ///
    /// `None` where the values cannot bear the law, see [`Law::fit`].
    pub fn law(&self, form: LawForm, points: &[(f64, &Observation)], xs: &[f64]) -> Option<LawEstimate> {
        let values: Option<Vec<f64>> = points.iter().map(|(_, seen)| seen.value()).collect();
        let pairs: Vec<(f64, f64)> = points.iter().map(|(x, _)| *x).zip(values?).collect();
        let law = Law::fit(form, &pairs)?;
        let bare = || xs.iter().map(|x| (*x, law.at(*x), None)).collect();
        let seen: Vec<&Observation> = points.iter().map(|(_, seen)| *seen).collect();
        let Some(draws) = self.jointly(&seen) else {
            return Some(LawEstimate { law, intervals: None, curve: bare() });
        };
        let drawn = |values: &Vec<f64>| pairs.iter().zip(values).map(|((x, _), y)| (*x, *y)).collect::<Vec<_>>();
        let laws: Vec<Law> = draws.iter().filter_map(|values| Law::fit(form, &drawn(values))).collect();
        // A law that most draws cannot bear has no interval worth showing.
        if laws.len() * 10 < self.resamples * 9 {
            return Some(LawEstimate { law, intervals: None, curve: bare() });
        }
        let interval = |of: &dyn Fn(&Law) -> f64| {
            let mut values: Vec<f64> = laws.iter().map(of).collect();
            values.sort_unstable_by(f64::total_cmp);
            let tail = (1.0 - self.level) / 2.0;
            Some(Interval { low: quantile(&values, tail)?, high: quantile(&values, 1.0 - tail)?, level: self.level })
        };
        let intervals = [interval(&|law| law.floor)?, interval(&|law| law.scale)?, interval(&|law| law.exponent)?];
        let curve = xs.iter().map(|x| (*x, law.at(*x), interval(&|law| law.at(*x)))).collect();
        Some(LawEstimate { law, intervals: Some(intervals), curve })
    }
}

#[cfg(test)]
#[path = "law_tests.rs"]
mod tests;
