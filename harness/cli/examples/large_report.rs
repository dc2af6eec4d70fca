//! How long a large report takes: 2,000 cells of 20 metrics with 30 figures, three of each kind.
//!
//! ```console
//! cargo run --release --example large_report
//! ```
//!
//! The cells are made up; only the time matters. It prints the seconds of querying, of drawing every file of every
//! figure, and of the whole report.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use harness_core::cell::Coordinate;
use harness_core::chart::ChartKind;
use harness_core::statistics::{Estimate, Interval, LawForm, UnitKind};
use harness_core::{Axis, Cell, CellId, CellRecord, Direction, Noise, Observation, Profile, Reduction, Stamp, Value};
use harness_report::{Document, Provenance, chart_files, render};
use harness_store::{AlongInfo, MetricInfo, Record, Run};
use harness_suite::{Column, Condition, Figure, Reference};

const MODELS: usize = 10;
const METHODS: usize = 10;
const STEPS: usize = 20;
const METRICS: usize = 20;
const WINDOWS: usize = 64;

fn metric(index: usize) -> MetricInfo {
    MetricInfo {
        id: format!("metric_{index}"),
        about: "a number".to_owned(),
        unit: "1".to_owned(),
        direction: Direction::Lower,
        noise: Noise::Sampled,
        reduction: Reduction::Ratio,
        version: 1,
        along: (index == 0).then(|| AlongInfo { word: "token".to_owned(), label: "place".to_owned() }),
    }
}

fn record(number: usize) -> Record {
    let (model, method, step) = (number / (METHODS * STEPS), number / STEPS % METHODS, number % STEPS);
    let sparsity = 0.05 * step as f64;
    let arm = if step == 0 { "none".to_owned() } else { format!("method-{method}(sparsity={sparsity})") };
    let prune = Coordinate {
        label: arm.clone(),
        id: arm.split('(').next().unwrap_or_default().to_owned(),
        parameters: vec![("sparsity".to_owned(), Value::Float(sparsity))],
    };
    let bench = if step == 0 && method > 0 { format!("copy-{method}") } else { "large".to_owned() };
    let coordinates =
        BTreeMap::from([(Axis::Model, Coordinate::plain(format!("model-{model}"))), (Axis::Prune, prune)]);
    let cell = Cell { bench, coordinates };
    let observation = |index: usize| {
        let at = |window: usize| {
            2.0 + sparsity * (1.0 + method as f64) + ((window * 7 + index * 3 + number) % 13) as f64 * 0.05
        };
        let samples: Vec<f64> = (0..WINDOWS).map(|window| 100.0 * at(window)).collect();
        let profile = || {
            let places: Vec<f64> = (0..WINDOWS * 27).map(|place| (place % 27) as f64 + 1.0).collect();
            Profile {
                reduction: Reduction::Ratio,
                samples: places.iter().map(|place| 4.0 * (1.0 + 1.0 / place)).collect(),
                weights: vec![4.0; places.len()],
                clusters: (0..places.len()).map(|place| (place / 27 / 4) as u32).collect(),
                places,
            }
        };
        Observation {
            metric: format!("metric_{index}"),
            weights: vec![100.0; WINDOWS],
            clusters: (0..WINDOWS as u32).map(|window| window / 4).collect(),
            samples,
            profile: (index == 0 && step % 5 == 1 && model < 2).then(profile),
            ..Observation::absent("", Reduction::Ratio, None)
        }
    };
    let observations: Vec<Observation> = (0..METRICS).map(observation).collect();
    let estimates = observations
        .iter()
        .map(|seen| {
            let value = seen.value()?;
            let interval = Interval { low: value * 0.97, high: value * 1.03, level: 0.95 };
            Some(Estimate { value, interval: Some(interval), units: 16, kind: UnitKind::Clusters, note: None })
        })
        .collect();
    let id = CellId::of(&[("cell", number.to_string())]);
    let cell = CellRecord { id, cell, observations, failure: None, warnings: Vec::new(), seconds: 1.0 };
    Record { cell, estimates }
}

