//! A report of two thousand cells. Measured by hand, for its times say something on a quiet machine only:
//! `cargo test --release --test tests -- --ignored --nocapture report_of_two_thousand`.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use harness_core::cell::Coordinate;
use harness_core::journal::Journal;
use harness_core::stamp::SuiteStamp;
use harness_core::{Axis, Cell, CellId, CellRecord, Observation, Profile, Reduction, Stamp, Value};
use harness_store::MetricInfo;

use crate::support::{run, scratch};

const SPARSITIES: usize = 50;
const SEEDS: usize = 10;
const METHODS: [&str; 2] = ["magnitude", "random"];
const MODELS: [&str; 2] = ["tiny-100k", "tiny-1m"];

/// A suite of 2,000 cells with 30 figures and 2 tables.
fn suite() -> String {
    let mut text = String::from(
        r#"[suite]
about = "How large may a report be?"
seed = 1

[[bench]]
name = "large"
model = ["tiny-100k", "tiny-1m"]
data = { corpus = "fables/test", window = 64, windows = 64 }
calib = { corpus = "fables/train", window = 64, windows = 4 }
metrics = "all"
seed = { from = 1, to = 10, step = 1 }
prune = [{ method = ["magnitude", "random"], sparsity = { from = 0.01, to = 0.5, step = 0.01 } }]

[[table]]
name = "methods"
rows = ["model", "seed", "sparsity", "prune.method"]
metrics = ["ppl", "kl", "top1", "sparsity", "bytes_stored", "prefill_tps", "decode_tps"]

[[table]]
name = "seeds"
rows = ["model", "seed", "prune"]
metrics = ["ppl", "kl", "top1"]
"#,
    );
    for figure in 0..30 {
        text.push_str(&declared(figure));
    }
    text
}

/// Three figures of each kind, each over the cells of one seed.
fn declared(figure: usize) -> String {
    let (kind, rest) = [
        ("line", "x = 'prune.sparsity'\ny = 'ppl'\nseries = 'prune.method'\nreference = 'magnitude(sparsity=0.01)'"),
        ("bar", "x = 'prune'\ny = 'top1'"),
        ("scatter", "x = 'bytes_stored'\ny = 'kl'\nseries = 'prune.method'"),
        ("pareto", "x = 'decode_tps'\ny = 'ppl'\nseries = 'prune.method'"),
        ("heat", "x = 'prune.sparsity'\ny = 'prune.method'\nvalue = 'kl'"),
        ("box", "x = 'prune'\ny = 'nll'"),
        ("violin", "x = 'prune'\ny = 'nll'"),
        ("histogram", "x = 'nll'\nseries = 'prune.method'"),
        ("profile", "x = 'token'\ny = 'nll'\nseries = 'prune'\nlog = 'x'"),
        ("fit", "x = 'prune.sparsity'\ny = 'kl'\nseries = 'prune.method'\nlog = ['x', 'y']"),
    ][figure % 10];
    // Arms side by side get hard to read beyond a few.
    let few = matches!(kind, "bar" | "box" | "violin" | "profile");
    let narrow = if few { " and prune.method = 'magnitude'" } else { "" };
    let seed = figure % SEEDS + 1;
    let shown = format!("facet = 'model'\nwhere = \"seed = {seed}{narrow}\"");
    format!("\n[[figure]]\nkind = '{kind}'\nname = '{kind}-{figure}'\n{rest}\n{shown}\n")
}

/// The metrics of the catalogue and as many more as make twenty.
fn metrics() -> Vec<MetricInfo> {
    let mut all: Vec<MetricInfo> = harness_run::catalog().metrics.iter().map(MetricInfo::from).collect();
    let ratio = all[1].clone();
    while all.len() < 20 {
        all.push(MetricInfo { id: format!("kl_{}", all.len()), along: None, ..ratio.clone() });
    }
    all
}

