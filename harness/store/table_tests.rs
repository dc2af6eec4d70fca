use harness_core::{Axis, Value};
use harness_suite::{Column, Condition};

use super::*;
use crate::fixture;

fn parameter(name: &str) -> Column {
    Column::Parameter { axis: None, name: name.into() }
}

fn request() -> TableRequest {
    TableRequest {
        name: "t".into(),
        title: None,
        rows: vec![parameter("sparsity"), Column::Axis(Axis::Prune)],
        columns: vec![Column::Axis(Axis::Model)],
        metrics: vec!["ppl".into(), "bytes".into()],
        conditions: Vec::new(),
        within: None,
        reference: Some(Reference::Dense),
        intervals: IntervalStyle::PlusMinus,
    }
}

fn standing(table: &Table, arm: &str) -> Option<Standing> {
    let row = table.rows.iter().find(|row| row[1] == Entry::Text(arm.into()));
    row.and_then(|row| match row[2] {
        Entry::Number { standing, .. } => Some(standing),
        _ => None,
    })
}

#[test]
fn a_declared_table_groups_its_columns() {
    let only = Condition { column: parameter("sparsity"), value: Value::Float(0.5) };
    let request = TableRequest {
        rows: vec![Column::Method(Axis::Prune)],
        metrics: vec!["bytes".into()],
        conditions: vec![only],
        ..request()
    };
    let table = requested_table(&fixture::run(), &request).map_err(|error| error.to_string());
    let Ok(table) = table else { panic!("{table:?}") };
    let heads: Vec<_> = table.columns.iter().map(|column| (column.group.as_str(), column.label.as_str())).collect();
    assert_eq!(heads, [("", "prune.method"), ("tiny", "bytes")]);
    let number = Entry::number(4e6, None);
    assert_eq!(
        table.rows,
        [vec![Entry::Text("magnitude".into()), number.clone()], vec![Entry::Text("wanda".into()), number]]
    );
    assert_eq!(table.cells.len(), 2);
    assert_eq!(table.note, None, "equal bytes are marked nowhere");
}

#[test]
fn the_best_of_each_set_is_marked_and_the_reference_does_not_compete() {
    let Ok(table) = requested_table(&fixture::run(), &request()) else { panic!("no table") };
    assert_eq!(standing(&table, "wanda(sparsity=0.5)"), Some(Standing::Best));
    assert_eq!(standing(&table, "magnitude(sparsity=0.5)"), Some(Standing::Plain));
    assert_eq!(standing(&table, "wanda(sparsity=0.3)"), Some(Standing::Best));
    assert_eq!(standing(&table, "none"), Some(Standing::Plain));
    let note = table.note.unwrap_or_default();
    assert!(note.contains("with equal sparsity") && note.contains("(dense) does not compete"), "{note}");
    let everyone = TableRequest { within: Some(Vec::new()), reference: None, ..request() };
    let Ok(table) = requested_table(&fixture::run(), &everyone) else { panic!("no table") };
    assert_eq!(standing(&table, "none"), Some(Standing::Best));
    assert_eq!(standing(&table, "wanda(sparsity=0.5)"), Some(Standing::Plain));
}

#[test]
fn cells_that_share_a_place_are_no_number_and_are_not_compared() {
    let coarse = TableRequest { rows: vec![Column::Method(Axis::Prune)], within: Some(Vec::new()), ..request() };
    let Ok(table) = requested_table(&fixture::run(), &coarse) else { panic!("no table") };
    assert!(matches!(&table.rows[1][1], Entry::Absent(reason) if reason.starts_with("3 cells share this place")));
    assert!(table.cells.iter().filter(|id| id.is_empty()).count() == 2, "{:?}", table.cells);
    let unknown = TableRequest { metrics: vec!["speed".into()], ..request() };
    assert!(matches!(requested_table(&fixture::run(), &unknown), Err(QueryError::Metric { .. })));
}
