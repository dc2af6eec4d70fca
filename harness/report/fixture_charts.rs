//! Small charts for tests, one of every kind.

use harness_core::Direction;
use harness_core::chart::{
    Chart, ChartAxis, ChartKind, Facet, FailedPoint, FittedLaw, Place, Point, Reference, Series,
};

pub fn number(x: f64, y: f64, half: f64) -> Point {
    Point { interval: Some((y - half, y + half * 1.2)), ..Point::new(Place::Number(x), y) }
}

fn series(name: &str, points: &[(f64, f64, f64)]) -> Series {
    Series { points: points.iter().map(|(x, y, half)| number(*x, *y, *half)).collect(), ..Series::new(name) }
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
        cells: vec!["00f1a2b3c4d5e6f7".into(), "10f1a2b3c4d5e6f7".into()],
        facets: vec![Facet {
            title: String::new(),
            series: all,
            references: vec![Reference { label: "dense".into(), y: 13.2 }],
        }],
        note: Some("95 % bootstrap intervals.".into()),
        ..Chart::new(
            "ppl-against-sparsity",
            "How much can be pruned before perplexity breaks?",
            ChartKind::Line,
            ChartAxis::plain("sparsity"),
            axis("ppl", "1", true, Direction::Lower),
        )
    }
}

fn axis(label: &str, unit: &str, log: bool, direction: Direction) -> ChartAxis {
    ChartAxis { label: label.into(), unit: unit.into(), log, direction }
}

fn facet(title: &str, series: Vec<Series>) -> Facet {
    Facet { title: title.into(), series, references: Vec::new() }
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
        interval: Some((y * 0.97, y * 1.03)),
        ..Point::new(Place::Category(name.into()), y)
    };
    let arms = ["none", "magnitude(sparsity=0.5)", "wanda(sparsity=0.5)", "sparsegpt(pattern=2:4)"];
    let series = |name: &str, speed: f64, failed: bool| Series {
        points: arms.iter().enumerate().take(3).map(|(i, arm)| bar(arm, speed + 20.0 * i as f64)).collect(),
        failed: failed.then(|| failed_at(arms[3])).into_iter().collect(),
        ..Series::new(name)
    };
    Chart {
        facets: vec![facet("", vec![series("tiny-300k", 1480.0, false), series("tiny-1m", 640.0, true)])],
        note: Some("95 % bootstrap intervals.".into()),
        ..Chart::new(
            "speed",
            "Decode speed",
            ChartKind::Bar,
            ChartAxis::plain("prune"),
            axis("decode_tps", "tokens/s", false, Direction::Higher),
        )
    }
}

fn failed_at(category: &str) -> FailedPoint {
    FailedPoint { x: Some(Place::Category(category.into())), reason: "apply: singular".into() }
}

/// Numbers that spread like a bell, from the golden ratio and not from chance.
fn bell(count: usize, middle: f64, width: f64, skew: f64) -> Vec<f64> {
    let sample = |i: usize| {
        let u = (0.5 + i as f64 * 0.618_033_988_749_895).fract().clamp(0.002, 0.998);
        let z = (u / (1.0 - u)).ln() * 0.55;
        middle + width * (z + skew * z * z)
    };
    (0..count).map(sample).collect()
}

pub fn pareto() -> Chart {
    let mut chart = scatter();
    chart.id = "front".into();
    chart.title = "Perplexity against bytes: what nothing beats".into();
    chart.kind = ChartKind::Pareto;
    for point in chart.facets[0].series.iter_mut().flat_map(|series| &mut series.points) {
        point.dominated = point.label.as_ref().is_some_and(|label| !label.starts_with("sparsegpt"));
        point.reach = match point.x {
            Place::Number(x) => Some((x * 0.98, x * 1.02)),
            Place::Category(_) => None,
        };
    }
    chart
}

pub fn boxes(kind: ChartKind) -> Chart {
    let arms = ["magnitude(sparsity=0.5)", "wanda(sparsity=0.5)", "sparsegpt(sparsity=0.5)", "random(sparsity=0.5)"];
    let series = |name: &str, shift: f64| {
        let point = |(i, arm): (usize, &&str)| {
            let samples = bell(64, 0.1 - 0.03 * i as f64 + shift, 0.02, 0.3);
            Point { samples, ..Point::new(Place::Category((*arm).into()), 0.1 - 0.03 * i as f64 + shift) }
        };
        Series {
            points: arms.iter().enumerate().take(3).map(point).collect(),
            failed: vec![failed_at(arms[3])],
            ..Series::new(name)
        }
    };
    Chart {
        facets: vec![facet("", vec![series("tiny-100k", 0.0), series("tiny-1m", -0.04)])],
        ..Chart::new(
            format!("windows-{}", kind.word()),
            "Windows: what pruning half the weights costs",
            kind,
            ChartAxis::plain("prune"),
            axis("nll − dense", "nats/token", false, Direction::Lower),
        )
    }
}

pub fn histogram() -> Chart {
    let series = |name: &str, middle: f64| {
        let samples = bell(64, middle, 0.2, 0.1);
        let bin = |i: usize| {
            let (low, high) = (2.0 + 0.15 * i as f64, 2.15 + 0.15 * i as f64);
            let count = samples.iter().filter(|sample| (low..high).contains(*sample)).count();
            Point { reach: Some((low, high)), ..Point::new(Place::Number(f64::midpoint(low, high)), count as f64) }
        };
        Series { points: (0..16).map(bin).collect(), ..Series::new(name) }
    };
    Chart {
        facets: vec![facet("", vec![series("none", 2.9), series("wanda", 3.1)])],
        ..Chart::new(
            "window-nll",
            "Samples of nll",
            ChartKind::Histogram,
            axis("nll", "nats/token", false, Direction::Lower),
            ChartAxis::plain("samples"),
        )
    }
}

