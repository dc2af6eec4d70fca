//! Nights on which one series became five per cent slower.

use harness_core::gate::{Policy, judge};
use harness_core::seed::stream;
use harness_core::statistics::Bootstrap;
use harness_core::statistics::resample::pair;
use harness_core::statistics::{deviation, mean};
use harness_core::{Axis, Verdict};
use harness_store::{Run, SCALES};

use crate::nights::times;
use crate::{TRIALS, count, rate};

/// Found in one night, by how many nights are known. Series of other metrics share nothing with the times but the budget,
/// which the policy has divided already, so they stay out.
pub fn report(runs: &[Run], policy: &Policy) {
    let mut spreads = Vec::new();
    for (place, record) in runs[0].records.iter().enumerate() {
        for (at, seen) in record.cell.observations.iter().enumerate() {
            let values: Vec<f64> =
                runs.iter().filter_map(|run| run.records[place].cell.observations[at].value()).collect();
            let spread = deviation(&values).zip(mean(&values)).map_or(f64::NAN, |(s, m)| s / m);
            spreads.push((spread, format!("{} of {}", seen.metric, record.cell.cell)));
        }
    }
    let series = spreads.len();
    let mut sorted: Vec<f64> = spreads.iter().map(|(spread, _)| *spread).collect();
    sorted.sort_by(f64::total_cmp);
    let at = |share| 100.0 * harness_core::statistics::quantile(&sorted, share).unwrap_or(f64::NAN);
    println!(
        "| spread between nights | {series} timed series, {} runs | | median {:.2} %, {:.2} % to {:.2} % |",
        runs.len(),
        at(0.5),
        at(0.0),
        at(1.0)
    );
    for slower in [1.05, 1.1] {
        for before in [10, 20, runs.len() - 1] {
            if before >= runs.len() {
                continue;
            }
            for scale in [SCALES[0], policy.scale] {
                let policy = Policy { scale, ..policy.clone() };
                let found = count(TRIALS, |number| {
                    let mut night = times(runs, before, "slower", number);
                    let changed = number % series;
                    night[changed].tonight /= slower;
                    judge(&night, &policy)[changed].as_ref().is_some_and(|judged| judged.verdict == Verdict::Worse)
                });
                println!(
                    "| latency {:+.0} % found in one night | {before} nights before, deviations × {scale} | {TRIALS} | {} |",
                    100.0 * (slower - 1.0),
                    rate(found, TRIALS)
                );
                if policy.scale == SCALES[0] {
                    break;
                }
            }
        }
    }
}

/// Level at which one pair of arms is told apart.
const LEVEL: f64 = 0.05;

/// Arms that took turns in the same rounds, as `harness compare` pairs them: the dense model and one pruned to the same
/// shape, whose work is the same. Rounds are drawn anew within a run, the two change places at random, and one is slowed.
pub fn together(runs: &[Run]) {
    let label = |record: &harness_store::Record, axis| record.cell.cell.label(axis).unwrap_or_default().to_owned();
    for first in runs[0].records.iter().filter(|record| label(record, Axis::Prune) == "none") {
        let model = label(first, Axis::Model);
        let other = runs[0].records.iter().position(|other| {
            label(other, Axis::Model) == model && label(other, Axis::Prune) == "magnitude(sparsity=0.5)"
        });
        let this = runs[0].records.iter().position(|record| record.cell.id == first.cell.id);
        let (Some(this), Some(other)) = (this, other) else { continue };
        for (at, seen) in first.cell.observations.iter().enumerate() {
            let rounds = seen.samples.len();
            let found = [1.0, 1.05].map(|slower| {
                count(TRIALS, |number| {
                    let mut random = stream(11, &["together", &model, &seen.metric, &number.to_string()]);
                    let records = &runs[number % runs.len()].records;
                    let sides = [this, other].map(|place| &records[place].cell.observations[at]);
                    let (a, mut b) = pair(sides[0], sides[1], rounds, true, &mut random);
                    b.samples.iter_mut().for_each(|rate| *rate /= slower);
                    let bootstrap = Bootstrap { seed: number as u64, resamples: 100, ..Bootstrap::default() };
                    let effect = bootstrap.paired(&a, &b).ok();
                    effect.is_some_and(|e| e.difference < 0.0 && e.probability.is_some_and(|p| p <= LEVEL))
                })
            });
            println!(
                "| latency +5 % between arms of the same rounds | {} of {model}, {rounds} rounds | {TRIALS} | {}; with no difference {} |",
                seen.metric,
                rate(found[1], TRIALS),
                rate(found[0], TRIALS)
            );
        }
    }
}
