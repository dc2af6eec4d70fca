//! How long it takes to compare two runs of a million raw samples each in a thousand documents:
//! `cargo run --release --example large_comparison -- make FOLDER [SAMPLES] [DOCUMENTS] [CELLS]` writes the runs, and
//! `… -- compare FOLDER` reads and compares them as `harness compare` does, in a process of its own so that its peak of
//! memory is that of comparing.
//!
//! The samples are spread over the cells; the other run is harder by one per cent, with noise between documents and
//! between samples.

#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::time::Instant;

use harness_core::cell::Coordinate;
use harness_core::journal::Journal;
use harness_core::seed::stream;
use harness_core::statistics::Bootstrap;
use harness_core::statistics::resample::below;
use harness_core::{Axis, Cell, CellId, CellRecord, Direction, Noise, Observation, Reduction, Stamp, Verdict};
use harness_store::{CompareOptions, Layout, MetricInfo, Run, Selection, compare, create, seal};

const RESAMPLES: usize = 1000;

fn metric() -> MetricInfo {
    MetricInfo {
        id: "ppl".into(),
        about: "synthetic".into(),
        unit: "1".into(),
        direction: Direction::Lower,
        noise: Noise::Sampled,
        reduction: Reduction::ExpRatio,
        version: 1,
        along: None,
    }
}

/// One cell of a run: windows of 255 tokens whose hardness varies between documents, within them, and between the runs.
fn record(cell: usize, samples: usize, documents: usize, harder: f64, run: &str) -> CellRecord {
    let uniform = |random: &mut rand_chacha::ChaCha8Rng| below(random, 1 << 24) as f64 / f64::from(1 << 24) - 0.5;
    let mut shared = stream(1, &["both", &cell.to_string()]);
    let mut own = stream(2, &[run, &cell.to_string()]);
    let levels: Vec<f64> = (0..documents).map(|_| 2.0 + uniform(&mut shared)).collect();
    let shifts: Vec<f64> = (0..documents).map(|_| 0.02 * uniform(&mut own)).collect();
    let document = |sample: usize| sample * documents / samples;
    let value = |sample: usize| {
        let hardness = levels[document(sample)] + uniform(&mut shared);
        255.0 * (hardness + harder + shifts[document(sample)] + 0.02 * uniform(&mut own))
    };
    let observation = Observation {
        samples: (0..samples).map(value).collect(),
        weights: vec![255.0; samples],
        clusters: (0..samples).map(|sample| document(sample) as u32).collect(),
        protocol: Some("synthetic window=256".into()),
        ..Observation::absent("ppl", Reduction::ExpRatio, None)
    };
    let coordinates = BTreeMap::from([(Axis::Prune, Coordinate::plain(format!("arm-{cell}")))]);
    let named = Cell { bench: "bench".into(), coordinates };
    CellRecord {
        id: CellId::of(&[("cell", named.to_string())]),
        cell: named,
        observations: vec![observation],
        failure: None,
        warnings: Vec::new(),
        seconds: 1.0,
    }
}

fn make(folder: &Path, samples: usize, documents: usize, cells: usize) -> Result<(), Box<dyn Error>> {
    for (name, harder) in [("a", 0.0), ("b", 0.01)] {
        let dir = folder.join(name);
        create(&dir, &Stamp { profile: "release".into(), cpu: "synthetic".into(), ..Stamp::default() })?;
        let mut journal = Journal::open(&Layout::new(&dir).journal())?;
        for cell in 0..cells {
            journal.append(record(cell, samples / cells, documents, harder, name))?;
        }
        seal(&dir, &[metric()], &[])?;
        println!("{}: {samples} samples in {documents} documents, {cells} cells", dir.display());
    }
    Ok(())
}

fn measure(folder: &Path) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    let (a, b) = (Run::open(&folder.join("a"))?, Run::open(&folder.join("b"))?);
    let read = started.elapsed().as_secs_f64();
    let side = |run| Selection { run, arm: None };
    let bootstrap = Bootstrap { resamples: RESAMPLES, ..Bootstrap::default() };
    let comparison = compare(&side(&a), &side(&b), &CompareOptions { bootstrap, ..CompareOptions::default() });
    let all = started.elapsed().as_secs_f64();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).map_or("not known", str::trim);
    println!(
        "{} metrics, {} worse: read in {read:.2} s, compared at {RESAMPLES} resamples in {:.2} s, {all:.2} s together; peak memory {peak}",
        comparison.rows.len(),
        comparison.count(Verdict::Worse),
        all - read
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |place: usize, fallback: usize| words.get(place).map_or(Ok(fallback), |word| word.parse());
    match words.first().map(String::as_str).zip(words.get(1)) {
        Some(("make", folder)) => make(Path::new(folder), number(2, 1_000_000)?, number(3, 1000)?, number(4, 1)?),
        Some(("compare", folder)) => measure(Path::new(folder)),
        _ => Err("usage: large_comparison make|compare FOLDER [SAMPLES] [DOCUMENTS] [CELLS]".into()),
    }
}
