//! Biases of attention scores by the distance of key and query: their numbers, and how they are learned.

pub(crate) mod fire;

use std::sync::{Mutex, PoisonError};

use candle_core::{Result, Tensor};

use crate::config::DistanceBias;
use crate::ops::{self, ScoreBiases};
use crate::parameter::Parameter;
use crate::tensor::from_values;
pub(crate) use fire::Trained;

/// Buckets of distances.
pub(crate) const BUCKETS: usize = 32;
/// Distances from here on share the last bucket, but for the rounding of the one before.
const LAST: f64 = 128.0;
/// Distances below have a bucket each.
const EXACT: usize = BUCKETS / 2;
/// The least that learned numbers of KERPLE count as.
const LEAST: f32 = 0.01;
/// Dimensions of the sinusoidal embeddings of Sandwich.
const SINUSOIDS: usize = 128;
/// The largest power.
const STEEPEST: f32 = 2.0;

/// The bucket of a distance: its own below 16, then logarithmic up to 128.
fn bucket(distance: usize) -> usize {
    if distance < EXACT {
        return distance;
    }
    let share = (distance as f64 / EXACT as f64).ln() / (LAST / EXACT as f64).ln();
    (EXACT + (share * (BUCKETS - EXACT) as f64) as usize).min(BUCKETS - 1)
}

/// What sinusoidal embeddings at a distance have in common, less what one has with itself.
fn alike(distance: usize) -> f32 {
    let terms = SINUSOIDS / 2;
    let cosine = |k: usize| (distance as f64 * 1e4f64.powf(-2.0 * k as f64 / SINUSOIDS as f64)).cos();
    ((0..terms).map(cosine).sum::<f64>() - terms as f64) as f32
}

/// `(heads, distances)`, of a function of both.
fn table(heads: usize, distances: usize, of: impl Fn(usize, usize) -> f32) -> Vec<f32> {
    let place = |at: usize| of(at / distances, at % distances);
    (0..heads * distances).map(place).collect()
}

impl DistanceBias {
    /// Rows and columns of the matrix that is learned, and whether each block has one of its own; `None` where nothing is. A column is a
    /// head's, but for FIRE's one row.
    pub fn learned(self, heads: usize) -> Option<(usize, usize, bool)> {
        match self {
            Self::T5 => Some((BUCKETS, heads, false)),
            Self::KerpleLog | Self::KerplePower => Some((2, heads, true)),
            Self::Fire => Some((1, fire::numbers(heads), true)),
            Self::InverseSquare | Self::LogSquare | Self::Inverse | Self::Sandwich => None,
        }
    }

    /// Biases of so many distances, of learned numbers `(rows, heads)`; of KERPLE the rows are `p` and `a`. FIRE's also depend on where the
    /// query stands, and are no table.
    pub fn biases(self, learned: &[f32], heads: usize, distances: usize) -> ScoreBiases {
        let number = |row: usize, head: usize| learned[row * heads + head];
        let log = |distance: usize| (distance as f32 + 1.0).ln();
        let values = match self {
            Self::Fire => return ScoreBiases::Progressive(fire::progressive(learned, distances).into()),
            Self::T5 => table(heads, distances, |head, distance| number(bucket(distance), head)),
            Self::KerpleLog => table(heads, distances, |head, distance| {
                let (p, a) = (number(0, head).max(LEAST), number(1, head).max(LEAST));
                -p * (1.0 + a * distance as f32).ln()
            }),
            Self::KerplePower => table(heads, distances, |head, distance| {
                let (p, a) = (number(0, head).clamp(LEAST, STEEPEST), number(1, head).max(LEAST));
                if distance == 0 { 0.0 } else { -a * (p * (distance as f32).ln()).exp() }
            }),
            Self::InverseSquare => table(heads, distances, |_, distance| -2.0 * log(distance)),
            Self::LogSquare => table(heads, distances, |_, distance| -log(distance) * log(distance)),
            Self::Inverse => table(heads, distances, |_, distance| -log(distance)),
            Self::Sandwich => {
                let alike: Vec<f32> = (0..distances).map(alike).collect();
                table(heads, distances, |head, distance| alike[distance] * heads as f32 / (8.0 * (head + 1) as f32))
            }
        };
        ScoreBiases::Table(values.into())
    }

