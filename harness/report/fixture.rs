//! Small documents and tables for tests; the charts stand in `fixture_charts.rs`.

use harness_core::Direction;
use harness_core::chart::{Column, Entry, IntervalStyle, Standing, Table};
use harness_core::stamp::{Stamp, SuiteStamp};

use crate::cell::{CellArm, CellNumber, CellPage};
use crate::document::{Document, Failed, MetricNote, Outcome, Warning};
pub use crate::fixture_charts::*;

fn column(name: &str, unit: &str, direction: Direction) -> Column {
    Column { unit: unit.into(), direction, ..Column::text(name) }
}

/// A declared table: groups of columns, a best and a tied number, a small number, a failed cell.
pub fn ranked() -> Table {
    let number = |value, low, high, standing| Entry::Number { value, interval: Some((low, high)), standing };
    let text = |text: &str| Entry::Text(text.into());
    let grouped = |name: &str| Column { group: "tiny_1m".into(), ..column(name, "1", Direction::Lower) };
    Table {
        id: "methods".into(),
        title: "Methods at equal sparsity".into(),
        columns: vec![Column::text("sparsity"), Column::text("prune"), grouped("ppl"), grouped("kl")],
        rows: vec![
            vec![
                text("0.3"),
                text("magnitude"),
                number(21.5, 21.37, 21.63, Standing::Best),
                number(1.234e-5, 1.1e-5, 1.3e-5, Standing::Plain),
            ],
            vec![text("0.3"), text("wanda"), number(22.5, 21.2, 23.5, Standing::Tied), Entry::number(0.067, None)],
            vec![
                text("0.5"),
                text("random"),
                number(1595.0, 1472.0, 1733.0, Standing::Plain),
                Entry::Failed("score: NaN".into()),
            ],
        ],
        note: Some("± is the longer side of the 95 % bootstrap interval.".into()),
        intervals: IntervalStyle::PlusMinus,
        cells: Vec::new(),
    }
}

/// Two cells, the second of them failed.
pub fn cells() -> Vec<CellPage> {
    let page = |id: &str, arm: &str| CellPage {
        id: id.into(),
        name: format!("one-shot / tiny-1m / {arm}"),
        arms: vec![
            CellArm { axis: "model".into(), label: "tiny-1m".into(), parameters: Vec::new() },
            CellArm {
                axis: "prune".into(),
                label: arm.into(),
                parameters: vec![("sparsity".into(), "0.7".into()), ("damp".into(), "0.01".into())],
            },
        ],
        failure: None,
        warnings: vec!["calibration is short".into()],
        seconds: 1.25,
        command: format!("harness run suites/pruning.toml --filter '=one-shot / tiny-1m / {arm}'"),
        numbers: vec![
            CellNumber {
                metric: "ppl".into(),
                unit: "1".into(),
                entry: Entry::number(13.2, Some((12.9, 13.6))),
                drawn: "5 samples in 3 documents".into(),
                protocol: "fables/test window=256".into(),
                note: String::new(),
                samples: vec![12.0, 13.0, 14.5, 13.0, 13.5],
            },
            CellNumber {
                metric: "decode_tps".into(),
                unit: "tokens/s".into(),
                entry: Entry::Absent("no packed kernel for 2:4 here".into()),
                drawn: String::new(),
                protocol: String::new(),
                note: String::new(),
                samples: Vec::new(),
            },
        ],
    };
    let failed = CellPage {
        failure: Some(("apply".into(), "the Hessian of layer 3 is singular".into())),
        numbers: Vec::new(),
        ..page("00000000000000b2", "sparsegpt(sparsity=0.7)")
    };
    vec![page("00000000000000a1", "none"), failed]
}

