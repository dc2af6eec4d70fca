//! From a run and its suite to a report.

use std::path::Path;

use harness_core::chart::{Chart, StyleName, Table};
use harness_report::{Document, Failed, MetricNote, Outcome as Expected, Warning, render};
use harness_store::{MetricInfo, Record, Run, StoreError};
use harness_suite::{Expectation, Suite};

use crate::exit::{INPUT_MISSING, INTERNAL, NOT_WRITTEN, OrExit, Refusal};
use crate::suite::{Opened, SuiteArguments};
use crate::{advice, answer, cells};

/// A report with its expectations at hand.
pub struct Report(pub Document);

impl Report {
    /// Asks for charts in these styles too.
    pub fn draw_in(&mut self, styles: &[StyleName], wanted: impl Fn(&Chart, StyleName) -> bool) {
        for chart in &mut self.0.charts {
            let more: Vec<StyleName> =
                styles.iter().copied().filter(|style| !chart.styles.contains(style) && wanted(chart, *style)).collect();
            chart.styles.extend(more);
        }
    }

    /// Expectations that do not hold.
    pub fn violated(&self) -> Vec<String> {
        self.texts(Some(false))
    }

    /// Expectations that could not be decided.
    pub fn undecided(&self) -> Vec<String> {
        self.texts(None)
    }

    fn texts(&self, held: Option<bool>) -> Vec<String> {
        let chosen = self.0.expectations.iter().filter(|expected| expected.held == held);
        chosen.map(|expected| format!("{} ({})", expected.text, expected.detail)).collect()
    }
}

/// The metrics of a suite's benches, in the order reports show them.
pub fn metrics(opened: &Opened) -> Vec<MetricInfo> {
    let wanted = |id: &str| opened.suite.benches.iter().any(|bench| bench.metrics.iter().any(|metric| metric == id));
    opened.catalog.metrics.iter().filter(|metric| wanted(metric.id)).map(MetricInfo::from).collect()
}

/// The report of a run that was started with these arguments.
pub fn of(run: &Run, suite: &Suite, arguments: &SuiteArguments) -> Result<Report, Refusal> {
    let mut warnings: Vec<Warning> = suite.notes.iter().map(|note| warn(note.clone())).collect();
    let mut tables = Vec::new();
    for request in &suite.tables {
        match harness_store::requested_table(run, request) {
            Ok(table) => tables.push(table),
            Err(error) => warnings.push(warn(format!("table `{}` is left out: {error}", request.name))),
        }
    }
    let benches = run.benches();
    for bench in &benches {
        let mut table = harness_store::main_table(run, bench).or_exit(INTERNAL)?;
        table.title = if benches.len() > 1 { format!("All cells of {bench}") } else { "All cells".to_owned() };
        for mut table in std::iter::once(table).chain(harness_store::pairs_table(run, bench)) {
            // Ids name files; a declared table may have taken this one.
            while tables.iter().any(|other: &Table| other.id == table.id) {
                table.id.push_str("-cells");
            }
            tables.push(table);
        }
    }
    let mut charts = Vec::new();
    for figure in &suite.figures {
        match harness_store::query(run, figure) {
            Ok(chart) => {
                charts.push(chart);
                tables.extend(harness_store::scaling_tables(run, figure));
                tables.extend(harness_store::length_table(run, figure));
            }
            Err(error) => warnings.push(warn(format!("figure `{}` is left out: {error}", figure.name))),
        }
    }
    warnings.extend(advice::warnings(run));
    let expectations: Vec<Expected> = judged(run, suite).into_iter().map(|(_, outcome)| outcome).collect();
    let failures = run.failed().map(|(cell, failure)| Failed {
        id: cell.id.to_string(),
        cell: cell.cell.to_string(),
        reason: format!("{}: {}", failure.stage, failure.reason),
        command: cells::again(run, arguments, &cell.cell.to_string()),
    });
    let metrics =
        run.metrics.iter().map(|metric| MetricNote { id: metric.id.clone(), about: metric.about.clone() }).collect();
    let (answers, lines): (Vec<Table>, Vec<Vec<String>>) =
        answer::answers(run, &suite.tables).into_iter().map(|answer| (answer.table, answer.lines)).unzip();
    let title = Path::new(&suite.source_path)
        .file_stem()
        .map_or_else(|| run.name(), |stem| stem.to_string_lossy().into_owned());
    Ok(Report(Document {
        title,
        about: suite.about.clone(),
        run: name(run),
        stamp: run.stamp.clone(),
        summary: lines.concat(),
        answers,
        expectations,
        tables,
        charts,
        failures: failures.collect(),
        warnings,
        metrics,
        cells: cells::pages(run, arguments),
    }))
}

