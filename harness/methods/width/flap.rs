//! FLAP: heads and channels whose outputs hardly fluctuate go, and their mean stays as a bias.
//!
//! Of inputs `X (n, K)` of the output map of attention or of the contraction `W (N, K)`, column j is worth `Var(X_j) · ‖W_:,j‖²` (`wifv`), `Var(X_j)` (`ifv`)
//! or `mean_i |W_ij| · ‖X_j‖` (`wifn`). Values are standardised over the columns of a matrix, those of attention squared before and averaged over a head's
//! columns behind; then one threshold over all heads and channels of the model keeps the best for their cost in weights. What goes leaves `W_:,j · mean(X_j)` in the bias.
//!
//! Source: An et al., Fluctuation-based Adaptive Structured Pruning for Large Language Models, 2023, and its code.
//!
//! # Difference from the reference
//! The variance is the exact unbiased one; the code's running one counts a cross term twice and knows nothing of the first sample. The cost of a head is that of its own
//! weights; the code's 512/3 channels is that of one checkpoint.

use super::units::Inner;
use crate::block::Map;
use crate::shrink::{Samples, ShrinkError, Stack};

/// Running sums of the columns of inputs: exact means and variances in any order of batches.
#[derive(Debug, Clone, PartialEq)]
pub struct Fluctuation {
    rows: f64,
    mean: Vec<f64>,
    /// Σ (x − mean)².
    spread: Vec<f64>,
    squares: Vec<f64>,
}

impl Fluctuation {
    /// Of nothing yet.
    pub fn new(cols: usize) -> Self {
        Self { rows: 0.0, mean: vec![0.0; cols], spread: vec![0.0; cols], squares: vec![0.0; cols] }
    }

    /// Adds inputs `(n, cols)`, row-major.
    pub fn add(&mut self, inputs: &[f32]) {
        for row in inputs.chunks_exact(self.mean.len().max(1)) {
            self.rows += 1.0;
            for (at, value) in row.iter().map(|value| f64::from(*value)).enumerate() {
                let before = value - self.mean[at];
                self.mean[at] += before / self.rows;
                self.spread[at] += before * (value - self.mean[at]);
                self.squares[at] += value * value;
            }
        }
    }

    /// Of each column.
    pub fn means(&self) -> &[f64] {
        &self.mean
    }

    /// Of each column, unbiased; nothing where there are fewer than two inputs.
    pub fn variances(&self) -> Vec<f64> {
        let freedom = (self.rows - 1.0).max(1.0);
        self.spread.iter().map(|spread| spread / freedom).collect()
    }

    /// Σ x² of each column.
    pub fn squares(&self) -> &[f64] {
        &self.squares
    }
}

/// What enters the output map and the contraction of every block of the whole model.
///
/// # Errors
/// Those of a pass, and inputs that are not finite.
pub fn fluctuations(model: &mut dyn Stack) -> Result<Vec<[Fluctuation; 2]>, ShrinkError> {
    let of = |block| {
        let inner: Inner = model.inner(block);
        [Fluctuation::new(inner.groups * inner.group_width()), Fluctuation::new(inner.channels)]
    };
    let mut seen: Vec<[Fluctuation; 2]> = (0..model.blocks()).map(of).collect();
    model.inputs(Samples::ALL, &[Map::O, Map::Down], &mut |block, map, inputs| {
        seen[block][usize::from(map == Map::Down)].add(inputs);
    })?;
    match seen.iter().position(|of| of.iter().any(|seen| seen.spread.iter().any(|spread| !spread.is_finite()))) {
        Some(block) => Err(ShrinkError::NotFinite { what: "what enters the output map or the contraction", block }),
        None => Ok(seen),
    }
}

/// What a column is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worth {
    /// Variance of the input times the square of the column.
    Wifv,
    /// Variance of the input.
    Ifv,
    /// Size of the column times that of the input.
    Wifn,
}

/// What each column of `weight (rows, cols)` is worth.
///
/// # Panics
/// When the inputs are of another number of columns.
pub fn worths(weight: &[f32], inputs: &Fluctuation, worth: Worth) -> Vec<f64> {
    let cols = inputs.mean.len();
    assert!(cols > 0 && weight.len().is_multiple_of(cols), "weights of another width than their inputs");
    let rows = (weight.len() / cols).max(1) as f64;
    let over = |of: fn(f64) -> f64| -> Vec<f64> {
        (0..cols).map(|at| weight[at..].iter().step_by(cols).map(|w| of(f64::from(*w))).sum()).collect()
    };
    let times = |a: Vec<f64>, b: Vec<f64>| a.into_iter().zip(b).map(|(a, b)| a * b).collect();
    match worth {
        Worth::Wifv => times(inputs.variances(), over(|w| w * w)),
        Worth::Ifv => inputs.variances(),
        Worth::Wifn => times(
            inputs.squares.iter().map(|square| square.sqrt()).collect(),
            over(f64::abs).into_iter().map(|sum| sum / rows).collect(),
        ),
    }
}

/// `(x − mean) / deviation` over the columns of a matrix; nothing where all are equal.
pub fn standardised(values: &[f64]) -> Vec<f64> {
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    let deviation = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0)).sqrt();
    values.iter().map(|value| if deviation > 0.0 { (value - mean) / deviation } else { 0.0 }).collect()
}