pub fn table() -> Table {
    let value = Entry::number;
    Table {
        id: "main-one-shot".into(),
        title: "one-shot".into(),
        columns: vec![
            Column::text("model"),
            Column::text("prune"),
            column("ppl", "1", Direction::Lower),
            column("bytes", "bytes", Direction::Lower),
            column("decode_tps", "tokens/s", Direction::Higher),
        ],
        rows: vec![
            vec![
                Entry::Text("tiny-1m".into()),
                Entry::Text("none".into()),
                value(13.2, Some((12.9, 13.6))),
                value(4_194_304.0, None),
                value(640.0, Some((631.0, 648.0))),
            ],
            vec![
                Entry::Text("tiny-1m".into()),
                Entry::Text("wanda(pattern=2:4)".into()),
                value(19.5, Some((18.8, 20.3))),
                value(4_194_304.0, None),
                Entry::Absent("no packed kernel for 2:4 here".into()),
            ],
            vec![
                Entry::Text("tiny-1m".into()),
                Entry::Text("sparsegpt(sparsity=0.7)".into()),
                Entry::Failed("apply: the Hessian of layer 3 is singular".into()),
                Entry::Failed("apply: the Hessian of layer 3 is singular".into()),
                Entry::Failed("apply: the Hessian of layer 3 is singular".into()),
            ],
        ],
        note: Some("All rows: data fables/test. Ranges are 95 % bootstrap intervals.".into()),
        intervals: IntervalStyle::Range,
        cells: vec!["00000000000000a1".into(), String::new(), "00000000000000b2".into()],
    }
}

pub fn document() -> Document {
    Document {
        title: "Pruning".into(),
        about: "How much can be pruned before perplexity breaks?".into(),
        run: "pruning-2026-01-02".into(),
        stamp: Stamp {
            version: "0.1.0".into(),
            commit: "0123456789abcdef".into(),
            profile: "release".into(),
            rustc: "1.95.0".into(),
            cpu: "Zen 4".into(),
            cores: 2,
            threads: 2,
            memory: 8 << 30,
            device: "cpu".into(),
            os: "Linux 6.1".into(),
            features: vec!["avx2".into(), "avx512f".into()],
            started: "2026-01-02T03:04:05Z".into(),
            finished: "2026-01-02T03:05:00Z".into(),
            suite: SuiteStamp { path: "suites/pruning.toml".into(), hash: "abc".into(), text: "[suite]\n".into() },
            command: ["harness", "run", "suites/pruning.toml"].map(str::to_owned).to_vec(),
            ..Stamp::default()
        },
        summary: vec!["tiny-1m: ppl against dense: +4.1 % at sparsity 0.5 (sparsegpt).".into()],
        answers: vec![Table {
            id: "answer".into(),
            title: "Best ppl at equal sparsity".into(),
            columns: vec![Column::text("sparsity"), Column::text("best"), column("ppl", "1", Direction::Lower)],
            rows: vec![vec![
                Entry::Text("0.5".into()),
                Entry::Text("sparsegpt".into()),
                Entry::number(13.2, Some((12.9, 13.6))),
            ]],
            ..Table::default()
        }],
        expectations: vec![
            Outcome {
                text: "ppl(sparsegpt) <= ppl(magnitude)".into(),
                held: Some(true),
                detail: "15.8 against 22.9".into(),
            },
            Outcome { text: "ppl(wanda) <= 15".into(), held: Some(false), detail: "16.2".into() },
        ],
        tables: vec![ranked(), table()],
        charts: vec![line(), bars()],
        failures: vec![Failed {
            id: "00000000000000b2".into(),
            cell: "one-shot / tiny-1m / sparsegpt(sparsity=0.7)".into(),
            reason: "apply: the Hessian of layer 3 is singular".into(),
            command: "harness run suites/pruning.toml --filter '=one-shot / tiny-1m / sparsegpt(sparsity=0.7)'".into(),
        }],
        warnings: vec![Warning {
            text: "Only 8 documents: intervals are wide.".into(),
            advice: "Raise `windows`.".into(),
            cells: 2,
        }],
        metrics: vec![MetricNote { id: "ppl".into(), about: "perplexity".into() }],
        cells: cells(),
    }
}
