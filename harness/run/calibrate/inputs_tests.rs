//! What is left out of a pass, and what goes through together, changes no sum.
#![allow(clippy::unwrap_used)]

use harness_model::tensor::with_values;
use harness_model::weight::DType;

use super::*;
use crate::lowrank::tests::decoder;

const ALL: Needs = Needs { samples: true, magnitudes: true, ..Needs::COLUMN_NORMS.union(Needs::SECOND_MOMENT) };

fn windows(count: u32, length: u32) -> Vec<Vec<u32>> {
    (0..count).map(|window| (0..length).map(|at| (at * 7 + window * 5 + at * at / 3) % 23).collect()).collect()
}

/// Every input of a block with a whole pass for each window.
struct Alone(Statistics);

impl Tap for Alone {
    fn linear_input(&mut self, _: usize, projection: Projection, x: &[f32]) {
        if let Some(sums) = self.0.get_mut(&projection) {
            sums.add(x).unwrap();
        }
    }
}

fn one_by_one(decoder: &Decoder, layer: usize, hidden: &[Tensor]) -> (Statistics, Vec<f32>) {
    let inputs = [Projection::Q, Projection::O, Projection::Up, Projection::Down];
    let empty = |projection| LinearStatistics::new(decoder.linear(layer, projection).unwrap().cols(), ALL);
    let mut alone = Alone(inputs.map(|projection| (projection, empty(projection))).into());
    let pass = |states| decoder.block(layer, states, Some(&mut alone)).unwrap();
    let outputs: Vec<Tensor> = hidden.iter().map(pass).collect();
    (alone.0, values(&outputs))
}

fn values(hidden: &[Tensor]) -> Vec<f32> {
    hidden.iter().flat_map(|states| with_values(states, <[f32]>::to_vec).unwrap()).collect()
}

fn assert_same(found: &Statistics, wanted: &Statistics) {
    for (projection, found) in found {
        let wanted = &wanted[projection];
        assert_eq!((found.tokens(), found.sequences()), (wanted.tokens(), wanted.sequences()), "{projection:?}");
        assert_eq!(found.column_sum_squares(), wanted.column_sum_squares(), "{projection:?}");
        assert_eq!(found.second_moment(), wanted.second_moment(), "{projection:?}");
        assert_eq!(found.mean_magnitudes(), wanted.mean_magnitudes(), "{projection:?}");
        assert_eq!(found.largest_magnitudes(), wanted.largest_magnitudes(), "{projection:?}");
        assert_eq!(found.samples(), wanted.samples(), "{projection:?}");
    }
}

#[test]
fn sums_are_those_of_whole_passes_one_by_one() {
    for (length, tensors) in [(32, 2), (64, 3), (24, 70)] {
        let (decoder, windows) = (decoder(2, DType::F32), windows(70, length));
        let (alone, together) = (embed(&decoder, &windows).unwrap(), embed_together(&decoder, &windows).unwrap());
        assert_eq!(together.len(), tensors);
        let (wanted, outputs) = one_by_one(&decoder, 1, &alone);
        let (found, own) = collect_and_forward(&decoder, 1, &together, ALL).unwrap();
        assert_eq!(found.len(), 4);
        assert_same(&found, &wanted);
        assert_eq!(values(&own), outputs);
        assert_eq!(values(&forward(&decoder, 1, &together).unwrap()), outputs);
        let found = collect(&decoder, 1, &together, ALL, &Projection::ALL).unwrap();
        assert_eq!(found.len(), 4);
        assert_same(&found, &wanted);
        for (projections, count) in [
            (vec![Projection::Q, Projection::K, Projection::V], 1),
            (vec![Projection::O], 1),
            (vec![Projection::Gate, Projection::Up], 1),
            (vec![Projection::Down], 1),
            (vec![], 0),
        ] {
            let found = collect(&decoder, 1, &together, ALL, &projections).unwrap();
            assert_eq!(found.len(), count);
            assert_same(&found, &wanted);
        }
    }
}

#[test]
fn an_input_that_is_not_finite_is_named_with_its_place_in_its_sequence() {
    let decoder = decoder(1, DType::F32);
    let hidden = embed_together(&decoder, &windows(3, 32)).unwrap();
    let mut broken = values(&hidden);
    broken[(2 * 32 + 5) * 64] = f32::NAN;
    let broken = Tensor::from_vec(broken, hidden[0].dims(), hidden[0].device()).unwrap();
    let error = collect(&decoder, 0, &[broken], ALL, &Projection::ALL).unwrap_err().to_string();
    assert!(error.contains("token 5") && error.contains("q_proj"), "{error}");
}
