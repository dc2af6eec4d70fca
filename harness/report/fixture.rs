//! Small charts and documents for tests.

use harness_core::Direction;
use harness_core::chart::{
    Chart, ChartAxis, ChartKind, Column, Entry, Facet, FailedPoint, Place, Point, Reference, Series, Table,
};
use harness_core::stamp::{Stamp, SuiteStamp};

use crate::document::{Document, Outcome};

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

pub fn table() -> Table {
    let column = |name: &str, unit: &str, direction| Column {
        name: name.into(),
        label: name.into(),
        unit: unit.into(),
        direction,
    };
    let value = |value: f64, interval| Entry::Number { value, interval };
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
        summary: vec!["3 cells: 2 done, 1 failed.".into(), "Best at 2:4: sparsegpt.".into()],
        expectations: vec![
            Outcome {
                text: "ppl(sparsegpt) <= ppl(magnitude)".into(),
                held: Some(true),
                detail: "15.8 against 22.9".into(),
            },
            Outcome { text: "ppl(wanda) <= 15".into(), held: Some(false), detail: "16.2".into() },
        ],
        tables: vec![table()],
        charts: vec![line(), bars()],
        failures: vec![(
            "one-shot / tiny-1m / sparsegpt(sparsity=0.7)".into(),
            "apply: the Hessian of layer 3 is singular".into(),
        )],
        warnings: vec!["Only 8 documents: intervals are wide.".into()],
    }
}
