//! A small run for tests.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use harness_core::cell::Coordinate;
use harness_core::journal::Journal;
use harness_core::stamp::SuiteStamp;
use harness_core::{
    Arm, Axis, Cell, CellId, CellRecord, Direction, Failure, Noise, Observation, Profile, Reduction, Stamp, Value,
};

use crate::run::{AlongInfo, MetricInfo, Run};

pub fn metric(id: &str, direction: Direction, noise: Noise, reduction: Reduction, unit: &str) -> MetricInfo {
    let along = match id {
        "nll" => Some(AlongInfo { word: "token".into(), label: "place in the window (tokens)".into() }),
        "sparsity" => Some(AlongInfo { word: "layer".into(), label: "layer".into() }),
        _ => None,
    };
    MetricInfo {
        id: id.into(),
        about: "a test".into(),
        unit: unit.into(),
        direction,
        noise,
        reduction,
        version: 1,
        along,
    }
}

pub fn metrics() -> Vec<MetricInfo> {
    vec![
        metric("ppl", Direction::Lower, Noise::Sampled, Reduction::ExpRatio, "1"),
        metric("sparsity", Direction::Neutral, Noise::Exact, Reduction::Single, "1"),
        metric("bytes", Direction::Lower, Noise::Exact, Reduction::Single, "bytes"),
        metric("decode_tps", Direction::Higher, Noise::Timed, Reduction::Median, "tokens/s"),
    ]
}

/// A cell of `tiny` with the arm; its windows are harder by `cost` than the dense ones.
pub fn record(model: &str, arm: &str, sparsity: f64, cost: f64) -> CellRecord {
    let parsed: Arm = arm.parse().unwrap();
    let mut parameters = parsed.parameters.clone();
    if parsed.id != "none" {
        for name in ["sparsity", "pattern"] {
            if parsed.get(name).is_none() {
                parameters.push((name.into(), Value::Unset));
            }
        }
    }
    let coordinates = BTreeMap::from([
        (Axis::Model, Coordinate::plain(model)),
        (Axis::Prune, Coordinate { label: arm.into(), id: parsed.id, parameters }),
        (Axis::Data, Coordinate::plain("fables/test")),
    ]);
    let cell = Cell { bench: "one-shot".into(), coordinates };
    let hardness = |i: u32| 255.0 * (2.0 + 0.02 * f64::from(i * i % 23));
    let ppl = Observation {
        samples: (0..24).map(|i| hardness(i) + 255.0 * cost * (1.0 + 0.01 * f64::from(i * 7 % 5))).collect(),
        weights: vec![255.0; 24],
        clusters: (0..24).map(|i| i / 3).collect(),
        protocol: Some("fables/test window=256".into()),
        ..Observation::absent("ppl", Reduction::ExpRatio, None)
    };
    let speed = Observation {
        samples: (0..9).map(|i| 500.0 + f64::from(i)).collect(),
        ..Observation::absent("decode_tps", Reduction::Median, None)
    };
    CellRecord {
        id: CellId::of(&[("cell", cell.to_string())]),
        cell,
        observations: vec![speed, ppl, Observation::single("sparsity", sparsity), Observation::single("bytes", 4e6)],
        failure: None,
        warnings: vec!["calibration is short".into()],
        seconds: 1.5,
    }
}

/// The journal with what an arm has of `nll`: its windows, and its samples along the window in four places; and with
/// the sparsity of two layers.
pub fn deep_journal() -> Vec<CellRecord> {
    let mut records = journal();
    for record in records.iter_mut().filter(|record| record.failure.is_none()) {
        let Some(ppl) = record.observation("ppl").cloned() else { continue };
        let places: Vec<f64> = (0..24).flat_map(|_| [1.0, 2.0, 4.5, 9.0]).collect();
        let parts = ppl.samples.iter().flat_map(|sum| [0.4, 0.3, 0.2, 0.1].map(|share| share * sum));
        let profile = Profile {
            reduction: Reduction::Ratio,
            samples: parts.collect(),
            weights: vec![63.75; places.len()],
            clusters: ppl.clusters.iter().flat_map(|cluster| [*cluster; 4]).collect(),
            places,
        };
        record.observations.push(Observation {
            metric: "nll".into(),
            reduction: Reduction::Ratio,
            profile: Some(profile),
            ..ppl
        });
        if let Some(sparsity) = record.observations.iter_mut().find(|seen| seen.metric == "sparsity") {
            let whole = sparsity.samples[0];
            sparsity.profile = Some(Profile {
                reduction: Reduction::Ratio,
                places: vec![0.0, 1.0],
                samples: vec![whole * 100.0, whole * 50.0],
                weights: vec![100.0, 100.0],
                clusters: Vec::new(),
            });
        }
    }
    records
}

