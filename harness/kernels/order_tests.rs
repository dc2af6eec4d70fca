use super::*;
use crate::select::block_maxima;
use crate::vector::{InstructionSet, available};

fn row(count: usize, phase: f64) -> Vec<f32> {
    (0..count).map(|i| ((i as f64 * 12.9898 + phase).sin() * 6.0) as f32).collect()
}

const COUNTS: [usize; 8] = [1, 15, 16, 63, 64, 513, 4999, 49_152];
const ORDERS: [Order; 3] = [Order::Largest, Order::Nearest(1.3), Order::Nearest(-40.0)];

fn close(found: f64, wanted: f64) {
    assert!((found - wanted).abs() <= 4e-7 * wanted.abs().max(1e-3), "{found} for {wanted}");
}

#[test]
fn scores_are_those_of_the_definition() {
    assert_eq!(Order::Largest.score(-2.5), -2.5);
    for x in [-3.0f32, 0.0, 0.7, 1e30] {
        assert_eq!(Order::Nearest(0.7).score(x), -(x - 0.7).abs());
        assert!(Order::Nearest(0.7).highest(x) >= Order::Nearest(0.7).score(x));
    }
}

#[test]
fn masses_are_those_of_a_plain_loop() {
    for count in COUNTS {
        let (scores, weights) = (row(count, 0.2), row(count, 0.9).iter().map(|v| v.abs()).collect::<Vec<_>>());
        let bounds = [-7.0, -5.5, -2.0, 0.0, 0.5, 3.0, 5.99, 7.0];
        for set in available() {
            for (bound, found) in bounds.iter().zip(masses_on(set, &scores, &weights, &bounds)) {
                let kept = scores.iter().zip(&weights).filter(|(score, _)| *score >= bound);
                close(found, kept.map(|(_, weight)| f64::from(*weight)).sum());
            }
        }
    }
}

#[test]
fn a_row_is_split_and_collected_as_by_a_plain_loop() {
    for count in COUNTS {
        let (values, weights) = (row(count, 0.2), row(count, 0.9).iter().map(|v| v.abs()).collect::<Vec<_>>());
        let mut maxima = Vec::new();
        block_maxima(&values, &mut maxima);
        for order in ORDERS {
            let scores: Vec<f32> = values.iter().map(|value| order.score(*value)).collect();
            for (low, high) in
                [(f32::NEG_INFINITY, f32::INFINITY), (-3.0, 4.5), (-38.0, -36.0), (5.9, f32::INFINITY), (2.0, 2.0)]
            {
                let inside: Vec<usize> = (0..count).filter(|at| scores[*at] >= low && scores[*at] < high).collect();
                let above = (0..count).filter(|at| scores[*at] >= high).map(|at| f64::from(weights[at])).sum();
                let oracle = split_on(
                    InstructionSet::Scalar,
                    &values,
                    &maxima,
                    &weights,
                    order,
                    low,
                    high,
                    &mut Vec::new(),
                    &mut Vec::new(),
                );
                close(oracle, above);
                for set in available() {
                    // What is there already stays.
                    let (mut some, mut left) = (vec![9.0], vec![8.0]);
                    let sum = split_on(set, &values, &maxima, &weights, order, low, high, &mut some, &mut left);
                    assert_eq!(sum, oracle, "{set:?}");
                    let of = |first: f32, all: &[f32]| {
                        [first].into_iter().chain(inside.iter().map(|at| all[*at])).collect::<Vec<_>>()
                    };
                    assert_eq!((some, left), (of(9.0, &scores), of(8.0, &weights)), "{set:?} {order:?}");
                    assert_eq!(count_on(set, &values, order, low, high), inside.len(), "{set:?} {order:?}");
                    let (mut places, mut found) = (vec![7], vec![9.0]);
                    between_on(set, &values, &maxima, order, low, high, &mut places, &mut found);
                    let wanted: Vec<u32> = [7].into_iter().chain(inside.iter().map(|at| *at as u32)).collect();
                    assert_eq!((places, found), (wanted, of(9.0, &values)), "{set:?} {order:?}");
                }
            }
        }
    }
}
