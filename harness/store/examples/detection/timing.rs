//! Nights on which one series became five per cent slower.

use harness_core::Verdict;
use harness_core::gate::{Policy, judge};
use harness_core::statistics::{deviation, mean};
use harness_store::{Run, SCALES};

use crate::nights::{DOCUMENTS, chance_pairs, quality, times};
use crate::{TRIALS, count, rate};

pub fn report(run: &Run, runs: &[Run], policy: &Policy) {
    let pairs = chance_pairs(run);
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
                    night.extend(quality(&pairs, DOCUMENTS, "slower", number));
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
