//! Every statistic against scipy, by `tests/reference/statistics.py`: to 1e-6, or within Monte-Carlo error where draws are
//! involved, or within the stated error of an approximation.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use serde_json::Value as Json;

use super::*;
use crate::metric::Reduction;
use crate::record::Observation;

fn cases(name: &str) -> Vec<Json> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/statistics.json");
    let all: Json = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    match &all[name] {
        Json::Array(cases) => cases.clone(),
        one => vec![one.clone()],
    }
}

fn number(case: &Json, name: &str) -> f64 {
    case[name].as_f64().unwrap_or_else(|| panic!("{name} in {case}"))
}

fn numbers(case: &Json, name: &str) -> Vec<f64> {
    case[name].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

/// Equal to a millionth of the known value; what scipy rounds to nothing is next to nothing.
fn check(found: f64, known: f64, what: &Json) {
    assert!((found - known).abs() <= 1e-6 * known.abs() + 1e-300, "{found} is not {known}: {what}");
}

#[test]
fn students_distribution() {
    for case in cases("student_tail") {
        check(student_tail(number(&case, "t"), number(&case, "freedom")), number(&case, "tail"), &case);
    }
    for case in cases("student_quantile") {
        check(student_quantile(number(&case, "p"), number(&case, "freedom")), number(&case, "t"), &case);
    }
}

#[test]
fn kolmogorovs_distribution() {
    for case in cases("kolmogorov_tail") {
        check(kolmogorov_tail(number(&case, "x")), number(&case, "tail"), &case);
    }
    for case in cases("uniform_distance") {
        check(uniform_distance(&numbers(&case, "numbers")), number(&case, "distance"), &case);
    }
}

#[test]
fn holms_correction() {
    for case in cases("holm") {
        for (found, known) in holm(&numbers(&case, "p")).into_iter().zip(numbers(&case, "adjusted")) {
            check(found, known, &case);
        }
    }
}

#[test]
fn shares() {
    let count = |case: &Json, name: &str| case[name].as_u64().unwrap();
    for case in cases("mcnemar") {
        let counts = Discordant { only_a: count(&case, "only_a"), only_b: count(&case, "only_b"), items: 10_000 };
        check(counts.probability(), number(&case, "p"), &case);
    }
    for case in cases("clopper_pearson") {
        let interval = clopper_pearson(count(&case, "successes"), count(&case, "trials"), number(&case, "level"));
        check(interval.low, number(&case, "low"), &case);
        check(interval.high, number(&case, "high"), &case);
    }
}

/// Equal clusters are scipy's one-sample t-test; unequal ones the matrices of Bell and McCaffrey.
#[test]
fn studentised_clusters() {
    for case in cases("clusters") {
        let clusters: Vec<(f64, f64)> =
            numbers(&case, "differences").into_iter().zip(numbers(&case, "weights")).collect();
        let found = Studentised::of_clusters(&clusters).unwrap();
        check(found.value, number(&case, "value"), &case);
        check(found.error, number(&case, "error"), &case);
        check(found.freedom, number(&case, "freedom"), &case);
        check(found.probability(0.0), number(&case, "p"), &case);
    }
}

#[test]
fn signs_of_differences() {
    for case in cases("sign_flip") {
        let (found, how) = sign_flip(&numbers(&case, "differences"));
        let known = number(&case, "p");
        if case["kind"] == "exact" {
            assert_eq!(how, Distribution::Exact);
            check(found, known, &case);
        } else {
            assert_eq!(how, Distribution::Saddlepoint);
            assert!((found / known - 1.0).abs() < 0.03, "{found} is not {known}: {case}");
        }
    }
}

#[test]
fn trimmed_logarithms_of_times() {
    let logarithms = |case: &Json, name: &str| numbers(case, name).into_iter().map(f64::ln).collect::<Vec<f64>>();
    for case in cases("times") {
        let found = trimmed_difference(&logarithms(&case, "a"), &logarithms(&case, "b")).unwrap();
        check(found.value / found.error, number(&case, "statistic"), &case);
        check(found.freedom, number(&case, "freedom"), &case);
        check(found.probability(0.0), number(&case, "p"), &case);
    }
    for case in cases("rounds") {
        let (a, b) = (numbers(&case, "a"), numbers(&case, "b"));
        let ratios: Vec<f64> = a.iter().zip(&b).map(|(a, b)| (b / a).ln()).collect();
        let found = trimmed_mean(&ratios).unwrap();
        check(found.value, number(&case, "value"), &case);
        check(found.freedom, number(&case, "freedom"), &case);
        check(found.probability(0.0), number(&case, "p"), &case);
    }
}

#[test]
fn power() {
    for case in cases("detectable") {
        let of = Studentised { value: 0.0, error: 1.0, freedom: number(&case, "freedom"), units: 10, skewness: 0.0 };
        let found = Power { alpha: number(&case, "alpha"), power: POWER }.detectable(&of);
        check(found, number(&case, "distance"), &case);
    }
    // Asked for the power that a difference has, the answer is that difference.
    for case in cases("mcnemar_power") {
        let power = Power { alpha: number(&case, "alpha"), power: number(&case, "power") };
        let found = power.detectable_share(number(&case, "discordant"), case["items"].as_u64().unwrap());
        let known = number(&case, "difference");
        assert!((found / known - 1.0).abs() < 1e-3, "{found} is not {known}: {case}");
    }
}

/// Ends of intervals agree within three per cent of the width: four times the Monte-Carlo error that the ends of two
/// bootstraps of 100 000 draws have, rounded up for BCa, whose quantiles lie farther out.
#[test]
fn bootstraps() {
    let resamples = cases("resamples")[0].as_u64().unwrap() as usize;
    let near = |found: Option<Interval>, known: &[f64], case: &Json| {
        let (found, width) = (found.unwrap(), known[1] - known[0]);
        let gap = (found.low - known[0]).abs().max((found.high - known[1]).abs());
        assert!(gap < 0.03 * width, "{found:?} is not {known:?}: {case}");
    };
    for case in cases("bootstrap") {
        let flavour = serde_json::from_value(case["flavour"].clone()).unwrap();
        let bootstrap = Bootstrap { resamples, flavour, expanded: false, ..Bootstrap::default() };
        let side = |name: &str, reduction| Observation {
            samples: numbers(&case, name),
            weights: numbers(&case, "weights"),
            ..Observation::absent("m", reduction, None)
        };
        let ratio = bootstrap.estimate(&side("a", Reduction::Ratio)).unwrap();
        near(ratio.interval, &numbers(&case, "ratio"), &case);
        let effect = bootstrap.paired(&side("a", Reduction::ExpRatio), &side("b", Reduction::ExpRatio)).unwrap();
        near(effect.interval, &numbers(&case, "difference"), &case);
    }
    for case in cases("medians") {
        let side = |name: &str| Observation {
            samples: numbers(&case, name),
            ..Observation::absent("m", Reduction::Median, None)
        };
        let effect = Bootstrap { resamples, ..Bootstrap::default() }.unpaired(&side("a"), &side("b")).unwrap();
        near(effect.relative_interval, &numbers(&case, "relative"), &case);
    }
}