/// Three figures of a kind: all cells, those of one model, those of one method.
fn figures(kind: ChartKind) -> Vec<Figure> {
    let is = |axis, value: &str| Condition { column: Column::Axis(axis), value: Value::Text(value.to_owned()) };
    let sparsity = Column::Parameter { axis: Some(Axis::Prune), name: "sparsity".to_owned() };
    let small =
        matches!(kind, ChartKind::Profile | ChartKind::Box | ChartKind::Violin | ChartKind::Bar | ChartKind::Heat);
    let whole = if small { vec![is(Axis::Model, "model-1")] } else { Vec::new() };
    let some = [whole, vec![is(Axis::Model, "model-0")], vec![is(Axis::Prune, "method-3")]];
    let x = match kind {
        ChartKind::Profile => Column::Along("token".to_owned()),
        ChartKind::Scatter | ChartKind::Pareto => Column::Metric("metric_1".to_owned()),
        ChartKind::Bar | ChartKind::Box | ChartKind::Violin => Column::Axis(Axis::Prune),
        ChartKind::Histogram => Column::Metric("metric_0".to_owned()),
        _ => sparsity,
    };
    let figure = |(index, conditions): (usize, Vec<Condition>)| Figure {
        name: format!("{}-{index}", kind.word()),
        kind,
        title: None,
        x: x.clone(),
        y: "metric_0".to_owned(),
        series: Some(if matches!(kind, ChartKind::Profile) {
            Column::Axis(Axis::Prune)
        } else {
            Column::Method(Axis::Prune)
        }),
        facet: (!small).then_some(Column::Axis(Axis::Model)),
        conditions,
        log_x: false,
        log_y: index == 0,
        reference: (kind == ChartKind::Line).then_some(Reference::Dense),
        minus: None,
        form: LawForm::Power,
        styles: Vec::new(),
    };
    some.into_iter().enumerate().map(figure).collect()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let run = Run {
        dir: Path::new("runs/large").to_owned(),
        stamp: Stamp::default(),
        metrics: (0..METRICS).map(metric).collect(),
        records: (0..MODELS * METHODS * STEPS).map(record).collect(),
    };
    let declared: Vec<Figure> = ChartKind::ALL.iter().flat_map(|(_, kind)| figures(*kind)).collect();
    let say = |what: &str, since: Instant| {
        use std::io::Write;
        writeln!(std::io::stdout(), "{what:<40} {:>7.3} s", since.elapsed().as_secs_f64())
    };
    let start = Instant::now();
    let charts = declared.iter().map(|figure| harness_store::query(&run, figure)).collect::<Result<Vec<_>, _>>()?;
    let points: usize = charts.iter().map(|chart| chart.points().count()).sum();
    say(&format!("querying {} figures, {points} points", charts.len()), start)?;
    let drawing = Instant::now();
    let mut bytes = 0;
    for chart in &charts {
        let each = Instant::now();
        let files = chart_files(chart, &Provenance::of(chart, "large", &run.stamp))?;
        bytes += files.iter().map(|file| file.bytes.len()).sum::<usize>();
        if std::env::var_os("EACH").is_some() {
            say(&chart.id, each)?;
        }
    }
    say(&format!("drawing their files one by one, {} KiB", bytes >> 10), drawing)?;
    let page = Instant::now();
    let document = Document {
        title: "large".to_owned(),
        about: String::new(),
        run: "large".to_owned(),
        stamp: run.stamp.clone(),
        summary: Vec::new(),
        expectations: Vec::new(),
        tables: vec![harness_store::main_table(&run, "large")?],
        charts,
        failures: Vec::new(),
        warnings: Vec::new(),
    };
    let files = render(&document)?;
    say(&format!("the whole report, {} files", files.len()), page)?;
    if let Some(folder) = std::env::args().nth(1) {
        for file in files {
            let path = Path::new(&folder).join(&file.path);
            std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
            std::fs::write(path, file.bytes)?;
        }
    }
    Ok(())
}
