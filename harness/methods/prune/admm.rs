//! Matrices of few or small weights whose outputs stay near those they had: two programs solved by alternating directions, in `f64`.
//!
//! Both see inputs through their second moment `G = Σ x xᵀ = Q diag(λ) Qᵀ` alone, since `‖ΔW X‖² = tr(ΔW G ΔWᵀ)`; in the basis of its eigenvectors all but two
//! products an iteration are by elements. Sums over rows are added in the order of the rows, whatever the number of threads.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

use crate::lowrank::linalg::eigen;

/// Rows that one task multiplies; fixed, so that results do not depend on the number of threads.
const BAND: usize = 48;

/// A symmetric matrix by its eigenvectors.
#[derive(Debug, Clone)]
pub struct Basis {
    /// Inputs.
    pub columns: usize,
    /// Eigenvalues, rising, none below zero.
    pub values: Vec<f64>,
    /// One eigenvector a column, row-major.
    vectors: Vec<f64>,
}

impl Basis {
    /// Of a symmetric matrix without negative eigenvalues, rounding aside; `None` where they are not found.
    pub fn of(matrix: &[f64], columns: usize) -> Option<Self> {
        let (values, vectors) = eigen(matrix, columns)?;
        let values: Vec<f64> = values.into_iter().map(|value| value.max(0.0)).collect();
        values.iter().chain(&vectors).all(|value| value.is_finite()).then_some(Self { columns, values, vectors })
    }

    /// Rows times the eigenvectors.
    pub fn into(&self, rows: &[f64]) -> Vec<f64> {
        self.times(rows, false)
    }

    /// Rows in the basis of eigenvectors as they were.
    pub fn back(&self, rows: &[f64]) -> Vec<f64> {
        self.times(rows, true)
    }

    fn times(&self, rows: &[f64], transposed: bool) -> Vec<f64> {
        let size = self.columns;
        let mut out = vec![0.0; rows.len()];
        out.par_chunks_mut(BAND * size).zip(rows.par_chunks(BAND * size)).for_each(|(out, rows)| {
            let height = rows.len() / size;
            let vectors = MatRef::from_row_major_slice(&self.vectors, size, size);
            let vectors = if transposed { vectors.transpose() } else { vectors };
            let target = MatMut::from_row_major_slice_mut(out, height, size);
            matmul(target, Accum::Replace, MatRef::from_row_major_slice(rows, height, size), vectors, 1.0, Par::Seq);
        });
        out
    }
}

/// What the smallest weights inside a ball are found with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BallSettings {
    /// Radius of the ball as a share of the norm of the outputs.
    pub gain: f64,
    /// Penalty of the splitting.
    pub rho: f64,
    /// The most iterations.
    pub iterations: usize,
}

/// Weights inside a ball.
#[derive(Debug, Clone, PartialEq)]
pub struct InBall {
    /// Rows × columns.
    pub weight: Vec<f64>,
    /// `‖(U − W) X‖` over the radius.
    pub reached: f64,
    /// Iterations made.
    pub iterations: usize,
    /// Whether the weights moved no more at the end and lie in the ball.
    pub finished: bool,
}

/// How far outside its ball a result may lie, as a share of the radius.
const SLACK: f64 = 1e-4;

/// Movement at which iterations end, for each weight.
const STILL: f64 = 5e-9;

