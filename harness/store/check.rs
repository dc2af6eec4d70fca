//! The numbers of a run once more, from its raw samples.

use harness_core::statistics::{Bootstrap, Estimate};
use rayon::prelude::*;

use crate::run::{Record, Run};

/// How far a recomputed number may lie from the stored one, relative to the larger: exponentials and logarithms of
/// different machines differ in their last bits.
const TOLERANCE: f64 = 1e-9;

/// A stored number that its samples do not give.
#[derive(Debug, Clone, PartialEq)]
pub struct Disagreement {
    /// The cell, as printed.
    pub cell: String,
    /// Metric id.
    pub metric: String,
    /// What differs: `value`, `low`, `high`, `units`.
    pub what: &'static str,
    /// As stored.
    pub stored: String,
    /// As the samples give it.
    pub recomputed: String,
}

/// Reduces and bootstraps every observation again and compares with the stored estimates.
pub fn recompute(run: &Run) -> Vec<Disagreement> {
    let found: Vec<Vec<Disagreement>> = run.records.par_iter().map(of_cell).collect();
    found.into_iter().flatten().collect()
}

fn of_cell(record: &Record) -> Vec<Disagreement> {
    let bootstrap = Bootstrap::default();
    let mut found = Vec::new();
    for (seen, stored) in record.cell.observations.iter().zip(&record.estimates) {
        let again = bootstrap.estimate(seen);
        for ((what, stored), (_, recomputed)) in facts(stored.as_ref()).into_iter().zip(facts(again.as_ref())) {
            if !agree(stored, recomputed) {
                let text = |fact: Option<f64>| fact.map_or_else(|| "nothing".to_owned(), |fact| fact.to_string());
                found.push(Disagreement {
                    cell: record.cell.cell.to_string(),
                    metric: seen.metric.clone(),
                    what,
                    stored: text(stored),
                    recomputed: text(recomputed),
                });
            }
        }
    }
    found
}

fn facts(estimate: Option<&Estimate>) -> [(&'static str, Option<f64>); 4] {
    let interval = estimate.and_then(|estimate| estimate.interval);
    [
        ("value", estimate.map(|estimate| estimate.value)),
        ("low", interval.map(|interval| interval.low)),
        ("high", interval.map(|interval| interval.high)),
        ("units", estimate.map(|estimate| estimate.units as f64)),
    ]
}

fn agree(a: Option<f64>, b: Option<f64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()),
        (None, None) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn samples_give_the_stored_numbers_and_a_changed_digit_is_found() {
        let mut run = fixture::run();
        assert_eq!(recompute(&run), []);
        let stored = run.records[1].estimates[0].as_mut().map(|estimate| {
            estimate.value += 0.01;
            estimate.value
        });
        let found = recompute(&run);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].metric.as_str(), found[0].what), ("ppl", "value"));
        assert_eq!(Some(found[0].stored.clone()), stored.map(|value| value.to_string()));
        run.records[2].estimates[0] = None;
        assert_eq!(recompute(&run).len(), 1 + 4);
    }
}
