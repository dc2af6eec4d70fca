//! Runs in the formats of other programs.
//!
//! A format is one file below `export/` and one line in [`FORMATS`]. No format shows a failed cell, an absent metric or
//! a value that is not finite as a number; each says in its own file how it shows them, and whatever it has no place
//! for is named in [`Export::left_out`].

mod benchmark_action;
mod bmf;
pub(crate) mod criterion;
mod junit;
mod llama_bench;
mod lm_eval;
mod table;

use std::path::Path;

use harness_core::statistics::Estimate;
use harness_core::{CellRecord, Observation};
use harness_suite::Suite;

use crate::error::StoreError;
use crate::files;
use crate::run::{MetricInfo, Run};

/// What is exported.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The run.
    pub run: &'a Run,
    /// Its suite, where it has one; an imported run has none.
    pub suite: Option<&'a Suite>,
    /// What became of the suite's expectations.
    pub judged: &'a [Judged],
}

/// What became of an expectation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The bench it stands in.
    pub bench: String,
    /// The expectation as written.
    pub text: String,
    /// Whether it held; `None` when it could not be decided.
    pub held: Option<bool>,
    /// The numbers, or why it could not be decided.
    pub detail: String,
}

/// A file of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Where it stands below the target folder; parts are joined by `/`.
    pub path: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// A run in another format.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Export {
    /// Its files; exactly one unless the format is a folder.
    pub files: Vec<File>,
    /// What the format has no place for, in sentences.
    pub left_out: Vec<String>,
}

/// A format that runs can be exported to.
#[derive(Debug)]
pub struct Format {
    /// As given on the command line.
    pub name: &'static str,
    /// One line: who reads it.
    pub about: &'static str,
    /// Whether it is a folder of files rather than one file.
    pub folder: bool,
    /// Writes it.
    pub write: fn(&Subject) -> Result<Export, ExportError>,
}

/// All formats.
pub const FORMATS: [Format; 9] = [
    table::CSV,
    table::PARQUET,
    table::JSONL,
    bmf::FORMAT,
    benchmark_action::FORMAT,
    junit::FORMAT,
    lm_eval::FORMAT,
    llama_bench::FORMAT,
    criterion::FORMAT,
];

/// Why a run could not be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The run has nothing that the format can hold.
    #[error("the run has nothing that {format} can hold: {reason}")]
    Nothing {
        /// The format.
        format: &'static str,
        /// Why.
        reason: String,
    },
    /// The content could not be put into the format.
    #[error("cannot write {format}: {reason}")]
    Encode {
        /// The format.
        format: &'static str,
        /// Why.
        reason: String,
    },
    /// A file could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ExportError {
    fn encode(format: &'static str) -> impl Fn(Box<dyn std::error::Error + Send + Sync>) -> Self {
        move |reason| Self::Encode { format, reason: reason.to_string() }
    }
}

impl Export {
    /// Writes the files: below `target` for a format that is a folder, to `target` itself otherwise. Each appears whole
    /// or not at all.
    ///
    /// # Errors
    /// [`StoreError::Write`].
    pub fn write(&self, format: &Format, target: &Path) -> Result<(), StoreError> {
        for file in &self.files {
            let path = if format.folder { target.join(&file.path) } else { target.to_owned() };
            if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                std::fs::create_dir_all(folder).map_err(StoreError::write(folder))?;
            }
            files::write(&path, &file.bytes)?;
        }
        Ok(())
    }

    fn single(name: &str, bytes: Vec<u8>) -> Self {
        Self { files: vec![File { path: name.to_owned(), bytes }], left_out: Vec::new() }
    }
}

/// A number of a run: a finite value of a metric in a cell that did not fail.
struct Number<'a> {
    cell: &'a CellRecord,
    metric: &'a MetricInfo,
    observation: &'a Observation,
    estimate: &'a Estimate,
}

/// The numbers of a run that a format has a place for, cell by cell, and sentences about the rest.
fn numbers(run: &Run, holds: impl Fn(&MetricInfo) -> bool) -> (Vec<Number<'_>>, Vec<String>) {
    let (mut numbers, mut absent, mut unfit) = (Vec::new(), 0_usize, Vec::new());
    for record in run.records.iter().filter(|record| record.cell.failure.is_none()) {
        for (observation, estimate) in record.cell.observations.iter().zip(&record.estimates) {
            let metric = run.metric(&observation.metric);
            match (metric, finite(observation, estimate.as_ref())) {
                (Some(metric), _) if !holds(metric) => {
                    if !unfit.contains(&metric.id) {
                        unfit.push(metric.id.clone());
                    }
                }
                (Some(metric), Ok(estimate)) => {
                    numbers.push(Number { cell: &record.cell, metric, observation, estimate });
                }
                _ => absent += 1,
            }
        }
    }
    let mut left_out = Vec::new();
    match run.failed().count() {
        0 => {}
        1 => left_out.push("1 failed cell is left out".to_owned()),
        count => left_out.push(format!("{count} failed cells are left out")),
    }
    match absent {
        0 => {}
        1 => left_out.push("1 metric of a cell has no number and is left out".to_owned()),
        count => left_out.push(format!("{count} metrics of cells have no number and are left out")),
    }
    if !unfit.is_empty() {
        left_out.push(format!("the format has no place for {}", unfit.join(", ")));
    }
    (numbers, left_out)
}

/// The estimate of an observation if its value and all of its samples are finite, the reason otherwise.
pub(crate) fn finite<'a>(observation: &Observation, estimate: Option<&'a Estimate>) -> Result<&'a Estimate, String> {
    let Some(estimate) = estimate else {
        return Err(observation.absent.clone().unwrap_or_else(|| "no samples were taken".to_owned()));
    };
    if !estimate.value.is_finite() {
        return Err(format!("the value is {}", estimate.value));
    }
    let all = observation.samples.iter().chain(&observation.weights);
    match all.clone().find(|number| !number.is_finite()) {
        Some(number) => Err(format!("a sample is {number}")),
        None => Ok(estimate),
    }
}

/// An error when nothing is left.
fn something<T>(format: &'static str, items: Vec<T>, left_out: &[String]) -> Result<Vec<T>, ExportError> {
    if items.is_empty() {
        let reason = if left_out.is_empty() { "it has no cells".to_owned() } else { left_out.join("; ") };
        return Err(ExportError::Nothing { format, reason });
    }
    Ok(items)
}

/// Indented JSON with a line feed at the end.
fn json_bytes(format: &'static str, value: &impl serde::Serialize) -> Result<Vec<u8>, ExportError> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|error| ExportError::encode(format)(error.into()))?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[cfg(test)]
#[path = "export_tests.rs"]
pub(crate) mod tests;
