//! Tables: from records to rows.

use harness_core::Axis;
use harness_core::chart::{Column as Heading, Entry, Table};
use harness_suite::{Column, TableRequest};

use crate::error::QueryError;
use crate::run::{MetricInfo, Record, Run};

/// The table every report has: one row for each arm of a bench, with all of its metrics. Axes that do not vary are
/// named in the note instead of a column, except the model, which always has one.
///
/// # Errors
/// [`QueryError::Bench`] when the run has no cell of the bench.
pub fn main_table(run: &Run, bench: &str) -> Result<Table, QueryError> {
    let records: Vec<&Record> = run.records.iter().filter(|record| record.cell.cell.bench == bench).collect();
    if records.is_empty() {
        return Err(QueryError::Bench { bench: bench.to_owned(), known: run.benches().join(", ") });
    }
    let labels = |axis: Axis| {
        let mut labels: Vec<&str> = records.iter().filter_map(|record| record.cell.cell.label(axis)).collect();
        labels.sort_unstable();
        labels.dedup();
        labels
    };
    let (mut axes, mut fixed) = (Vec::new(), Vec::new());
    for axis in Axis::ALL {
        match labels(axis).as_slice() {
            [] => {}
            [only] if axis != Axis::Model => fixed.push(format!("{axis} {only}")),
            _ => axes.push(axis),
        }
    }
    let metrics: Vec<&MetricInfo> = run
        .metrics
        .iter()
        .filter(|metric| records.iter().any(|record| record.cell.observation(&metric.id).is_some()))
        .collect();
    let mut columns: Vec<Heading> = axes.iter().map(|axis| Heading::text(axis.key())).collect();
    columns.extend(metrics.iter().map(|metric| heading(metric)));
    if metrics.is_empty() {
        columns.push(Heading::text("outcome"));
    }
    let rows = records
        .iter()
        .map(|record| {
            let arms = axes
                .iter()
                .map(|axis| record.cell.cell.label(*axis).map_or(Entry::Empty, |label| Entry::Text(label.to_owned())));
            let numbers = metrics.iter().map(|metric| entry(record, &metric.id));
            let outcome = metrics.is_empty().then(|| entry(record, ""));
            arms.chain(numbers).chain(outcome).collect()
        })
        .collect();
    let level = records.iter().flat_map(|record| record.estimates.iter().flatten()).find_map(|e| e.interval);
    let level = level.map(|interval| format!("Ranges are {:.0} % bootstrap intervals.", interval.level * 100.0));
    let fixed = (!fixed.is_empty()).then(|| format!("All rows: {}.", fixed.join(", ")));
    let note = [fixed, level].into_iter().flatten().collect::<Vec<_>>().join(" ");
    Ok(Table {
        id: format!("main-{bench}"),
        title: bench.to_owned(),
        columns,
        rows,
        note: (!note.is_empty()).then_some(note),
    })
}

/// A declared `[[table]]`: one row for each combination of its row columns, one group of metric columns for each
/// combination of its column columns.
///
/// # Errors
/// [`QueryError`] when no cell fits, or a metric is not in the run.
pub fn requested_table(run: &Run, request: &TableRequest) -> Result<Table, QueryError> {
    let fits = |record: &&Record| request.conditions.iter().all(|condition| condition.holds(&record.cell.cell));
    let records: Vec<&Record> = run.records.iter().filter(fits).collect();
    if records.is_empty() {
        return Err(QueryError::Nothing { what: format!("table `{}`", request.name) });
    }
    let metrics = request.metrics.iter().map(|id| {
        let known = || run.metrics.iter().map(|metric| metric.id.as_str()).collect::<Vec<_>>().join(", ");
        run.metric(id).ok_or_else(|| QueryError::Metric { metric: id.clone(), known: known() })
    });
    let metrics = metrics.collect::<Result<Vec<_>, _>>()?;
    let key = |columns: &[Column], record: &Record| -> Vec<String> {
        columns.iter().map(|column| shown(column, record)).collect()
    };
    let distinct = |columns: &[Column]| {
        let mut keys: Vec<Vec<String>> = Vec::new();
        for record in &records {
            let key = key(columns, record);
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    };
    let (row_keys, column_keys) = (distinct(&request.rows), distinct(&request.columns));
    let mut columns: Vec<Heading> = request.rows.iter().map(|column| Heading::text(column.to_string())).collect();
    for group in &column_keys {
        columns.extend(metrics.iter().map(|metric| {
            let heading = heading(metric);
            let label =
                if group.is_empty() { heading.label.clone() } else { format!("{} {}", group.join(" "), metric.id) };
            Heading { label, ..heading }
        }));
    }
    let rows = row_keys.iter().map(|row| {
        let mut entries: Vec<Entry> = row.iter().map(|text| Entry::Text(text.clone())).collect();
        for group in &column_keys {
            let found: Vec<&&Record> = records
                .iter()
                .filter(|record| key(&request.rows, record) == *row && key(&request.columns, record) == *group)
                .collect();
            entries.extend(metrics.iter().map(|metric| match found.as_slice() {
                [] => Entry::Empty,
                [only] => entry(only, &metric.id),
                many => Entry::Absent(format!("{} cells share this place; name another row or column", many.len())),
            }));
        }
        entries
    });
    let title = request.title.clone().unwrap_or_else(|| request.name.clone());
    Ok(Table { id: request.name.clone(), title, columns, rows: rows.collect(), note: None })
}

/// The failed cells of a run with their reasons; `None` when none failed.
pub fn failures(run: &Run) -> Option<Table> {
    let rows: Vec<Vec<Entry>> = run
        .failed()
        .map(|(cell, failure)| {
            [cell.cell.to_string(), cell.id.to_string(), failure.stage.clone(), failure.reason.clone()]
                .map(Entry::Text)
                .to_vec()
        })
        .collect();
    let columns = ["cell", "id", "stage", "reason"].map(Heading::text).to_vec();
    (!rows.is_empty()).then(|| Table {
        id: "failures".to_owned(),
        title: "Failed cells".to_owned(),
        columns,
        rows,
        note: None,
    })
}

fn heading(metric: &MetricInfo) -> Heading {
    Heading {
        name: metric.id.clone(),
        label: metric.id.clone(),
        unit: metric.unit.clone(),
        direction: metric.direction,
    }
}

fn shown(column: &Column, record: &Record) -> String {
    match column.of(&record.cell.cell) {
        Some(harness_core::Value::Text(text)) => text,
        Some(value) => value.to_string(),
        None => String::new(),
    }
}

fn entry(record: &Record, metric: &str) -> Entry {
    if let Some(failure) = &record.cell.failure {
        return Entry::Failed(format!("{}: {}", failure.stage, failure.reason));
    }
    match (record.estimate(metric), record.cell.observation(metric)) {
        (Some(estimate), _) if estimate.value.is_finite() => Entry::Number {
            value: estimate.value,
            interval: estimate.interval.map(|interval| (interval.low, interval.high)),
        },
        (Some(estimate), _) => Entry::Failed(format!("the value is {}", estimate.value)),
        (None, Some(seen)) => Entry::Absent(seen.absent.clone().unwrap_or_else(|| "no samples were taken".to_owned())),
        (None, None) => Entry::Empty,
    }
}
