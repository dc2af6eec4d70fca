//! `harness track`.

use std::path::{Path, PathBuf};

use clap::Args;
use harness_core::gate::Policy;
use harness_core::statistics::Bootstrap;
use harness_core::trend::Trend;
use harness_core::{Direction, Noise, Verdict};
use harness_report::{markdown_table, render_trend};
use harness_store::{Appended, History, Run, comment, commits, track, verdict_table, word};
use serde_json::json;

use crate::document::from_store;
use crate::exit::{
    BAD_INPUT, CELLS_FAILED, DONE, GATE_UNDECIDED, GATE_VIOLATED, INTERNAL, NOT_WRITTEN, OrExit, Outcome, Refusal,
    refuse,
};
use crate::report;

/// Where histories are kept.
pub const HISTORY: &str = "reports/history";

/// Judge a run by the nights before it, and append it to the history.
#[derive(Args)]
#[command(after_help = "\
The suite's [gate] says which metrics are judged and how; without one, all that have a good side are. The trend of every
series goes to trend.html beside the report, changes of level marked.
Exit codes: 0 no series is worse · 10 some are worse · 3 cells failed · 11 some cannot be told or are gone (--strict).

Examples:
  harness track nightly-1a2b3c4d
  harness track reports/runs/nightly-1a2b3c4d --history history --strict --comment comment.md
  harness track nightly-1a2b3c4d --dry-run --json")]
pub struct Arguments {
    /// A finished run: its folder, or its name below reports/runs.
    run: PathBuf,
    /// The folder of histories; below it, one folder for each class of machines.
    #[arg(long, default_value = HISTORY)]
    history: PathBuf,
    /// Where trend.html and trend.md are written; by default into the run folder.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Also write the text of a comment on a change (Markdown).
    #[arg(long, value_name = "FILE")]
    comment: Option<PathBuf>,
    /// Judge only; the history stays as it is.
    #[arg(long)]
    dry_run: bool,
    /// A series that cannot be told or is gone counts as failure (exit 11).
    #[arg(long)]
    strict: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn main(arguments: &Arguments) -> Outcome {
    let folder = report::find(&arguments.run);
    let run = report::open(&arguments.run)?;
    let policy = policy(&run)?;
    let mut history = History::of(&arguments.history, &run).map_err(from_store)?;
    let appended = if arguments.dry_run { None } else { Some(history.append(&run).map_err(from_store)?) };
    let history = history.before(&run);
    let policy = history.calibrated(policy).map_err(from_store)?;
    let mut trend = track(&history, &run, &policy, Bootstrap::default()).map_err(from_store)?;
    if appended == Some(Appended::AlreadyThere) {
        trend.notes.push(format!("{} was in the history already and is judged by the nights before it", run.name()));
    }
    let out = arguments.out.clone().unwrap_or(folder);
    let page = render_trend(&trend).or_exit(INTERNAL)?;
    let text = comment(&trend, markdown_table);
    write(&out.join(&page.path), &page.bytes)?;
    write(&out.join("trend.md"), text.as_bytes())?;
    if let Some(path) = &arguments.comment {
        write(path, text.as_bytes())?;
    }
    let code = code(&trend, arguments.strict);
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&summary(&trend, &history, code)).or_exit(INTERNAL)?);
    } else {
        show(&trend);
        println!("history: {}\ntrend: {}", history.dir().display(), out.join(&page.path).display());
    }
    let worse = || {
        let named = trend.with(Verdict::Worse).map(|series| format!("{} of {}", series.metric, series.cell));
        named.collect::<Vec<_>>().join("; ")
    };
    match code {
        GATE_VIOLATED => refuse(code, format!("worse: {}", worse())),
        CELLS_FAILED => refuse(code, format!("{} cells failed; no series is worse", trend.failed.len())),
        GATE_UNDECIDED => refuse(
            code,
            format!(
                "{} series cannot be told, {} are gone",
                trend.count(Verdict::CannotTell),
                trend.count(Verdict::Gone)
            ),
        ),
        _ => Ok(code),
    }
}

/// The gate of a run's own suite (an import has the usual one), for the metrics that the run measured.
pub fn policy(run: &Run) -> Result<Policy, Refusal> {
    let gate = report::suite(run)?.map(|suite| suite.gate).unwrap_or_default();
    let measured: Vec<(&str, Direction, Noise)> =
        run.metrics.iter().map(|metric| (metric.id.as_str(), metric.direction, metric.noise)).collect();
    let policy = Policy::of(&gate, measured, 1.0);
    if policy.rules.is_empty() {
        return refuse(BAD_INPUT, "no metric of this run has a good side; name some in the [gate] of its suite");
    }
    Ok(policy)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Refusal> {
    let made = path.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), std::fs::create_dir_all);
    made.and_then(|()| std::fs::write(path, bytes))
        .map_err(|error| format!("results could not be written: {}: {error}", path.display()))
        .or_exit(NOT_WRITTEN)
}

fn code(trend: &Trend, strict: bool) -> u8 {
    if trend.count(Verdict::Worse) > 0 {
        GATE_VIOLATED
    } else if !trend.failed.is_empty() {
        CELLS_FAILED
    } else if strict && trend.count(Verdict::CannotTell) + trend.count(Verdict::Gone) > 0 {
        GATE_UNDECIDED
    } else {
        DONE
    }
}

/// What a person sees: what changed, and a line for the rest.
fn show(trend: &Trend) {
    let shown = verdict_table(trend, &[Verdict::Worse, Verdict::Gone, Verdict::Better, Verdict::CannotTell]);
    if !shown.rows.is_empty() {
        println!("{}", markdown_table(&shown).replace('\\', ""));
    }
    for (cell, reason) in &trend.failed {
        println!("failed: {cell}: {reason}");
    }
    println!("{}: {}", trend.title, word(trend));
    trend.summary.iter().chain(&trend.notes).for_each(|line| println!("{line}"));
}

fn summary(trend: &Trend, history: &History, code: u8) -> serde_json::Value {
    let series: Vec<_> = trend
        .series
        .iter()
        .filter(|series| series.judgement.is_some())
        .map(|series| {
            json!({"cell": series.cell, "metric": series.metric, "judgement": series.judgement,
            "commits": commits(trend, series), "changes": series.changes})
        })
        .collect();
    json!({"suite": trend.title, "class": trend.class, "nights": trend.nights.len(), "word": word(trend), "reference": trend.reference,
        "failed": trend.failed, "notes": trend.notes, "history": history.dir(), "series": series, "exit": code})
}