/// What became of the expectations of a suite, each with its bench.
pub fn judged(run: &Run, suite: &Suite) -> Vec<(String, Expected)> {
    let of_bench = |bench: &harness_suite::Bench| {
        bench.expect.iter().map(|expect| (bench.name.clone(), judge(expect, &bench.name, run))).collect::<Vec<_>>()
    };
    suite.benches.iter().flat_map(of_bench).collect()
}

/// The name of a run's folder, however the folder was named on the command line.
fn name(run: &Run) -> String {
    let folder = run.dir.canonicalize().unwrap_or_else(|_| run.dir.clone());
    folder.file_name().map_or_else(|| run.name(), |name| name.to_string_lossy().into_owned())
}

fn warn(text: String) -> Warning {
    Warning { text, ..Warning::default() }
}

/// What became of an expectation over all pairs of cells it speaks of.
fn judge(expectation: &Expectation, bench: &str, run: &Run) -> Expected {
    let records: Vec<&Record> = run.records.iter().filter(|record| record.cell.cell.bench == bench).collect();
    let cells: Vec<_> = records.iter().map(|record| record.cell.cell.clone()).collect();
    let right_metric = match &expectation.right {
        harness_suite::Right::Term(term) => Some(term.metric.as_str()),
        _ => None,
    };
    let pairs = expectation.pairs(&cells);
    let mut missing = 0_usize;
    let mut broken = Vec::new();
    for (left, right) in &pairs {
        let a = records[*left].value(&expectation.left.metric);
        let b = right.zip(right_metric).map(|(right, metric)| records[right].value(metric));
        match (a, b) {
            (Some(a), None) if !expectation.holds(a, None) => broken.push(format!("{a:.6} in {}", cells[*left])),
            (Some(a), Some(Some(b))) if !expectation.holds(a, Some(b)) => {
                broken.push(format!("{a:.6} against {b:.6} in {}", cells[*left]));
            }
            (Some(_), None | Some(Some(_))) => {}
            _ => missing += 1,
        }
    }
    let (held, detail) = match (pairs.len(), missing, broken.len()) {
        (0, ..) => (None, "no cell of this run is meant".to_owned()),
        (all, _, count @ 1..) => (Some(false), format!("{count} of {all}: {}", broken.join("; "))),
        (all, 1.., 0) => (None, format!("{missing} of {all} pairs have no number")),
        (all, 0, 0) => (Some(true), format!("{all} of {all}")),
    };
    Expected { text: expectation.text.clone(), held, detail }
}

/// Writes the files of a report into a folder.
pub fn write(report: &Report, folder: &Path) -> Result<(), Refusal> {
    for file in render(&report.0).or_exit(INTERNAL)? {
        let path = folder.join(&file.path);
        let written =
            path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(&path, &file.bytes));
        written
            .map_err(|error| format!("results could not be written: {}: {error}", path.display()))
            .or_exit(NOT_WRITTEN)?;
    }
    Ok(())
}

/// The tables of a report for a terminal: Markdown without its escapes.
pub fn terminal(report: &Report) -> String {
    let table = |table| harness_report::markdown_table(table).replace('\\', "");
    let mut text: String =
        report.0.tables.iter().map(|value| format!("\n{}\n{}\n", value.title, table(value))).collect();
    for line in &report.0.summary {
        text.push_str(&format!("\n{line}"));
    }
    if !report.0.summary.is_empty() {
        text.push('\n');
    }
    text
}

/// A store error with its own exit code.
pub fn from_store(error: StoreError) -> Refusal {
    let code = if error.is_write() { NOT_WRITTEN } else { INPUT_MISSING };
    Refusal { code, message: error.to_string() }
}
