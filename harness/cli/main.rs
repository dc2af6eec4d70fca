//! `harness`: which sampler, pruning, quantization or length-extrapolation method to use, with numbers one can defend.

// The binary is where text meets the terminal; every verb returns an outcome, also the ones that cannot fail, and
// command lines have many switches.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unnecessary_wraps, clippy::struct_excessive_bools)]

mod advice;
mod answer;
mod apply;
mod baseline;
mod calibrate;
mod cells;
mod check;
mod compare;
mod completions;
mod detectable;
mod document;
mod execution;
mod exit;
mod export;
mod fetch;
mod generate;
mod import;
mod inspect;
mod interrupt;
mod list;
mod model;
mod npy;
mod plan;
mod prompt;
mod report;
mod run;
mod sample;
mod schema;
mod score;
mod search;
mod suite;
mod terminal;
mod track;
mod train;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use harness_kernels::allocator::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Measures samplers, pruning, quantization and length extrapolation of language models: quality, speed, memory and
/// bytes of each arm in one row.
#[derive(Parser)]
#[command(
    name = "harness",
    version,
    propagate_version = true,
    after_help = "\
Examples:
  harness run suites/pruning.toml           compare pruning methods on the embedded models, offline
  harness plan suites/pruning.toml          say what that would do and cost
  harness fetch smollm2-135m-instruct       bring a real checkpoint
  harness apply --model smollm2-135m-instruct --prune 'wanda(sparsity=0.5)' --calib enwik8/train --out pruned

Exit codes:
  0 done · 1 internal error · 2 bad suite or command line · 3 some cells failed · 4 nothing selected
  5 input missing or wrong hash · 10 expectation or gate violated, or report changed · 11 undecided · 110 results not written · 130 interrupted"
)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Run(run::Arguments),
    Check(check::Arguments),
    Plan(plan::Arguments),
    Report(report::Arguments),
    Verify(verify::Arguments),
    Compare(compare::Arguments),
    Track(track::Arguments),
    Baseline(baseline::Arguments),
    Calibrate(calibrate::Arguments),
    Export(export::Arguments),
    Import(import::Arguments),
    Fetch(fetch::Arguments),
    List(list::Arguments),
    Score(score::Arguments),
    Generate(generate::Arguments),
    Sample(sample::Arguments),
    Apply(apply::Arguments),
    Inspect(inspect::Arguments),
    Search(search::Arguments),
    Train(train::Arguments),
    Schema(schema::Arguments),
    Completions(completions::Arguments),
    Man(completions::ManArguments),
}

fn main() -> ExitCode {
    harness_kernels::allocator::return_freed_memory();
    name_panics();
    match std::panic::catch_unwind(|| act(&Cli::parse().verb)) {
        Ok(Ok(code)) => ExitCode::from(code),
        Ok(Err(refusal)) => {
            eprintln!("error: {}", refusal.message);
            ExitCode::from(refusal.code)
        }
        Err(_) => {
            eprintln!("error: an internal error, a defect of harness; please report it with the lines above");
            ExitCode::from(exit::INTERNAL)
        }
    }
}

/// Printing to a standard output that is closed or full panics; both have an exit code of their own.
fn name_panics() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        match info.payload_as_str().and_then(|text| text.strip_prefix("failed printing to stdout: ")) {
            // Whoever reads has seen enough (`harness list methods | head`): what the shell gives for SIGPIPE.
            Some(reason) if reason.contains("os error 32") => std::process::exit(i32::from(exit::PIPE_CLOSED)),
            Some(reason) => {
                eprintln!("error: results could not be written to standard output: {reason}");
                std::process::exit(i32::from(exit::NOT_WRITTEN));
            }
            None => default(info),
        }
    }));
}

fn act(verb: &Verb) -> exit::Outcome {
    match verb {
        Verb::Run(arguments) => run::main(arguments),
        Verb::Check(arguments) => check::main(arguments),
        Verb::Plan(arguments) => plan::main(arguments),
        Verb::Report(arguments) => report::main(arguments),
        Verb::Verify(arguments) => verify::main(arguments),
        Verb::Compare(arguments) => compare::main(arguments),
        Verb::Track(arguments) => track::main(arguments),
        Verb::Baseline(arguments) => baseline::main(arguments),
        Verb::Calibrate(arguments) => calibrate::main(arguments),
        Verb::Export(arguments) => export::main(arguments),
        Verb::Import(arguments) => import::main(arguments),
        Verb::Fetch(arguments) => fetch::main(arguments),
        Verb::List(arguments) => list::main(arguments),
        Verb::Score(arguments) => score::main(arguments),
        Verb::Generate(arguments) => generate::main(arguments),
        Verb::Sample(arguments) => sample::main(arguments),
        Verb::Apply(arguments) => apply::main(arguments),
        Verb::Inspect(arguments) => inspect::main(arguments),
        Verb::Search(arguments) => search::main(arguments),
        Verb::Train(arguments) => train::main(arguments),
        Verb::Schema(arguments) => schema::main(arguments),
        Verb::Completions(arguments) => completions::main(arguments),
        Verb::Man(arguments) => completions::man(arguments),
    }
}
