//! `harness run`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use clap::Args;
use harness_core::journal::{Journal, JournalError};
use harness_core::stamp::{Stamp, SuiteStamp};
use harness_core::{Axis, CellRecord, Value};
use harness_run::runner::{self, Event, Outcome as RunOutcome};
use harness_run::{inputs::Inputs, stamp};
use harness_store::Run;
use harness_suite::Plan;
use serde_json::json;

use crate::document;
use crate::exit::{
    BAD_INPUT, CELLS_FAILED, DONE, GATE_UNDECIDED, GATE_VIOLATED, INTERNAL, NOT_WRITTEN, OrExit, Outcome, Refusal,
    refuse,
};
use crate::plan::{costs, duration, refuse_too_large};
use crate::suite::{Opened, SuiteArguments};
use crate::terminal::{Progress, count};

/// Where runs are kept.
pub const RUNS: &str = "reports/runs";

/// Run a suite: measure every cell, keep the rows, render the report.
#[derive(Args, Clone)]
#[command(after_help = "\
A run that was interrupted goes on where it was when the same command is given again.

Examples:
  harness run suites/pruning.toml
  harness run suites/real/pruning.toml --yes
  harness run suites/pruning.toml --set 'one-shot.data.windows=16' --filter wanda --out /tmp/try")]
pub struct Arguments {
    #[command(flatten)]
    pub suite: SuiteArguments,
    /// The run folder; by default one below reports/runs named after the suite and its content.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Fetch what is missing without asking.
    #[arg(long, short)]
    yes: bool,
    /// Fetch nothing.
    #[arg(long)]
    offline: bool,
    /// An expectation that cannot be decided counts as failure (exit 11).
    #[arg(long)]
    strict: bool,
    /// Print a summary as JSON on standard output, and no progress.
    #[arg(long)]
    json: bool,
}

pub fn main(arguments: &Arguments) -> Outcome {
    let started = Instant::now();
    let inputs = crate::fetch::inputs()?;
    let opened = arguments.suite.open(&inputs)?;
    let plan = arguments.suite.plan(&opened.suite)?;
    ensure(&opened, &plan, &inputs, arguments)?;
    let estimates = costs(&opened, &plan, &inputs).known;
    refuse_too_large(&estimates)?;
    let folder = folder(arguments, &opened)?;
    let expected = duration(estimates.iter().map(|cost| cost.seconds).sum());
    let (outcome, run) = measure(arguments, inputs, &opened, &plan, &folder, &expected).map_err(lost)?;
    conclude(arguments, &opened, &outcome, &run, &folder, started)
}

/// Measures the cells of a plan into a run folder and seals it.
fn measure(
    arguments: &Arguments,
    mut inputs: Inputs,
    opened: &Opened,
    plan: &Plan,
    folder: &Path,
    expected: &str,
) -> Result<(RunOutcome, Run), Refusal> {
    let mut progress = Progress::new(arguments.json);
    progress.line(&format!(
        "{}: {}, about {expected}; writing {}",
        opened.suite.source_path,
        count(plan.cells().len(), "cell"),
        folder.display()
    ));
    let mut journal = open_journal(folder)?;
    let finished = Arc::new(AtomicUsize::new(journal.records().len()));
    on_interrupt(&finished, folder);
    let mut run_stamp = begin(opened, plan);
    harness_store::create(folder, &run_stamp).map_err(document::from_store)?;
    let outcome = runner::run(&opened.suite, plan, &opened.catalog, &mut inputs, &mut journal, &mut |event| {
        show(&mut progress, &finished, event);
    })
    .or_exit(NOT_WRITTEN)?;
    progress.finish();
    drop(journal);
    run_stamp.inputs.clone_from(&outcome.hashes);
    run_stamp.finished = stamp::now();
    harness_store::write_stamp(folder, &run_stamp).map_err(document::from_store)?;
    let run = harness_store::seal(folder, &document::metrics(opened), &outcome.ids).map_err(document::from_store)?;
    Ok((outcome, run))
}

