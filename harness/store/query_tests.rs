#![allow(clippy::unwrap_used)]

use harness_core::Axis;

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
