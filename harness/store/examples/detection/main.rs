//! The detection study: how often the gate raises a false alarm, and how often it sees a change that is there.
//!
//! `cargo run --release -p harness-store --example detection -- [PART] QUALITY_RUN TIMING_RUN…` with a run of
//! `tests/detection/quality.toml` and many of `tests/detection/timing.toml`; `tests/detection/run.sh` does all of it. Every
//! number comes out of the gate that `harness track` uses. Prints Markdown.

#![allow(clippy::print_stdout)]

mod nights;
mod quality;
mod series;
mod timing;

use std::error::Error;
use std::path::Path;

use harness_core::gate::{GateRequest, Policy};
use harness_core::statistics::clopper_pearson;
use harness_store::{MetricInfo, Run};

/// What may be asked for alone; all of it otherwise.
const PARTS: [&str; 5] = ["perplexity", "timing", "nights", "accuracy", "series"];
/// Nights without a change.
const NULL_TRIALS: usize = 4000;
/// Nights with a change.
const TRIALS: usize = 2000;

/// The policy of a suite without a `[gate]` that measures what the two pools measure.
fn policy(metrics: &[MetricInfo]) -> Policy {
    let measured = metrics.iter().map(|metric| (metric.id.as_str(), metric.direction, metric.noise));
    Policy::of(&GateRequest::default(), measured, 1.0)
}

/// A rate with its interval, in per cent.
fn rate(count: usize, trials: usize) -> String {
    let interval = clopper_pearson(count as u64, trials as u64, 0.95);
    let percent = |share: f64| format!("{:.2}", 100.0 * share);
    format!("{} % [{}, {}]", percent(count as f64 / trials as f64), percent(interval.low), percent(interval.high))
}

/// How many of the trials say yes, on every core.
fn count(trials: usize, yes: impl Fn(usize) -> bool + Sync) -> usize {
    map(trials, yes).into_iter().filter(|yes| *yes).count()
}

fn map<T: Send>(trials: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let work = &work;
    let parts: Vec<Vec<(usize, T)>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers)
            .map(|worker| scope.spawn(move || (worker..trials).step_by(workers).map(|n| (n, work(n))).collect()))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let mut all: Vec<(usize, T)> = parts.into_iter().flatten().collect();
    all.sort_by_key(|(number, _)| *number);
    all.into_iter().map(|(_, found)| found).collect()
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut paths: Vec<String> = std::env::args().skip(1).collect();
    let part = paths.first().filter(|word| PARTS.contains(&word.as_str())).cloned();
    if part.is_some() {
        paths.remove(0);
    }
    let asked = |name: &str| part.as_deref().is_none_or(|part| part == name);
    if part.as_deref() == Some("series") {
        series::report();
        return Ok(());
    }
    let Some((first, rest)) = paths.split_first() else {
        return Err(format!("usage: detection [{}] QUALITY_RUN TIMING_RUN…", PARTS.join("|")).into());
    };
    let quality = Run::open(Path::new(first))?;
    let timing = rest.iter().map(|path| Run::open(Path::new(path))).collect::<Result<Vec<_>, _>>()?;
    if timing.len() < 12 {
        return Err("give at least twelve timing runs".into());
    }
    let mut metrics = quality.metrics.clone();
    metrics.extend(timing[0].metrics.iter().cloned());
    let policy = policy(&metrics);
    println!("| question | made of | trials | found |\n|---|---|---:|---|");
    if asked("perplexity") {
        quality::report(&quality, &policy, quality::Part::Perplexity)?;
    }
    if asked("timing") {
        let scale = nights::scale(&timing, &policy)?;
        timing::together(&timing);
        timing::report(&timing, &Policy { scale, ..policy.clone() });
    }
    if asked("nights") {
        nights::report(&quality, &timing, &policy)?;
    }
    if asked("accuracy") {
        quality::report(&quality, &policy, quality::Part::Accuracy)?;
    }
    if asked("series") {
        series::report();
    }
    Ok(())
}
