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
        let mut out = vec![9.0; 70];
        for set in available() {
            let mut totals = Vec::new();
            let moment = exponentials_on(set, &values, max, &mut out, &mut totals);
            assert_eq!(out.len(), count);
            close(moment, terms().map(|d| d * d.exp()).sum());
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
fn a_copy_has_the_maxima_and_shows_what_is_not_finite_wherever_it_stands() {
    for count in COUNTS {
        let values = row(count, 0.1);
        let mut wanted = Vec::new();
        block_maxima(&values, &mut wanted);
        for set in available() {
            // What the buffers held before does not matter.
            let (mut out, mut maxima) = (vec![9.0; 70], vec![9.0; 70]);
            assert_eq!(copy_on(set, &values, &mut out, &mut maxima), 0.0);
            assert_eq!((&out, &maxima), (&values, &wanted), "{set:?}");
            for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for at in [0, count / 2, count - 1] {
                    let mut values = values.clone();
                    values[at] = wrong;
                    assert!(copy_on(set, &values, &mut out, &mut maxima).is_nan(), "{wrong} at {at} of {count}");
                }
            }
        }
    }
}

#[test]
fn extremes_are_those_of_a_plain_loop() {
    for count in COUNTS {
        let values = row(count, 0.2);
        let bounds_of = |f: fn(f32, f32) -> f32| values.iter().copied().reduce(f).unwrap_or(0.0);
        for set in available() {
            assert_eq!(extremes_on(set, &values), (bounds_of(f32::min), bounds_of(f32::max)));
        }
        let mut maxima = Vec::new();
        block_maxima(&values, &mut maxima);
        for (block, max) in maxima.iter().enumerate() {
            let part = &values[block * MAXIMA_BLOCK..((block + 1) * MAXIMA_BLOCK).min(count)];
            assert_eq!(*max, part.iter().copied().fold(f32::NEG_INFINITY, f32::max));
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
            for at in 0..count {
                assert_eq!(scaled[at], (values[at] - 1.5).mul_add(0.25, -2.0));
            }
        }
    }
}
