//! `harness plan`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::Args;
use harness_core::Axis;
use harness_run::estimate::{Estimate, Machine, estimates};
use harness_run::fetch::FetchError;
use harness_run::inputs::{InputError, Inputs};
use harness_run::memory;
use harness_suite::{Branch, Plan};
use serde_json::json;

use crate::detectable::findable;
use crate::exit::{BAD_INPUT, DONE, INTERNAL, OrExit, Outcome, Refusal, refuse};
use crate::suite::{Opened, SuiteArguments};

/// Say what a run would do and cost, without doing it.
#[derive(Args)]
#[command(after_help = "\
The tree shows what is shared: cells below one branch share its preparation.

Examples:
  harness plan suites/pruning.toml
  harness plan suites/real/pruning.toml --json
  harness plan suites/pruning.toml --like pruning-1a2b3c4d")]
pub struct Arguments {
    #[command(flatten)]
    suite: SuiteArguments,
    /// Print every cell.
    #[arg(long)]
    cells: bool,
    /// A finished run whose spread says what this plan will be able to find; by default the last run of the same suite.
    #[arg(long, value_name = "RUN")]
    like: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn main(arguments: &Arguments) -> Outcome {
    let inputs = crate::fetch::inputs()?;
    let opened = arguments.suite.open(&inputs)?;
    let plan = arguments.suite.plan(&opened.suite)?;
    let Costs { known: costs, absent, unreadable } = costs(&opened, &plan, &inputs);
    let findable = findable(&opened, &plan, arguments.like.as_deref())?;
    if arguments.json {
        let cells: Vec<String> = plan.cells().iter().map(|planned| planned.cell.to_string()).collect();
        let rows: Vec<_> = costs.iter().map(row).collect();
        let value = json!({"suite": opened.suite.source_path, "hash": opened.suite.hash, "cells": cells, "estimates": rows,
            "not_fetched": absent, "unreadable": unreadable, "finds": findable.json()});
        println!("{}", serde_json::to_string_pretty(&value).or_exit(INTERNAL)?);
    } else {
        println!("{}: {} cells", opened.suite.source_path, plan.cells().len());
        for trunk in plan.tree() {
            println!("{}", opened.suite.benches[trunk.bench].name);
            trunk.branches.iter().for_each(|branch| show(branch, 1, arguments.cells));
        }
        for cost in &costs {
            println!(
                "{} on {}: {} arms in groups of {}, {} dense passes, {} calibration passes, {} tokens scored, {} calibrated, about {}, peak {}",
                cost.bench,
                cost.model,
                cost.arms,
                cost.group,
                cost.dense_passes,
                cost.calibration_passes,
                cost.scored_tokens,
                cost.calibration_tokens,
                duration(cost.seconds),
                mebibytes(cost.peak_bytes)
            );
        }
        for model in &absent {
            println!("{model} is not fetched; its cost is not known (harness fetch {model})");
        }
        for (model, reason) in &unreadable {
            println!("{model} cannot be read, so its cells would fail: {reason}");
        }
        println!("in all about {}", duration(costs.iter().map(|cost| cost.seconds).sum()));
        findable.lines().iter().for_each(|line| println!("{line}"));
    }
    refuse_too_large(&costs)?;
    Ok(DONE)
}

/// What the cells of a plan cost.
pub struct Costs {
    /// By bench and model, as far as the models can be read.
    pub known: Vec<Estimate>,
    /// Models that have yet to be fetched.
    pub absent: Vec<String>,
    /// Models that cannot be read, and why.
    pub unreadable: BTreeMap<String, String>,
}

/// Estimates the cost of every cell.
pub fn costs(opened: &Opened, plan: &Plan, inputs: &Inputs) -> Costs {
    let mut sizes = BTreeMap::new();
    let mut absent = Vec::new();
    let mut unreadable = BTreeMap::new();
    let models: BTreeSet<&str> = plan.cells().iter().filter_map(|planned| planned.cell.label(Axis::Model)).collect();
    for model in models {
        match inputs.model_size(model) {
            Ok(size) => {
                sizes.insert(model.to_owned(), size);
            }
            Err(InputError::Fetch(FetchError::Missing { .. })) => absent.push(model.to_owned()),
            Err(error) => {
                unreadable.insert(model.to_owned(), error.to_string());
            }
        }
    }
    let known = estimates(&opened.suite, plan, &opened.catalog, &sizes, Machine::measure());
    Costs { known, absent, unreadable }
}

/// Refuses a plan that does not fit into the machine's memory.
pub fn refuse_too_large(costs: &[Estimate]) -> Result<(), Refusal> {
    let Some(memory) = memory::available_bytes() else { return Ok(()) };
    match costs.iter().find(|cost| cost.peak_bytes > memory) {
        Some(cost) => refuse(
            BAD_INPUT,
            format!(
                "{} on {} needs about {} of memory and {} are free; lower `group_mib`, `calib.windows` or choose a smaller model",
                cost.bench,
                cost.model,
                mebibytes(cost.peak_bytes),
                mebibytes(memory)
            ),
        ),
        None => Ok(()),
    }
}

fn show(branch: &Branch, depth: usize, cells: bool) {
    let last = branch.branches.is_empty();
    if !last || cells || branch.axis == Axis::Prune {
        println!(
            "{:indent$}{} {}{}",
            "",
            branch.axis,
            branch.coordinate.label,
            if last { String::new() } else { format!("  ({} cells)", branch.cells.len()) },
            indent = depth * 2
        );
    }
    branch.branches.iter().for_each(|below| show(below, depth + 1, cells));
}

fn row(cost: &Estimate) -> serde_json::Value {
    json!({"bench": cost.bench, "model": cost.model, "cells": cost.cells, "arms": cost.arms, "group": cost.group,
        "dense_passes": cost.dense_passes, "calibration_passes": cost.calibration_passes, "scored_tokens": cost.scored_tokens,
        "calibration_tokens": cost.calibration_tokens, "seconds": cost.seconds, "peak_bytes": cost.peak_bytes})
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

/// Seconds in words: `40 s`, `3.5 min`, `2.1 h`.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.1} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}
