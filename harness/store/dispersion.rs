//! How much units differ in a run, as a plan of another one needs it.

use std::collections::BTreeMap;

use harness_core::statistics::{Bootstrap, Dispersion};
use harness_core::{Axis, Noise};

use crate::run::{Record, Run};

/// The spread from unit to unit of the differences between arms, by metric: the middle one of all cells against the first
/// cell of the same bench, model and data. Metrics without noise, and cells that failed, are left out.
pub fn dispersions(run: &Run) -> BTreeMap<String, Dispersion> {
    // No draw is needed: the spread is read off the test.
    let bootstrap = Bootstrap { resamples: 0, ..Bootstrap::default() };
    let mut first: BTreeMap<(&str, Option<&str>, Option<&str>), &Record> = BTreeMap::new();
    let mut seen: BTreeMap<String, Vec<Dispersion>> = BTreeMap::new();
    for record in run.records.iter().filter(|record| record.cell.failure.is_none()) {
        let cell = &record.cell.cell;
        let reference = *first.entry((&cell.bench, cell.label(Axis::Model), cell.label(Axis::Data))).or_insert(record);
        if std::ptr::eq(reference, record) {
            continue;
        }
        for metric in run.metrics.iter().filter(|metric| metric.noise != Noise::Exact) {
            let (a, b) = (reference.cell.observation(&metric.id), record.cell.observation(&metric.id));
            let Some((a, b)) = a.zip(b) else { continue };
            let paired = metric.noise == Noise::Sampled || (!a.clusters.is_empty() && a.clusters == b.clusters);
            let effect = if paired { bootstrap.paired(a, b) } else { bootstrap.unpaired(a, b) };
            let found = effect.ok().and_then(|effect| Dispersion::of(&effect, a.samples.len()));
            seen.entry(metric.id.clone()).or_default().extend(found);
        }
    }
    seen.into_iter().filter_map(|(metric, several)| Some((metric, Dispersion::median(several)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::dispersions;
    use crate::fixture;

    #[test]
    fn noisy_metrics_have_a_spread_and_exact_ones_none() {
        let found = dispersions(&fixture::run());
        assert_eq!(found.keys().collect::<Vec<_>>(), ["decode_tps", "ppl"]);
        let (ppl, speed) = (&found["ppl"], &found["decode_tps"]);
        assert_eq!((ppl.unit.as_str(), ppl.units(24), ppl.units(48)), ("documents", 8, 16));
        assert_eq!((speed.unit.as_str(), speed.units(9)), ("rounds", 9));
        assert!(ppl.deviation > 0.0 && ppl.deviation < 0.01, "{ppl:?}");
        // Nine rounds between 500 and 508 on both sides.
        assert!((0.005..0.01).contains(&speed.deviation), "{speed:?}");
    }
}