/// The `U` of least `Σ |U_ij|` with `‖(U − W) X‖ ≤ gain ‖W X‖`, `W` rows × columns.
///
/// Splitting: `W₁ = U X` is put into the ball, `W₂ = U` shrunk by `1/ρ`, `W₃` their least-squares fit; `W₂`, which has exact zeros, is returned.
pub fn least_in_ball(weight: &[f64], basis: &Basis, largest: f64, settings: BallSettings) -> InBall {
    let (columns, BallSettings { gain, rho, iterations }) = (basis.columns, settings);
    // Inputs over 0.3 √max|G|, so that ρ means the same for all.
    let scale = 0.3 * largest.sqrt();
    let roots: Vec<f64> = basis.values.iter().map(|value| value.sqrt() / scale).collect();
    let inverse: Vec<f64> = roots.iter().map(|root| 1.0 / (root * root + 1.0)).collect();
    let by_roots = |rows: &mut [f64]| {
        rows.par_chunks_mut(columns).for_each(|row| row.iter_mut().zip(&roots).for_each(|(v, r)| *v *= r));
    };
    let outputs = {
        let mut outputs = basis.into(weight);
        by_roots(&mut outputs);
        outputs
    };
    let radius = gain * norm(&outputs, columns);
    let mut fit = weight.to_vec();
    let mut seen = outputs.clone();
    let (mut dual_out, mut dual_in) = (vec![0.0; weight.len()], vec![0.0; weight.len()]);
    let mut found = InBall { weight: weight.to_vec(), reached: 0.0, iterations: 0, finished: false };
    for iteration in 1..=iterations {
        let mut inside: Vec<f64> = zipped(&seen, &dual_out, &outputs, |z, u, y| z - u - y);
        let outside = norm(&inside, columns);
        let shrink = if outside > radius { radius / outside } else { 1.0 };
        inside.par_iter_mut().zip(&outputs).for_each(|(d, y)| *d = y + shrink * *d);
        let sparse: Vec<f64> = zipped(&fit, &dual_in, &dual_in, |w, u, _| soft(w - u, 1.0 / rho));
        let mut next = basis.into(&zipped(&sparse, &dual_in, &dual_in, |w, u, _| w + u));
        let side = zipped(&inside, &dual_out, &dual_out, |w, u, _| w + u);
        next.par_chunks_mut(columns).zip(side.par_chunks(columns)).for_each(|(row, side)| {
            let each = row.iter_mut().zip(side).zip(roots.iter().zip(&inverse));
            each.for_each(|((t, s), (root, inverse))| *t = (*t + s * root) * inverse);
        });
        let fitted = basis.back(&next);
        by_roots(&mut next);
        seen = next;
        let moved = norm(&zipped(&fitted, &fit, &fit, |a, b, _| a - b), columns);
        fit = fitted;
        dual_out.par_iter_mut().zip(inside.par_iter().zip(&seen)).for_each(|(u, (w, z))| *u += w - z);
        dual_in.par_iter_mut().zip(sparse.par_iter().zip(&fit)).for_each(|(u, (w, z))| *u += w - z);
        let still = moved < STILL * weight.len() as f64;
        if still || iteration == iterations {
            let mut change = basis.into(&zipped(&sparse, weight, weight, |a, b, _| a - b));
            by_roots(&mut change);
            let reached = norm(&change, columns) / radius.max(f64::MIN_POSITIVE);
            let finished = still && reached <= 1.0 + SLACK;
            found = InBall { weight: sparse, reached, iterations: iteration, finished };
            if finished {
                break;
            }
        }
    }
    found
}

fn soft(value: f64, by: f64) -> f64 {
    value.signum() * (value.abs() - by).max(0.0)
}

fn zipped(a: &[f64], b: &[f64], c: &[f64], f: impl Fn(f64, f64, f64) -> f64 + Sync) -> Vec<f64> {
    a.par_iter().zip(b.par_iter().zip(c)).map(|(a, (b, c))| f(*a, *b, *c)).collect()
}

/// The root of the sum of squares, row by row.
fn norm(rows: &[f64], columns: usize) -> f64 {
    let sums: Vec<f64> = rows.par_chunks(columns).map(|row| row.iter().map(|v| v * v).sum::<f64>()).collect();
    sums.iter().sum::<f64>().sqrt()
}

/// What weights on a support are found with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SupportSettings {
    /// First penalty of the splitting.
    pub rho: f64,
    /// The most iterations.
    pub iterations: usize,
    /// Steps of conjugate gradients on the support that is found.
    pub steps: usize,
}