/// What heads of `width` columns each are worth.
pub fn of_heads(worths: &[f64], width: usize) -> Vec<f64> {
    let squared: Vec<f64> = worths.iter().map(|worth| worth * worth).collect();
    standardised(&squared).chunks(width.max(1)).map(|head| head.iter().sum::<f64>() / head.len() as f64).collect()
}

/// Which units stay, each with its score and its cost in weights: the best whose costs together are at most `keep` of all, at the threshold the lower
/// index first.
pub fn kept(units: &[(f64, u64)], keep: f64) -> Vec<bool> {
    let all: u64 = units.iter().map(|(_, cost)| cost).sum();
    let budget = keep * all as f64;
    let mut order: Vec<usize> = (0..units.len()).collect();
    order.sort_by(|a, b| units[*b].0.total_cmp(&units[*a].0));
    let (mut stay, mut spent) = (vec![false; units.len()], 0u64);
    for at in order {
        if (spent + units[at].1) as f64 > budget + 1e-9 {
            break;
        }
        spent += units[at].1;
        stay[at] = true;
    }
    stay
}

/// The bias that stands for the columns that go: `Σ_j W_:,j · mean(X_j)`.
///
/// # Panics
/// When `stay` is not one word a column.
pub fn compensation(weight: &[f32], inputs: &Fluctuation, stay: &[bool]) -> Vec<f64> {
    assert_eq!(stay.len(), inputs.mean.len(), "one word a column");
    let of = |row: &[f32]| {
        let gone = row.iter().zip(&inputs.mean).zip(stay).filter(|(_, stay)| !**stay);
        gone.map(|((weight, mean), _)| f64::from(*weight) * mean).sum()
    };
    weight.chunks_exact(stay.len().max(1)).map(of).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const INPUTS: [f32; 8] = [1.0, 5.0, 3.0, 5.0, 2.0, 5.0, 2.0, 5.0];
    const WEIGHT: [f32; 4] = [1.0, 2.0, 0.0, 1.0];

    fn seen() -> Fluctuation {
        let mut seen = Fluctuation::new(2);
        // In batches of any size.
        seen.add(&INPUTS[..2]);
        seen.add(&INPUTS[2..]);
        seen
    }

    #[test]
    fn the_worked_example_of_two_columns() {
        let seen = seen();
        assert_eq!(seen.means(), [2.0, 5.0]);
        let worth = worths(&WEIGHT, &seen, Worth::Wifv);
        assert!((worth[0] - 0.666_667).abs() < 5e-7 && worth[1] == 0.0, "{worth:?}");
        let bias = compensation(&WEIGHT, &seen, &[true, false]);
        assert_eq!(bias, [10.0, 5.0]);
        for x in INPUTS.chunks_exact(2) {
            for (row, bias) in WEIGHT.chunks_exact(2).zip(&bias) {
                assert_eq!(f64::from(row[0] * x[0] + row[1] * x[1]), f64::from(row[0] * x[0]) + bias);
            }
        }
    }

    #[test]
    fn the_other_worths_are_what_they_say() {
        let seen = seen();
        assert!((worths(&WEIGHT, &seen, Worth::Ifv)[0] - 2.0 / 3.0).abs() < 1e-12);
        let wifn = worths(&WEIGHT, &seen, Worth::Wifn);
        assert!((wifn[0] - 0.5 * 18f64.sqrt()).abs() < 1e-12 && (wifn[1] - 1.5 * 10.0).abs() < 1e-12, "{wifn:?}");
    }

    #[test]
    fn variances_are_those_of_two_passes() {
        let values: Vec<f32> = (0..300).map(|at| (at as f32 * 0.7).sin() * 3.0 + 100.0).collect();
        let mut seen = Fluctuation::new(3);
        values.chunks(21).for_each(|part| seen.add(part));
        for column in 0..3 {
            let own: Vec<f64> = values[column..].iter().step_by(3).map(|value| f64::from(*value)).collect();
            let mean = own.iter().sum::<f64>() / 100.0;
            let variance = own.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 99.0;
            assert!((seen.means()[column] - mean).abs() < 1e-10);
            assert!((seen.variances()[column] - variance).abs() < 1e-9 * variance);
        }
    }

    #[test]
    fn one_threshold_spends_what_is_allowed_on_the_best() {
        let units = [(0.5, 10), (2.0, 30), (-1.0, 10), (1.0, 10), (0.5, 40)];
        assert_eq!(kept(&units, 1.0), [true; 5]);
        assert_eq!(kept(&units, 0.0), [false; 5]);
        assert_eq!(kept(&units, 0.5), [true, true, false, true, false]);
        assert_eq!(kept(&units, 0.49), [false, true, false, true, false]);
    }

    #[test]
    fn scores_of_a_matrix_have_no_mean_and_one_deviation() {
        let found = standardised(&[1.0, 4.0, 2.0, 9.0]);
        assert!(found.iter().sum::<f64>().abs() < 1e-12);
        assert!((found.iter().map(|value| value * value).sum::<f64>() / 3.0 - 1.0).abs() < 1e-12);
        assert_eq!(standardised(&[3.0; 4]), [0.0; 4]);
        let heads = of_heads(&[1.0, 2.0, 3.0, 0.0], 2);
        let all = standardised(&[1.0, 4.0, 9.0, 0.0]);
        assert!(
            (heads[0] - f64::midpoint(all[0], all[1])).abs() < 1e-12
                && (heads[1] - f64::midpoint(all[2], all[3])).abs() < 1e-12
        );
    }
}
