//! Sums over the inputs of one linear map, gathered sequence by sequence in `f64`.
//!
//! The sums do not depend on the number of threads: every entry is added up by one thread in token order.

mod samples;

use std::sync::{Arc, Mutex, PoisonError};

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

use crate::lowrank::linalg::{product, transposed};
use crate::prune::Needs;
use crate::prune::factor::{Factor, FactorError, hinv_upper};
use crate::quant::hadamard::Turn;
use samples::Samples;

/// Tokens converted to `f64` at a time.
const PANEL: usize = 256;

/// Rows of the second moment that one task computes.
const BAND: usize = 96;

/// Columns that one task adds up.
const STRIPE: usize = 64;

/// Inputs that one task looks through for what is not finite.
const CHECKED: usize = 1 << 14;

/// Why a sequence was refused. The sums are as they were.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StatisticsError {
    /// A slice that is not whole rows.
    #[error("{length} inputs do not make rows of {columns}")]
    Shape {
        /// Inputs of the linear map.
        columns: usize,
        /// Length of the slice.
        length: usize,
    },
    /// An input that is NaN or infinite.
    #[error("input {column} of token {token} is {value}; the model's activations overflow on this text")]
    NotFinite {
        /// Token of the sequence from 0.
        token: usize,
        /// Column from 0.
        column: usize,
        /// NaN or an infinity.
        value: f32,
    },
}

/// The sums of one linear map's inputs.
#[derive(Debug)]
pub struct LinearStatistics {
    columns: usize,
    tokens: usize,
    sequences: usize,
    column_sum_squares: Vec<f64>,
    /// `Σ x xᵀ`, row-major, symmetric.
    second_moment: Option<Vec<f64>>,
    /// `Σ |x_j|` and `max |x_j|`.
    magnitudes: Option<(Vec<f64>, Vec<f32>)>,
    samples: Option<Samples>,
    producer_spread: Option<Vec<f32>>,
    /// Factors by damping, so that maps that share an input, and arms that share a calibration, share them.
    factors: Mutex<Vec<(Key, Arc<Factor>)>>,
}

/// The damping, and whether inputs go by falling diagonal.
type Key = (f64, bool);

impl LinearStatistics {
    /// Empty sums of a map with that many inputs.
    pub fn new(columns: usize, needs: Needs) -> Self {
        Self {
            columns,
            tokens: 0,
            sequences: 0,
            column_sum_squares: vec![0.0; columns],
            second_moment: needs.second_moment.then(|| vec![0.0; columns * columns]),
            magnitudes: needs.magnitudes.then(|| (vec![0.0; columns], vec![0.0; columns])),
            samples: needs.samples.then(Samples::default),
            producer_spread: None,
            factors: Mutex::default(),
        }
    }

    /// Adds the inputs of one sequence, tokens × columns, row-major.
    ///
    /// # Errors
    /// [`StatisticsError`] for a wrong length or an input that is not finite; nothing is added then.
    pub fn add(&mut self, x: &[f32]) -> Result<(), StatisticsError> {
        self.add_sequences(x, 1)
    }

