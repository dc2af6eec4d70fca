#![allow(clippy::unwrap_used)]

use harness_core::chart::Entry;
use harness_core::statistics::{LawForm, LengthRule};
use harness_core::{Axis, Observation, Reduction};

use super::*;
use crate::fixture;
use crate::table::{failures, main_table};

fn figure() -> Figure {
    Figure {
        name: "ppl-against-sparsity".into(),
        kind: FigureKind::Line,
        title: None,
        x: Column::Metric("sparsity".into()),
        y: "ppl".into(),
        series: Some(Column::Axis(Axis::Prune)),
        facet: Some(Column::Axis(Axis::Model)),
        conditions: Vec::new(),
        log_x: false,
        log_y: true,
        reference: Some(harness_suite::Reference::Dense),
        minus: None,
        rule: None,
        form: LawForm::Power,
        styles: Vec::new(),
    }
}

#[test]
fn a_line_figure_has_a_series_for_each_method_a_reference_and_marks_for_failures() {
    let chart = query(&fixture::run(), &figure()).unwrap();
    assert_eq!(chart.series_names(), ["magnitude", "wanda", "wanda(pattern=2:4)"]);
    let facet = &chart.facets[0];
    assert_eq!((facet.title.as_str(), facet.references[0].label.as_str()), ("tiny", "dense"));
    let xs: Vec<&Place> = facet.series[1].points.iter().map(|point| &point.x).collect();
    assert_eq!(xs, [&Place::Number(0.3), &Place::Number(0.5)]);
    assert!(facet.series[0].points[0].interval.unwrap().0 < facet.series[0].points[0].y);
    assert_eq!(facet.series[0].points.len(), 2);
    assert_eq!(facet.series[0].failed[0].x, Some(Place::Number(0.7)));
    assert!(facet.series[0].failed[0].reason.contains("singular"));
    assert_eq!(chart.y.direction, Direction::Lower);
}

#[test]
fn conditions_choose_cells_and_nothing_is_an_error() {
    let condition = |axis, value: &str| Condition { column: Column::Axis(axis), value: Value::Text(value.into()) };
    let only = Figure { conditions: vec![condition(Axis::Prune, "wanda")], ..figure() };
    let chart = query(&fixture::run(), &only).unwrap();
    assert_eq!(chart.series_names(), ["wanda", "wanda(pattern=2:4)"]);
    assert_eq!(chart.facets[0].references.len(), 1);
    let none = Figure { conditions: vec![condition(Axis::Model, "huge")], ..figure() };
    let error = query(&fixture::run(), &none).unwrap_err();
    assert_eq!(error.to_string(), "no cell of the run fits figure `ppl-against-sparsity` where model = huge");
    let unknown = Figure { y: "speed".into(), ..figure() };
    assert!(matches!(query(&fixture::run(), &unknown), Err(QueryError::Metric { .. })));
}

#[test]
fn bars_stand_on_categories() {
    let bars = Figure { kind: FigureKind::Bar, x: Column::Axis(Axis::Prune), series: None, ..figure() };
    let chart = query(&fixture::run(), &bars).unwrap();
    assert_eq!(chart.categories().len(), 7);
    assert_eq!(chart.categories()[0], "none");
}

#[test]
fn the_main_table_has_a_row_for_each_arm() {
    use harness_core::chart::Entry;
    let table = main_table(&fixture::run(), "one-shot").unwrap();
    let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["model", "prune", "ppl", "sparsity", "bytes", "decode_tps"]);
    assert_eq!(table.rows.len(), 7);
    assert!(table.rows.iter().all(|row| row.len() == names.len()));
    // The second and eighth of nine ordered samples: the exact 96 % interval of a median by the sign test.
    assert_eq!(table.rows[0][5], Entry::number(504.0, Some((501.0, 507.0))));
    assert!(matches!(&table.rows[6][2], Entry::Failed(reason) if reason.starts_with("apply: ")));
    assert_eq!(table.note.unwrap(), "All rows: data fables/test. Ranges are 95 % bootstrap intervals.");
    assert!(matches!(main_table(&fixture::run(), "x"), Err(QueryError::Bench { .. })));
    assert_eq!(failures(&fixture::run()).unwrap().rows.len(), 1);
}

fn plain(kind: FigureKind, x: Column, y: &str) -> Figure {
    Figure { kind, x, y: y.into(), series: None, facet: None, reference: None, log_y: false, ..figure() }
}

