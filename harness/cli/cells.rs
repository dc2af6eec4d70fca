//! The pages of single cells, and the command that measures one of them alone.

use harness_core::chart::Entry;
use harness_core::statistics::{Estimate, UnitKind};
use harness_core::{Observation, Reduction, Value};
use harness_report::{CellArm, CellNumber, CellPage};
use harness_store::{Record, Run};

use crate::suite::SuiteArguments;

/// The page of every cell of a run that was started with these arguments.
pub fn pages(run: &Run, arguments: &SuiteArguments) -> Vec<CellPage> {
    run.records.iter().map(|record| page(run, record, arguments)).collect()
}

fn page(run: &Run, record: &Record, arguments: &SuiteArguments) -> CellPage {
    let cell = &record.cell;
    let arms = cell.cell.coordinates.iter().map(|(axis, at)| CellArm {
        axis: axis.key().to_owned(),
        label: at.label.clone(),
        parameters: at.parameters.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
    });
    let numbers = cell.observations.iter().zip(&record.estimates).map(|(seen, estimate)| CellNumber {
        metric: seen.metric.clone(),
        unit: run.metric(&seen.metric).map_or_else(|| "1".to_owned(), |metric| metric.unit.clone()),
        entry: entry(seen, estimate.as_ref()),
        drawn: estimate.as_ref().map_or_else(String::new, |estimate| drawn(seen, estimate)),
        protocol: seen.protocol.clone().unwrap_or_default(),
        note: estimate.as_ref().and_then(|estimate| estimate.note.clone()).unwrap_or_default(),
        samples: on_scale(seen),
    });
    CellPage {
        id: cell.id.to_string(),
        name: cell.cell.to_string(),
        arms: arms.collect(),
        failure: cell.failure.as_ref().map(|failure| (failure.stage.clone(), failure.reason.clone())),
        warnings: cell.warnings.clone(),
        seconds: cell.seconds,
        command: again(run, arguments, &cell.cell.to_string()),
        numbers: numbers.collect(),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Unset => "unset".to_owned(),
        other => other.to_string(),
    }
}

fn entry(seen: &Observation, estimate: Option<&Estimate>) -> Entry {
    match estimate {
        Some(estimate) if estimate.value.is_finite() => {
            Entry::number(estimate.value, estimate.interval.map(|interval| (interval.low, interval.high)))
        }
        Some(estimate) => Entry::Failed(format!("the value is {}", estimate.value)),
        None => Entry::Absent(seen.absent.clone().unwrap_or_else(|| "no samples were taken".to_owned())),
    }
}

fn drawn(seen: &Observation, estimate: &Estimate) -> String {
    let samples = seen.samples.len();
    match (seen.reduction, estimate.kind) {
        (Reduction::Single, _) => "one number".to_owned(),
        (_, UnitKind::Clusters) => format!("{samples} samples in {} documents", estimate.units),
        (Reduction::Median, _) => format!("median of {samples} samples"),
        _ => format!("{samples} samples"),
    }
}

/// The samples on the scale of the metric: a window's own perplexity, where the value is that of all windows.
fn on_scale(seen: &Observation) -> Vec<f64> {
    let alone = |index: usize| {
        let weight: Vec<f64> = seen.weights.get(index).copied().into_iter().collect();
        seen.reduction.reduce(&seen.samples[index..=index], &weight).unwrap_or(f64::NAN)
    };
    match seen.reduction {
        Reduction::Single => Vec::new(),
        Reduction::Median => seen.samples.clone(),
        Reduction::Ratio | Reduction::ExpRatio => (0..seen.samples.len()).map(alone).collect(),
    }
}

/// The command that measures a cell again; empty for an import, which another program measured.
pub fn again(run: &Run, arguments: &SuiteArguments, cell: &str) -> String {
    if run.stamp.source.is_some() { String::new() } else { command(arguments, cell) }
}

/// `harness run SUITE …` with the changes the run was made with, and a filter that only this cell passes.
fn command(arguments: &SuiteArguments, cell: &str) -> String {
    let mut words = vec!["harness".to_owned(), "run".to_owned(), quoted(&arguments.suite.display().to_string())];
    for set in &arguments.set {
        words.extend(["--set".to_owned(), quoted(set)]);
    }
    if arguments.quick {
        words.push("--quick".to_owned());
    }
    words.extend(["--filter".to_owned(), quoted(&format!("={cell}"))]);
    words.join(" ")
}

/// A word as a POSIX shell reads it back.
fn quoted(word: &str) -> String {
    let plain =
        |sign: char| sign.is_ascii_alphanumeric() || matches!(sign, '/' | '.' | '-' | '_' | '=' | ':' | ',' | '+');
    if !word.is_empty() && !word.starts_with('=') && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_command_keeps_the_changes_and_asks_for_one_cell() {
        let arguments = SuiteArguments {
            suite: PathBuf::from("my suites/a.toml"),
            set: vec!["b.prune=wanda(sparsity=0.5)".into()],
            filters: vec!["wanda".into()],
            limit: Some(3),
            quick: true,
        };
        assert_eq!(
            command(&arguments, "b / it's / none"),
            r"harness run 'my suites/a.toml' --set 'b.prune=wanda(sparsity=0.5)' --quick --filter '=b / it'\''s / none'"
        );
    }

    #[test]
    fn samples_stand_on_the_scale_of_their_metric() {
        let seen = Observation {
            samples: vec![4.0 * 2.0_f64.ln(), 0.0],
            weights: vec![4.0, 4.0],
            ..Observation::absent("ppl", Reduction::ExpRatio, None)
        };
        let samples = on_scale(&seen);
        assert!((samples[0] - 2.0).abs() < 1e-12 && samples[1] == 1.0, "{samples:?}");
        assert!(on_scale(&Observation::single("bytes", 1.0)).is_empty());
    }
}
