//! The linear program below the test of a token: as much of a target as bounded columns can reach.
//!
//! Greatest `θ` with `Σ z_i a_i = θ t` and `−down_i ≤ z_i ≤ up_i`. Its dual is the least of
//! `h(λ) = Σ up_i max(0, λ·a_i) + down_i max(0, −λ·a_i)` over `λ·t = 1`, which is a weighted regression to a quantile. Every such `λ`
//! gives `h(λ) ≥ θ`, so the method walks along edges of `h`: at a vertex as many residuals `λ·a_i` vanish as `λ` has freedoms; the
//! edge of the steepest descent is followed past every kink until it rises (Barrodale and Roberts 1973), which for the greatest `θ`
//! is the dual simplex method with long steps. The work of a step is one product of all columns with a vector.

use std::collections::BinaryHeap;

use super::lanes::Lanes;

/// Steps after which the inverse of the basis is computed anew.
const REFACTOR: usize = 48;

/// Steps after which the method gives up.
const STEPS: usize = 4000;

/// How far a column may lie outside its bounds at an optimum.
const TOLERANCE: f64 = 1e-10;

/// Smallest element to divide by, against the length of the edge.
const PIVOT: f64 = 1e-9;

/// Columns, their bounds, and what they are to reach.
#[derive(Debug, Clone, Copy)]
pub struct Problem<'a> {
    /// The columns `a_i`, one a row.
    pub columns: &'a Lanes,
    /// Upper bounds, not negative.
    pub up: &'a [f64],
    /// Lower bounds with the sign turned, not negative.
    pub down: &'a [f64],
    /// The target; its first element is not zero.
    pub target: &'a [f64],
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reached {
    /// `θ`.
    pub reached: f64,
    /// Largest element of `Σ z_i a_i − θ t` for the `z` within their bounds; rounding where the greatest `θ` was found.
    pub residual: f64,
}

/// The method with its buffers and the basis it ended with.
#[derive(Debug, Clone, Default)]
pub struct Simplex {
    /// Inverse of the basis, row-major. The first row is `λ`; every other one is the edge along which one residual grows.
    inverse: Vec<f64>,
    /// The column in each place of the basis; `None` is an axis, whose `z` must be zero. The first place is the target's.
    places: Vec<Option<u32>>,
    basic: Vec<bool>,
    /// `λ·a_i`.
    residuals: Vec<f64>,
    /// Whether a column outside the basis is at its upper bound.
    above: Vec<bool>,
    /// `Σ z_i a_i` of the columns outside the basis.
    load: Vec<f64>,
    /// `z` of the places of the basis.
    basics: Vec<f64>,
    changes: Vec<f64>,
    kinks: Vec<Kink>,
    weights: Vec<f64>,
    passed: Vec<u32>,
}

/// A place on an edge where the descent changes.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Kink {
    at: f64,
    weight: f64,
    column: u32,
}

impl Eq for Kink {}

impl Ord for Kink {
    /// The nearest is the greatest, the lower column first.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.at.total_cmp(&self.at).then(other.column.cmp(&self.column))
    }
}

impl PartialOrd for Kink {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Simplex {
    /// Solves, from a basis of some columns, which may be empty. Stops with `None` when `h(λ)` is no more than `enough`.
    pub fn solve(&mut self, problem: &Problem, start: &[u32], enough: f64) -> Option<Reached> {
        let members: Vec<u32> = start.to_vec();
        self.above.clear();
        self.install(problem, &members);
        let mut barred = vec![false; self.places.len()];
        let mut since = 0;
        for _ in 0..STEPS {
            if enough > 0.0 && self.height() <= enough {
                return None;
            }
            let Some((place, excess)) = self.worst(problem, &barred) else {
                if since == 0 {
                    return Some(self.end(problem));
                }
                // What looked optimal has to be so without the rounding of the steps before.
                self.install(problem, &self.members());
                barred.fill(false);
                since = 0;
                continue;
            };
            if self.step(problem, place, excess) {
                barred.fill(false);
                since += 1;
                if since >= REFACTOR {
                    self.install(problem, &self.members());
                    since = 0;
                }
            } else {
                barred[place] = true;
            }
        }
        self.worst(problem, &barred);
        Some(self.end(problem))
    }

