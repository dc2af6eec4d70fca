#![allow(clippy::unwrap_used)]

use super::super::bootstrap::tests::normals;
use super::super::{Bootstrap, Flavour, Power};
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
    assert_eq!(paired.test, "paired bootstrap over 48 samples; t, 47.0 degrees");
}

#[test]
fn swapped_arms_flip() {
    let (a, b) = pair();
    let bootstrap = Bootstrap { flavour: Flavour::Percentile, ..Bootstrap::default() };
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
    assert!(effect.test.starts_with("bootstrap of two medians, 30 and 30 rounds; t, "), "{}", effect.test);
    assert!(effect.probability.unwrap() < 1e-9, "{effect:?}");
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

/// Right and wrong answers of two arms: `only_a` and `only_b` items in which they differ, spread over the items.
fn answers(items: usize, only_a: usize, only_b: usize, clusters: Vec<u32>) -> (Observation, Observation) {
    let side = |arm: usize| {
        let samples = (0..items).map(|i| match i {
            i if i < only_a => f64::from(u8::from(arm == 0)),
            i if i < only_a + only_b => f64::from(u8::from(arm == 1)),
            i => f64::from(u8::from(i % 3 > 0)),
        });
        Observation {
            samples: samples.collect(),
            weights: vec![1.0; items],
            clusters: clusters.clone(),
            ..Observation::absent("acc", Reduction::Ratio, None)
        }
    };
    (side(0), side(1))
}

#[test]
fn accuracies_are_judged_by_mcnemar() {
    let (a, b) = answers(200, 9, 1, Vec::new());
    let effect = Bootstrap::default().paired(&a, &b).unwrap();
    assert!((effect.probability.unwrap() - 0.021_484_375).abs() < 1e-12, "{effect:?}");
    assert!((effect.difference + 0.04).abs() < 1e-12);
    assert_eq!(effect.test, "paired bootstrap over 200 items; McNemar, 9 against 1 items");
    let power = Power::among(0.05, 1);
    let (size, needed) = (effect.detectable(power).unwrap(), effect.units_needed(power, 0.01).unwrap());
    assert!((0.03..0.06).contains(&size) && (3000..5000).contains(&needed), "{size} {needed}");
}

#[test]
fn accuracies_of_documents_are_judged_by_all_signs() {
    let (a, b) = answers(200, 30, 10, (0..200).map(|i| i / 4).collect());
    let effect = Bootstrap::default().paired(&a, &b).unwrap();
    assert_eq!(effect.evidence.as_ref().unwrap().test, Test::Signs);
    assert!(effect.test.ends_with("over 50 documents; all signs of their differences"), "{}", effect.test);
    // Seven documents go to one side, two to the other, and one is split: sums of 4, 4, ... and 0.
    let differences: Vec<f64> = (0..50).map(|d| [-4.0, 4.0, 0.0][usize::from(d > 6) + usize::from(d > 9)]).collect();
    assert!(sign_flip(&differences).0 > 0.1);
    assert!(effect.probability.unwrap() > 0.1, "{effect:?}");
    let alone = Bootstrap::default().paired(&answers(200, 30, 10, Vec::new()).0, &answers(200, 30, 10, Vec::new()).1);
    assert!(alone.unwrap().probability.unwrap() < 0.01, "items of one document are no independent evidence");
}

#[test]
fn equal_answers_say_how_much_may_still_differ() {
    let (a, b) = answers(60, 0, 0, Vec::new());
    let effect = Bootstrap::default().paired(&a, &b).unwrap();
    assert_eq!((effect.probability, effect.interval.map(|i| (i.low, i.high))), (Some(1.0), Some((0.0, 0.0))));
    assert!(effect.note.unwrap().ends_with("up to 5.96 % may still differ"));
}

#[test]
fn degenerate_samples_are_defined() {
    let bootstrap = Bootstrap::default();
    let few = |count: usize, shift: f64| windows((0..count).map(|i| 500.0 + shift + i as f64).collect());
    let effect = bootstrap.paired(&few(2, 0.0), &few(2, 1.0)).unwrap();
    assert_eq!((effect.interval, effect.probability, effect.evidence), (None, None, None));
    assert_eq!(effect.test, "2 samples; noise is not known from fewer than 3");
    let effect = bootstrap.paired(&few(2, 0.0), &few(2, 0.0)).unwrap();
    assert_eq!(effect.note.as_deref(), Some("every sample is the same on both sides"));
    // All windows harder by the same: no noise to measure by, so the signs decide.
    let effect = bootstrap.paired(&few(12, 0.0), &few(12, 1.0)).unwrap();
    assert_eq!(effect.probability, Some(2.0_f64.powi(-11)));
    assert!(effect.note.unwrap().contains("differ by the same"));
    // Only rounding tells them apart.
    let effect = bootstrap.paired(&few(12, 0.0), &few(12, 1e-13)).unwrap();
    assert_eq!(effect.probability, Some(1.0));
    let broken = |value: f64| {
        let mut side = few(12, 1.0);
        side.samples[5] = value;
        bootstrap.paired(&few(12, 0.0), &side).unwrap_err().to_string()
    };
    let said = "b has no finite value: 1 of 12 samples, the first of them sample 5, which is";
    assert_eq!(broken(f64::NAN), format!("{said} NaN"));
    assert_eq!(broken(f64::INFINITY), format!("{said} inf"));
    assert!(broken(1e9).contains("come to inf"));
}

#[test]
fn rounds_taken_together_are_paired() {
    // The machine slows down by half over the rounds; the second arm is two per cent slower in each.
    let drift = |i: usize| 100.0 / (1.0 + 0.05 * i as f64);
    let rounds = |factor: f64, wobble: usize| Observation {
        samples: (0..10).map(|i| factor * drift(i) * (1.0 + 0.001 * ((i * wobble) % 5) as f64)).collect(),
        clusters: (70..80).collect(),
        ..Observation::absent("tps", Reduction::Median, None)
    };
    let (a, b) = (rounds(1.0, 3), rounds(0.98, 7));
    let paired = Bootstrap::default().paired(&a, &b).unwrap();
    assert_eq!(paired.test, "paired bootstrap over 10 rounds; t, 5.0 degrees");
    assert!(paired.probability.unwrap() < 1e-4, "{paired:?}");
    assert!(Bootstrap::default().unpaired(&a, &b).unwrap().probability.unwrap() > 0.5);
}

#[test]
fn a_zone_that_does_not_matter_is_tested_at_its_edge() {
    let (a, b) = pair();
    let effect = Bootstrap::default().paired(&a, &b).unwrap();
    let at = |share: f64| effect.probability_beyond(share * effect.a).unwrap();
    assert_eq!(at(0.0), effect.probability.unwrap());
    assert!(at(0.0) < at(0.01) && at(0.01) < at(0.015), "{} {} {}", at(0.0), at(0.01), at(0.015));
    assert_eq!(at(0.03), 1.0);
    assert_eq!(at(2.0), 1.0);
    let back = Bootstrap::default().paired(&b, &a).unwrap();
    assert!(back.probability_beyond(2.0 * back.a).unwrap() == 1.0);
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn samples() -> impl Strategy<Value = (Vec<f64>, Vec<f64>, Vec<u32>)> {
        (6_usize..40).prop_flat_map(|count| {
            (
                prop::collection::vec(100.0..600.0_f64, count),
                prop::collection::vec(100.0..600.0_f64, count),
                prop::collection::vec(0_u32..6, count),
            )
        })
    }

    fn clustered(samples: &[f64], clusters: &[u32], reduction: Reduction) -> Observation {
        Observation {
            samples: samples.to_vec(),
            weights: vec![255.0; samples.len()],
            clusters: clusters.to_vec(),
            ..Observation::absent("m", reduction, None)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn swapping_reordering_and_scaling_leave_the_p_value((a, b, clusters) in samples(), scale in 0.1..10.0_f64) {
            let bootstrap = Bootstrap { resamples: 20, ..Bootstrap::default() };
            let p = |a: &[f64], b: &[f64], clusters: &[u32]| {
                let side = |samples| clustered(samples, clusters, Reduction::Ratio);
                bootstrap.paired(&side(a), &side(b)).unwrap().probability
            };
            let close = |x: Option<f64>, y: Option<f64>| match (x, y) {
                (Some(x), Some(y)) => (x - y).abs() <= 1e-6 * x,
                (x, y) => x == y,
            };
            let whole = p(&a, &b, &clusters);
            prop_assert!(close(whole, p(&b, &a, &clusters)));
            let reversed = |values: &[f64]| values.iter().rev().copied().collect::<Vec<f64>>();
            let backward: Vec<u32> = clusters.iter().rev().copied().collect();
            prop_assert!(close(whole, p(&reversed(&a), &reversed(&b), &backward)));
            let scaled = |values: &[f64]| values.iter().map(|value| scale * value).collect::<Vec<f64>>();
            prop_assert!(close(whole, p(&scaled(&a), &scaled(&b), &clusters)));
            let renamed: Vec<u32> = clusters.iter().map(|cluster| 1000 - 7 * cluster).collect();
            prop_assert!(close(whole, p(&a, &b, &renamed)));
        }

        #[test]
        fn swapping_turns_the_difference_and_its_interval((a, b, clusters) in samples()) {
            let bootstrap = Bootstrap { resamples: 200, flavour: Flavour::Percentile, ..Bootstrap::default() };
            let side = |samples: &[f64]| clustered(samples, &clusters, Reduction::Ratio);
            let (forth, back) = (bootstrap.paired(&side(&a), &side(&b)), bootstrap.paired(&side(&b), &side(&a)));
            let (forth, back) = (forth.unwrap(), back.unwrap());
            prop_assert_eq!(forth.difference, -back.difference);
            if let (Some(one), Some(two)) = (forth.interval, back.interval.map(Interval::negated)) {
                prop_assert!((one.low - two.low).abs() < 1e-9 && (one.high - two.high).abs() < 1e-9);
            }
        }
    }
}
