//! `harness export`.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser};
use harness_store::export::{ExportError, FORMATS, Format, Judged, Subject};
use harness_store::{Run, StoreError};

use crate::document;
use crate::exit::{BAD_INPUT, DONE, INTERNAL, NOT_WRITTEN, NOTHING_SELECTED, OrExit, Outcome, Refusal, refuse};
use crate::report;

/// Write a run in the format of another program.
#[derive(Args)]
#[command(after_help = "\
Failed cells, and metrics without a number, are never written as numbers. What a format has no place for is said on
standard error. reports/README.md says what goes where.

Examples:
  harness export pruning-1a2b3c4d --format csv --output rows.csv
  harness export pruning-1a2b3c4d --format junit --output junit.xml
  harness export pruning-1a2b3c4d --format bmf | bencher run --adapter json
  harness export pruning-1a2b3c4d --format criterion --output target")]
pub struct Arguments {
    /// A run folder, or its name below reports/runs.
    run: PathBuf,
    /// The format.
    #[arg(long, value_parser = formats())]
    format: String,
    /// The file to write, `-` for standard output (the default); for github-action-benchmark, lm-eval and criterion the
    /// folder to write into.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

fn formats() -> PossibleValuesParser {
    PossibleValuesParser::new(FORMATS.iter().map(|format| PossibleValue::new(format.name).help(format.about)))
}

pub fn main(arguments: &Arguments) -> Outcome {
    let format = FORMATS.iter().find(|format| format.name == arguments.format);
    let format = format.ok_or("the format is not known").or_exit(BAD_INPUT)?;
    let output = arguments.output.as_deref().filter(|output| *output != Path::new("-"));
    if format.folder && output.is_none() {
        return refuse(BAD_INPUT, format!("{} is a folder of files; name the folder with --output", format.name));
    }
    let run = Run::open(&report::find(&arguments.run)).map_err(document::from_store)?;
    let suite = report::suite(&run)?;
    let judged = suite.as_ref().map_or_else(Vec::new, |suite| judged(&run, suite));
    let export = (format.write)(&Subject { run: &run, suite: suite.as_ref(), judged: &judged }).map_err(refusal)?;
    match output {
        Some(target) => {
            export.write(format, target).map_err(document::from_store)?;
            println!("{}", target.display());
        }
        None => print(format, &export.files[0].bytes)?,
    }
    for left_out in &export.left_out {
        eprintln!("note: {left_out}");
    }
    Ok(DONE)
}

fn print(format: &Format, bytes: &[u8]) -> Result<(), Refusal> {
    let mut out = std::io::stdout().lock();
    if format.name == "parquet" && out.is_terminal() {
        return refuse(BAD_INPUT, "parquet is no text; name a file with --output");
    }
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(|error| format!("results could not be written: standard output: {error}"))
        .or_exit(NOT_WRITTEN)
}

fn judged(run: &Run, suite: &harness_suite::Suite) -> Vec<Judged> {
    let judged = document::judged(run, suite);
    let judged = judged.into_iter().map(|(bench, outcome)| Judged {
        bench,
        text: outcome.text,
        held: outcome.held,
        detail: outcome.detail,
    });
    judged.collect()
}

fn refusal(error: ExportError) -> Refusal {
    let code = match &error {
        ExportError::Nothing { .. } => NOTHING_SELECTED,
        ExportError::Store(StoreError::Write { .. }) => NOT_WRITTEN,
        ExportError::Encode { .. } | ExportError::Store(_) => INTERNAL,
    };
    Refusal { code, message: error.to_string() }
}
