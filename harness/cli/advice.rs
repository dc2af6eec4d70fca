//! What the reader of a report should beware of, and what to do about it.

use std::collections::BTreeMap;

use harness_core::statistics::UnitKind;
use harness_core::{Noise, Reduction};
use harness_report::Warning;
use harness_store::{Record, Run};

/// Documents below which an interval is made of very few units.
const FEW_DOCUMENTS: usize = 10;
/// Rounds below which an interval of a median says little.
const FEW_ROUNDS: usize = 5;

/// The warnings of a run: what its cells said, and what its numbers show.
pub fn warnings(run: &Run) -> Vec<Warning> {
    let mut all = said(run);
    let timed = run.metrics.iter().any(|metric| metric.noise == Noise::Timed);
    if timed && !run.stamp.is_release() {
        all.push(Warning {
            text: "This is no release build; its times mean nothing.".into(),
            advice: "Build with cargo build --release and run again.".into(),
            cells: 0,
        });
    }
    if run.stamp.dirty {
        all.push(Warning {
            text: "The program was built from a work tree with changes that no commit holds.".into(),
            advice: "Commit, build and run again before the numbers are quoted.".into(),
            cells: 0,
        });
    }
    all.extend(few_units(run));
    all.extend(few_rounds(run));
    all
}

/// What the cells said themselves, each text once.
fn said(run: &Run) -> Vec<Warning> {
    let mut all: Vec<Warning> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for text in run.records.iter().flat_map(|record| &record.cell.warnings) {
        let place = *places.entry(text).or_insert_with(|| {
            all.push(Warning { text: text.clone(), ..Warning::default() });
            all.len() - 1
        });
        all[place].cells += 1;
    }
    all
}

fn few_units(run: &Run) -> Option<Warning> {
    let fewest = |record: &Record| {
        let sampled = record.cell.observations.iter().zip(&record.estimates).filter_map(|(seen, estimate)| {
            let noise = run.metric(&seen.metric)?.noise;
            let estimate = estimate.as_ref()?;
            (noise == Noise::Sampled && (estimate.kind == UnitKind::Clusters || seen.samples.len() > 1))
                .then_some(estimate.units)
        });
        sampled.min()
    };
    let few: Vec<usize> = run.records.iter().filter_map(fewest).filter(|units| *units < FEW_DOCUMENTS).collect();
    let least = few.iter().min()?;
    Some(Warning {
        text: format!(
            "Intervals are drawn from as few as {least} documents or windows; so few say little about other text."
        ),
        advice: "Raise windows, or choose a corpus with more documents.".into(),
        cells: few.len(),
    })
}

fn few_rounds(run: &Run) -> Option<Warning> {
    let few = |record: &&Record| {
        record.cell.observations.iter().any(|seen| {
            let timed = run.metric(&seen.metric).is_some_and(|metric| metric.noise == Noise::Timed);
            timed && seen.reduction == Reduction::Median && (1..FEW_ROUNDS).contains(&seen.samples.len())
        })
    };
    let cells = run.records.iter().filter(few).count();
    (cells > 0).then(|| Warning {
        text: format!("Speed was timed in fewer than {FEW_ROUNDS} rounds."),
        advice: "Raise rounds of the bench to 5 or more.".into(),
        cells,
    })
}
