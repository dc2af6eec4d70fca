#![allow(clippy::unwrap_used)]

use super::*;
use crate::metric::{Direction, Reduction};
use crate::record::Observation;
use crate::seed::stream;
use crate::statistics::Bootstrap;
use crate::statistics::resample::below;

fn policy(request: &GateRequest) -> Policy {
    let measured = [
        ("ppl", Direction::Lower, Noise::Sampled),
        ("tps", Direction::Higher, Noise::Timed),
        ("bytes", Direction::Lower, Noise::Exact),
        ("sparsity", Direction::Neutral, Noise::Exact),
    ];
    Policy::of(request, measured, 1.0)
}

fn request(metric: &str) -> MetricRequest {
    MetricRequest { metric: metric.into(), side: None, floor: None, floor_absolute: None, error_rate: None }
}

fn numbers(label: &str, count: usize) -> Vec<f64> {
    let mut random = stream(5, &[label]);
    // The sum of twelve uniform numbers is near enough to normal.
    (0..count)
        .map(|_| (0..12).map(|_| below(&mut random, 1 << 20) as f64 / f64::from(1 << 20)).sum::<f64>() - 6.0)
        .collect()
}

fn timed(past: Vec<f64>, tonight: f64) -> Evidence {
    Evidence {
        metric: "tps".into(),
        noise: Noise::Timed,
        tonight,
        effect: Err("times are compared with all nights before".into()),
        past,
        change: None,
    }
}

fn windows(shift: f64, label: &str) -> Observation {
    let hard = numbers("hardness", 64);
    let own = numbers(label, 64);
    Observation {
        samples: hard.iter().zip(own).map(|(h, z)| 255.0 * (3.0 + 0.3 * h + shift + 0.01 * z)).collect(),
        weights: vec![255.0; 64],
        ..Observation::absent("ppl", Reduction::ExpRatio, None)
    }
}

fn sampled(a: &Observation, b: &Observation) -> Evidence {
    let effect = Bootstrap::default().paired(a, b).map_err(|refusal| refusal.to_string());
    Evidence {
        metric: "ppl".into(),
        noise: Noise::Sampled,
        tonight: b.value().unwrap(),
        effect,
        past: Vec::new(),
        change: None,
    }
}

fn one(evidence: Evidence) -> Judgement {
    judge(&[evidence], &policy(&GateRequest::default())).pop().unwrap().unwrap()
}

#[test]
fn shares_of_the_budget_add_up() {
    let rates = |policy: &Policy| policy.rules.iter().map(|rule| rule.error_rate).collect::<Vec<_>>();
    let all = policy(&GateRequest::default());
    assert_eq!(all.rules.iter().map(|rule| rule.metric.as_str()).collect::<Vec<_>>(), ["ppl", "tps", "bytes"]);
    assert!((rates(&all).iter().sum::<f64>() - FALSE_ALARMS).abs() < 1e-15);
    let mut own = request("tps");
    own.error_rate = Some(0.004);
    let asked = GateRequest { false_alarms: 0.01, metrics: vec![own, request("ppl"), request("sparsity")] };
    let some = policy(&asked);
    assert_eq!(some.rules.iter().map(|rule| rule.side).collect::<Vec<_>>(), [Side::Lower, Side::Higher, Side::Both]);
    assert!((rates(&some)[1] - 0.004).abs() < 1e-15 && (rates(&some)[0] - 0.003).abs() < 1e-15);
}

#[test]
fn a_night_is_judged_by_the_spread_of_those_before() {
    let past: Vec<f64> = numbers("nights", 20).iter().map(|z| 100.0 + z).collect();
    assert_eq!(one(timed(past.clone(), 90.0)).verdict, Verdict::Worse);
    assert_eq!(one(timed(past.clone(), 110.0)).verdict, Verdict::Better);
    let middle = one(timed(past.clone(), 99.0));
    assert_eq!(middle.verdict, Verdict::CannotTell);
    assert!(middle.detectable.unwrap() > 3.0 && middle.detectable.unwrap() < 8.0, "{middle:?}");
    let calm: Vec<f64> = past.iter().map(|value| 100.0 + (value - 100.0) / 10.0).collect();
    assert_eq!(one(timed(calm.clone(), 99.9)).verdict, Verdict::Same);
    assert_eq!(one(timed(calm, 97.0)).verdict, Verdict::Worse);
    let short = one(timed(past[..4].to_vec(), 10.0));
    assert_eq!(short.verdict, Verdict::CannotTell);
    assert!(short.reason.contains("4 nights are known"), "{}", short.reason);
}

#[test]
fn changes_that_happen_anyway_stay_within_the_fence() {
    // Nine calm nights in ten and a slow one in ten: the deviation is small, and slow nights are no news.
    let past: Vec<f64> = (0..40).map(|i| if i % 3 == 2 { 100.0 } else { 100.0 + 4.0 * f64::from(i % 2) }).collect();
    let judged = one(timed(past, 94.0));
    assert!(judged.fence.unwrap() > 6.0, "{judged:?}");
    assert_ne!(judged.verdict, Verdict::Worse);
}

#[test]
fn equal_values_and_equal_nights_are_the_same() {
    let calm = one(timed(vec![5.0; 12], 5.0));
    assert_eq!(calm.verdict, Verdict::Same);
    assert_eq!(one(timed(vec![0.1; 12], 0.1)).verdict, Verdict::Same, "rounding of a mean is no difference");
    assert_eq!(one(timed(vec![5.0; 12], 4.0)).verdict, Verdict::Worse);
    let a = windows(0.0, "a");
    let same = one(sampled(&a, &a));
    assert_eq!((same.verdict, same.reason.as_str()), (Verdict::Same, "equal"));
}

