//! `harness import`.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser};
use harness_core::{Noise, Stamp};
use harness_store::import::{ImportError, Imported, Options, import, importers, write_import};
use serde_json::json;

use crate::document;
use crate::exit::{BAD_INPUT, DONE, INPUT_MISSING, INTERNAL, NOTHING_SELECTED, OrExit, Outcome, Refusal, refuse};
use crate::run::RUNS;

/// Make a run of the results of another program, so that they stand beside ours.
#[derive(Args)]
#[command(after_help = "\
The run can be shown by `report`, `list runs`, `compare` and `export` like any other; its stamp names who measured. Times
compare only between runs of one machine: where the files do not name it, --host does.

Examples:
  harness import llama-bench.json
  harness import results/EleutherAI__pythia-14m
  harness import target/criterion --baseline main --host build-box
  harness import rows.csv --out reports/runs/from-elsewhere")]
pub struct Arguments {
    /// A file or folder: criterion's folder, llama-bench's JSON or JSONL, lm-eval's results, or what `export` wrote as
    /// csv, jsonl or parquet.
    path: PathBuf,
    /// The format, where it cannot be told from the files.
    #[arg(long, value_parser = formats())]
    format: Option<String>,
    /// The run folder; by default one below reports/runs named after the program and what was read.
    #[arg(long)]
    out: Option<PathBuf>,
    /// The baseline of criterion's that is meant; by default `new`, or the only one.
    #[arg(long)]
    baseline: Option<String>,
    /// The machine that it was measured on.
    #[arg(long)]
    host: Option<String>,
    /// Print a summary as JSON.
    #[arg(long)]
    json: bool,
}

fn formats() -> PossibleValuesParser {
    PossibleValuesParser::new(importers().map(|(name, about)| PossibleValue::new(name).help(about)))
}

pub fn main(arguments: &Arguments) -> Outcome {
    let options = Options { baseline: arguments.baseline.clone() };
    let mut imported = import(&arguments.path, arguments.format.as_deref(), &options).map_err(refusal)?;
    if let Some(host) = &arguments.host {
        imported.source.host.clone_from(host);
    }
    let folder = arguments.out.clone().unwrap_or_else(|| folder(&imported));
    if harness_store::is_sealed(&folder) {
        return refuse(
            BAD_INPUT,
            format!("{} holds a finished run; choose another folder with --out", folder.display()),
        );
    }
    let stamp = Stamp {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        command: std::env::args().collect(),
        ..Stamp::default()
    };
    let run = write_import(&folder, &imported, &stamp).map_err(document::from_store)?;
    let notes = notes(&imported);
    if arguments.json {
        let source = &imported.source;
        let summary = json!({"folder": folder, "tool": source.tool, "version": source.version, "hash": source.hash,
            "host": source.host, "cells": run.records.len(), "failed": run.failed().count(),
            "metrics": run.metrics.iter().map(|metric| &metric.id).collect::<Vec<_>>(), "notes": notes});
        println!("{}", serde_json::to_string_pretty(&summary).or_exit(INTERNAL)?);
    } else {
        println!("{}", folder.display());
        eprintln!("{} cells of {}, {} failed", run.records.len(), imported.source, run.failed().count());
        for note in &notes {
            eprintln!("note: {note}");
        }
    }
    Ok(DONE)
}

/// Named after the program and the hash of what was read, so that the same files are imported once.
fn folder(imported: &Imported) -> PathBuf {
    let source = &imported.source;
    let plain: String = source.tool.chars().map(|sign| if sign.is_ascii_alphanumeric() { sign } else { '-' }).collect();
    Path::new(RUNS).join(format!("{plain}-{}", source.hash.get(..8).unwrap_or(&source.hash)))
}

fn notes(imported: &Imported) -> Vec<String> {
    let mut notes = imported.left_out.clone();
    let timed = imported.metrics.iter().any(|metric| metric.noise == Noise::Timed);
    if timed && imported.source.host.is_empty() {
        notes.push(
            "the files do not name the machine; with --host NAME its times compare with others of that name".to_owned(),
        );
    }
    notes
}

fn refusal(error: ImportError) -> Refusal {
    let code = match error {
        ImportError::Store(error) => return document::from_store(error),
        ImportError::Read { .. } => INPUT_MISSING,
        ImportError::Empty { .. } => NOTHING_SELECTED,
        _ => BAD_INPUT,
    };
    Refusal { code, message: error.to_string() }
}
