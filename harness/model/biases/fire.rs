//! Biases by a small net of distances relative to the query (FIRE; Li et al., 2023): `f(ln(cΔ + 1) / ln(c max(i, L) + 1))` of a key `Δ`
//! before the query at `i`, `f` of one layer of rectified units, `c` and `L` learned.
//!
//! # Difference from the reference
//! The net's last offsets are left out: they are the same for all keys of a query, and a softmax does not see them.

use candle_core::{Result, Tensor};
use harness_kernels::attention::{EPSILON, Progressive};

use crate::tensor::{from_values, with_values};

/// Units of the net.
const UNITS: usize = 32;
/// What `c` begins as.
const GROWTH: f32 = 0.1;
/// What `L` is a learned multiple of, which begins as 1.
const THRESHOLD: f32 = 512.0;
/// Numbers before those of the heads: `c`, the multiple, and each unit's weight and offset.
const SHARED: usize = 2 + 2 * UNITS;

/// Biases of one step of training.
#[derive(Debug)]
pub(crate) enum Trained {
    /// `(heads, distances)`: all queries stand before `L`.
    Table(Tensor),
    /// `(heads, queries, keys)`, of keys behind a query whatever.
    Matrix(Tensor),
}

/// How many numbers are learned: those that all heads share, and one a head for each unit.
pub(crate) fn numbers(heads: usize) -> usize {
    SHARED + UNITS * heads
}

/// What training begins from: `c`, 1, and uniform weights of a size of one over the root of their inputs.
pub(crate) fn initial(heads: usize, mut unit: impl FnMut() -> f64) -> Vec<f32> {
    let mut within = |bound: f64| (bound * (2.0 * unit() - 1.0)) as f32;
    let mut numbers = vec![GROWTH, 1.0];
    numbers.extend((2..SHARED).map(|_| within(1.0)));
    numbers.extend((0..UNITS * heads).map(|_| within((UNITS as f64).sqrt().recip())));
    numbers
}

/// The functions of learned numbers, of so many distances.
pub(crate) fn progressive(learned: &[f32], distances: usize) -> Progressive {
    let (weights, offsets) = learned[2..SHARED].split_at(UNITS);
    let units: Vec<[f32; 2]> = weights.iter().zip(offsets).map(|(weight, offset)| [*weight, *offset]).collect();
    Progressive::new(learned[0], learned[1] * THRESHOLD, &units, &learned[SHARED..], distances)
}

/// Biases with gradients of a variable, for texts of so many positions.
pub(crate) fn trained(learned: &Tensor, heads: usize, length: usize) -> Result<Trained> {
    let learned = learned.flatten_all()?;
    let part = |start: usize, count: usize, shape: (usize, usize)| learned.narrow(0, start, count)?.reshape(shape);
    let growth = part(0, 1, (1, 1))?.abs()?;
    let threshold = (part(1, 1, (1, 1))?.abs()? * f64::from(THRESHOLD))?;
    let logarithm = |of: &Tensor| (of.broadcast_mul(&growth)? + 1.0)?.log();
    let distances = logarithm(&from_values((0..length).map(|at| at as f32).collect(), (1, length))?)?;
    let places = from_values((0..length).map(|at| at as f32).collect(), (length, 1))?;
    let within = with_values(&threshold, |threshold| threshold[0] >= length.saturating_sub(1) as f32)?;
    let divisors = if within { threshold } else { places.broadcast_maximum(&threshold)? };
    let divisors = (logarithm(&divisors)? + EPSILON)?;
    let by_distance = distances.broadcast_div(&divisors)?;
    let numbers = if within { by_distance } else { before(&by_distance)? };
    let count = numbers.elem_count();
    let units = part(2, UNITS, (UNITS, 1))?.broadcast_mul(&numbers.reshape((1, count))?)?;
    let units = units.broadcast_add(&part(2 + UNITS, UNITS, (UNITS, 1))?)?.relu()?;
    let biases = part(SHARED, UNITS * heads, (heads, UNITS))?.matmul(&units)?;
    if within { Ok(Trained::Table(biases)) } else { Ok(Trained::Matrix(biases.reshape((heads, length, length))?)) }
}

