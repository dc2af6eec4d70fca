#![allow(clippy::unwrap_used)]

use serde::Deserialize;

use super::*;
use crate::metric::Reduction;

#[derive(Deserialize)]
struct Case {
    name: String,
    bits: Vec<f64>,
    points: Vec<(usize, usize, f64)>,
    sums: Vec<Vec<f64>>,
    weight: f64,
    heights: Vec<f64>,
    offsets: Vec<f64>,
    low: Vec<f64>,
    high: Vec<f64>,
    residual: f64,
    aic: f64,
    f: f64,
    freedom: (usize, usize),
    probability: f64,
    control_aic: f64,
    frontier: Vec<(f64, usize, usize, f64)>,
}

#[derive(Deserialize)]
struct Reference {
    cases: Vec<Case>,
}

/// What numpy and scipy make of the same points: `tests/reference/offset.py`.
fn cases() -> Vec<Case> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/reference/offset.json");
    let reference: Reference = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(reference.cases.len() >= 3);
    reference.cases
}

fn observed(sums: &[f64], weight: f64) -> Observation {
    Observation {
        samples: sums.to_vec(),
        weights: vec![weight; sums.len()],
        ..Observation::absent("nll", Reduction::Ratio, None)
    }
}

fn points<'a>(places: &[(usize, usize, f64)], seen: &'a [Observation]) -> Vec<OffsetPoint<'a>> {
    places
        .iter()
        .zip(seen)
        .map(|((curve, size, x), seen)| OffsetPoint { curve: *curve, size: *size, x: *x, seen })
        .collect()
}

#[test]
fn curves_tests_and_control_are_those_of_numpy_and_scipy() {
    let near = |found: f64, wanted: f64, by: f64| (found - wanted).abs() <= by * wanted.abs().max(1e-3);
    for case in cases() {
        let seen: Vec<Observation> = case.sums.iter().map(|sums| observed(sums, case.weight)).collect();
        let curves = OffsetCurves { bits: case.bits.clone(), reference: case.bits.len() - 1 };
        let found = Bootstrap { resamples: 4000, ..Bootstrap::default() };
        let found = found.offsets(&curves, &points(&case.points, &seen)).unwrap();
        let name = &case.name;
        for ((_, height), wanted) in found.knots.iter().zip(&case.heights) {
            assert!(near(*height, *wanted, 1e-9), "{name}: {height} {wanted}");
        }
        for (curve, wanted) in case.offsets.iter().enumerate() {
            let offset = found.offsets[curve].unwrap();
            assert!(near(offset.value, *wanted, 1e-9), "{name}: {offset:?} {wanted}");
            // Two bootstraps of thousands of draws differ by Monte-Carlo error, a few hundredths of the width.
            let (interval, width) = (offset.interval.unwrap(), case.high[curve] - case.low[curve]);
            assert!((interval.low - case.low[curve]).abs() < 0.1 * width, "{name}: {interval:?} {}", case.low[curve]);
            assert!(
                (interval.high - case.high[curve]).abs() < 0.1 * width,
                "{name}: {interval:?} {}",
                case.high[curve]
            );
        }
        assert_eq!(found.offsets.last().unwrap().unwrap().interval, None);
        assert!(near(found.residual, case.residual, 1e-8) && near(found.aic, case.aic, 1e-8), "{name}");
        let parallel = found.parallelism.unwrap();
        assert!(near(parallel.f, case.f, 1e-6) && parallel.freedom == case.freedom, "{name}: {parallel:?}");
        assert!(near(parallel.probability, case.probability, 1e-5), "{name}: {parallel:?}");
        let control = found.control.unwrap();
        // A worse minimum than scipy's would be a fault; a better one is not.
        assert!(control.aic < case.control_aic + 1e-3, "{name}: {control:?} {}", case.control_aic);
        assert!(near(control.aic, case.control_aic, 1e-2), "{name}: {control:?} {}", case.control_aic);
        let chosen: Vec<(f64, usize, usize, f64)> =
            found.frontier.iter().map(|at| (at.x, at.best.0, at.second, at.margin)).collect();
        assert_eq!(chosen.len(), case.frontier.len(), "{name}");
        for (found, wanted) in chosen.iter().zip(&case.frontier) {
            assert_eq!((found.1, found.2), (wanted.1, wanted.2), "{name}: {found:?} {wanted:?}");
            assert!(near(found.0, wanted.0, 1e-9) && near(found.3, wanted.3, 1e-7), "{name}: {found:?} {wanted:?}");
        }
    }
}

