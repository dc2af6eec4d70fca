//! The whole run as one table, `csv`, `parquet` or `jsonl`: a row for each metric of each cell, and one for each failed
//! cell. Where there is no number the number columns are empty and `status` and `reason` say why.
//!
//! All three hold the raw samples too, as lists in the last columns (in csv, numbers with spaces between them), so that
//! they read back without loss.

use harness_core::Axis;
use polars::prelude::*;
use serde::Serialize;

use super::{Export, ExportError, Format, Subject};
use crate::files;
use crate::flat::{Row, rows};

pub const CSV: Format =
    Format { name: "csv", about: "one table, a row for each metric of each cell", folder: false, write: csv };
pub const PARQUET: Format = Format { name: "parquet", about: "the same table, typed", folder: false, write: parquet };
pub const JSONL: Format =
    Format { name: "jsonl", about: "the same rows, one object of JSON a line", folder: false, write: jsonl };

fn filled(subject: &Subject, format: &'static str) -> Result<Vec<Row>, ExportError> {
    super::something(format, rows(subject.run), &[])
}

fn csv(subject: &Subject) -> Result<Export, ExportError> {
    let rows = filled(subject, "csv")?;
    let failed = |error: PolarsError| ExportError::encode("csv")(error.into());
    let mut frame = frame(&rows, true).map_err(failed)?;
    let mut bytes = Vec::new();
    CsvWriter::new(&mut bytes).finish(&mut frame).map_err(failed)?;
    Ok(Export::single("records.csv", bytes))
}

fn parquet(subject: &Subject) -> Result<Export, ExportError> {
    let rows = filled(subject, "parquet")?;
    let mut frame = frame(&rows, false).map_err(|error| ExportError::encode("parquet")(error.into()))?;
    Ok(Export::single("records.parquet", files::parquet("records.parquet".as_ref(), &mut frame)?))
}

fn jsonl(subject: &Subject) -> Result<Export, ExportError> {
    let mut bytes = Vec::new();
    for row in filled(subject, "jsonl")? {
        serde_json::to_writer(&mut bytes, &row).map_err(|error| ExportError::encode("jsonl")(error.into()))?;
        bytes.push(b'\n');
    }
    Ok(Export::single("records.jsonl", bytes))
}

/// The rows as a table; lists become text where the format has none.
fn frame(rows: &[Row], lists_as_text: bool) -> PolarsResult<DataFrame> {
    let text = |name: &str, of: &dyn Fn(&Row) -> Option<String>| {
        Column::new(name.into(), rows.iter().map(of).collect::<Vec<Option<String>>>())
    };
    let number = |name: &str, of: fn(&Row) -> Option<f64>| {
        Column::new(name.into(), rows.iter().map(of).collect::<Vec<Option<f64>>>())
    };
    let count = |name: &str, of: fn(&Row) -> Option<u64>| {
        Column::new(name.into(), rows.iter().map(of).collect::<Vec<Option<u64>>>())
    };
    let mut columns = vec![
        text("run", &|row| Some(row.run.clone())),
        text("program", &|row| Some(row.program.clone())),
        text("host", &|row| Some(row.host.clone())),
        text("id", &|row| Some(row.id.to_string())),
        text("bench", &|row| Some(row.bench.clone())),
    ];
    for axis in Axis::ALL {
        let label = |row: &Row| row.cell.label(axis).map(str::to_owned);
        if rows.iter().any(|row| label(row).is_some()) {
            columns.push(text(axis.key(), &label));
        }
    }
    columns.extend([
        text("status", &|row| word(&row.status)),
        text("failed_at", &|row| row.failed_at.clone()),
        text("reason", &|row| row.reason.clone()),
        text("metric", &|row| row.metric.clone()),
        number("value", |row| row.value),
        number("low", |row| row.low),
        number("high", |row| row.high),
        number("level", |row| row.level),
        text("unit", &|row| row.unit.clone()),
        text("direction", &|row| word(&row.direction)),
        text("noise", &|row| word(&row.noise)),
        count("units", |row| row.units),
        text("unit_kind", &|row| word(&row.unit_kind)),
        text("reduction", &|row| word(&row.reduction)),
        text("metric_reduction", &|row| word(&row.metric_reduction)),
        count("version", |row| row.version.map(u64::from)),
        text("about", &|row| row.about.clone()),
        text("protocol", &|row| row.protocol.clone()),
        text("note", &|row| row.note.clone()),
        number("seconds", |row| Some(row.seconds)),
        text("warnings", &|row| serde_json::to_string(&row.warnings).ok()),
        text("cell", &|row| serde_json::to_string(&row.cell).ok()),
    ]);
    let json = |value: Option<serde_json::Result<String>>| value.and_then(Result::ok);
    columns.extend([
        text("along", &|row| json(row.along.as_ref().map(serde_json::to_string))),
        text("profile", &|row| json(row.profile.as_ref().map(serde_json::to_string))),
    ]);
    if lists_as_text {
        columns.extend([
            text("samples", &|row| Some(joined(&row.samples))),
            text("weights", &|row| Some(joined(&row.weights))),
            text("clusters", &|row| Some(joined(&row.clusters))),
        ]);
    } else {
        let floats = |of: fn(&Row) -> &[f64]| -> Vec<Series> {
            rows.iter().map(|row| Series::new(PlSmallStr::EMPTY, of(row))).collect()
        };
        let clusters: Vec<Series> =
            rows.iter().map(|row| Series::new(PlSmallStr::EMPTY, row.clusters.as_slice())).collect();
        columns.extend([
            Column::new("samples".into(), floats(|row| &row.samples)),
            Column::new("weights".into(), floats(|row| &row.weights)),
            Column::new("clusters".into(), clusters),
        ]);
    }
    DataFrame::new(rows.len(), columns)
}

fn joined<T: ToString>(values: &[T]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// The serialised word of an enumeration, nothing where it is unset.
fn word(value: &impl Serialize) -> Option<String> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Some(word),
        _ => None,
    }
}
