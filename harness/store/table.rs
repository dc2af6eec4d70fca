//! Tables: from records to rows.

use harness_core::Axis;
use harness_core::chart::{Column as Heading, Entry, IntervalStyle, Standing, Table};
use harness_core::statistics::Bootstrap;
use harness_suite::{Reference, TableRequest};

use crate::error::QueryError;
use crate::grid::Grid;
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
        intervals: IntervalStyle::Range,
        cells: records.iter().map(|record| record.cell.id.to_string()).collect(),
    })
}

/// A declared `[[table]]`: one row for each combination of its row columns, one group of metric columns for each
/// combination of its column columns. The best of the rows that are compared is marked where a test tells it apart.
///
/// # Errors
/// [`QueryError`] when no cell fits, or a metric is not in the run.
pub fn requested_table(run: &Run, request: &TableRequest) -> Result<Table, QueryError> {
    let grid = Grid::of(run, request)?;
    let (marks, refused) = grid.standings();
    let mut columns: Vec<Heading> = request.rows.iter().map(|column| Heading::text(column.to_string())).collect();
    for group in &grid.groups {
        let over = group.iter().filter(|word| !word.is_empty()).map(String::as_str).collect::<Vec<_>>().join(" ");
        columns.extend(grid.metrics.iter().map(|metric| Heading { group: over.clone(), ..heading(metric) }));
    }
    let rows = grid.rows.iter().enumerate().map(|(row, texts)| {
        let mut entries: Vec<Entry> = texts.iter().map(|text| Entry::Text(text.clone())).collect();
        for group in 0..grid.groups.len() {
            let cells = grid.at(row, group);
            entries.extend(grid.metrics.iter().enumerate().map(|(index, metric)| match cells {
                [] => Entry::Empty,
                [only] => marked(entry(only, &metric.id), marks.get(&(row, group, index))),
                many => Entry::Absent(format!("{} cells share this place; name another row or column", many.len())),
            }));
        }
        entries
    });
    let rows: Vec<Vec<Entry>> = rows.collect();
    let single = |row| match grid.at(row, 0) {
        [only] if grid.groups.len() == 1 => only.cell.id.to_string(),
        _ => String::new(),
    };
    let cells: Vec<String> = (0..rows.len()).map(single).collect();
    let mut notes = Vec::new();
    notes.extend(interval_note(request.intervals, &rows));
    notes.extend(mark_note(request, &rows));
    notes.extend(refused);
    Ok(Table {
        id: request.name.clone(),
        title: request.title.clone().unwrap_or_else(|| request.name.clone()),
        columns,
        rows,
        note: (!notes.is_empty()).then(|| notes.join(" ")),
        intervals: request.intervals,
        cells,
    })
}

fn marked(entry: Entry, mark: Option<&Standing>) -> Entry {
    match (entry, mark) {
        (Entry::Number { value, interval, .. }, Some(standing)) => {
            Entry::Number { value, interval, standing: *standing }
        }
        (entry, _) => entry,
    }
}

fn interval_note(style: IntervalStyle, rows: &[Vec<Entry>]) -> Option<String> {
    let has = rows.iter().flatten().any(|entry| matches!(entry, Entry::Number { interval: Some(_), .. }));
    let level = 100.0 * Bootstrap::default().level;
    match style {
        IntervalStyle::PlusMinus if has => {
            Some(format!("± is the longer side of the {level:.0} % bootstrap interval."))
        }
        IntervalStyle::Range if has => Some(format!("Ranges are {level:.0} % bootstrap intervals.")),
        _ => None,
    }
}

/// What the marks mean, where there are any.
fn mark_note(request: &TableRequest, rows: &[Vec<Entry>]) -> Option<String> {
    let has = |wanted| {
        rows.iter().flatten().any(|entry| matches!(entry, Entry::Number { standing, .. } if *standing == wanted))
    };
    let (best, tied) = (has(Standing::Best), has(Standing::Tied));
    if !best && !tied {
        return None;
    }
    let words =
        |columns: &[harness_suite::Column]| columns.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let among = match request.compared_within() {
        [] => "of all rows".to_owned(),
        columns => format!("of the rows with equal {}", words(columns)),
    };
    let percent = 100.0 * (1.0 - Bootstrap::default().level);
    let test = format!("tests paired by document or round, Holm's correction, {percent:.0} %");
    let mut note = String::new();
    if best {
        note.push_str(&format!("Bold: the best {among}, told apart from each other one ({test})."));
    }
    if tied {
        let of = if best { String::new() } else { format!(" {among} ({test})") };
        note.push_str(&format!("{}≈: not told apart from the best{of}.", if best { " " } else { "" }));
    }
    if let Some(reference) = &request.reference {
        let name = match reference {
            Reference::Dense => "dense".to_owned(),
            Reference::Arm(_, arm) => arm.to_string(),
        };
        note.push_str(&format!(" The reference ({name}) does not compete."));
    }
    Some(note)
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
        ..Table::default()
    })
}

fn heading(metric: &MetricInfo) -> Heading {
    Heading {
        name: metric.id.clone(),
        label: metric.id.clone(),
        group: String::new(),
        unit: metric.unit.clone(),
        direction: metric.direction,
    }
}

fn entry(record: &Record, metric: &str) -> Entry {
    if let Some(failure) = &record.cell.failure {
        return Entry::Failed(format!("{}: {}", failure.stage, failure.reason));
    }
    match (record.estimate(metric), record.cell.observation(metric)) {
        (Some(estimate), _) if estimate.value.is_finite() => {
            Entry::number(estimate.value, estimate.interval.map(|interval| (interval.low, interval.high)))
        }
        (Some(estimate), _) => Entry::Failed(format!("the value is {}", estimate.value)),
        (None, Some(seen)) => Entry::Absent(seen.absent.clone().unwrap_or_else(|| "no samples were taken".to_owned())),
        (None, None) => Entry::Empty,
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
