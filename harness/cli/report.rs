//! `harness report`.

use std::path::{Path, PathBuf};

use clap::{Args, Parser};
use harness_core::chart::StyleName;
use harness_store::{Run, StoreError};
use harness_suite::{AnyName, Suite};

use crate::document;
use crate::exit::{DONE, Outcome, Refusal};
use crate::run::RUNS;
use crate::suite::SuiteArguments;

/// Render the report of a run again.
#[derive(Args)]
#[command(after_help = "\
Renders report.html, report.md and the figures from the rows of the run; nothing is measured.

Examples:
  harness report pruning-1a2b3c4d
  harness report pruning-1a2b3c4d --style paper-1col --style slides
  harness report reports/runs/pruning-1a2b3c4d --out /tmp/report")]
pub struct Arguments {
    /// A run folder, or its name below reports/runs.
    run: PathBuf,
    /// Where to write; by default into the run folder.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Draw every figure in this style too: web, paper-1col, paper-2col or slides.
    #[arg(long)]
    style: Vec<StyleName>,
}

pub fn main(arguments: &Arguments) -> Outcome {
    let Rebuilt { folder, mut report, .. } = rebuild(&arguments.run)?;
    report.draw_in(&arguments.style, |_, _| true);
    let out = arguments.out.clone().unwrap_or(folder);
    document::write(&report, &out)?;
    println!("{}", out.join("report.html").display());
    Ok(DONE)
}

/// A run and its report, made anew from its rows.
pub struct Rebuilt {
    pub folder: PathBuf,
    pub run: Run,
    pub report: document::Report,
}

/// Reads a run and makes its report again, without anything that was rendered before.
pub fn rebuild(run: &Path) -> Result<Rebuilt, Refusal> {
    let folder = find(run);
    let run = open(run)?;
    let suite = suite(&run)?.unwrap_or_else(|| without_suite(&run));
    let report = document::of(&run, &suite, &overrides(&run))?;
    Ok(Rebuilt { folder, run, report })
}

/// The suite that a run was made from, as its own command line changed it; an import has none.
pub fn suite(run: &Run) -> Result<Option<Suite>, Refusal> {
    if run.stamp.source.is_some() {
        return Ok(None);
    }
    let path = Path::new(&run.stamp.suite.path);
    // Models and texts need not be here any more: nothing is measured.
    let opened = overrides(run).resolve(run.stamp.suite.text.clone(), path, &AnyName)?;
    Ok(Some(opened.suite))
}

/// What an import has in place of a suite: no figures, no expectations, a word on where it is from.
fn without_suite(run: &Run) -> Suite {
    let source = run.stamp.source.clone().unwrap_or_default();
    Suite {
        about: format!("Measured by {source}, imported from {}.", source.path),
        seed: 0,
        hash: String::new(),
        source_path: String::new(),
        benches: Vec::new(),
        figures: Vec::new(),
        tables: Vec::new(),
        gate: harness_core::gate::GateRequest::default(),
        notes: Vec::new(),
    }
}

/// A run by path or name.
pub fn find(run: &Path) -> PathBuf {
    if run.exists() { run.to_owned() } else { Path::new(RUNS).join(run) }
}

/// The changes that the run's own command line made to its suite.
pub fn overrides(run: &Run) -> SuiteArguments {
    #[derive(Parser)]
    struct Recorded {
        #[command(subcommand)]
        verb: Verb,
    }
    #[derive(clap::Subcommand)]
    enum Verb {
        Run(crate::run::Arguments),
    }
    match Recorded::try_parse_from(&run.stamp.command) {
        Ok(Recorded { verb: Verb::Run(arguments) }) => arguments.suite,
        Err(_) => SuiteArguments {
            suite: PathBuf::from(&run.stamp.suite.path),
            set: Vec::new(),
            filters: Vec::new(),
            limit: None,
            quick: false,
        },
    }
}

/// Opens a run by path or name.
pub fn open(run: &Path) -> Result<Run, Refusal> {
    Run::open(&find(run)).map_err(|error| {
        let unknown = matches!(error, StoreError::NoRun { .. });
        let mut refusal = document::from_store(error);
        if unknown {
            refusal.message += "; `harness list runs` shows those there are";
        }
        refusal
    })
}