    /// Adds the inputs of several sequences of equal length, one after the other; the sums are those of adding them one by one.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn add_sequences(&mut self, x: &[f32], sequences: usize) -> Result<(), StatisticsError> {
        if self.columns == 0 || sequences == 0 || !x.len().is_multiple_of(self.columns * sequences) {
            return Err(StatisticsError::Shape { columns: self.columns, length: x.len() });
        }
        if x.par_chunks(CHECKED).any(|values| values.iter().any(|value| !value.is_finite()))
            && let Some(at) = x.iter().position(|value| !value.is_finite())
        {
            let (token, column) = (at / self.columns, at % self.columns);
            let token = token % (x.len() / self.columns / sequences);
            return Err(StatisticsError::NotFinite { token, column, value: x[at] });
        }
        self.factors.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
        let columns = self.columns;
        self.column_sum_squares.par_chunks_mut(STRIPE).enumerate().for_each(|(stripe, sums)| {
            for row in x.chunks_exact(columns) {
                for (sum, &value) in sums.iter_mut().zip(&row[stripe * STRIPE..]) {
                    *sum += f64::from(value) * f64::from(value);
                }
            }
        });
        if let Some((sums, largest)) = &mut self.magnitudes {
            let stripes = sums.par_chunks_mut(STRIPE).zip(largest.par_chunks_mut(STRIPE)).enumerate();
            stripes.for_each(|(stripe, (sums, largest))| {
                for row in x.chunks_exact(columns) {
                    for ((sum, most), value) in sums.iter_mut().zip(largest.iter_mut()).zip(&row[stripe * STRIPE..]) {
                        *sum += f64::from(value.abs());
                        *most = most.max(value.abs());
                    }
                }
            });
        }
        if let Some(samples) = &mut self.samples {
            samples.add(x, columns);
        }
        if let Some(moment) = &mut self.second_moment {
            let mut panel: Vec<f64> = Vec::new();
            // Panels begin anew with each sequence, so that it does not matter how many come at once.
            let of_sequence = (x.len() / sequences).max(columns);
            for rows in x.chunks(of_sequence).flat_map(|sequence| sequence.chunks(PANEL * columns)) {
                panel.clear();
                panel.extend(rows.iter().map(|&value| f64::from(value)));
                add_product(moment, &panel, columns);
            }
            mirror(moment, columns);
        }
        self.tokens += x.len() / columns;
        self.sequences += sequences;
        Ok(())
    }

    /// Inputs of the map.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Tokens added.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Sequences added.
    pub fn sequences(&self) -> usize {
        self.sequences
    }

    /// `Σ x_j²` over all tokens, for every column.
    pub fn column_sum_squares(&self) -> &[f64] {
        &self.column_sum_squares
    }

    /// `Σ x xᵀ` over all tokens, columns × columns; `None` when it was not asked for.
    pub fn second_moment(&self) -> Option<&[f64]> {
        self.second_moment.as_deref()
    }

    /// The mean over tokens and rows of the squared outputs that `change` (rows × columns) would make of the inputs: `tr(Δ S Δᵀ)
    /// / (tokens · rows)`; `None` when the second moment was not asked for or nothing was added.
    pub fn mean_squared_outputs(&self, change: &[f32]) -> Option<f64> {
        let moment = self.second_moment.as_ref().filter(|_| self.tokens > 0)?;
        let rows = change.len() / self.columns.max(1);
        let wide: Vec<f64> = change.iter().map(|&value| f64::from(value)).collect();
        let moment = MatRef::from_row_major_slice(moment, self.columns, self.columns);
        let sums = wide.par_chunks(BAND * self.columns).map(|band| {
            let height = band.len() / self.columns;
            let mut product = vec![0.0; band.len()];
            let target = MatMut::from_row_major_slice_mut(&mut product, height, self.columns);
            let band_view = MatRef::from_row_major_slice(band, height, self.columns);
            matmul(target, Accum::Replace, band_view, moment, 1.0, Par::Seq);
            product.iter().zip(band).map(|(a, b)| a * b).sum::<f64>()
        });
        // Added up in the order of the bands, whatever the number of threads.
        let sums: Vec<f64> = sums.collect();
        Some(sums.iter().sum::<f64>() / (self.tokens * rows.max(1)) as f64)
    }

    /// The mean of `|x_j|` over all tokens, for every column; `None` when it was not asked for or nothing was added.
    pub fn mean_magnitudes(&self) -> Option<Vec<f64>> {
        let (sums, _) = self.magnitudes.as_ref().filter(|_| self.tokens > 0)?;
        Some(sums.iter().map(|sum| sum / self.tokens as f64).collect())
    }

    /// The greatest `|x_j|` of every column; `None` when it was not asked for or nothing was added.
    pub fn largest_magnitudes(&self) -> Option<&[f32]> {
        self.magnitudes.as_ref().filter(|_| self.tokens > 0).map(|(_, largest)| largest.as_slice())
    }

    /// Inputs of every n-th token, tokens × columns, 512 to 1024 tokens where there are as many; empty when they were not
    /// asked for.
    pub fn samples(&self) -> &[f32] {
        self.samples.as_ref().map_or(&[], Samples::rows)
    }

    /// The standard deviation of the weights that make each input; `None` when it is not known.
    pub fn producer_spread(&self) -> Option<&[f32]> {
        self.producer_spread.as_deref()
    }

    /// With the standard deviation of the weights that make each input.
    ///
    /// # Panics
    /// When there is not one for each column.
    #[must_use]
    pub fn with_producer_spread(mut self, spread: Vec<f32>) -> Self {
        assert_eq!(spread.len(), self.columns, "one spread an input");
        self.producer_spread = Some(spread);
        self
    }

    /// The sums of the same inputs divided by a factor for each column.
    ///
    /// # Panics
    /// When there is not one factor for each column.
    #[must_use]
    pub fn divided(&self, factors: &[f32]) -> Self {
        assert_eq!(factors.len(), self.columns, "one factor an input");
        let wide: Vec<f64> = factors.iter().map(|&factor| f64::from(factor)).collect();
        let squares = self.column_sum_squares.iter().zip(&wide).map(|(sum, s)| sum / (s * s)).collect();
        let moment = self.second_moment.as_ref().map(|moment| {
            let rows = moment.chunks_exact(self.columns.max(1)).zip(&wide);
            rows.flat_map(|(row, r)| row.iter().zip(&wide).map(move |(sum, s)| sum / (r * s))).collect()
        });
        let magnitudes = self.magnitudes.as_ref().map(|(sums, largest)| {
            let sums = sums.iter().zip(&wide).map(|(sum, s)| sum / s.abs()).collect();
            (sums, largest.iter().zip(factors).map(|(most, s)| most / s.abs()).collect())
        });
        Self {
            columns: self.columns,
            tokens: self.tokens,
            sequences: self.sequences,
            column_sum_squares: squares,
            second_moment: moment,
            magnitudes,
            samples: self.samples.as_ref().map(|samples| samples.divided(factors)),
            producer_spread: self.producer_spread.clone(),
            factors: Mutex::default(),
        }
    }

    /// The second moment of the same inputs turned; `None` when it was not asked for.
    ///
    /// # Panics
    /// When the turn is of another number of inputs.
    pub fn turned(&self, turn: &Turn) -> Option<Self> {
        let mut moment = self.second_moment.clone()?;
        for _ in 0..2 {
            turn.forward(&mut moment);
            transpose(&mut moment, self.columns);
        }
        let diagonal = moment.iter().step_by(self.columns + 1).copied().collect();
        let needs = Needs::SECOND_MOMENT;
        let mut turned = Self { tokens: self.tokens, sequences: self.sequences, ..Self::new(self.columns, needs) };
        (turned.column_sum_squares, turned.second_moment) = (diagonal, Some(moment));
        Some(turned)
    }

    /// The sums of what a matrix (rows × columns, row-major) makes of the same inputs: squares and second moment; `None` when the
    /// second moment was not asked for.
    ///
    /// # Panics
    /// When the matrix has no whole rows.
    pub fn mapped(&self, matrix: &[f32]) -> Option<Self> {
        let (moment, columns) = (self.second_moment.as_ref()?, self.columns);
        assert!(columns > 0 && matrix.len().is_multiple_of(columns), "whole rows of {columns}");
        let rows = matrix.len() / columns;
        let wide: Vec<f64> = matrix.iter().map(|&value| f64::from(value)).collect();
        let half = product(&wide, moment, (rows, columns, columns));
        let mut seen = product(&half, &transposed(&wide, rows), (rows, columns, rows));
        mirror(&mut seen, rows);
        let mut mapped = Self::new(rows, Needs::SECOND_MOMENT);
        (mapped.tokens, mapped.sequences) = (self.tokens, self.sequences);
        mapped.column_sum_squares = seen.iter().step_by(rows + 1).copied().collect();
        mapped.second_moment = Some(seen);
        Some(mapped)
    }

    /// The Hessian of the reconstruction error as SparseGPT scales it, `(2 / sequences) Σ x xᵀ`; `None` when the second
    /// moment was not asked for or nothing was added.
    pub fn hessian(&self) -> Option<Vec<f64>> {
        let scale = 2.0 / self.sequences as f64;
        let moment = self.second_moment.as_ref().filter(|_| self.sequences > 0)?;
        Some(moment.iter().map(|value| value * scale).collect())
    }

    /// The factor of the inverse of the damped [`hessian`](Self::hessian), computed once for each damping.
    ///
    /// # Errors
    /// [`FactorError`] when there is no Hessian or it cannot be factored.
    pub fn inverse_factor(&self, damp: f64) -> Result<Arc<Factor>, FactorError> {
        self.factor(damp, false, || (0..self.columns).collect())
    }

    /// The inputs by falling diagonal of the [`hessian`](Self::hessian), equal ones in their own order, and the factor of
    /// the Hessian in that order.
    ///
    /// # Errors
    /// As [`inverse_factor`](Self::inverse_factor).
    pub fn ordered_factor(&self, damp: f64) -> Result<(Vec<usize>, Arc<Factor>), FactorError> {
        let moment = self.second_moment.as_ref().ok_or(FactorError::NoHessian)?;
        let diagonal = |j: usize| moment[j * (self.columns + 1)];
        let mut order: Vec<usize> = (0..self.columns).collect();
        order.sort_by(|&a, &b| diagonal(b).total_cmp(&diagonal(a)));
        let factor = self.factor(damp, true, || order.clone())?;
        Ok((order, factor))
    }

    fn factor(&self, damp: f64, ordered: bool, order: impl FnOnce() -> Vec<usize>) -> Result<Arc<Factor>, FactorError> {
        // Held while factoring, so that no other thread factors the same.
        let mut factors = self.factors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, factor)) = factors.iter().find(|(known, _)| *known == (damp, ordered)) {
            return Ok(Arc::clone(factor));
        }
        let mut hessian = self.hessian().ok_or(FactorError::NoHessian)?;
        if ordered {
            let order = order();
            let row = |&i: &usize| order.iter().map(move |&j| (i, j)).collect::<Vec<_>>();
            hessian = order.iter().flat_map(row).map(|(i, j)| hessian[i * self.columns + j]).collect();
        }
        let factor = Arc::new(hinv_upper(hessian, self.columns, damp)?);
        factors.push(((damp, ordered), Arc::clone(&factor)));
        Ok(factor)
    }
}

