//! criterion's folder: every `…/BASELINE/{benchmark,sample,estimates}.json` of one baseline.
//!
//! A benchmark becomes a cell: its bench the group, its model the function, its data the value it was given. `time` is
//! the median time an iteration takes, criterion's own `median`; where the benchmark has a throughput, what is counted
//! a second is a metric too. The files name neither criterion's version nor the machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use harness_core::cell::Coordinate;
use harness_core::stamp::Source;
use harness_core::{Axis, Cell, Direction, Noise, Observation, Reduction};

use super::gather::{Gather, agree};
use super::json::{At, parse};
use super::{ImportError, Imported, Importer, Options, hash_of, read};
use crate::export::criterion::{Clock, SECOND};
use crate::files;
use crate::passport::{KEY, Passport};
use crate::run::MetricInfo;

pub const IMPORTER: Importer = Importer {
    name: "criterion",
    about: "criterion's folder, `target/criterion`, or a part of it",
    recognises: |path| is_ours(path) || find(path, 20_000).is_ok_and(|found| !found.is_empty()),
    read: import,
};

/// How deep folders are looked into: criterion's own are four below its root.
const DEPTH: usize = 8;
/// How many entries of folders are looked at.
const MOST_ENTRIES: usize = 2_000_000;

fn is_ours(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    matches!(name, Some("benchmark.json" | "sample.json" | "estimates.json"))
}

fn import(path: &Path, options: &Options) -> Result<Imported, ImportError> {
    let root = if is_ours(path) { path.parent().unwrap_or(path) } else { path };
    let found = chosen(path, find(root, MOST_ENTRIES)?, options)?;
    let mut gather = Gather::new(path);
    let mut source = Source { tool: "criterion".to_owned(), ..Source::default() };
    let mut hashes = Vec::new();
    for folder in &found {
        let files: Vec<(PathBuf, Vec<u8>)> = ["benchmark.json", "sample.json", "estimates.json"]
            .into_iter()
            .map(|name| folder.join(name))
            .map(|path| read(&path).map(|bytes| (path, bytes)))
            .collect::<Result<_, _>>()?;
        let hash: Vec<String> = files.iter().map(|(_, bytes)| files::hash(bytes)).collect();
        let json = files.iter().map(|(path, bytes)| parse(path, bytes)).collect::<Result<Vec<_>, _>>()?;
        let at: Vec<At> = files.iter().zip(&json).map(|((path, _), json)| At::root(path, "", json)).collect();
        let measured = measured(&at[1], &at[2])?;
        match at[0].get(KEY) {
            Some(passport) => {
                let at = passport;
                let passport: Passport = at.typed()?;
                let clock = Clock::of(&passport.metric.unit);
                let clock = clock.ok_or_else(|| at.wrong(format!("`{}` is no unit of time", passport.metric.unit)))?;
                let samples = measured.iter().map(|(count, time)| clock.value(*count, *time)).collect();
                gather.passport(&passport, samples, passport.weights.clone())?;
                passport.names(&mut source);
            }
            None => add(&mut gather, &at[0], &measured, &hash_of(&hash))?,
        }
        hashes.push(hash_of(&hash));
    }
    source.hash = hash_of(&hashes);
    let (metrics, records) = gather.finish();
    Ok(Imported { source, started: String::new(), metrics, records, left_out: Vec::new() })
}

/// Folders below a root that hold a benchmark, links not followed, in the order of their names.
fn find(root: &Path, most: usize) -> Result<Vec<PathBuf>, ImportError> {
    let mut folders = vec![(root.to_owned(), 0)];
    let (mut found, mut seen) = (Vec::new(), 0);
    while let Some((folder, depth)) = folders.pop() {
        let failed = |source| ImportError::Read { path: folder.clone(), source };
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            seen += 1;
            if seen > most {
                return Err(ImportError::TooMuch {
                    path: root.to_owned(),
                    found: format!("more than {most} entries"),
                    most: format!("{most} entries"),
                });
            }
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() && depth < DEPTH {
                folders.push((entry.path(), depth + 1));
            } else if kind.is_file() && entry.file_name() == "benchmark.json" {
                found.push(folder.clone());
            }
        }
    }
    found.sort();
    Ok(found)
}

