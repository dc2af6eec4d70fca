#![allow(clippy::unwrap_used)]

use serde::Deserialize;

use super::*;
use crate::metric::Reduction;

#[derive(Deserialize)]
struct Case {
    name: String,
    form: LawForm,
    points: Vec<(f64, f64)>,
    floor: f64,
    scale: f64,
    exponent: f64,
}

#[derive(Deserialize)]
struct Reference {
    cases: Vec<Case>,
    interval: IntervalCase,
}

/// What scipy makes of the same bootstrap with random numbers of its own.
#[derive(Deserialize)]
struct IntervalCase {
    form: LawForm,
    xs: Vec<f64>,
    sums: Vec<Vec<f64>>,
    weight: f64,
    exponent: f64,
    low: f64,
    high: f64,
}

fn reference() -> Reference {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/reference/law.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn laws_are_those_of_scipy() {
    let cases = reference().cases;
    assert!(cases.len() >= 5);
    for case in cases {
        let law = Law::fit(case.form, &case.points).unwrap();
        for (found, wanted) in [(law.floor, case.floor), (law.scale, case.scale), (law.exponent, case.exponent)] {
            assert!((found - wanted).abs() <= 1e-6 * wanted.abs().max(1e-3), "{}: {law:?} {wanted}", case.name);
        }
    }
}

#[test]
fn the_interval_of_the_exponent_is_that_of_a_bootstrap_in_numpy() {
    let case = reference().interval;
    let seen: Vec<Observation> = case
        .sums
        .iter()
        .map(|sums| Observation {
            samples: sums.clone(),
            weights: vec![case.weight; sums.len()],
            ..Observation::absent("kl", Reduction::Ratio, None)
        })
        .collect();
    let points: Vec<(f64, &Observation)> = case.xs.iter().copied().zip(&seen).collect();
    let bootstrap = Bootstrap { resamples: 4000, ..Bootstrap::default() };
    let found = bootstrap.law(case.form, &points, &[1.0]).unwrap();
    assert!((found.law.exponent - case.exponent).abs() < 1e-6);
    let [.., exponent] = found.intervals.unwrap();
    // Two bootstraps of 4000 draws differ by Monte-Carlo error: here a tenth of the interval's width is far more.
    let width = case.high - case.low;
    assert!((exponent.low - case.low).abs() < 0.1 * width, "{exponent:?} {} {}", case.low, case.high);
    assert!((exponent.high - case.high).abs() < 0.1 * width, "{exponent:?} {} {}", case.low, case.high);
    assert_eq!(bootstrap.law(case.form, &points, &[1.0]), Some(found));
}

#[test]
fn what_cannot_bear_a_law_has_none() {
    assert_eq!(Law::fit(LawForm::Power, &[(1.0, 2.0), (1.0, 3.0)]), None);
    assert_eq!(Law::fit(LawForm::PowerFloor, &[(1.0, 2.0), (2.0, 3.0)]), None);
    assert_eq!(Law::fit(LawForm::Power, &[(0.0, 2.0), (2.0, 3.0)]), None);
    assert_eq!(Law::fit(LawForm::Power, &[(1.0, f64::NAN), (2.0, 3.0)]), None);
    let exact = Law::fit(LawForm::Power, &[(1.0, 3.0), (10.0, 0.3)]).unwrap();
    assert!((exact.scale - 3.0).abs() < 1e-12 && (exact.exponent + 1.0).abs() < 1e-12);
}

#[test]
fn exact_points_have_a_law_without_an_interval() {
    let seen: Vec<Observation> = [3.0, 0.3].map(|value| Observation::single("kl", value)).to_vec();
    let points = [(1.0, &seen[0]), (10.0, &seen[1])];
    let found = Bootstrap::default().law(LawForm::Power, &points, &[1.0, 100.0]).unwrap();
    assert_eq!(found.intervals, None);
    assert!((found.curve[1].1 - 0.03).abs() < 1e-12 && found.curve[1].2.is_none());
}
