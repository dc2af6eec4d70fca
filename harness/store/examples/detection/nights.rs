//! Nights without a change, made of real runs: quality from pairs of runs whose documents change places at random, times
//! from repetitions of one commit.

use std::error::Error;

use harness_core::gate::{Evidence, Policy, judge};
use harness_core::seed::stream;
use harness_core::statistics::Bootstrap;
use harness_core::statistics::resample::{below, pair, rounds};
use harness_core::{Axis, Noise, Observation, Verdict};
use harness_store::{Run, SCALES};

use crate::{NULL_TRIALS, count, rate};

/// Documents of a night: what 64 windows of 256 tokens hold.
pub const DOCUMENTS: usize = 18;

/// One series of the quality pool: the same arm with two seeds, or two arms of nearly the same quality.
pub struct Pair<'a> {
    pub metric: &'a str,
    pub a: &'a Observation,
    pub b: &'a Observation,
}

/// All random arms with seed 0 beside the same with seed 1: runs that differ by chance only.
pub fn chance_pairs(run: &Run) -> Vec<Pair<'_>> {
    let label = |record: &harness_store::Record, axis| record.cell.cell.label(axis).unwrap_or_default().to_owned();
    let mut pairs = Vec::new();
    for first in run.records.iter().filter(|record| label(record, Axis::Seed) == "0") {
        let arm = label(first, Axis::Prune);
        let other =
            run.records.iter().find(|other| label(other, Axis::Seed) == "1" && label(other, Axis::Prune) == arm);
        let Some(second) = other.filter(|_| arm.starts_with("random")) else { continue };
        for seen in &first.cell.observations {
            if let Some(other) = second.cell.observation(&seen.metric) {
                pairs.push(Pair { metric: &seen.metric, a: seen, b: other });
            }
        }
    }
    pairs
}

/// The evidence of a paired metric.
pub fn paired(metric: &str, a: &Observation, b: &Observation, seed: u64) -> Evidence {
    // The p-value comes from the samples themselves; the draws only make the interval.
    let bootstrap = Bootstrap { seed, resamples: 100, ..Bootstrap::default() };
    Evidence {
        metric: metric.to_owned(),
        noise: Noise::Sampled,
        tonight: b.value().unwrap_or(f64::NAN),
        effect: bootstrap.paired(a, b).map_err(|refusal| refusal.to_string()),
        past: Vec::new(),
        change: None,
    }
}

/// Quality of a night without a change.
pub fn quality(pairs: &[Pair], documents: usize, label: &str, number: usize) -> Vec<Evidence> {
    pairs
        .iter()
        .map(|series| {
            // One stream for all series: they share their documents, and change places together.
            let mut random = stream(7, &[label, &number.to_string()]);
            let (a, b) = pair(series.a, series.b, documents, true, &mut random);
            paired(series.metric, &a, &b, number as u64)
        })
        .collect()
}

/// Times of a night without a change: one run as tonight, `before` others as the nights before it, rounds drawn anew.
pub fn times(runs: &[Run], before: usize, label: &str, number: usize) -> Vec<Evidence> {
    let mut random = stream(8, &[label, &number.to_string()]);
    let mut order: Vec<usize> = (0..runs.len()).collect();
    for place in (1..order.len()).rev() {
        order.swap(place, below(&mut random, place + 1));
    }
    let mut evidence = Vec::new();
    for (place, record) in runs[0].records.iter().enumerate() {
        for (at, seen) in record.cell.observations.iter().enumerate() {
            let mut value = |run: usize| {
                let observation = &runs[run].records[place].cell.observations[at];
                rounds(observation, &mut random).value().unwrap_or(f64::NAN)
            };
            evidence.push(Evidence {
                metric: seen.metric.clone(),
                noise: Noise::Timed,
                tonight: value(order[0]),
                effect: Err("times are compared with all nights before".to_owned()),
                past: order[1..=before].iter().map(|run| value(*run)).collect(),
                change: None,
            });
        }
    }
    evidence
}

fn alarms(trials: usize, policy: &Policy, night: impl Fn(usize) -> Vec<Evidence> + Sync) -> usize {
    count(trials, |number| {
        judge(&night(number), policy).iter().flatten().any(|judged| judged.verdict == Verdict::Worse)
    })
}

/// The first of the factors on deviations with which times keep the budget, each tried factor as a row.
pub fn scale(runs: &[Run], policy: &Policy) -> Result<f64, Box<dyn Error>> {
    let series = runs[0].records.iter().map(|record| record.cell.observations.len()).sum::<usize>();
    for scale in SCALES {
        let scaled = Policy { scale, ..policy.clone() };
        let all = alarms(NULL_TRIALS, &scaled, |number| times(runs, runs.len() - 1, "null", number));
        row(&format!("{series} real timed series, {} runs, deviations × {scale}", runs.len()), all);
        if harness_core::statistics::clopper_pearson(all as u64, NULL_TRIALS as u64, 0.9).high <= policy.false_alarms {
            return Ok(scale);
        }
    }
    Err("no factor keeps the budget on these timing runs".into())
}

fn row(made: &str, count: usize) {
    println!("| false alarm of the suite | {made} | {NULL_TRIALS} | {} |", rate(count, NULL_TRIALS));
}

/// False alarms of quality, and of quality and times together.
pub fn report(run: &Run, runs: &[Run], policy: &Policy) -> Result<(), Box<dyn Error>> {
    let pairs = chance_pairs(run);
    if pairs.is_empty() {
        return Err("the quality run has no random arms with seeds 0 and 1".into());
    }
    let only_quality = alarms(NULL_TRIALS, policy, |number| quality(&pairs, DOCUMENTS, "null", number));
    row(&format!("{} real quality series", pairs.len()), only_quality);
    let scale = scale(runs, policy)?;
    let scaled = Policy { scale, ..policy.clone() };
    let both = alarms(NULL_TRIALS, &scaled, |number| {
        let mut night = quality(&pairs, DOCUMENTS, "both", number);
        night.extend(times(runs, runs.len() - 1, "both", number));
        night
    });
    row(&format!("both together, deviations × {scale}"), both);
    Ok(())
}
