//! Small charts and documents for tests.

use harness_core::Direction;
use harness_core::chart::{
    Chart, ChartAxis, ChartKind, Column, Entry, Facet, FailedPoint, IntervalStyle, Place, Point, Reference, Series,
    Standing, Table,
};
use harness_core::stamp::{Stamp, SuiteStamp};

use crate::cell::{CellArm, CellNumber, CellPage};
use crate::document::{Document, Failed, MetricNote, Outcome, Warning};

pub fn number(x: f64, y: f64, half: f64) -> Point {
    Point { x: Place::Number(x), y, interval: Some((y - half, y + half * 1.2)), label: None }
}

fn series(name: &str, points: &[(f64, f64, f64)]) -> Series {
    Series {
        name: name.into(),
        points: points.iter().map(|(x, y, half)| number(*x, *y, *half)).collect(),
        failed: Vec::new(),
    }
}

pub fn line() -> Chart {
    let mut random = series("random", &[(0.3, 60.0, 4.0), (0.5, 410.0, 30.0)]);
    random.failed.push(FailedPoint { x: Some(Place::Number(0.7)), reason: "apply: NaN".into() });
    let all = vec![
        random,
        series("magnitude", &[(0.3, 14.6, 0.5), (0.5, 22.9, 0.9), (0.7, 190.0, 12.0)]),
        series("wanda", &[(0.3, 13.9, 0.4), (0.5, 16.2, 0.5), (0.7, 61.0, 3.0)]),
        series("sparsegpt", &[(0.3, 13.8, 0.4), (0.5, 15.8, 0.5), (0.7, 40.0, 2.0)]),
        series("wanda(pattern=2:4)", &[(0.5, 21.0, 0.8)]),
        series("sparsegpt(pattern=2:4)", &[(0.5, 19.5, 0.7)]),
    ];
    Chart {
        id: "ppl-against-sparsity".into(),
        title: "How much can be pruned before perplexity breaks?".into(),
        kind: ChartKind::Line,
        x: ChartAxis::plain("sparsity"),
        y: ChartAxis { label: "ppl".into(), unit: "1".into(), log: true, direction: Direction::Lower },
        facets: vec![Facet {
            title: String::new(),
            series: all,
            references: vec![Reference { label: "dense".into(), y: 13.2 }],
        }],
        note: Some("95 % bootstrap intervals.".into()),
    }
}

pub fn facets() -> Chart {
    let mut chart = line();
    chart.id = "facets".into();
    let mut second = chart.facets[0].clone();
    chart.facets[0].title = "tiny-300k".into();
    second.title = "tiny-1m".into();
    for point in second.series.iter_mut().flat_map(|series| &mut series.points) {
        point.y *= 0.7;
        point.interval = point.interval.map(|(low, high)| (low * 0.7, high * 0.7));
    }
    second.references[0].y *= 0.7;
    chart.facets.push(second);
    chart
}

pub fn scatter() -> Chart {
    let mut chart = line();
    chart.id = "quality-and-speed".into();
    chart.title = "Quality against bytes".into();
    chart.kind = ChartKind::Scatter;
    chart.x = ChartAxis { label: "bytes_stored".into(), unit: "bytes".into(), log: false, direction: Direction::Lower };
    for series in &mut chart.facets[0].series {
        series.failed.clear();
        for point in &mut series.points {
            let Place::Number(x) = point.x else { continue };
            point.label = Some(format!("{}(sparsity={x})", series.name.split('(').next().unwrap_or_default()));
            point.x = Place::Number(4e6 * (1.05 - x));
        }
    }
    chart
}

pub fn bars() -> Chart {
    let bar = |name: &str, y: f64| Point {
        x: Place::Category(name.into()),
        y,
        interval: Some((y * 0.97, y * 1.03)),
        label: None,
    };
    let arms = ["none", "magnitude(sparsity=0.5)", "wanda(sparsity=0.5)", "sparsegpt(pattern=2:4)"];
    let series = |name: &str, speed: f64, failed: bool| Series {
        name: name.into(),
        points: arms.iter().enumerate().take(3).map(|(i, arm)| bar(arm, speed + 20.0 * i as f64)).collect(),
        failed: failed
            .then(|| FailedPoint { x: Some(Place::Category(arms[3].into())), reason: "apply: singular".into() })
            .into_iter()
            .collect(),
    };
    Chart {
        id: "speed".into(),
        title: "Decode speed".into(),
        kind: ChartKind::Bar,
        x: ChartAxis::plain("prune"),
        y: ChartAxis { label: "decode_tps".into(), unit: "tokens/s".into(), log: false, direction: Direction::Higher },
        facets: vec![Facet {
            title: String::new(),
            series: vec![series("tiny-300k", 1480.0, false), series("tiny-1m", 640.0, true)],
            references: Vec::new(),
        }],
        note: Some("95 % bootstrap intervals.".into()),
    }
}

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
