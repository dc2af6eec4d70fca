//! Synthetic series: false alarms of whole suites, steps that are dated, and how soon a lasting change is seen.

use harness_core::gate::{Evidence, GateRequest, Policy, RECENT, judge};
use harness_core::seed::stream;
use harness_core::statistics::normal_quantile;
use harness_core::{Direction, Noise, Verdict};
use harness_store::changes;
use rand_chacha::rand_core::Rng;

use crate::{NULL_TRIALS, TRIALS, count, map, rate};

/// Nights of a series, and the noise between them.
const NIGHTS: usize = 200;
const NOISE: f64 = 0.03;

/// Independent noise of unit deviation: normal, or heavy-tailed (Student's with 4 degrees of freedom).
fn noise(label: &str, number: usize, heavy: bool) -> impl FnMut() -> f64 + use<> {
    let mut random = stream(12, &[label, &number.to_string()]);
    move || {
        let mut normal = || normal_quantile(((random.next_u64() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64);
        let z = normal();
        if !heavy {
            return z;
        }
        let chi: f64 = (0..4).map(|_| normal().powi(2)).sum();
        z / (chi / 4.0).sqrt() / 2.0_f64.sqrt()
    }
}

fn policy() -> Policy {
    Policy::of(&GateRequest::default(), [("tps", Direction::Higher, Noise::Timed)], 1.0)
}

/// What `harness track` gives the gate of one timed series whose last value is tonight's.
fn evidence(values: &[f64], policy: &Policy) -> Evidence {
    let last = values.len() - 1;
    let found = changes(values, Noise::Timed, policy.rule("tps"));
    let start = found.iter().map(|change| change.at).filter(|at| *at < last).max().unwrap_or(0);
    Evidence {
        metric: "tps".into(),
        noise: Noise::Timed,
        tonight: values[last],
        effect: Err("times are compared with all nights before".into()),
        past: values[start..last].to_vec(),
        change: found.last().copied().filter(|change| change.at + RECENT >= last && change.at < last),
    }
}

pub fn report() {
    let policy = policy();
    for (series, nights, heavy) in [(40, 30, false), (40, NIGHTS, false), (500, 60, false), (40, 60, true)] {
        let alarms = count(NULL_TRIALS, |number| {
            let mut noise = noise("null", number, heavy);
            let night: Vec<Evidence> = (0..series)
                .map(|_| {
                    let values: Vec<f64> = (0..nights).map(|_| 100.0 * (1.0 + NOISE * noise())).collect();
                    evidence(&values, &policy)
                })
                .collect();
            judge(&night, &policy).iter().flatten().any(|judged| judged.verdict == Verdict::Worse)
        });
        let kind = if heavy { "heavy-tailed" } else { "normal" };
        println!(
            "| false alarm of the suite, changes of level included | {series} synthetic series, {nights} nights, {kind} noise | {NULL_TRIALS} | {} |",
            rate(alarms, NULL_TRIALS)
        );
    }
    dated();
    lasting(&policy);
}

/// A step in the middle of a series: marked within two nights?
fn dated() {
    println!("\n| step | marked within ±2 nights | marked at all | other marks a series |\n|---:|---|---|---:|");
    for percent in [0, 1, 2, 3, 4, 5, 6, 8, 10, 15] {
        let step = f64::from(percent) / 100.0;
        let found = map(TRIALS, |number| {
            let mut noise = noise("step", number, false);
            let at = 50 + number % 100;
            let level = |night: usize| if night < at { 100.0 } else { 100.0 * (1.0 + step) };
            let values: Vec<f64> = (0..NIGHTS).map(|night| level(night) * (1.0 + NOISE * noise())).collect();
            let marks: Vec<usize> =
                changes(&values, Noise::Timed, None).iter().map(|change| change.at.abs_diff(at)).collect();
            (marks.iter().any(|off| *off <= 2), !marks.is_empty(), marks.iter().filter(|off| **off > 10).count())
        });
        let near = found.iter().filter(|(near, ..)| *near).count();
        let any = found.iter().filter(|(_, any, _)| *any).count();
        let others: usize = found.iter().map(|(.., others)| others).sum();
        println!(
            "| {percent} % | {} | {} | {:.4} |",
            rate(near, TRIALS),
            rate(any, TRIALS),
            others as f64 / TRIALS as f64
        );
    }
}

/// A change that lasts, in one of forty series: how many nights until the gate says worse?
fn lasting(policy: &Policy) {
    println!(
        "\n| slower by | seen in the first night | by the 3rd | by the 5th | by the 7th | by the 14th |\n|---:|---|---|---|---|---|"
    );
    for percent in [5, 6, 8, 10] {
        let seen = map(TRIALS / 4, |number| {
            let mut noise = noise("lasting", number, false);
            let calm: Vec<Vec<f64>> =
                (0..40).map(|_| (0..74).map(|_| 100.0 * (1.0 + NOISE * noise())).collect()).collect();
            (1..=14).find(|nights| {
                let night: Vec<Evidence> = calm
                    .iter()
                    .enumerate()
                    .map(|(index, values)| {
                        let factor =
                            |at: usize| if index == 0 && at >= 60 { 1.0 - f64::from(percent) / 100.0 } else { 1.0 };
                        let values: Vec<f64> =
                            values[..60 + nights].iter().enumerate().map(|(at, value)| value * factor(at)).collect();
                        evidence(&values, policy)
                    })
                    .collect();
                judge(&night, policy)[0].as_ref().is_some_and(|judged| judged.verdict == Verdict::Worse)
            })
        });
        let by = |nights: usize| rate(seen.iter().flatten().filter(|first| **first <= nights).count(), seen.len());
        println!("| {percent} % | {} | {} | {} | {} | {} |", by(1), by(3), by(5), by(7), by(14));
    }
}
