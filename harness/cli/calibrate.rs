//! `harness calibrate`.

use std::path::PathBuf;

use clap::Args;
use harness_store::{CalibrateError, Calibration, FEWEST_RUNS, History, calibrate};

use crate::document::from_store;
use crate::exit::{BAD_INPUT, DONE, GATE_UNDECIDED, INTERNAL, OrExit, Outcome, Refusal};
use crate::report;
use crate::track::{HISTORY, policy};

/// Calibrate the false-alarm budget of a suite on repetitions that differ by nothing.
#[derive(Args)]
#[command(after_help = "\
Give it six or more runs of one suite at one commit on one machine. It makes nights of them, counts how often the gate
would have raised an alarm, and keeps the smallest factor for deviations with which the upper bound of that rate
(Clopper and Pearson, 95 %) lies within the budget. `harness track` uses the factor from then on.

Examples:
  harness calibrate nightly-1a2b3c4d nightly-1a2b3c4d-2 nightly-1a2b3c4d-3 nightly-1a2b3c4d-4 nightly-1a2b3c4d-5 nightly-1a2b3c4d-6
  harness calibrate reports/runs/nightly-* --trials 10000 --dry-run --json")]
pub struct Arguments {
    /// Finished runs: their folders, or their names below reports/runs.
    #[arg(required = true, num_args = 1..)]
    runs: Vec<PathBuf>,
    /// The folder of histories.
    #[arg(long, default_value = HISTORY)]
    history: PathBuf,
    /// Nights to make of the runs.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(300..=1_000_000))]
    trials: u64,
    /// Seed of the nights.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Keep nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn main(arguments: &Arguments) -> Outcome {
    let runs = arguments.runs.iter().map(|run| report::open(run)).collect::<Result<Vec<_>, _>>()?;
    let Some(first) = runs.first() else {
        return Err(refused(CalibrateError::Few { found: 0 }));
    };
    let policy = policy(first)?;
    let found = calibrate(&runs, &policy, arguments.trials, arguments.seed).map_err(refused)?;
    let history = History::of(&arguments.history, first).map_err(from_store)?;
    if !arguments.dry_run {
        history.keep_calibration(&found).map_err(from_store)?;
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&found).or_exit(INTERNAL)?);
        return Ok(DONE);
    }
    show(&found);
    if !arguments.dry_run {
        println!("kept in {}", history.dir().display());
    }
    Ok(DONE)
}

fn show(found: &Calibration) {
    println!(
        "{} runs, {} series, {} nights made of them (at least {FEWEST_RUNS} runs)",
        found.runs.len(),
        found.series,
        found.trials
    );
    println!("| deviations × | nights with a false alarm | rate |\n|---:|---:|---:|");
    for (scale, count) in &found.alarms {
        println!("| {scale} | {count} | {:.2} % |", 100.0 * *count as f64 / found.trials as f64);
    }
    println!(
        "factor {}: {:.2} % of nights, at most {:.2} %; the budget is {} %",
        found.scale,
        100.0 * found.rate,
        100.0 * found.bound,
        100.0 * found.false_alarms
    );
}

fn refused(error: CalibrateError) -> Refusal {
    match error {
        CalibrateError::Store(error) => from_store(error),
        CalibrateError::Noise { .. } => Refusal { code: GATE_UNDECIDED, message: error.to_string() },
        other => Refusal { code: BAD_INPUT, message: other.to_string() },
    }
}
