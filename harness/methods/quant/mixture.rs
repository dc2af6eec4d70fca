//! Giving the matrices of a model different formats within one budget of bits.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};

use super::{QuantError, Quantized, Quantizer, statistics_of};
use crate::prune::{Needs, Site};
use crate::statistics::LinearStatistics;

/// What a matrix would take and lose in one format.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// All its bits.
    pub bits: u64,
    /// The squared error of its outputs over their square, on calibration text.
    pub error: f64,
}

/// Formats that share a budget.
pub struct Mixture {
    /// Bits a weight of all matrices together.
    pub budget: f64,
    /// The formats.
    pub choices: Vec<Box<dyn Quantizer>>,
}

impl Mixture {
    /// What judging the formats reads beside what they read themselves.
    pub fn needs(&self) -> Needs {
        self.choices.iter().map(|choice| choice.needs()).fold(Needs::SECOND_MOMENT, Needs::union)
    }

    /// What a matrix would take and lose in every format.
    ///
    /// # Errors
    /// What a format refuses; statistics that are not there.
    pub fn consider(
        &self,
        site: &Site,
        weight: &[f32],
        statistics: Option<&LinearStatistics>,
    ) -> Result<Vec<Candidate>, QuantError> {
        let known = statistics_of(site, statistics)?;
        let judge = OutputError::of(site, weight, known);
        let candidate = |choice: &dyn Quantizer| {
            let found = choice.quantize(site, weight, statistics)?;
            Ok(Candidate { bits: found.bits.total(), error: judge.relative(weight, &found.values) })
        };
        self.choices.iter().map(|choice| candidate(&**choice)).collect()
    }

    /// The format of every matrix, by what each would take and lose. `weights` is how many weights there are in all.
    ///
    /// # Errors
    /// [`QuantError::Budget`] when even the smallest formats take more.
    pub fn allocate(&self, matrices: &[Vec<Candidate>], weights: u64) -> Result<Vec<usize>, QuantError> {
        allocate(matrices, (self.budget * weights as f64).floor() as u64)
            .map_err(|least| QuantError::Budget { budget: self.budget, least: least as f64 / weights.max(1) as f64 })
    }

    /// Quantizes a matrix as if it were the whole model.
    ///
    /// # Errors
    /// As [`consider`](Self::consider) and [`allocate`](Self::allocate).
    pub fn alone(
        &self,
        site: &Site,
        weight: &[f32],
        statistics: Option<&LinearStatistics>,
    ) -> Result<Quantized, QuantError> {
        let candidates = self.consider(site, weight, statistics)?;
        let chosen = self.allocate(&[candidates], weight.len() as u64)?;
        self.choices[chosen[0]].quantize(site, weight, statistics)
    }
}

/// How far other weights of a matrix move its outputs on the calibration inputs, `tr(ΔHΔᵀ) / tr(WHWᵀ)` with `H = Σxxᵀ`.
struct OutputError<'a> {
    rows: usize,
    cols: usize,
    moment: &'a [f64],
    size: f64,
}

impl<'a> OutputError<'a> {
    fn of(site: &Site, weight: &[f32], statistics: &'a LinearStatistics) -> Self {
        let moment = statistics.second_moment().unwrap_or_default();
        let mut judge = Self { rows: site.rows, cols: site.cols, moment, size: 0.0 };
        judge.size = judge.square(weight.iter().map(|value| f64::from(*value)).collect());
        judge
    }

    /// `tr(AHAᵀ)`.
    fn square(&self, a: Vec<f64>) -> f64 {
        if self.moment.len() != self.cols * self.cols || a.len() != self.rows * self.cols {
            return 0.0;
        }
        let left = MatRef::from_row_major_slice(&a, self.rows, self.cols);
        let right = MatRef::from_row_major_slice(self.moment, self.cols, self.cols);
        let mut product = Mat::<f64>::zeros(self.rows, self.cols);
        matmul(product.as_mut(), Accum::Replace, left, right, 1.0, Par::Seq);
        a.iter().enumerate().map(|(at, value)| value * product[(at / self.cols, at % self.cols)]).sum()
    }

    fn relative(&self, weight: &[f32], values: &[f32]) -> f64 {
        let change = weight.iter().zip(values).map(|(old, new)| f64::from(*new) - f64::from(*old)).collect();
        // Rounding may leave a little less than nothing.
        if self.size > 0.0 { (self.square(change) / self.size).max(0.0) } else { 0.0 }
    }
}

/// Chooses a format for every matrix so that all together take at most `budget` bits: from the smallest formats on, the step
/// that lowers the summed error most for each bit that it takes is taken next.
///
/// Of each matrix only the formats on the lower convex hull of error over bits are steps, so that a step never gains more for
/// its bits than one before it; one that does not fit ends its matrix' steps, and smaller ones of other matrices may still
/// follow. A larger budget therefore never ends with a larger error.
///
/// # Errors
/// The bits of the smallest formats, when they are more than the budget.
fn allocate(matrices: &[Vec<Candidate>], budget: u64) -> Result<Vec<usize>, u64> {
    let hulls: Vec<Vec<usize>> = matrices.iter().map(|candidates| hull(candidates)).collect();
    let mut steps: Vec<(f64, usize, usize)> = Vec::new();
    for (matrix, (hull, candidates)) in hulls.iter().zip(matrices).enumerate() {
        for (step, pair) in hull.windows(2).enumerate() {
            steps.push((gain(candidates[pair[0]], candidates[pair[1]]), matrix, step + 1));
        }
    }
    // Equal gains keep the order of the walk, and of a matrix' own steps.
    steps.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
    let bits = |matrix: usize, step: usize| matrices[matrix][hulls[matrix][step]].bits;
    let mut used: u64 = (0..matrices.len()).filter(|matrix| !hulls[*matrix].is_empty()).map(|m| bits(m, 0)).sum();
    if used > budget {
        return Err(used);
    }
    let mut reached = vec![0; matrices.len()];
    for (_, matrix, step) in steps {
        let more = bits(matrix, step) - bits(matrix, step - 1);
        if reached[matrix] + 1 == step && used + more <= budget {
            reached[matrix] = step;
            used += more;
        }
    }
    Ok(hulls.iter().zip(reached).map(|(hull, step)| hull.get(step).copied().unwrap_or_default()).collect())
}

/// Error saved for each bit more.
fn gain(from: Candidate, to: Candidate) -> f64 {
    (from.error - to.error) / (to.bits - from.bits) as f64
}

/// The formats on the lower convex hull of error over bits, by growing bits and falling error.
fn hull(candidates: &[Candidate]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..candidates.len()).filter(|at| candidates[*at].error.is_finite()).collect();
    order.sort_by(|a, b| {
        let (a, b) = (candidates[*a], candidates[*b]);
        a.bits.cmp(&b.bits).then(a.error.total_cmp(&b.error))
    });
    let mut hull: Vec<usize> = Vec::new();
    for at in order {
        if let Some(last) = hull.last().map(|last| candidates[*last])
            && (candidates[at].bits == last.bits || candidates[at].error >= last.error)
        {
            continue;
        }
        while let [.., before, last] = hull.as_slice() {
            let (before, last) = (candidates[*before], candidates[*last]);
            if gain(last, candidates[at]) < gain(before, last) {
                break;
            }
            hull.pop();
        }
        hull.push(at);
    }
    hull
}

#[cfg(test)]
#[path = "mixture_tests.rs"]
mod tests;
