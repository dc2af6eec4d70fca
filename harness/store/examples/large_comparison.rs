//! Two runs of a million samples each in a thousand documents, opened and compared at a thousand draws.
//!
//!     cargo run --release -p harness-store --example large_comparison -- make FOLDER
//!     cargo run --release -p harness-store --example large_comparison -- compare FOLDER
//!
//! The second prints seconds and the process's peak of resident memory; the program itself does the same by
//! `harness compare FOLDER/a FOLDER/b --resamples 1000`.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use harness_core::cell::Coordinate;
use harness_core::journal::Journal;
use harness_core::seed::stream;
use harness_core::statistics::Bootstrap;
use harness_core::{Axis, Cell, CellId, CellRecord, Direction, Noise, Observation, Reduction, Stamp};
use harness_store::{CompareOptions, MetricInfo, Run, Selection, compare, create, seal};
use rand_chacha::rand_core::Rng;

const SAMPLES: u32 = 1_000_000;
const DOCUMENTS: u32 = 1_000;

fn metric(id: &str, noise: Noise, reduction: Reduction) -> MetricInfo {
    MetricInfo {
        id: id.to_owned(),
        about: "made up".to_owned(),
        unit: "1".to_owned(),
        direction: Direction::Lower,
        noise,
        reduction,
        version: 1,
        along: None,
    }
}

/// A run whose one cell is worse by `shift` on the whole, differently in each document.
fn make(folder: &Path, shift: f64) {
    let cell =
        Cell { bench: "large".to_owned(), coordinates: BTreeMap::from([(Axis::Model, Coordinate::plain("made-up"))]) };
    let mut hard = stream(1, &["hardness"]);
    let mut lean = stream(2, &["shift", &shift.to_string()]);
    let uniform = |random: &mut rand_chacha::ChaCha8Rng| f64::from(random.next_u32() >> 8) / f64::from(1 << 24);
    let leans: Vec<f64> = (0..DOCUMENTS).map(|_| shift * (0.5 + uniform(&mut lean))).collect();
    let document = |sample: u32| sample / (SAMPLES / DOCUMENTS);
    let samples = (0..SAMPLES).map(|sample| 255.0 * (2.0 + uniform(&mut hard) + leans[document(sample) as usize]));
    let ppl = Observation {
        samples: samples.collect(),
        weights: vec![255.0; SAMPLES as usize],
        clusters: (0..SAMPLES).map(document).collect(),
        protocol: Some("large".to_owned()),
        ..Observation::absent("ppl", Reduction::ExpRatio, None)
    };
    let record = CellRecord {
        id: CellId::of(&[("cell", cell.to_string())]),
        cell,
        observations: vec![ppl],
        failure: None,
        warnings: Vec::new(),
        seconds: 1.0,
    };
    let stamp = Stamp { profile: "release".to_owned(), cpu: "none".to_owned(), ..Stamp::default() };
    create(folder, &stamp).unwrap();
    let mut journal = Journal::open(&folder.join("journal.jsonl")).unwrap();
    journal.append(record).unwrap();
    drop(journal);
    seal(folder, &[metric("ppl", Noise::Sampled, Reduction::ExpRatio)], &[]).unwrap();
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [verb, folder] = arguments.as_slice() else {
        println!("large_comparison make|compare FOLDER");
        return;
    };
    let [a, b] = ["a", "b"].map(|name| Path::new(folder).join(name));
    if verb == "make" {
        make(&a, 0.0);
        make(&b, 0.01);
        return;
    }
    let started = Instant::now();
    let (a, b) = (Run::open(&a).unwrap(), Run::open(&b).unwrap());
    let opened = started.elapsed().as_secs_f64();
    let bootstrap = Bootstrap { resamples: 1000, ..Bootstrap::default() };
    let options = CompareOptions { bootstrap, ..CompareOptions::default() };
    let comparison = compare(&Selection { run: &a, arm: None }, &Selection { run: &b, arm: None }, &options);
    let seconds = started.elapsed().as_secs_f64();
    let row = &comparison.rows[0];
    println!(
        "{}: {} p {:.1e}; {}",
        row.metric,
        row.verdict,
        row.probability.unwrap(),
        row.effect.as_ref().unwrap().test
    );
    println!("{opened:.2} s to open, {:.2} s to compare, {seconds:.2} s in all", seconds - opened);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("no peak known"));
}