fn along(word: &str) -> Column {
    Column::Along(word.into())
}

#[test]
fn a_front_marks_what_is_beaten() {
    let mut figure = plain(FigureKind::Pareto, Column::Metric("bytes".into()), "ppl");
    figure.series = Some(Column::Method(Axis::Prune));
    let chart = query(&fixture::run(), &figure).unwrap();
    // All arms have the same bytes, so only the best of them stays: the dense one.
    let best: Vec<&str> =
        chart.points().filter(|point| !point.dominated).map(|point| point.label.as_deref().unwrap()).collect();
    assert_eq!(best, ["none"]);
    assert_eq!(chart.points().count(), 6);
    assert_eq!(chart.cells.len(), 7, "failed cells are shown too");
    let speed = plain(FigureKind::Scatter, Column::Metric("decode_tps".into()), "ppl");
    let chart = query(&fixture::run(), &speed).unwrap();
    assert_eq!(chart.facets[0].series[0].points[0].reach, Some((501.0, 507.0)));
}

#[test]
fn boxes_hold_samples_reduced_alone_and_their_differences() {
    let figure = plain(FigureKind::Box, Column::Axis(Axis::Prune), "nll");
    let chart = query(&fixture::deep_run(), &figure).unwrap();
    let points = &chart.facets[0].series[0].points;
    assert_eq!((points.len(), points[0].samples.len()), (6, 24));
    assert!((points[0].samples[0] - 2.0).abs() < 1e-12, "{:?}", points[0]);
    let minus = Figure { minus: Some(harness_suite::Reference::Dense), ..figure };
    let chart = query(&fixture::deep_run(), &minus).unwrap();
    let points = &chart.facets[0].series[0].points;
    assert_eq!(points.len(), 5, "the dense arm less itself says nothing");
    assert!((points[0].samples[0] - 0.05).abs() < 1e-12);
    assert_eq!(chart.y.label, "nll − dense");
    assert_eq!(chart.facets[0].series[0].failed.len(), 1);
    assert_eq!(chart.cells.len(), 7, "the dense cell lies behind every difference");
}

#[test]
fn histograms_count_every_sample_in_bins_that_series_share() {
    let mut figure = plain(FigureKind::Histogram, Column::Metric("nll".into()), "nll");
    figure.series = Some(Column::Method(Axis::Prune));
    let chart = query(&fixture::deep_run(), &figure).unwrap();
    let counts: Vec<(String, f64)> =
        chart.series().map(|series| (series.name.clone(), series.points.iter().map(|point| point.y).sum())).collect();
    let wanted = [("none", 24.0), ("magnitude", 48.0), ("wanda", 72.0)].map(|(name, count)| (name.to_owned(), count));
    assert_eq!(counts, wanted);
    let edges = |series: &Series| series.points.iter().map(|point| point.reach).collect::<Vec<_>>();
    let all: Vec<_> = chart.series().map(edges).collect();
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!((chart.x.label.as_str(), chart.y.label.as_str()), ("nll", "samples"));
}

#[test]
fn profiles_have_a_value_with_its_interval_at_every_place() {
    let mut figure = plain(FigureKind::Profile, along("token"), "nll");
    figure.series = Some(Column::Axis(Axis::Prune));
    let chart = query(&fixture::deep_run(), &figure).unwrap();
    let none = &chart.facets[0].series[0];
    assert_eq!(
        none.points.iter().map(|point| point.x.clone()).collect::<Vec<_>>(),
        [1.0, 2.0, 4.5, 9.0].map(Place::Number)
    );
    let whole = fixture::deep_run().records[0].value("nll").unwrap();
    // The shares of the four places are 0.4, 0.3, 0.2 and 0.1 of sums over four times as many tokens.
    for (point, share) in none.points.iter().zip([0.4, 0.3, 0.2, 0.1]) {
        assert!((point.y - 4.0 * share * whole).abs() < 1e-9, "{point:?}");
        assert!(point.interval.is_some_and(|(low, high)| low < point.y && point.y < high));
    }
    assert_eq!(chart.x.label, "place in the window (tokens)");
    // Layers are counted, so they have no interval; two cells of one series stay apart.
    let layers =
        Figure { series: Some(Column::Method(Axis::Prune)), ..plain(FigureKind::Profile, along("layer"), "sparsity") };
    let chart = query(&fixture::deep_run(), &layers).unwrap();
    assert!(chart.points().all(|point| point.interval.is_none()));
    assert!(chart.series_names().contains(&"wanda, wanda(sparsity=0.3)"), "{:?}", chart.series_names());
    let heat =
        Figure { series: Some(Column::Axis(Axis::Prune)), ..plain(FigureKind::Heat, along("layer"), "sparsity") };
    let chart = query(&fixture::deep_run(), &heat).unwrap();
    assert_eq!((chart.categories(), chart.series_names().len()), (vec!["0", "1"], 7));
    assert_eq!(chart.facets[0].series[2].points[1].y, 0.25);
}