/// Adds `XᵀX` of a panel (tokens × columns) to the lower triangle of `moment`.
fn add_product(moment: &mut [f64], panel: &[f64], columns: usize) {
    let x = MatRef::from_row_major_slice(panel, panel.len() / columns, columns);
    moment.par_chunks_mut(BAND * columns).enumerate().for_each(|(band, rows)| {
        let height = rows.len() / columns;
        let end = band * BAND + height;
        let left = x.subcols(band * BAND, height);
        let target = MatMut::from_row_major_slice_mut(rows, height, columns).subcols_mut(0, end);
        matmul(target, Accum::Add, left.transpose(), x.subcols(0, end), 1.0, Par::Seq);
    });
}

fn transpose(matrix: &mut [f64], columns: usize) {
    for row in 0..columns {
        for column in 0..row {
            matrix.swap(row * columns + column, column * columns + row);
        }
    }
}

/// Copies the lower triangle to the upper one, tile by tile.
fn mirror(moment: &mut [f64], columns: usize) {
    const TILE: usize = 32;
    for top in (0..columns).step_by(TILE) {
        for left in (0..=top).step_by(TILE) {
            for row in top..(top + TILE).min(columns) {
                for column in left..(left + TILE).min(row) {
                    moment[column * columns + row] = moment[row * columns + column];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use harness_core::seed;
    use rand_chacha::rand_core::Rng;

    use super::*;

    const BOTH: Needs = Needs::COLUMN_NORMS.union(Needs::SECOND_MOMENT);

    fn inputs(tokens: usize, columns: usize) -> Vec<f32> {
        let mut random = seed::stream(3, &["inputs"]);
        (0..tokens * columns).map(|_| (random.next_u64() >> 40) as f32 / (1u64 << 23) as f32 - 1.0).collect()
    }

    #[test]
    fn sums_are_those_of_the_definition() {
        let (tokens, columns) = (300, 131);
        let x = inputs(tokens, columns);
        let mut statistics = LinearStatistics::new(columns, BOTH);
        statistics.add(&x[..100 * columns]).unwrap();
        statistics.add(&x[100 * columns..]).unwrap();
        assert_eq!((statistics.tokens(), statistics.sequences()), (300, 2));
        let entry =
            |i: usize, j: usize| -> f64 { x.chunks(columns).map(|row| f64::from(row[i]) * f64::from(row[j])).sum() };
        let moment = statistics.second_moment().unwrap();
        for i in 0..columns {
            assert!((statistics.column_sum_squares()[i] - entry(i, i)).abs() < 1e-9);
            for j in 0..columns {
                assert!((moment[i * columns + j] - entry(i, j)).abs() < 1e-9, "{i} {j}");
                assert_eq!(moment[i * columns + j], moment[j * columns + i]);
            }
        }
    }

    #[test]
    fn sequences_together_sum_up_as_one_by_one() {
        let all = Needs { samples: true, magnitudes: true, ..BOTH };
        for (tokens, columns) in [(300, 131), (5, 64), (256, 3)] {
            let x = inputs(4 * tokens, columns);
            let (mut alone, mut together) = (LinearStatistics::new(columns, all), LinearStatistics::new(columns, all));
            x.chunks(tokens * columns).for_each(|sequence| alone.add(sequence).unwrap());
            together.add_sequences(&x[..3 * tokens * columns], 3).unwrap();
            together.add_sequences(&x[3 * tokens * columns..], 1).unwrap();
            assert_eq!((together.tokens(), together.sequences()), (4 * tokens, 4));
            assert_eq!(together.column_sum_squares(), alone.column_sum_squares());
            assert_eq!(together.second_moment(), alone.second_moment());
            assert_eq!(together.mean_magnitudes(), alone.mean_magnitudes());
            assert_eq!(together.largest_magnitudes(), alone.largest_magnitudes());
            assert_eq!(together.samples(), alone.samples());
        }
        let mut odd = LinearStatistics::new(3, BOTH);
        assert_eq!(odd.add_sequences(&[0.0; 9], 2), Err(StatisticsError::Shape { columns: 3, length: 9 }));
    }

    #[test]
    fn divided_sums_are_those_of_divided_inputs() {
        let (tokens, columns) = (90, 7);
        let all = Needs { samples: true, magnitudes: true, ..BOTH };
        let x = inputs(tokens, columns);
        let factors = [0.5, 2.0, 1.0, 3.0, 0.1, 1.5, 4.0_f32];
        let (mut plain, mut other) = (LinearStatistics::new(columns, all), LinearStatistics::new(columns, all));
        plain.add(&x).unwrap();
        let scaled: Vec<f32> = x.iter().enumerate().map(|(at, x)| x / factors[at % columns]).collect();
        other.add(&scaled).unwrap();
        let divided = plain.divided(&factors);
        let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-5 * b.abs().max(1e-3));
        assert!(near(divided.column_sum_squares(), other.column_sum_squares()));
        assert!(near(divided.second_moment().unwrap(), other.second_moment().unwrap()));
        assert!(near(&divided.mean_magnitudes().unwrap(), &other.mean_magnitudes().unwrap()));
        assert_eq!(divided.samples(), other.samples());
        assert_eq!(divided.largest_magnitudes(), other.largest_magnitudes());
        let most = |j: usize| x.chunks(columns).map(|row| row[j].abs()).fold(0.0, f32::max);
        assert_eq!(plain.largest_magnitudes().unwrap(), (0..columns).map(most).collect::<Vec<_>>());
    }

    #[test]
    fn threads_change_no_bit() {
        let x = inputs(700, 200);
        let sums = |threads| {
            rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
                let mut statistics = LinearStatistics::new(200, BOTH);
                statistics.add(&x).unwrap();
                statistics.second_moment().unwrap().to_vec()
            })
        };
        assert_eq!(sums(1), sums(5));
    }

    #[test]
    fn bad_inputs_are_refused_and_add_nothing() {
        let mut statistics = LinearStatistics::new(3, BOTH);
        statistics.add(&[1.0, 2.0, 3.0]).unwrap();
        let before = format!("{statistics:?}");
        assert_eq!(statistics.add(&[1.0; 4]), Err(StatisticsError::Shape { columns: 3, length: 4 }));
        let error = statistics.add(&[1.0, 1.0, 1.0, 1.0, f32::INFINITY, 1.0]).unwrap_err();
        assert_eq!(error, StatisticsError::NotFinite { token: 1, column: 1, value: f32::INFINITY });
        assert!(statistics.add(&[f32::NAN, 0.0, 0.0]).is_err());
        assert_eq!(format!("{statistics:?}"), before);
    }

    #[test]
    fn a_factor_is_computed_once_and_forgotten_when_tokens_come() {
        let mut statistics = LinearStatistics::new(8, Needs::SECOND_MOMENT);
        assert_eq!(statistics.inverse_factor(0.01).unwrap_err(), FactorError::NoHessian);
        statistics.add(&inputs(20, 8)).unwrap();
        let first = statistics.inverse_factor(0.01).unwrap();
        assert!(Arc::ptr_eq(&first, &statistics.inverse_factor(0.01).unwrap()));
        assert!(!Arc::ptr_eq(&first, &statistics.inverse_factor(0.1).unwrap()));
        statistics.add(&inputs(3, 8)).unwrap();
        assert!(!Arc::ptr_eq(&first, &statistics.inverse_factor(0.01).unwrap()));
    }
}
