//! The law in both variables that stands beside parallel curves as a control, `L = L∞ + A·N^−a + B·2^(−βk)·N^γ` with k bits
//! a weight: it is known to fit such data poorly.

use serde::{Deserialize, Serialize};

use super::{OffsetCurves, OffsetPoint, akaike};

/// Numbers of the law.
const PARAMETERS: usize = 6;
/// Where the exponents a, β and γ may lie.
const BOUNDS: [(f64, f64); 3] = [(0.0, 4.0), (0.0, 4.0), (-4.0, 4.0)];

/// A fitted law in sizes and bits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BivariateControl {
    /// L∞, A and B, none below 0; N is relative to the geometric mean of the sizes.
    pub linear: [f64; 3],
    /// a, β and γ, held within 0 to 4, 0 to 4 and −4 to 4.
    pub exponents: [f64; 3],
    /// Root of the mean squared residual.
    pub residual: f64,
    /// Akaike's criterion, to be held against that of parallel curves.
    pub aic: f64,
}

/// The law of least squares; N of a point is x of the reference curve's point of its size. `None` where a size has none.
pub(super) fn fit(curves: &OffsetCurves, points: &[OffsetPoint], ys: &[f64]) -> Option<BivariateControl> {
    let reference = |size: usize| points.iter().find(|point| point.curve == curves.reference && point.size == size);
    let sizes: Vec<f64> =
        points.iter().map(|point| reference(point.size).map(|point| point.x.ln())).collect::<Option<_>>()?;
    if points.len() <= PARAMETERS {
        return None;
    }
    let middle = sizes.iter().sum::<f64>() / sizes.len() as f64;
    let data = Data {
        logs: sizes.iter().map(|log| log - middle).collect(),
        bits: points.iter().map(|point| curves.bits[point.curve]).collect(),
        ys,
    };
    let starts = [0.1, 0.5, 1.5]
        .into_iter()
        .flat_map(|a| [0.3, 0.7, 1.5].into_iter().flat_map(move |beta| [-0.5, 0.0, 0.5].map(|gamma| [a, beta, gamma])));
    let found = starts.map(|start| descend(&data, start)).min_by(|a, b| a.1.total_cmp(&b.1))?;
    let (linear, residual) = data.best(found.0);
    let count = points.len();
    Some(BivariateControl {
        linear,
        exponents: found.0,
        residual: (residual / count as f64).sqrt(),
        aic: akaike(count, residual, PARAMETERS),
    })
}

struct Data<'a> {
    logs: Vec<f64>,
    bits: Vec<f64>,
    ys: &'a [f64],
}

impl Data<'_> {
    /// The best L∞, A and B that are not negative for some exponents, and the squared residuals they leave: of the least squares
    /// of every choice of numbers that are not 0, the best that is allowed.
    fn best(&self, [a, beta, gamma]: [f64; 3]) -> ([f64; 3], f64) {
        let rows: Vec<[f64; 3]> = self
            .logs
            .iter()
            .zip(&self.bits)
            .map(|(log, bits)| [1.0, (-a * log).exp(), (gamma * log).exp() * (-beta * bits).exp2()])
            .collect();
        let mut best = ([0.0; 3], self.ys.iter().map(|y| y * y).sum::<f64>());
        for choice in 1..8_usize {
            let free: Vec<usize> = (0..3).filter(|column| choice >> column & 1 == 1).collect();
            let chosen: Vec<Vec<f64>> =
                rows.iter().map(|row| free.iter().map(|column| row[*column]).collect()).collect();
            let Some(solver) = super::Solver::of(&chosen) else { continue };
            let numbers = solver.solve(self.ys);
            let residual = solver.residual(self.ys, &numbers);
            if numbers.iter().all(|number| *number >= 0.0) && residual < best.1 {
                let mut linear = [0.0; 3];
                free.iter().zip(&numbers).for_each(|(column, number)| linear[*column] = *number);
                best = (linear, residual);
            }
        }
        best
    }
}

/// Nelder and Mead's descent within the bounds, begun anew from where it ended until that changes nothing.
fn descend(data: &Data, start: [f64; 3]) -> ([f64; 3], f64) {
    let held = |point: [f64; 3]| -> [f64; 3] { std::array::from_fn(|i| point[i].clamp(BOUNDS[i].0, BOUNDS[i].1)) };
    let cost = |point: [f64; 3]| data.best(point).1;
    let mut best = (start, cost(start));
    for round in 0..12 {
        let before = best.1;
        let step = 0.3 * 0.6_f64.powi(round);
        let mut simplex: Vec<([f64; 3], f64)> = vec![best];
        for axis in 0..3 {
            let mut point = best.0;
            point[axis] += if point[axis] + step > BOUNDS[axis].1 { -step } else { step };
            simplex.push((held(point), cost(held(point))));
        }
        for _ in 0..400 {
            simplex.sort_by(|a, b| a.1.total_cmp(&b.1));
            if simplex[3].1 - simplex[0].1 <= 1e-14 * simplex[0].1 {
                break;
            }
            let middle: [f64; 3] = std::array::from_fn(|i| simplex[..3].iter().map(|(at, _)| at[i]).sum::<f64>() / 3.0);
            let along = |share: f64| held(std::array::from_fn(|i| middle[i] + share * (simplex[3].0[i] - middle[i])));
            let tried = |share: f64| (along(share), cost(along(share)));
            let reflected = tried(-1.0);
            let next = if reflected.1 < simplex[0].1 {
                let expanded = tried(-2.0);
                if expanded.1 < reflected.1 { expanded } else { reflected }
            } else if reflected.1 < simplex[2].1 {
                reflected
            } else {
                tried(if reflected.1 < simplex[3].1 { -0.5 } else { 0.5 })
            };
            if next.1 < simplex[3].1 {
                simplex[3] = next;
            } else {
                let lead = simplex[0].0;
                for point in &mut simplex[1..] {
                    let nearer = std::array::from_fn(|i| f64::midpoint(point.0[i], lead[i]));
                    *point = (nearer, cost(nearer));
                }
            }
        }
        simplex.sort_by(|a, b| a.1.total_cmp(&b.1));
        best = simplex[0];
        if round > 3 && before - best.1 <= 1e-12 * before {
            break;
        }
    }
    best
}