/// Renders the report of a sealed run and says what came out.
fn conclude(
    arguments: &Arguments,
    opened: &Opened,
    outcome: &RunOutcome,
    run: &Run,
    folder: &Path,
    started: Instant,
) -> Outcome {
    let document = document::of(run, &opened.suite, &arguments.suite)?;
    document::write(&document, folder).map_err(|mut refusal| {
        if refusal.code == NOT_WRITTEN {
            refusal.message += &format!("; every cell is kept: make room, then `harness report {}`", folder.display());
        }
        refusal
    })?;
    let code = code(outcome, &document, arguments.strict);
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&summary(outcome, &document, folder, code)).or_exit(INTERNAL)?);
    } else {
        print!("{}", document::terminal(&document));
        println!(
            "\n{} measured, {} kept, {} failed, in {}",
            count(outcome.measured, "cell"),
            outcome.kept,
            outcome.failed,
            duration(started.elapsed().as_secs_f64())
        );
        println!("report: {}", folder.join("report.html").display());
    }
    match code {
        CELLS_FAILED => {
            refuse(code, format!("{} failed; the report says which and why", count(outcome.failed, "cell")))
        }
        GATE_VIOLATED => refuse(code, format!("expectation violated: {}", document.violated().join("; "))),
        GATE_UNDECIDED => refuse(code, format!("expectation undecided: {}", document.undecided().join("; "))),
        _ => Ok(code),
    }
}

/// Fetches the models, texts and tasks of the planned cells.
fn ensure(opened: &Opened, plan: &Plan, inputs: &Inputs, arguments: &Arguments) -> Result<(), Refusal> {
    let mut named: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut add = |kind: &'static str, name: &str| {
        let names = named.entry(kind).or_default();
        if !name.is_empty() && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    };
    for planned in plan.cells() {
        add("model", planned.cell.label(Axis::Model).unwrap_or_default());
        let bench = &opened.suite.benches[planned.bench];
        for (name, value) in &bench.settings {
            match (name.as_str(), value) {
                ("second" | "judge", Value::Text(model)) => add("model", model),
                ("experts", Value::List(experts)) => {
                    let names = experts
                        .iter()
                        .filter_map(|expert| if let Value::Text(name) = expert { Some(name) } else { None });
                    names.for_each(|name| add("model", name));
                }
                _ => {}
            }
        }
        let data = planned.cell.coordinates.get(&Axis::Data);
        for (name, value) in data.into_iter().chain(bench.tables.values()).flat_map(|at| &at.parameters) {
            match (name.as_str(), value) {
                ("corpus", Value::Text(text)) => add("corpus", text),
                ("questions", Value::Text(text)) => add("task", text),
                _ => {}
            }
        }
        for (name, value) in bench.tables.values().flat_map(|at| &at.parameters) {
            if let ("task", Value::Text(text)) = (name.as_str(), value) {
                add("task", text);
            }
        }
    }
    let names = |kind| named.get(kind).into_iter().flatten().map(String::as_str).collect::<Vec<&str>>();
    let wanted = (&names("model")[..], &names("corpus")[..], &names("task")[..]);
    crate::fetch::ensure(inputs, wanted, arguments.yes, arguments.offline)
}

/// The run folder. An unfinished one of the same suite is gone on with; a finished one is never touched.
fn folder(arguments: &Arguments, opened: &Opened) -> Result<PathBuf, Refusal> {
    if let Some(out) = &arguments.out {
        if harness_store::is_sealed(out) {
            return refuse(
                BAD_INPUT,
                format!(
                    "{} holds a finished run; choose another --out, or render it again with `harness report {}`",
                    out.display(),
                    out.display()
                ),
            );
        }
        return Ok(out.clone());
    }
    let path = opened.suite.source_path.trim_end_matches(".toml");
    // `suites/real/pruning.toml` is called real-pruning, a suite that lies elsewhere by its file alone.
    let stem = match path.rsplit_once("suites/") {
        Some((_, inside)) => inside.replace(['/', '\\'], "-"),
        None => path.rsplit(['/', '\\']).next().unwrap_or(path).to_owned(),
    };
    let selection = &arguments.suite;
    let mut facts = vec![("suite", opened.suite.hash.clone())];
    facts.extend(selection.filters.iter().map(|filter| ("filter", filter.clone())));
    facts.extend(selection.limit.map(|limit| ("limit", limit.to_string())));
    let name = format!("{stem}-{}", &harness_core::CellId::of(&facts).as_str()[..8]);
    let mut folder = Path::new(RUNS).join(&name);
    let mut repetition = 1;
    while harness_store::is_sealed(&folder) {
        repetition += 1;
        folder = Path::new(RUNS).join(format!("{name}-{repetition}"));
    }
    Ok(folder)
}