#[test]
fn sampled_metrics_are_paired_and_counts_are_named() {
    let (a, b) = (windows(0.0, "a"), windows(0.02, "b"));
    assert_eq!(one(sampled(&a, &b)).verdict, Verdict::Worse);
    assert_eq!(one(sampled(&b, &a)).verdict, Verdict::Better);
    let near = one(sampled(&a, &windows(0.002, "c")));
    assert_eq!(near.verdict, Verdict::CannotTell);
    assert!(near.needed.unwrap() > 64, "{near:?}");
    assert!(near.reason.contains("needs about"), "{}", near.reason);
}

#[test]
fn few_samples_and_odd_numbers_cannot_be_told() {
    let cut = |observation: &Observation, count: usize| Observation {
        samples: observation.samples[..count].to_vec(),
        weights: observation.weights[..count].to_vec(),
        ..observation.clone()
    };
    let (a, b) = (windows(0.0, "a"), windows(0.5, "b"));
    for count in [1, 2] {
        let judged = one(sampled(&cut(&a, count), &cut(&b, count)));
        assert_eq!(judged.verdict, Verdict::CannotTell, "{count}: {judged:?}");
    }
    let odd = one(timed(vec![1.0; 8], f64::NAN));
    assert_eq!((odd.verdict, odd.reason.as_str()), (Verdict::CannotTell, "tonight's value is NaN"));
    let mut holes = timed(vec![1.0, 1.1, f64::NAN, 0.9, 1.0, 1.05], 1.0);
    holes.past.retain(|value| value.is_finite());
    assert!(one(holes).interval.is_some());
    let refused = Evidence { effect: Err("different protocols are never subtracted".into()), ..sampled(&a, &b) };
    assert_eq!(one(refused).reason, "different protocols are never subtracted");
}

#[test]
fn exact_metrics_need_no_test() {
    let exact = |before: f64, tonight: f64| {
        let (a, b) = (Observation::single("bytes", before), Observation::single("bytes", tonight));
        let effect = Bootstrap::default().paired(&a, &b).map_err(|refusal| refusal.to_string());
        one(Evidence {
            metric: "bytes".into(),
            noise: Noise::Exact,
            ..Evidence { effect, ..sampled(&windows(0.0, "a"), &windows(0.0, "a")) }
        })
    };
    assert_eq!(exact(100.0, 100.0).verdict, Verdict::Same);
    assert_eq!(exact(100.0, 101.0).verdict, Verdict::Worse);
    assert_eq!(exact(100.0, 99.0).verdict, Verdict::Better);
}

#[test]
fn a_change_some_nights_ago_is_held_against_a_series() {
    let past: Vec<f64> = numbers("after", 8).iter().map(|z| 95.0 + 0.5 * z).collect();
    let change = ChangePoint { at: 30, score: 6.0, probability: 1e-6, before: 100.0, after: 95.0 };
    let mut evidence = timed(past, 95.0);
    evidence.change = Some(change);
    let judged = one(evidence.clone());
    assert_eq!((judged.verdict, judged.since), (Verdict::Worse, Some(change)));
    evidence.change = Some(ChangePoint { probability: 0.004, ..change });
    assert_ne!(one(evidence.clone()).verdict, Verdict::Worse, "beyond the budget");
    evidence.change = Some(ChangePoint { after: 99.0, ..change });
    assert_ne!(one(evidence.clone()).verdict, Verdict::Worse, "within the floor");
    evidence.change = Some(ChangePoint { before: 90.0, ..change });
    assert_eq!(one(evidence).verdict, Verdict::Better);
}

#[test]
fn more_series_make_each_harder_to_alarm() {
    let past: Vec<f64> = numbers("nights", 20).iter().map(|z| 100.0 + z).collect();
    let tonight = 95.6;
    assert_eq!(one(timed(past.clone(), tonight)).verdict, Verdict::Worse);
    let many: Vec<Evidence> =
        std::iter::once(timed(past.clone(), tonight)).chain((0..400).map(|_| timed(past.clone(), 100.0))).collect();
    let judged = judge(&many, &policy(&GateRequest::default()));
    assert_ne!(judged[0].as_ref().unwrap().verdict, Verdict::Worse);
    assert!(judged[0].as_ref().unwrap().probability.unwrap() > 0.01);
}

#[test]
fn a_calibrated_scale_widens_everything() {
    let past: Vec<f64> = numbers("nights", 20).iter().map(|z| 100.0 + z).collect();
    let wide = Policy { scale: 3.0, ..policy(&GateRequest::default()) };
    let judged = judge(&[timed(past.clone(), 94.0)], &wide).pop().unwrap().unwrap();
    let plain = one(timed(past, 94.0));
    assert_eq!((plain.verdict, judged.verdict), (Verdict::Worse, Verdict::CannotTell));
    assert!((judged.detectable.unwrap() / plain.detectable.unwrap() - 3.0).abs() < 1e-9);
}

#[test]
fn metrics_without_a_rule_are_left_out() {
    let mut evidence = timed(vec![1.0; 8], 1.0);
    evidence.metric = "sparsity".into();
    assert_eq!(judge(&[evidence], &policy(&GateRequest::default())), [None]);
}
