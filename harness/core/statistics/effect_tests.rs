#![allow(clippy::unwrap_used)]

use super::super::bootstrap::tests::normals;
use super::*;
use crate::metric::{Direction, Noise};
use crate::verdict::{Margin, Verdict, decide};

fn windows(samples: Vec<f64>) -> Observation {
    Observation {
        weights: vec![255.0; samples.len()],
        samples,
        protocol: Some("p".into()),
        ..Observation::absent("ppl", Reduction::ExpRatio, None)
    }
}

/// Two arms on the same 48 windows: windows differ much, the arms little.
fn pair() -> (Observation, Observation) {
    let hard: Vec<f64> = normals(1, "hardness").take(48).map(|z| 255.0 * (2.0 + 0.3 * z)).collect();
    let worse = hard.iter().zip(normals(1, "arm")).map(|(nll, z)| nll + 255.0 * (0.02 + 0.01 * z)).collect();
    (windows(hard), windows(worse))
}

#[test]
fn pairing_sees_what_two_separate_draws_do_not() {
    let (a, b) = pair();
    let bootstrap = Bootstrap::default();
    let paired = bootstrap.paired(&a, &b).unwrap();
    let unpaired = bootstrap.unpaired(&a, &b).unwrap();
    let verdict = |effect| decide(Direction::Lower, Noise::Sampled, effect, Margin::default());
    assert_eq!((verdict(&paired), verdict(&unpaired)), (Verdict::Worse, Verdict::CannotTell));
    assert!(paired.probability.unwrap() < 0.001 && unpaired.probability.unwrap() > 0.05);
    assert!((paired.relative.unwrap() - 0.02).abs() < 0.005, "{paired:?}");
    assert_eq!(paired.test, "paired bootstrap over 48 samples");
}

#[test]
fn swapped_arms_flip() {
    let (a, b) = pair();
    let bootstrap = Bootstrap { flavour: super::super::Flavour::Percentile, ..Bootstrap::default() };
    let (forth, back) = (bootstrap.paired(&a, &b).unwrap(), bootstrap.paired(&b, &a).unwrap());
    assert_eq!(forth.difference, -back.difference);
    let (one, two) = (forth.interval.unwrap(), back.interval.unwrap().negated());
    assert!((one.low - two.low).abs() < 1e-9 && (one.high - two.high).abs() < 1e-9);
    let verdict = |effect| decide(Direction::Lower, Noise::Sampled, effect, Margin::default());
    assert_eq!((verdict(&forth), verdict(&back)), (Verdict::Worse, Verdict::Better));
}

#[test]
fn an_arm_is_the_same_as_itself() {
    let (a, _) = pair();
    let effect = Bootstrap::default().paired(&a, &a).unwrap();
    assert_eq!(effect.interval.map(|interval| (interval.low, interval.high)), Some((0.0, 0.0)));
    assert_eq!(effect.probability, Some(1.0));
    assert_eq!(decide(Direction::Lower, Noise::Sampled, &effect, Margin::default()), Verdict::Same);
}

#[test]
fn what_was_not_measured_alike_is_refused() {
    let (a, b) = pair();
    let bootstrap = Bootstrap::default();
    let refused = |b: Observation| bootstrap.paired(&a, &b).unwrap_err();
    let other = |change: fn(&mut Observation)| {
        let mut b = b.clone();
        change(&mut b);
        b
    };
    assert_eq!(refused(other(|b| b.protocol = Some("q".into()))), Refusal::Protocol { a: "p".into(), b: "q".into() });
    assert_eq!(refused(other(|b| b.samples.truncate(47))), Refusal::Count { a: 48, b: 47 });
    assert!(matches!(refused(other(|b| b.weights[3] = 9.0)), Refusal::Weight { index: 3, .. }));
    assert!(matches!(refused(other(|b| b.metric = "kl".into())), Refusal::Metric { .. }));
    assert!(matches!(refused(other(|b| b.reduction = Reduction::Ratio)), Refusal::Reduction { .. }));
    let clustered = Observation { clusters: (0..48).map(|i| i / 4).collect(), ..b.clone() };
    assert_eq!(refused(clustered), Refusal::Cluster { index: 1 });
    let absent = Observation::absent("ppl", Reduction::ExpRatio, Some("no kernel".into()));
    assert_eq!(refused(absent), Refusal::Absent { reason: "no kernel".into() });
}

#[test]
fn medians_are_compared_by_their_ratio() {
    let timed = |shift: f64, label: &str| Observation {
        samples: normals(2, label).take(30).map(|z| (100.0 + z) * shift).collect(),
        ..Observation::absent("tps", Reduction::Median, None)
    };
    let effect = Bootstrap::default().unpaired(&timed(1.0, "a"), &timed(1.05, "b")).unwrap();
    let interval = effect.relative_interval.unwrap();
    assert!(interval.holds(0.05) && !interval.holds(0.0), "{interval:?}");
    assert_eq!(decide(Direction::Higher, Noise::Timed, &effect, Margin::relative(0.01)), Verdict::Better);
    assert_eq!(effect.test, "bootstrap of two medians, 30 and 30 samples");
}

/// The false-alarm rate of the paired verdict where there is nothing to find.
#[test]
fn equal_arms_are_seldom_told_apart() {
    let bootstrap = Bootstrap { resamples: 600, ..Bootstrap::default() };
    let mut numbers = normals(4, "null");
    let trials = 600;
    let alarms = (0..trials)
        .filter(|_| {
            let mut arm = || windows(numbers.by_ref().take(20).map(|z| 255.0 * (2.0 + 0.1 * z)).collect());
            let (a, b) = (arm(), arm());
            let effect = bootstrap.paired(&a, &b).unwrap();
            decide(Direction::Lower, Noise::Sampled, &effect, Margin::default()) != Verdict::CannotTell
        })
        .count();
    let share = alarms as f64 / f64::from(trials);
    assert!((0.025..0.08).contains(&share), "{share}");
}