/// Curves of known heights, every document the same but for how hard it is.
fn known(
    offsets: [f64; 4],
    missing: Option<(usize, usize)>,
) -> (OffsetCurves, Vec<(usize, usize, f64)>, Vec<Observation>) {
    let curves = OffsetCurves { bits: vec![3.0, 4.0, 8.0, 16.0], reference: 3 };
    let (mut places, mut seen) = (Vec::new(), Vec::new());
    for (curve, bits) in curves.bits.iter().enumerate() {
        for (size, parameters) in [1e6, 1e7, 1e8, 1e9].into_iter().enumerate() {
            if missing == Some((curve, size)) {
                continue;
            }
            let x: f64 = parameters * bits;
            // Straight in log x between the points of 16 bits at 1.6e7, 1.6e8, … and beyond the first.
            let y = 3.0 - 0.2 * (x / 1.6e7).log10() + offsets[curve];
            places.push((curve, size, x));
            // Documents differ in the same way for all curves, and a little in ways of their own.
            let own = |i: u32| if (i as usize + curve).is_multiple_of(2) { 0.01 } else { -0.01 };
            let document = |i: u32| 100.0 * (y + 0.02 * f64::from(i % 7) - 0.06 + own(i));
            seen.push(observed(&(0..21).map(document).collect::<Vec<_>>(), 100.0));
        }
    }
    (curves, places, seen)
}

#[test]
fn known_offsets_are_recovered_and_the_lowest_is_told_apart() {
    let offsets = [0.31, -0.24, -0.12, 0.0];
    let (curves, places, seen) = known(offsets, None);
    let found = Bootstrap::default().offsets(&curves, &points(&places, &seen)).unwrap();
    for (offset, wanted) in found.offsets.iter().zip(offsets) {
        assert!((offset.unwrap().value - wanted).abs() <= 0.02 * wanted.abs(), "{offset:?} {wanted}");
    }
    assert_eq!((found.optimum.curve, found.optimum.decided, found.optimum.bits), (1, true, Some((4.0, 4.0))));
    assert!(found.frontier.iter().all(|at| at.best.0 == 1 && at.interval.unwrap().low > 0.0), "{:?}", found.frontier);
    // All curves span 1.6e7 to 3e9.
    assert!((found.frontier[0].x - 1.6e7).abs() < 1.0 && (found.frontier[8].x - 3e9).abs() < 1.0);
    let at = found.at(1, 1.6e8).unwrap();
    assert!((at - (2.8 - 0.24)).abs() < 0.005, "{at}");
}

#[test]
fn the_order_of_points_changes_nothing() {
    let (curves, places, seen) = known([0.31, -0.24, -0.12, 0.0], None);
    let mut shuffled = points(&places, &seen);
    let bootstrap = Bootstrap { resamples: 200, ..Bootstrap::default() };
    let found = bootstrap.offsets(&curves, &shuffled).unwrap();
    shuffled.reverse();
    shuffled.swap(2, 9);
    shuffled.rotate_left(5);
    assert_eq!(bootstrap.offsets(&curves, &shuffled).unwrap(), found);
}

#[test]
fn a_missing_size_leaves_a_gap() {
    // Without 4 bits of the second size nothing is known of 4 bits between 4e6 and 4e8.
    let (curves, places, seen) = known([0.31, -0.24, -0.12, 0.0], Some((1, 1)));
    let found = Bootstrap { resamples: 50, ..Bootstrap::default() };
    let found = found.offsets(&curves, &points(&places, &seen)).unwrap();
    for at in &found.frontier {
        assert_eq!(at.best.0, if at.x < 4e8 { 2 } else { 1 }, "{at:?}");
    }
    assert!((found.offsets[1].unwrap().value + 0.24).abs() < 0.005);
}

#[test]
fn equal_curves_are_not_decided() {
    let (curves, places, seen) = known([0.31, -0.12, -0.12, 0.0], None);
    let found = Bootstrap::default().offsets(&curves, &points(&places, &seen)).unwrap();
    let optimum = found.optimum;
    assert!(!optimum.decided && optimum.bits == Some((4.0, 8.0)) && optimum.share.unwrap() < 0.9, "{optimum:?}");
}

#[test]
fn what_cannot_bear_curves_is_refused() {
    let (curves, places, seen) = known([0.0; 4], None);
    let all = points(&places, &seen);
    let fit = |wanted: &dyn Fn(&OffsetPoint) -> bool| {
        let some: Vec<OffsetPoint> = all.iter().filter(|point| wanted(point)).copied().collect();
        Bootstrap::default().offsets(&curves, &some).unwrap_err()
    };
    assert_eq!(fit(&|point| point.curve != 3), OffsetRefusal::Reference(0));
    assert_eq!(fit(&|point| point.curve == 3), OffsetRefusal::Alone);
    assert_eq!(
        fit(&|point| point.size < 2 && point.curve > 2 || point.size == 0),
        OffsetRefusal::Few { points: 5, parameters: 5 }
    );
    let nothing = [OffsetPoint { x: 0.0, ..all[0] }];
    assert_eq!(Bootstrap::default().offsets(&curves, &nothing), Err(OffsetRefusal::Value));
}