    /// As [`Self::biases`], of a variable, with gradients.
    fn trained(self, learned: &Tensor, heads: usize, distances: usize) -> Result<Trained> {
        match self {
            Self::Fire => fire::trained(learned, heads, distances),
            _ => self.tensor(learned, distances).map(Trained::Table),
        }
    }

    /// As [`Self::biases`] that are a table, of a variable `(rows, heads)`, with gradients.
    fn tensor(self, learned: &Tensor, distances: usize) -> Result<Tensor> {
        let row = |at: usize| learned.narrow(0, at, 1)?.t()?.contiguous();
        let line =
            |of: &dyn Fn(f32) -> f32| from_values((0..distances).map(|d| of(d as f32)).collect(), (1, distances));
        match self {
            Self::T5 => {
                let ids: Vec<u32> = (0..distances).map(|distance| bucket(distance) as u32).collect();
                ops::embedding(learned, &ids)?.t()?.contiguous()
            }
            Self::KerplePower => {
                let (p, a) = (row(0)?.maximum(LEAST)?.minimum(STEEPEST)?, row(1)?.maximum(LEAST)?);
                // The power of 0 is 0: its logarithm is far enough down.
                let powers = p.broadcast_mul(&line(&|d| if d == 0.0 { -1e5 } else { d.ln() })?)?.exp()?;
                a.broadcast_mul(&powers)?.neg()
            }
            _ => {
                let (p, a) = (row(0)?.maximum(LEAST)?, row(1)?.maximum(LEAST)?);
                p.broadcast_mul(&(a.broadcast_mul(&line(&|d| d)?)? + 1.0)?.log()?)?.neg()
            }
        }
    }
}

/// The biases of one block, or of all.
#[derive(Debug)]
pub(crate) struct Biases {
    kind: DistanceBias,
    heads: usize,
    /// Where something is.
    learned: Option<Parameter>,
    /// Of numbers that do not change, for all distances asked for until now, and how many.
    known: Mutex<Option<(usize, ScoreBiases)>>,
}

impl Biases {
    pub fn new(kind: DistanceBias, heads: usize, learned: Option<Parameter>) -> Self {
        Self { kind, heads, learned, known: Mutex::default() }
    }

    /// The numbers that are learned.
    pub fn learned(&self) -> Option<&Parameter> {
        self.learned.as_ref()
    }

    /// Biases of at least so many distances.
    pub fn of(&self, distances: usize) -> ScoreBiases {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let trained = matches!(self.learned, Some(Parameter::Trained(_)));
        match &*known {
            Some((count, biases)) if !trained && *count >= distances => biases.clone(),
            _ => {
                let learned = self.learned.as_ref().map_or_else(Vec::new, |learned| learned.weight().to_f32());
                let count = distances.next_power_of_two();
                let biases = self.kind.biases(&learned, self.heads, count);
                *known = Some((count, biases.clone()));
                biases
            }
        }
    }