/// Of `(queries, distances)` the same by `(queries, keys)`; keys behind a query get what the nearest gets.
fn before(by_distance: &Tensor) -> Result<Tensor> {
    let (queries, keys) = by_distance.dims2()?;
    let places = (0..queries * keys).map(|at| (at / keys).saturating_sub(at % keys) as u32).collect::<Vec<_>>();
    by_distance.contiguous()?.gather(&Tensor::from_vec(places, (queries, keys), by_distance.device())?, 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use candle_core::Var;
    use harness_kernels::attention::{Biases, Shape, attention};
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Reference {
        heads: usize,
        positions: usize,
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        learned: Vec<f32>,
        biases: Vec<f32>,
        gradients: Vec<f32>,
    }

    fn reference() -> Reference {
        serde_json::from_str(include_str!("../../../tests/reference/fire.json")).unwrap()
    }

    #[test]
    fn biases_under_training_and_their_gradients_are_those_of_another_program() {
        let Reference { heads, positions, cases } = reference();
        for (case, tabled) in cases.iter().zip([true, false]) {
            let learned = Var::from_vec(case.learned.clone(), (1, numbers(heads)), &candle_core::Device::Cpu).unwrap();
            let matrix = match trained(&learned, heads, positions).unwrap() {
                Trained::Table(table) if tabled => {
                    let rows: Vec<Tensor> = (0..heads)
                        .map(|head| {
                            let line = table.narrow(0, head, 1).unwrap();
                            before(&line.broadcast_as((positions, positions)).unwrap()).unwrap()
                        })
                        .collect();
                    Tensor::stack(&rows, 0).unwrap()
                }
                Trained::Matrix(matrix) if !tabled => matrix,
                other => panic!("{other:?}"),
            };
            let before = (0..positions * positions).map(|at| u8::from(at % positions <= at / positions));
            let before = from_values(before.map(f32::from).collect(), (positions, positions)).unwrap();
            let found = matrix.broadcast_mul(&before).unwrap();
            let values = with_values(&found.contiguous().unwrap(), <[f32]>::to_vec).unwrap();
            assert!(values.iter().zip(&case.biases).all(|(a, b)| (a - b).abs() < 2e-5), "{tabled}");
            let gradients = found.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            let slopes = gradients.get(&learned).unwrap().contiguous().unwrap();
            let slopes = with_values(&slopes, <[f32]>::to_vec).unwrap();
            for (at, (found, expected)) in slopes.iter().zip(&case.gradients).enumerate() {
                assert!((found - expected).abs() < 1e-3 * (1.0 + expected.abs()), "{at}: {found} for {expected}");
            }
        }
    }

    #[test]
    fn attention_adds_what_another_program_computed() {
        let Reference { heads, positions, cases } = reference();
        for case in &cases {
            let net = progressive(&case.learned, positions);
            let shape = Shape {
                batch: 1,
                queries: positions,
                keys: positions,
                heads,
                kv_heads: heads,
                head_dim: positions,
                scale: 1.0,
                slopes: None,
                biases: Some(Biases::Progressive(&net)),
                key_batch_stride: positions * positions * heads,
            };
            // Without queries only biases count, and values that are one key each hand out the weights.
            let values: Vec<f32> = (0..positions)
                .flat_map(|key| (0..heads * positions).map(move |at| f32::from(u8::from(at % positions == key))))
                .collect();
            let zeros = vec![0.0; values.len()];
            for queries in [positions, 1] {
                let skipped = positions - queries;
                let some = Shape { queries, ..shape };
                let (weights, _) = attention(&zeros[..queries * heads * positions], &zeros, &values, &some);
                for (at, weight) in weights.iter().enumerate() {
                    let (query, head, key) =
                        (skipped + at / (heads * positions), at / positions % heads, at % positions);
                    let row = &case.biases[(head * positions + query) * positions..][..=query];
                    let total: f32 = row.iter().map(|bias| bias.exp()).sum();
                    let expected = row.get(key).map_or(0.0, |bias| bias.exp() / total);
                    assert!((weight - expected).abs() < 1e-5, "{query} {key}: {weight} for {expected}");
                }
            }
        }
    }
}