fn open_journal(folder: &Path) -> Result<Journal, Refusal> {
    std::fs::create_dir_all(folder)
        .map_err(|error| format!("cannot make the run folder {}: {error}", folder.display()))
        .or_exit(NOT_WRITTEN)?;
    Journal::open(&folder.join("journal.jsonl")).map_err(|error| {
        let code = match error {
            JournalError::Busy { .. } | JournalError::Corrupt { .. } => BAD_INPUT,
            JournalError::Io { .. } => NOT_WRITTEN,
        };
        Refusal { code, message: error.to_string() }
    })
}

/// Every finished cell is on disk already, so an interrupt needs no more than a word.
fn on_interrupt(finished: &Arc<AtomicUsize>, folder: &Path) {
    let finished = Arc::clone(finished);
    let folder = folder.to_owned();
    crate::interrupt::ends_with(move || {
        let cells = count(finished.load(Ordering::Relaxed), "cell");
        format!("interrupted; {cells} finished and kept in {}; run the same command again to go on", folder.display())
    });
}

/// Results that could not be written, and what to do about it.
fn lost(mut refusal: Refusal) -> Refusal {
    if refusal.code == NOT_WRITTEN {
        refusal.message += "; make room, or choose another folder with --out; finished cells are kept when the same command is run again";
    }
    refusal
}

/// The stamp as far as it is known when a run begins.
fn begin(opened: &Opened, plan: &Plan) -> Stamp {
    let mut made = Stamp {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: env!("HARNESS_COMMIT").to_owned(),
        dirty: env!("HARNESS_DIRTY") == "true",
        profile: env!("HARNESS_PROFILE").to_owned(),
        rustc: env!("HARNESS_RUSTC").to_owned(),
        target: env!("HARNESS_TARGET").to_owned(),
        suite: SuiteStamp {
            path: opened.suite.source_path.clone(),
            hash: opened.suite.hash.clone(),
            text: opened.text.clone(),
        },
        started: stamp::now(),
        command: std::env::args().collect(),
        ..stamp::machine()
    };
    made.seeds.insert("suite".to_owned(), opened.suite.seed);
    for planned in plan.cells() {
        for (axis, coordinate) in &planned.cell.coordinates {
            if let Some(method) = opened.catalog.method(*axis, &coordinate.id) {
                made.versions.insert(format!("{axis}/{}", method.id), method.version);
            }
        }
    }
    for metric in
        opened.suite.benches.iter().flat_map(|bench| &bench.metrics).filter_map(|id| opened.catalog.metric(id))
    {
        made.versions.insert(format!("metric/{}", metric.id), metric.version);
    }
    made
}

fn show(progress: &mut Progress, finished: &AtomicUsize, event: Event<'_>) {
    match event {
        Event::Planned { cells, kept } if kept > 0 => {
            progress.line(&format!("{kept} of {cells} cells are kept from before"));
        }
        Event::Planned { .. } => {}
        Event::Loading { model } => progress.update(&format!("load {model}"), 0, 1),
        Event::Progress { step, done, total } => progress.update(step, done as u64, total as u64),
        Event::Finished(record) => {
            finished.fetch_add(1, Ordering::Relaxed);
            if let Some(line) = failure(record) {
                progress.line(&line);
            }
        }
    }
}

fn failure(record: &CellRecord) -> Option<String> {
    record.failure.as_ref().map(|failure| format!("failed: {} ({}): {}", record.cell, failure.stage, failure.reason))
}

fn code(outcome: &RunOutcome, document: &document::Report, strict: bool) -> u8 {
    if outcome.failed > 0 {
        CELLS_FAILED
    } else if !document.violated().is_empty() {
        GATE_VIOLATED
    } else if strict && !document.undecided().is_empty() {
        GATE_UNDECIDED
    } else {
        DONE
    }
}

fn summary(outcome: &RunOutcome, document: &document::Report, folder: &Path, code: u8) -> serde_json::Value {
    json!({"folder": folder, "report": folder.join("report.html"), "measured": outcome.measured, "kept": outcome.kept,
        "failed": outcome.failed, "model_loads": outcome.loads, "violated": document.violated(), "undecided": document.undecided(), "exit": code})
}