pub fn profile() -> Chart {
    let curve = |name: &str, scale: f64| {
        let point = |i: i32| {
            let x = 1.35_f64.powi(i);
            number(x, scale * (2.0 + 3.0 / (1.0 + x)), 0.06 * scale)
        };
        Series { points: (0..18).map(point).collect(), ..Series::new(name) }
    };
    let mut broken = Series::new("random");
    broken.failed.push(FailedPoint { x: None, reason: "score: NaN".into() });
    Chart {
        facets: vec![facet("", vec![curve("none", 1.0), curve("wanda", 1.12), broken])],
        ..Chart::new(
            "along-the-window",
            "Loss along the window",
            ChartKind::Profile,
            ChartAxis { log: true, ..ChartAxis::plain("place in the window (tokens)") },
            axis("nll", "nats/token", false, Direction::Lower),
        )
    }
}

pub fn layers() -> Chart {
    let curve = |name: &str, lean: f64| {
        let point = |i: i32| {
            let x = f64::from(i);
            Point::new(Place::Number(x), 0.05 + 0.012 * x * lean + 0.02 * f64::from(i % 3))
        };
        Series { points: (0..8).map(point).collect(), ..Series::new(name) }
    };
    Chart {
        facets: vec![facet("", vec![curve("magnitude", 0.6), curve("sparsegpt", 1.0)])],
        ..Chart::new(
            "by-layer",
            "Weight error by layer",
            ChartKind::Profile,
            ChartAxis::plain("layer"),
            axis("weight_error", "1", false, Direction::Lower),
        )
    }
}

pub fn heat() -> Chart {
    let arms = ["magnitude(sparsity=0.5)", "wanda(sparsity=0.5)", "sparsegpt(sparsity=0.5)"];
    let row = |(i, arm): (usize, &&str)| {
        let cell = |layer: usize| {
            let value = 0.02 * (1 + layer) as f64 * (3 - i) as f64 + 0.01 * (layer % 3) as f64;
            Point::new(Place::Category(layer.to_string()), value)
        };
        Series { points: (0..8).map(cell).collect(), ..Series::new(*arm) }
    };
    let mut rows: Vec<Series> = arms.iter().enumerate().map(row).collect();
    rows[1].points.pop();
    rows[1].failed.push(failed_at("7"));
    Chart {
        facets: vec![facet("", rows)],
        series_label: "prune".into(),
        ..Chart::new(
            "layers-and-methods",
            "Weight error over layer and method",
            ChartKind::Heat,
            ChartAxis::plain("layer"),
            axis("weight_error", "1", false, Direction::Lower),
        )
    }
}

pub fn fit() -> Chart {
    let law = |name: &str, scale: f64, exponent: f64| {
        let at = |x: f64| scale * x.powf(exponent);
        let point = |x: f64| number(x, at(x) * (1.0 + 0.04 * (30.0 * x).sin()), at(x) * 0.06);
        let curve = |i: i32| {
            let x = 0.28 * 2.7_f64.powf(f64::from(i) / 30.0);
            number(x, at(x), at(x) * 0.05)
        };
        let law = FittedLaw {
            floor: (0.0, None),
            scale: (scale, Some((scale * 0.9, scale * 1.1))),
            exponent: (exponent, Some((exponent - 0.12, exponent + 0.11))),
            curve: (0..=30).map(curve).collect(),
        };
        Series { points: [0.3, 0.4, 0.5, 0.6, 0.7].map(point).to_vec(), law: Some(law), ..Series::new(name) }
    };
    Chart {
        facets: vec![facet("", vec![law("magnitude", 1.66, 4.24), law("sparsegpt", 0.6, 3.9)])],
        note: Some("Curves: scale · x^exponent.".into()),
        ..Chart::new(
            "law",
            "How KL grows with sparsity",
            ChartKind::Fit,
            ChartAxis { log: true, ..ChartAxis::plain("sparsity") },
            axis("kl", "nats/token", true, Direction::Lower),
        )
    }
}

pub fn scaling() -> Chart {
    let curve = |name: &str, bits: f64, offset: f64| {
        let at = |x: f64| 2.1 - 0.25 * (x / 1e6).ln() + offset;
        let sizes = [1e5, 3e5, 1e6].map(|size: f64| size * (0.3 * 16.0 + 0.7 * bits));
        let mut points: Vec<Point> = sizes.iter().map(|x| number(*x, at(*x) + 0.02 * (x / 4e4).sin(), 0.015)).collect();
        if name == "5" {
            points.remove(1);
            points[0].gap = true;
        }
        Series { points, fitted: sizes.map(|x| number(x, at(x), 0.0)).to_vec(), ..Series::new(name) }
    };
    Chart {
        facets: vec![facet(
            "",
            vec![
                curve("3", 3.25, 0.12),
                curve("4", 4.25, -0.14),
                curve("5", 5.25, -0.1),
                curve("16 (dense)", 16.0, 0.0),
            ],
        )],
        note: Some("Optimal bits: 4.".into()),
        ..Chart::new(
            "bits-of-the-whole-model",
            "Likelihood for bits of the whole model",
            ChartKind::Scaling,
            ChartAxis { log: true, ..axis("model_bits", "bits", true, Direction::Lower) },
            axis("nll", "nats/token", false, Direction::Lower),
        )
    }
}

/// One chart of every kind, and those that are laid out otherwise.
pub fn every_kind() -> Vec<Chart> {
    vec![
        line(),
        facets(),
        scatter(),
        bars(),
        pareto(),
        boxes(ChartKind::Box),
        boxes(ChartKind::Violin),
        histogram(),
        profile(),
        layers(),
        heat(),
        fit(),
        scaling(),
    ]
}