fn baseline(folder: &Path) -> String {
    folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// The folders of one baseline: the one that was asked for, else `new`, else the only one.
fn chosen(path: &Path, found: Vec<PathBuf>, options: &Options) -> Result<Vec<PathBuf>, ImportError> {
    let mut names: Vec<String> = found.iter().map(|folder| baseline(folder)).collect();
    names.sort();
    names.dedup();
    let empty = |reason: String| ImportError::Empty { path: path.to_owned(), reason };
    let name = match (&options.baseline, names.as_slice()) {
        (_, []) => return Err(empty("no folder has a benchmark.json".to_owned())),
        (Some(wanted), _) => wanted,
        (None, [only]) => only,
        (None, names) if names.iter().any(|name| name == "new") => "new",
        (None, _) => return Err(empty(format!("name one of its baselines with --baseline: {}", names.join(", ")))),
    };
    let kept: Vec<PathBuf> = found.into_iter().filter(|folder| baseline(folder) == *name).collect();
    if kept.is_empty() {
        return Err(empty(format!("there is no baseline `{name}`; there are {}", names.join(", "))));
    }
    Ok(kept)
}

/// Iterations and nanoseconds of every sample, after a check that the estimates are those of the samples.
fn measured(sample: &At, estimates: &At) -> Result<Vec<(f64, f64)>, ImportError> {
    let counts = sample.need("iters")?.list()?.iter().map(At::positive).collect::<Result<Vec<_>, _>>()?;
    let times = sample.need("times")?.list()?.iter().map(At::positive).collect::<Result<Vec<_>, _>>()?;
    if counts.len() != times.len() || counts.is_empty() {
        return Err(sample.wrong(format!("{} counts of iterations and {} times", counts.len(), times.len())));
    }
    let each: Vec<f64> = counts.iter().zip(&times).map(|(count, time)| time / count).collect();
    if let Some(bad) = each.iter().find(|time| !time.is_finite() || **time <= 0.0) {
        return Err(sample.wrong(format!("an iteration takes {bad} ns")));
    }
    let told = estimates.need("median")?.need("point_estimate")?.number()?;
    let median = Reduction::Median.reduce(&each, &[]).unwrap_or(f64::NAN);
    if !agree(told, median) {
        return Err(estimates.wrong(format!("the median is {told}, and that of sample.json is {median}")));
    }
    Ok(counts.into_iter().zip(times).collect())
}

fn add(gather: &mut Gather, benchmark: &At, measured: &[(f64, f64)], hash: &str) -> Result<(), ImportError> {
    let text = |key: &str| benchmark.get(key).map(|at| at.text()).transpose();
    let group = benchmark.need("group_id")?.text()?;
    let mut coordinates = BTreeMap::from([(Axis::Model, Coordinate::plain(text("function_id")?.unwrap_or(group)))]);
    if let Some(value) = text("value_str")? {
        coordinates.insert(Axis::Data, Coordinate::plain(value));
    }
    let cell = Cell { bench: group.to_owned(), coordinates };
    let id = gather.foreign("criterion", hash, cell)?.id.clone();
    let time = metric("time", "median time of an iteration", "ns", Direction::Lower);
    gather.observe(&id, &time, observation("time", measured.iter().map(|(count, time)| time / count).collect()))?;
    let Some(throughput) = benchmark.get("throughput") else { return Ok(()) };
    for (kind, at) in throughput.entries()? {
        let (name, unit) = match kind {
            "Elements" => ("elements_per_second", "elements/s"),
            "Bytes" | "BytesDecimal" => ("bytes_per_second", "bytes/s"),
            "Bits" => ("bits_per_second", "bits/s"),
            _ => return Err(at.wrong("the throughput is counted in something unknown")),
        };
        let amount = at.count()? as f64;
        if amount == 0.0 {
            continue;
        }
        let samples = measured.iter().map(|(count, time)| amount * count / time * SECOND).collect();
        let rate = metric(name, "what is counted, a second, of the median iteration", unit, Direction::Higher);
        gather.observe(&id, &rate, observation(name, samples))?;
    }
    Ok(())
}

fn metric(id: &str, about: &str, unit: &str, direction: Direction) -> MetricInfo {
    MetricInfo {
        id: id.to_owned(),
        about: about.to_owned(),
        unit: unit.to_owned(),
        direction,
        noise: Noise::Timed,
        reduction: Reduction::Median,
        version: 1,
        along: None,
    }
}

fn observation(id: &str, samples: Vec<f64>) -> Observation {
    Observation { samples, protocol: Some("criterion".to_owned()), ..Observation::absent(id, Reduction::Median, None) }
}
