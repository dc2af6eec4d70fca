use super::*;
use crate::vector::{InstructionSet, available};

fn row(count: usize, phase: f64) -> Vec<f32> {
    (0..count).map(|i| ((i as f64 * 12.9898 + phase).sin() * 6.0) as f32).collect()
}

const COUNTS: [usize; 8] = [1, 15, 16, 63, 64, 513, 4999, 49_152];

fn close(found: f64, wanted: f64) {
    assert!((found - wanted).abs() <= 4e-7 * wanted.abs().max(1e-3), "{found} for {wanted}");
}

#[test]
fn sums_match_double_precision_on_every_instruction_set() {
    for count in COUNTS {
        let values = row(count, 0.5);
        let max = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let terms = || values.iter().map(|v| f64::from(*v) - f64::from(max));
        let mut out = vec![0.0; count];
        for set in available() {
            let mut totals = Vec::new();
            exponentials_on(set, &values, max, &mut out, &mut totals);
            assert_eq!(totals.len(), count.div_ceil(BLOCK));
            close(totals[totals.len() - 1], terms().map(f64::exp).sum());
            close(totals[0], terms().take(BLOCK).map(f64::exp).sum());
            for (found, wanted) in out.iter().zip(terms()) {
                assert!((f64::from(*found) - wanted.exp()).abs() < 2e-7);
            }
            let (weight, moment) = moments_on(set, &values, max);
            close(weight, terms().map(f64::exp).sum());
            close(moment, terms().map(|d| d * d.exp()).sum());
            close(squares_on(set, &values, max), terms().map(|d| (2.0 * d).exp()).sum());
            assert_eq!(moments_on(set, &values, max), moments_on(InstructionSet::Scalar, &values, max));
        }
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / count as f64;
        let variance = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / count as f64;
        let (found_mean, found) = spread(&values);
        assert!((found_mean - mean).abs() < 1e-6 && (found - variance.sqrt()).abs() < 1e-6);
    }
}

#[test]
fn what_is_not_finite_shows_wherever_it_stands() {
    for count in COUNTS {
        let values = row(count, 0.1);
        assert!(all_finite(&values));
        for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, count / 2, count - 1] {
                let mut values = values.clone();
                values[at] = wrong;
                assert!(!all_finite(&values), "{wrong} at {at} of {count}");
            }
        }
    }
}

#[test]
fn masses_and_collected_elements_are_those_of_a_plain_loop() {
    for count in COUNTS {
        let (scores, weights) = (row(count, 0.2), row(count, 0.9).iter().map(|v| v.abs()).collect::<Vec<_>>());
        let bounds = [-7.0, -5.5, -2.0, 0.0, 0.5, 3.0, 5.99, 7.0];
        for set in available() {
            for (bound, found) in bounds.iter().zip(masses_on(set, &scores, &weights, &bounds)) {
                let kept = scores.iter().zip(&weights).filter(|(score, _)| *score >= bound);
                close(found, kept.map(|(_, weight)| f64::from(*weight)).sum());
            }
        }
        let bounds_of = |f: fn(f32, f32) -> f32| scores.iter().copied().reduce(f).unwrap_or(0.0);
        for set in available() {
            assert_eq!(extremes_on(set, &scores), (bounds_of(f32::min), bounds_of(f32::max)));
        }
        let mut maxima = Vec::new();
        block_maxima(&scores, &mut maxima);
        for (block, max) in maxima.iter().enumerate() {
            let part = &scores[block * MAXIMA_BLOCK..((block + 1) * MAXIMA_BLOCK).min(count)];
            assert_eq!(*max, part.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
        for bound in bounds {
            let (mut indices, mut values) = (Vec::new(), Vec::new());
            between(&scores, &maxima, bound, 4.5, &mut indices, &mut values);
            let inside = |at: &u32| scores[*at as usize] >= bound && scores[*at as usize] < 4.5;
            let wanted: Vec<u32> = (0..count as u32).filter(inside).collect();
            assert_eq!(indices, wanted);
            for set in available() {
                let (mut again, mut same) = (Vec::new(), Vec::new());
                collect(set, &scores, &maxima, bound, 4.5, &mut again, &mut same);
                assert_eq!((again, same), (indices.clone(), values.clone()), "{set:?}");
            }
            assert!(indices.iter().zip(&values).all(|(at, value)| scores[*at as usize] == *value));
        }
    }
}

#[test]
fn changed_rows_are_those_of_a_plain_loop() {
    for count in COUNTS {
        let values = row(count, 0.3);
        for set in available() {
            let mut scaled = values.clone();
            rescale_on(set, &mut scaled, 1.5, 0.25, -2.0);
            let mut near = vec![0.0; count];
            nearness_on(set, &values, 0.7, &mut near);
            for at in 0..count {
                assert_eq!(scaled[at], (values[at] - 1.5).mul_add(0.25, -2.0));
                assert_eq!(near[at], -(values[at] - 0.7).abs());
            }
        }
    }
}

#[test]
fn wide_exponentials_are_those_of_the_library() {
    let values: Vec<f32> = (0..60_000).map(|at| at as f32 * -0.0131).collect();
    for set in available() {
        let mut out = vec![0.0; values.len()];
        wide_on(set, &values, 0.0, &mut out);
        for (value, found) in values.iter().zip(&out) {
            let wanted = f64::from(*value).exp();
            assert!((found - wanted).abs() <= 1e-15 * wanted || *value < -700.0, "{value}: {found} for {wanted}");
        }
        assert_eq!(out[0], 1.0);
    }
}
