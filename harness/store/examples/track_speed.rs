//! How long a night takes to judge after 1,000 nights of 500 series:
//! `cargo run --release -p harness-store --example track_speed -- [NIGHTS] [SERIES] [FOLDER]`.
//!
//! The nights are written to a folder first (a temporary one unless named) and read back as `harness track` does. Half of
//! the series are times with 2 % noise, a tenth of which change by 6 % once; the rest are perplexities that repeat.

#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use harness_core::cell::Coordinate;
use harness_core::gate::{GateRequest, Policy};
use harness_core::seed::stream;
use harness_core::stamp::SuiteStamp;
use harness_core::statistics::Bootstrap;
use harness_core::statistics::resample::below;
use harness_core::{Axis, Cell, CellId, CellRecord, Direction, Noise, Observation, Reduction, Stamp, Verdict};
use harness_store::{History, MetricInfo, Run, track};

fn metrics() -> Vec<MetricInfo> {
    let info = |id: &str, direction, noise, reduction| MetricInfo {
        id: id.into(),
        about: "synthetic".into(),
        unit: "1".into(),
        direction,
        noise,
        reduction,
        version: 1,
        along: None,
    };
    vec![
        info("ppl", Direction::Lower, Noise::Sampled, Reduction::ExpRatio),
        info("tps", Direction::Higher, Noise::Timed, Reduction::Median),
    ]
}

fn night(number: usize, series: usize) -> Run {
    let mut random = stream(1, &["night", &number.to_string()]);
    let mut uniform = move || below(&mut random, 1 << 30) as f64 / f64::from(1 << 30) - 0.5;
    let records: Vec<CellRecord> = (0..series / 2)
        .map(|cell| {
            let coordinates = BTreeMap::from([(Axis::Prune, Coordinate::plain(format!("arm-{cell}")))]);
            let named = Cell { bench: "bench".into(), coordinates };
            let factor = if cell % 10 == 0 && number > 700 { 0.94 } else { 1.0 };
            let shift = uniform() * 0.07;
            let times = (0..5).map(|_| 500.0 * factor * (1.0 + shift + 0.01 * uniform())).collect();
            let hard = |window: usize| 255.0 * (2.0 + 0.1 * ((window * 37 + cell) % 11) as f64);
            let scored = Observation {
                samples: (0..16).map(hard).collect(),
                weights: vec![255.0; 16],
                protocol: Some("synthetic".into()),
                ..Observation::absent("ppl", Reduction::ExpRatio, None)
            };
            let timed = Observation { samples: times, ..Observation::absent("tps", Reduction::Median, None) };
            CellRecord {
                id: CellId::of(&[("cell", named.to_string())]),
                cell: named,
                observations: vec![scored, timed],
                failure: None,
                warnings: Vec::new(),
                seconds: 1.0,
            }
        })
        .collect();
    let stamp = Stamp {
        profile: "release".into(),
        cpu: "synthetic".into(),
        commit: format!("{number:040x}"),
        started: format!("20{:02}-{:02}-{:02}T03:00:00Z", 20 + number / 336, 1 + number / 28 % 12, 1 + number % 28),
        suite: SuiteStamp { path: "suites/speed.toml".into(), ..SuiteStamp::default() },
        ..Stamp::default()
    };
    Run::from_records(Path::new(&format!("night-{number}")), stamp, &metrics(), &[], records)
}

fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or_else(|| "not known".to_owned(), |line| line.trim().to_owned())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |fallback: usize| arguments.next().map_or(Ok(fallback), |text| text.parse());
    let (nights, series) = (number(1000)?, number(500)?);
    let root = std::env::args().nth(3).map_or_else(|| std::env::temp_dir().join("harness-track-speed"), PathBuf::from);
    let last = night(nights, series);
    let mut history = History::of(&root, &last)?;
    if history.entries().len() < nights {
        let started = Instant::now();
        for number in history.entries().len()..nights {
            history.append(&night(number, series))?;
        }
        println!(
            "writing {nights} nights: {:.1} s; run again to measure with a fresh peak of memory",
            started.elapsed().as_secs_f64()
        );
        return Ok(());
    }
    let started = Instant::now();
    let history = History::of(&root, &last)?;
    let read = started.elapsed().as_secs_f64();
    let measured = last.metrics.iter().map(|metric| (metric.id.as_str(), metric.direction, metric.noise));
    let policy = Policy::of(&GateRequest::default(), measured, 1.0);
    let trend = track(&history, &last, &policy, Bootstrap::default())?;
    let judged = started.elapsed().as_secs_f64();
    let changes = trend.series.iter().filter(|series| !series.changes.is_empty()).count();
    println!(
        "{} nights, {} series: read in {read:.2} s, judged in {:.2} s, {judged:.2} s together; peak memory {}",
        history.entries().len(),
        history.series().len(),
        judged - read,
        peak()
    );
    println!("{changes} series change their level, {} are worse tonight", trend.count(Verdict::Worse));
    Ok(())
}