    /// Biases with gradients, of numbers under training, for texts of so many positions.
    pub fn under_training(&self, length: usize) -> Option<Result<Trained>> {
        match &self.learned {
            Some(Parameter::Trained(learned)) => Some(self.kind.trained(learned, self.heads, length)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use candle_core::Var;

    use super::*;
    use crate::tensor::with_values;

    fn values(kind: DistanceBias, learned: &[f32], heads: usize, distances: usize) -> Vec<f32> {
        let ScoreBiases::Table(values) = kind.biases(learned, heads, distances) else { panic!("{kind:?}") };
        values.to_vec()
    }

    #[test]
    fn buckets_are_those_of_the_publication() {
        let found = [15, 16, 18, 20, 32, 48, 64, 100, 112, 113, 128, 100_000].map(bucket);
        assert_eq!(found, [15, 16, 16, 17, 21, 24, 26, 30, 30, 31, 31, 31]);
    }

    #[test]
    fn biases_computed_by_hand() {
        let log = values(DistanceBias::KerpleLog, &[1.0, 1.0], 1, 256);
        assert_eq!((log[0], (log[255] + 5.545_177).abs() < 1e-6), (0.0, true));
        // With a power of 1 it is the linear bias.
        let power = values(DistanceBias::KerplePower, &[1.0, 2.0, 0.25, 0.001], 2, 5);
        let expected = [0.0, -0.25, -0.5, -0.75, -1.0, 0.0, -0.01, -0.04, -0.09, -0.16];
        assert!(power.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{power:?}");
        let squares = values(DistanceBias::InverseSquare, &[], 2, 3);
        assert!((squares[5] + 2.0 * 3f32.ln()).abs() < 1e-6 && squares[0] == 0.0);
        assert_eq!(values(DistanceBias::LogSquare, &[], 1, 2)[1], -(2f32.ln().powi(2)));
        assert_eq!(values(DistanceBias::Inverse, &[], 1, 2)[1], -(2f32.ln()));
    }

    #[test]
    fn sinusoids_have_in_common_what_was_computed_elsewhere() {
        for (distance, sum) in [
            (0, 64.0),
            (1, 62.093_684),
            (2, 57.381_861),
            (8, 45.720_514),
            (64, 30.520_06),
            (256, 20.524_833),
            (1024, 13.084_251),
        ] {
            assert!((alike(distance) + 64.0 - sum).abs() < 5e-6, "{distance}: {}", alike(distance) + 64.0);
        }
        let values = values(DistanceBias::Sandwich, &[], 4, 3);
        let scales = [2.0, 4.0, 6.0, 8.0];
        for (head, scale) in scales.into_iter().enumerate() {
            assert_eq!(values[3 * head], 0.0);
            assert!((values[3 * head + 1] - alike(1) / scale).abs() < 1e-6);
        }
    }

    #[test]
    fn learned_biases_are_the_same_under_training_and_have_gradients() {
        for kind in [DistanceBias::T5, DistanceBias::KerpleLog, DistanceBias::KerplePower] {
            let (rows, ..) = kind.learned(3).unwrap();
            let numbers: Vec<f32> = (0..rows * 3).map(|i| 0.3 + 0.17 * (i % 7) as f32).collect();
            let var = Var::from_tensor(&from_values(numbers.clone(), (rows, 3)).unwrap()).unwrap();
            let learned = Biases::new(kind, 3, Some(Parameter::Trained(var.clone())));
            let Trained::Table(table) = learned.under_training(40).unwrap().unwrap() else { panic!("{kind:?}") };
            let plain = values(kind, &numbers, 3, 40);
            let found = with_values(&table, <[f32]>::to_vec).unwrap();
            assert!(found.iter().zip(&plain).all(|(a, b)| (a - b).abs() < 1e-4), "{kind:?}");
            let gradients = table.sum_all().unwrap().backward().unwrap();
            let slope = with_values(&gradients.get(&var).unwrap().contiguous().unwrap(), <[f32]>::to_vec).unwrap();
            let sum = |numbers: &[f32]| values(kind, numbers, 3, 40).iter().map(|v| f64::from(*v)).sum::<f64>();
            for at in 0..numbers.len() {
                let (mut up, mut down) = (numbers.clone(), numbers.clone());
                up[at] += 1e-2;
                down[at] -= 1e-2;
                let expected = (sum(&up) - sum(&down)) / 2e-2;
                assert!((f64::from(slope[at]) - expected).abs() < 2e-3 * (1.0 + expected.abs()), "{kind:?} {at}");
            }
        }
    }
}
