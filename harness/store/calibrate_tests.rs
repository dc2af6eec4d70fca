#![allow(clippy::unwrap_used)]

use harness_core::gate::GateRequest;

use super::*;
use crate::fixture;

fn policy(false_alarms: f64) -> Policy {
    let metrics = fixture::metrics();
    let measured = metrics.iter().map(|metric| (metric.id.as_str(), metric.direction, metric.noise));
    Policy::of(&GateRequest { false_alarms, metrics: Vec::new() }, measured, 1.0)
}

/// Repetitions at one commit.
fn repetitions(count: usize, speed: impl Fn(usize) -> f64) -> Vec<Run> {
    let first = fixture::night(0, 1.0, 0.0);
    (0..count)
        .map(|number| {
            let mut run = fixture::night(number, speed(number), 0.0);
            run.stamp.commit.clone_from(&first.stamp.commit);
            run
        })
        .collect()
}

#[test]
fn calm_repetitions_need_no_factor() {
    let found = calibrate(&repetitions(8, |_| 1.0), &policy(0.05), 400, 1).unwrap();
    assert_eq!((found.scale, found.series, found.runs.len()), (1.0, 18, 8));
    assert!(found.bound <= 0.05 && found.rate <= found.bound);
}

#[test]
fn one_slow_night_in_eight_needs_a_larger_factor() {
    let runs = repetitions(8, |number| if number == 5 { 0.9 } else { 1.0 });
    let found = calibrate(&runs, &policy(0.05), 400, 1).unwrap();
    assert!(found.scale > 1.0, "{found:?}");
    assert!(found.alarms[0].1 > 20, "without it one night in eight alarms: {found:?}");
    assert!(found.bound <= 0.05);
}

#[test]
fn the_same_seed_finds_the_same() {
    let runs = repetitions(6, |number| 1.0 - 0.004 * (number % 3) as f64);
    let find = |seed| calibrate(&runs, &policy(0.2), 300, seed).unwrap();
    assert_eq!(find(3), find(3));
}

#[test]
fn what_cannot_be_calibrated_on_is_refused() {
    let runs = repetitions(8, |_| 1.0);
    assert!(matches!(calibrate(&runs[..5], &policy(0.01), 300, 0), Err(CalibrateError::Few { found: 5 })));
    let mut mixed = runs.clone();
    mixed[3].stamp.commit = "another".into();
    let error = calibrate(&mixed, &policy(0.01), 300, 0).unwrap_err();
    assert!(error.to_string().contains("the commit differs"), "{error}");
    let none = Policy { rules: Vec::new(), ..policy(0.01) };
    assert!(matches!(calibrate(&runs, &none, 300, 0), Err(CalibrateError::Nothing)));
}

#[test]
fn a_calibration_is_kept_and_used() {
    let root = tempfile::tempdir().unwrap();
    let runs = repetitions(8, |_| 1.0);
    let history = History::of(root.path(), &runs[0]).unwrap();
    assert_eq!((history.calibration().unwrap(), history.scale().unwrap()), (None, 1.0));
    let found = Calibration { scale: 1.5, ..calibrate(&runs, &policy(0.05), 300, 1).unwrap() };
    history.keep_calibration(&found).unwrap();
    assert_eq!(history.calibration().unwrap(), Some(found));
    assert_eq!(history.calibrated(policy(0.01)).unwrap().scale, 1.5);
    let path = path(history.dir());
    let newer = fs::read_to_string(&path).unwrap().replace("\"schema\": 1", "\"schema\": 3");
    fs::write(&path, newer).unwrap();
    assert!(matches!(history.scale(), Err(StoreError::Newer { found: 3, known: 1, .. })));
}