#[test]
fn laws_go_through_the_points_of_a_series() {
    let mut figure = plain(FigureKind::Fit, Column::Metric("sparsity".into()), "ppl");
    figure.series = Some(Column::Axis(Axis::Prune));
    let chart = query(&fixture::run(), &figure).unwrap();
    let laws: Vec<(&str, bool)> = chart.series().map(|series| (series.name.as_str(), series.law.is_some())).collect();
    // The dense arm stands at sparsity 0, which has no logarithm; one point bears no law.
    assert_eq!(laws, [("magnitude", true), ("wanda", true), ("wanda(pattern=2:4)", false)]);
    let magnitude = &chart.facets[0].series[0];
    let law = magnitude.law.as_ref().unwrap();
    let slope = (magnitude.points[1].y / magnitude.points[0].y).ln() / (0.5_f64 / 0.3).ln();
    assert!((law.exponent.0 - slope).abs() < 1e-9);
    assert!(law.exponent.1.is_some_and(|(low, high)| low < slope && slope < high));
    assert!(law.curve.iter().all(|point| point.interval.is_some()));
    let note = chart.note.unwrap();
    assert!(note.contains("1 series have too few points") && note.contains("1 points at or below 0"), "{note}");
}

/// Models of 1, 3 and 9 weights at 3, 4, 8 and 16 bits: larger ones are better, and 3 bits cost much. One cell failed.
fn family() -> Run {
    let mut records = Vec::new();
    for (size, (model, weights)) in [("a", 1.0_f64), ("b", 3.0), ("c", 9.0)].into_iter().enumerate() {
        for (place, (arm, bits, cost)) in [
            ("none", 16.0, 0.0),
            ("wanda(sparsity=3)", 3.0, 0.5),
            ("wanda(sparsity=4)", 4.0, 0.05),
            ("wanda(sparsity=8)", 8.0, 0.02),
        ]
        .into_iter()
        .enumerate()
        {
            if (size, place) == (1, 3) {
                records.push(fixture::failed(model, arm));
                continue;
            }
            let noise = 0.003 * ((size * 5 + place * 7) % 4) as f64;
            let mut record = fixture::record(model, arm, weights * bits, 1.0 - 0.3 * weights.ln() + cost + noise);
            let ppl = record.observation("ppl").cloned().unwrap();
            record.observations.push(Observation { metric: "nll".into(), reduction: Reduction::Ratio, ..ppl });
            records.push(record);
        }
    }
    let mut metrics = fixture::metrics();
    metrics.push(fixture::metric(
        "nll",
        Direction::Lower,
        harness_core::Noise::Sampled,
        Reduction::Ratio,
        "nats/token",
    ));
    let order: Vec<_> = records.iter().map(|record| record.id.clone()).collect();
    Run::from_records(std::path::Path::new("runs/family"), fixture::stamp(), &metrics, &order, records)
}