/// Numbers that differ from cell to cell and repeat from run to run.
fn noise(seed: usize) -> f64 {
    let mixed = (seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ ((seed as u64) << 17);
    (mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as f64 / f64::from(1 << 24)
}

fn observation(metric: &MetricInfo, cell: usize, level: f64) -> Observation {
    let count = match metric.reduction {
        Reduction::Single => 1,
        Reduction::Median => 9,
        Reduction::Ratio | Reduction::ExpRatio => 64,
    };
    // Windows are hard or easy for every cell alike, as real ones are.
    let sample = |index: usize| level * (1.0 + 0.2 * noise(index * 7919) + 0.01 * noise(cell * 1009 + index));
    let sampled = count == 64;
    let along = metric.along.as_ref().is_some_and(|along| along.word == "token");
    Observation {
        profile: along.then(|| profile(level)),
        samples: (0..count).map(|index| sample(index) * if sampled { 63.0 } else { 1.0 }).collect(),
        weights: if sampled { vec![63.0; count] } else { Vec::new() },
        clusters: if sampled { (0..count as u32).map(|index| index / 4).collect() } else { Vec::new() },
        protocol: sampled.then(|| "fables/test window=64 windows=64 select=spread".to_owned()),
        ..Observation::absent(&metric.id, metric.reduction, None)
    }
}

/// Eight stretches of every window.
fn profile(level: f64) -> Profile {
    let all = || (0..64_u32).flat_map(|window| (0..8_i32).map(move |place| (window, place)));
    Profile {
        reduction: Reduction::Ratio,
        places: all().map(|(_, place)| 1.5 * 2.0_f64.powi(place)).collect(),
        samples: all()
            .map(|(window, place)| level * (8.0 + 8.0 / f64::from(place + 1) + noise(window as usize)))
            .collect(),
        weights: all().map(|_| 8.0).collect(),
        clusters: all().map(|(window, _)| window / 4).collect(),
    }
}

fn records(metrics: &[MetricInfo]) -> Vec<CellRecord> {
    let mut all = Vec::new();
    for model in MODELS {
        for method in METHODS {
            for step in 1..=SPARSITIES {
                for seed in 1..=SEEDS {
                    let sparsity = step as f64 / 100.0;
                    let prune = Coordinate {
                        label: format!("{method}(sparsity={sparsity})"),
                        id: method.into(),
                        parameters: vec![("sparsity".into(), Value::Float(sparsity)), ("pattern".into(), Value::Unset)],
                    };
                    let coordinates = BTreeMap::from([
                        (Axis::Model, Coordinate::plain(model)),
                        (Axis::Prune, prune),
                        (Axis::Data, Coordinate::plain("fables/test")),
                        (Axis::Seed, Coordinate::plain(seed.to_string())),
                    ]);
                    let cell = Cell { bench: "large".into(), coordinates };
                    let number = all.len();
                    let level = 1.0 + sparsity * if method == "random" { 1.02 } else { 1.0 };
                    all.push(CellRecord {
                        id: CellId::of(&[("cell", cell.to_string())]),
                        cell,
                        observations: metrics.iter().map(|metric| observation(metric, number, level)).collect(),
                        failure: None,
                        warnings: Vec::new(),
                        seconds: 1.0,
                    });
                }
            }
        }
    }
    all
}

fn write_run(dir: &Path) {
    let path = "suites/large.toml".to_owned();
    let stamp = Stamp {
        version: env!("CARGO_PKG_VERSION").into(),
        profile: "release".into(),
        command: vec!["harness".into(), "run".into(), path.clone()],
        suite: SuiteStamp { path, hash: "0".repeat(64), text: suite() },
        ..Stamp::default()
    };
    harness_store::create(dir, &stamp).unwrap();
    let metrics = metrics();
    let records = records(&metrics);
    assert_eq!((records.len(), metrics.len()), (2000, 20));
    let order: Vec<CellId> = records.iter().map(|record| record.id.clone()).collect();
    // One write instead of two thousand synced ones.
    let lines: Vec<String> = records.iter().map(|record| serde_json::to_string(record).unwrap()).collect();
    std::fs::write(dir.join("journal.jsonl"), lines.join("\n") + "\n").unwrap();
    assert_eq!(Journal::read(&dir.join("journal.jsonl")).unwrap().len(), 2000);
    let started = Instant::now();
    harness_store::seal(dir, &metrics, &order).unwrap();
    println!("seal: {:.2} s", started.elapsed().as_secs_f64());
}

#[test]
#[ignore = "takes a minute and measures time"]
fn report_of_two_thousand_cells_twenty_metrics_and_thirty_figures() {
    let folder = scratch();
    let kept = std::env::var_os("HARNESS_SCALE_RUN").map(std::path::PathBuf::from);
    let dir = kept.unwrap_or_else(|| folder.path().join("large"));
    if !harness_store::is_sealed(&dir) {
        write_run(&dir);
    }
    for _ in 0..3 {
        let started = Instant::now();
        let ran = run(&["report", &dir.display().to_string()]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        println!("report: {:.2} s", started.elapsed().as_secs_f64());
    }
    let page = dir.join("report.html").metadata().unwrap().len();
    println!("report.html: {:.1} MB", page as f64 / 1e6);
    assert!(page < 20_000_000, "{page} bytes");
    let started = Instant::now();
    let ran = run(&["verify", &dir.display().to_string()]);
    assert_eq!(ran.code, 0, "{}", ran.out);
    println!("verify: {:.2} s", started.elapsed().as_secs_f64());
}