/// The `U` with zeros where `choose` says of its scores, near the least `tr((U − W) S (U − W)ᵀ)`, `S` of unit diagonal; also the support's complement.
///
/// Splitting between weights without zeros and weights on a support; the penalty grows the faster the more the support changes, and when it
/// changes no more the weights on it are refined.
pub fn on_support(
    weight: &[f64],
    (moment, basis): (&[f64], &Basis),
    settings: SupportSettings,
    choose: &dyn Fn(&[f64]) -> Vec<bool>,
) -> (Vec<f64>, Vec<bool>) {
    let columns = basis.columns;
    let squared = |rows: &[f64]| rows.par_iter().map(|v| v * v).collect::<Vec<f64>>();
    let target = {
        let mut turned = basis.into(weight);
        turned.chunks_mut(columns).for_each(|row| row.iter_mut().zip(&basis.values).for_each(|(v, l)| *v *= l));
        turned
    };
    let mut rho = settings.rho;
    let mut pruned = choose(&squared(weight));
    let mut sparse: Vec<f64> = masked(weight, &pruned);
    let mut dual = vec![0.0; weight.len()];
    let kept = pruned.iter().filter(|gone| !**gone).count() as f64;
    let mut before = pruned.clone();
    for iteration in 1..=settings.iterations {
        let mut full = basis.into(&zipped(&sparse, &dual, &dual, |d, v, _| rho * d - v));
        full.par_chunks_mut(columns).zip(target.par_chunks(columns)).for_each(|(row, target)| {
            let each = row.iter_mut().zip(target).zip(&basis.values);
            each.for_each(|((v, t), l)| *v = (*v + t) / (l + rho));
        });
        let full = basis.back(&full);
        let lifted = zipped(&full, &dual, &dual, |w, v, _| w + v / rho);
        pruned = choose(&squared(&lifted));
        sparse = masked(&lifted, &pruned);
        dual.par_iter_mut().zip(full.par_iter().zip(&sparse)).for_each(|(v, (w, d))| *v += rho * (w - d));
        if iteration % 3 == 0 {
            let changed = pruned.iter().zip(&before).filter(|(a, b)| a != b).count() as f64;
            before.clone_from(&pruned);
            rho *= match changed {
                0.0 => break,
                some if some >= 0.1 * kept => 1.3,
                some if some >= 0.005 * kept => 1.2,
                _ => 1.1,
            };
        }
    }
    refine(&mut sparse, weight, moment, &pruned, columns, settings.steps);
    (sparse, pruned)
}

fn masked(weight: &[f64], pruned: &[bool]) -> Vec<f64> {
    weight.iter().zip(pruned).map(|(w, gone)| if *gone { 0.0 } else { *w }).collect()
}

/// Conjugate gradients for every row's least squares on its support.
pub fn refine(rows: &mut [f64], weight: &[f64], moment: &[f64], pruned: &[bool], columns: usize, steps: usize) {
    let each = rows.par_chunks_mut(columns).zip(weight.par_chunks(columns)).zip(pruned.par_chunks(columns));
    each.for_each(|((row, weight), pruned)| {
        let times = |v: &[f64]| -> Vec<f64> {
            let mut out = vec![0.0; columns];
            for (v, line) in v.iter().zip(moment.chunks_exact(columns)).filter(|(v, _)| **v != 0.0) {
                out.iter_mut().zip(line).for_each(|(o, m)| *o += v * m);
            }
            masked(&out, pruned)
        };
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let change: Vec<f64> = weight.iter().zip(row.iter()).map(|(w, r)| w - r).collect();
        let mut residual = times(&change);
        let mut along = residual.clone();
        let mut size = dot(&residual, &residual);
        for _ in 0..steps {
            let product = times(&along);
            let curvature = dot(&along, &product);
            if curvature <= 0.0 || size <= 0.0 {
                return;
            }
            let step = size / curvature;
            row.iter_mut().zip(&along).for_each(|(r, a)| *r += step * a);
            residual.iter_mut().zip(&product).for_each(|(r, p)| *r -= step * p);
            let next = dot(&residual, &residual);
            along.iter_mut().zip(&residual).for_each(|(a, r)| *a = r + next / size * *a);
            size = next;
        }
    });
}