#[test]
fn curves_of_scaling_say_which_bits_are_the_lowest() {
    let bits = Column::Parameter { axis: Some(Axis::Prune), name: "sparsity".into() };
    let mut figure = plain(FigureKind::Scaling, Column::Metric("sparsity".into()), "nll");
    figure.series = Some(bits);
    figure.reference = Some(harness_suite::Reference::Dense);
    let chart = query(&family(), &figure).unwrap();
    assert_eq!(chart.series_names(), ["3", "4", "8", "16 (dense)"]);
    let series = &chart.facets[0].series;
    let xs = |series: &Series| -> Vec<f64> {
        let number = |point: &Point| if let Place::Number(x) = point.x { x } else { f64::NAN };
        series.points.iter().map(number).collect()
    };
    assert_eq!((xs(&series[0]), xs(&series[3])), (vec![3.0, 9.0, 27.0], vec![16.0, 48.0, 144.0]));
    // The middle size of eight bits failed: marked, and not bridged.
    assert_eq!((xs(&series[2]), series[2].points[0].gap, series[2].failed.len()), (vec![8.0, 72.0], true, 1));
    assert!(!series[0].points[0].gap && series[0].fitted.len() >= 2);
    let note = chart.note.clone().unwrap();
    assert!(note.ends_with("Optimal bits: 4 [4, 4], decided."), "{note}");
    let tables = scaling_tables(&family(), &figure);
    let shape: Vec<(&str, usize)> = tables.iter().map(|table| (table.id.as_str(), table.rows.len())).collect();
    assert_eq!(shape[..2], [("ppl-against-sparsity-optimal-bits", 1), ("ppl-against-sparsity-offsets", 4)]);
    assert_eq!((shape[2].0, shape[3]), ("ppl-against-sparsity-budgets", ("ppl-against-sparsity-fit", 1)));
    assert_eq!(tables[0].rows[0][2], Entry::Text("decided".into()));
    // 0.3 ln(4 / 16) and what 4 bits cost.
    let Entry::Number { value, interval, .. } = &tables[1].rows[1][1] else { panic!("{:?}", tables[1].rows[1]) };
    assert!((value - (0.3 * 0.25_f64.ln() + 0.05)).abs() < 0.015 && interval.is_some(), "{value}");
    assert!(scaling_tables(&family(), &plain(FigureKind::Line, Column::Metric("sparsity".into()), "nll")).is_empty());
}

#[test]
fn a_line_may_show_what_an_arm_adds_to_the_reference() {
    let mut figure = plain(FigureKind::Line, Column::Metric("sparsity".into()), "nll");
    figure.series = Some(Column::Method(Axis::Prune));
    figure.facet = Some(Column::Axis(Axis::Model));
    figure.minus = Some(harness_suite::Reference::Dense);
    let chart = query(&family(), &figure).unwrap();
    assert_eq!((chart.y.label.as_str(), chart.series_names()), ("nll − dense", vec!["wanda"]));
    let added = &chart.facets[0].series[0].points[0];
    assert!((added.y - 0.51).abs() < 0.03, "{added:?}");
    assert!(
        added.interval.is_some_and(|(low, high)| low < added.y && added.y < high && high - low < 0.02),
        "{added:?}"
    );
}

#[test]
fn a_threshold_says_up_to_which_x_each_series_passes() {
    let record = |arm: &str, cost: f64| fixture::record("tiny", arm, 0.0, cost);
    let records = vec![
        record("wanda(sparsity=0.3)", 0.1),
        record("wanda(sparsity=0.5)", 0.3),
        record("wanda(sparsity=0.7)", 0.9),
        record("magnitude(sparsity=0.3)", 1.0),
        record("magnitude(sparsity=0.5)", 0.0),
        record("random(sparsity=0.3)", 0.0),
        fixture::failed("tiny", "random(sparsity=0.5)"),
        record("random(sparsity=0.7)", 0.0),
    ];
    let run = Run::from_records(std::path::Path::new("runs/test"), fixture::stamp(), &fixture::metrics(), &[], records);
    let rule = LengthRule { threshold: 15.0, drop: None, direction: Direction::Lower };
    let x = Column::Parameter { axis: None, name: "sparsity".into() };
    let figure = Figure { x, facet: None, reference: None, rule: Some(rule), ..figure() };
    let table = length_table(&run, &figure).unwrap();
    let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["prune", "effective sparsity", "smallest tested", "largest tested", "items"]);
    assert!(
        matches!(table.rows[0][1], Entry::Number { value, interval: Some((low, high)), .. } if value == 0.5 && low == 0.5 && high == 0.5)
    );
    // What lies behind a failed cell was not seen to pass.
    assert!(matches!(table.rows[1][1], Entry::Number { value, .. } if value == 0.3), "{table:?}");
    assert!(matches!(&table.rows[2][1], Entry::Absent(why) if why.contains("smallest")), "{table:?}");
    assert!(table.note.as_ref().unwrap().contains("ppl ≤ 15"));
    let chart = query(&run, &figure).unwrap();
    assert!(chart.facets[0].references.iter().any(|line| line.y == 15.0 && line.label == "threshold 15"));
    assert!(length_table(&run, &Figure { rule: None, ..figure }).is_none());
}