    /// `λ`.
    pub fn direction(&self) -> &[f64] {
        &self.inverse[..self.places.len()]
    }

    /// `h(λ)`, which is `λ·Σ z_i a_i` of the columns outside the basis.
    fn height(&self) -> f64 {
        self.direction().iter().zip(&self.load).map(|(a, b)| a * b).sum()
    }

    /// The columns of the basis.
    pub fn members(&self) -> Vec<u32> {
        self.places.iter().flatten().copied().collect()
    }

    /// `z` of every column, within the bounds.
    pub fn values(&self, problem: &Problem) -> Vec<f64> {
        let mut all: Vec<f64> = (0..problem.columns.len()).map(|column| self.bound(problem, column)).collect();
        for (column, value) in self.places.iter().zip(&self.basics).filter_map(|(place, z)| Some(((*place)?, z))) {
            let column = column as usize;
            all[column] = value.clamp(-problem.down[column], problem.up[column]);
        }
        all
    }

    /// Inverts the basis of some columns, as far as they are independent, and computes what follows from it.
    fn install(&mut self, problem: &Problem, members: &[u32]) {
        let size = problem.target.len();
        self.places = vec![None; size];
        self.inverse = (0..size * size).map(|at| f64::from(u8::from(at % (size + 1) == 0))).collect();
        self.basic.clear();
        self.basic.resize(problem.columns.len(), false);
        let target = self.transformed(problem.target);
        self.pivot(0, &target);
        for member in members {
            let column: Vec<f64> = problem.columns.row(*member as usize).collect();
            let size = column.iter().fold(0.0f64, |most, value| most.max(value.abs()));
            let moved = self.transformed(&column);
            let free = (1..moved.len()).filter(|place| self.places[*place].is_none());
            let best = free.max_by(|a, b| moved[*a].abs().total_cmp(&moved[*b].abs()));
            if let Some(place) = best.filter(|place| moved[*place].abs() > PIVOT * size) {
                self.pivot(place, &moved);
                self.places[place] = Some(*member);
                self.basic[*member as usize] = true;
            }
        }
        problem.columns.products(&self.inverse[..size], &mut self.residuals);
        // A residual that says nothing leaves a column where it is.
        self.above.resize(problem.columns.len(), true);
        let scale = self.inverse[..size].iter().fold(0.0f64, |most, value| most.max(value.abs()));
        for (above, residual) in self.above.iter_mut().zip(&self.residuals) {
            if residual.abs() > 1e-12 * scale {
                *above = *residual > 0.0;
            }
        }
        let mut weights = std::mem::take(&mut self.weights);
        weights.clear();
        weights.extend((0..problem.columns.len()).map(|column| self.bound(problem, column)));
        problem.columns.combination(&weights, &mut self.load);
        self.weights = weights;
    }

    /// `z` of a column outside the basis; zero of one inside.
    fn bound(&self, problem: &Problem, column: usize) -> f64 {
        match (self.basic[column], self.above[column]) {
            (true, _) => 0.0,
            (false, true) => problem.up[column],
            (false, false) => -problem.down[column],
        }
    }

    /// The place of the basis whose edge falls most steeply, and how far its `z` lies outside its bounds, negative below.
    fn worst(&mut self, problem: &Problem, barred: &[bool]) -> Option<(usize, f64)> {
        let size = self.places.len();
        self.basics.clear();
        self.basics.resize(size, 0.0);
        let mut best: Option<(usize, f64)> = None;
        let mut steepest = 0.0;
        for (place, barred) in barred.iter().enumerate().skip(1) {
            let edge = &self.inverse[place * size..(place + 1) * size];
            let (mut sum, mut noise, mut length) = (0.0, 0.0, 0.0);
            for (a, b) in edge.iter().zip(&self.load) {
                sum += a * b;
                noise += (a * b).abs();
                length += a * a;
            }
            let value = -sum;
            self.basics[place] = value;
            let (up, down) = self.places[place].map_or((0.0, 0.0), |column| {
                let column = column as usize;
                (problem.up[column], problem.down[column])
            });
            let excess = if value > up { value - up } else { (value + down).min(0.0) };
            let steep = excess * excess / length;
            if excess.abs() > TOLERANCE + 1e-13 * noise && steep > steepest && !barred {
                steepest = steep;
                best = Some((place, excess));
            }
        }
        best
    }