pub fn deep_run() -> Run {
    let mut metrics = metrics();
    metrics.push(metric("nll", Direction::Lower, Noise::Sampled, Reduction::Ratio, "nats/token"));
    Run::from_records(Path::new("runs/deep"), stamp(), &metrics, &order(), deep_journal())
}

pub fn failed(model: &str, arm: &str) -> CellRecord {
    let failure = Failure { stage: "apply".into(), reason: "the Hessian of layer 3 is singular".into() };
    CellRecord { observations: Vec::new(), failure: Some(failure), ..record(model, arm, 0.0, 0.0) }
}

pub fn journal() -> Vec<CellRecord> {
    vec![
        record("tiny", "none", 0.0, 0.0),
        record("tiny", "magnitude(sparsity=0.3)", 0.3, 0.05),
        record("tiny", "magnitude(sparsity=0.5)", 0.5, 0.4),
        record("tiny", "wanda(sparsity=0.5)", 0.5, 0.2),
        record("tiny", "wanda(sparsity=0.3)", 0.3, 0.02),
        record("tiny", "wanda(pattern=2:4)", 0.5, 0.5),
        failed("tiny", "magnitude(sparsity=0.7)"),
    ]
}

pub fn stamp() -> Stamp {
    Stamp {
        version: "0.1.0".into(),
        profile: "release".into(),
        cpu: "Zen".into(),
        started: "2026-01-02T03:04:05Z".into(),
        suite: SuiteStamp { path: "suites/x.toml".into(), hash: "00".into(), text: "[suite]\n".into() },
        ..Stamp::default()
    }
}

/// Writes the records to a new run folder.
pub fn write(dir: &Path, records: impl IntoIterator<Item = CellRecord>) {
    crate::create(dir, &stamp()).unwrap();
    let mut journal = Journal::open(&dir.join("journal.jsonl")).unwrap();
    records.into_iter().for_each(|record| journal.append(record).unwrap());
}

pub fn order() -> Vec<CellId> {
    journal().into_iter().map(|record| record.id).collect()
}

pub fn run() -> Run {
    Run::from_records(Path::new("runs/test"), stamp(), &metrics(), &order(), journal())
}

/// A night: the run of [`run`] with a speed about 500 tokens/s times `speed`, and windows harder by `cost`.
pub fn night(number: usize, speed: f64, cost: f64) -> Run {
    let jitter = [0.0, 3.0, -2.0, 1.0, -3.0, 2.0, -1.0][number % 7];
    let mut records = journal();
    for record in &mut records {
        for seen in &mut record.observations {
            match seen.metric.as_str() {
                "decode_tps" => {
                    seen.samples = (0..9).map(|i| (500.0 + jitter + 0.1 * f64::from(i)) * speed).collect();
                }
                "ppl" => {
                    for (index, sample) in seen.samples.iter_mut().enumerate() {
                        *sample += 255.0 * cost * (1.0 + 0.2 * (index * index % 7) as f64);
                    }
                }
                _ => {}
            }
        }
    }
    let stamp = Stamp {
        started: format!("2026-{:02}-{:02}T03:00:00Z", 1 + number / 28, 1 + number % 28),
        commit: format!("{number:07x}00000"),
        ..stamp()
    };
    let name = format!("runs/night-{number}");
    Run::from_records(Path::new(&name), stamp, &metrics(), &order(), records)
}