    /// Follows the edge of a place to where it stops falling; false when it has no such end within the accuracy of numbers.
    fn step(&mut self, problem: &Problem, place: usize, excess: f64) -> bool {
        let size = self.places.len();
        let sign = excess.signum();
        let edge: Vec<f64> = self.inverse[place * size..(place + 1) * size].iter().map(|value| sign * value).collect();
        let length = edge.iter().map(|value| value * value).sum::<f64>().sqrt();
        problem.columns.products(&edge, &mut self.changes);
        let mut kinks = std::mem::take(&mut self.kinks);
        kinks.clear();
        for column in 0..problem.columns.len() {
            let change = self.changes[column];
            let approaches = if self.above[column] { -change } else { change };
            let width = problem.up[column] + problem.down[column];
            if approaches > 1e-12 * length && width > 0.0 && !self.basic[column] {
                let residual = self.residuals[column];
                let distance = if self.above[column] { residual } else { -residual };
                kinks.push(Kink {
                    at: distance.max(0.0) / approaches,
                    weight: approaches * width,
                    column: column as u32,
                });
            }
        }
        let mut queue = BinaryHeap::from(kinks);
        let mut slope = -excess.abs();
        self.passed.clear();
        let mut end = None;
        while let Some(kink) = queue.pop() {
            slope += kink.weight;
            if slope >= 0.0 && self.changes[kink.column as usize].abs() > PIVOT * length {
                end = Some(kink);
                break;
            }
            self.passed.push(kink.column);
        }
        self.kinks = queue.into_vec();
        let Some(Kink { at, column: entering, .. }) = end else {
            return false;
        };
        for passed in 0..self.passed.len() {
            let column = self.passed[passed] as usize;
            let width = problem.up[column] + problem.down[column];
            self.shift(problem, column, if self.above[column] { -width } else { width });
            self.above[column] = !self.above[column];
        }
        let entering = entering as usize;
        self.shift(problem, entering, -self.bound(problem, entering));
        self.basic[entering] = true;
        for (residual, change) in self.residuals.iter_mut().zip(&self.changes) {
            *residual += at * change;
        }
        self.residuals[entering] = 0.0;
        if let Some(leaving) = self.places[place] {
            let leaving = leaving as usize;
            self.basic[leaving] = false;
            self.above[leaving] = sign > 0.0;
            self.residuals[leaving] = sign * at;
            self.shift(problem, leaving, self.bound(problem, leaving));
        }
        let column: Vec<f64> = problem.columns.row(entering).collect();
        let moved = self.transformed(&column);
        self.pivot(place, &moved);
        self.places[place] = Some(entering as u32);
        true
    }

    /// Adds a column, times an amount, to the load.
    fn shift(&mut self, problem: &Problem, column: usize, amount: f64) {
        for (sum, value) in self.load.iter_mut().zip(problem.columns.row(column)) {
            *sum += amount * value;
        }
    }

    /// A column in terms of the basis.
    fn transformed(&self, column: &[f64]) -> Vec<f64> {
        let rows = self.inverse.chunks_exact(column.len());
        rows.map(|row| row.iter().zip(column).map(|(a, b)| a * b).sum()).collect()
    }

    /// Puts a column, given in terms of the basis, into a place of it.
    fn pivot(&mut self, place: usize, moved: &[f64]) {
        let size = moved.len();
        let row: Vec<f64> =
            self.inverse[place * size..(place + 1) * size].iter().map(|value| value / moved[place]).collect();
        for (other, factor) in moved.iter().enumerate() {
            let line = &mut self.inverse[other * size..(other + 1) * size];
            if other == place {
                line.copy_from_slice(&row);
            } else if *factor != 0.0 {
                line.iter_mut().zip(&row).for_each(|(value, pivot)| *value -= factor * pivot);
            }
        }
    }

    /// What the columns reach where the method ended, brought within their bounds.
    fn end(&mut self, problem: &Problem) -> Reached {
        let reached = self.height();
        let mut sums = Vec::new();
        problem.columns.combination(&self.values(problem), &mut sums);
        let rest = sums.iter().zip(problem.target).map(|(sum, target)| (sum - reached * target).abs());
        Reached { reached, residual: rest.fold(0.0, f64::max) }
    }
}
