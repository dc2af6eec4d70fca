//! The tables of a night: a row for each metric of each cell, and the raw samples.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use harness_core::Observation;
use polars::prelude::*;

use super::Entry;
use crate::error::StoreError;
use crate::files;
use crate::run::Run;

/// One metric of one cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub cell: String,
    pub metric: String,
    /// Content name of the cell.
    pub id: String,
    /// How it was measured; empty for none.
    pub protocol: String,
    pub value: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
}

/// The rows of a run.
pub(super) fn of(run: &Run) -> Vec<Row> {
    let mut rows = Vec::new();
    for record in &run.records {
        let cell = record.cell.cell.to_string();
        for (seen, estimate) in record.cell.observations.iter().zip(&record.estimates) {
            let interval = estimate.as_ref().and_then(|estimate| estimate.interval);
            rows.push(Row {
                cell: cell.clone(),
                metric: seen.metric.clone(),
                id: record.cell.id.to_string(),
                protocol: seen.protocol.clone().unwrap_or_default(),
                value: estimate.as_ref().map(|estimate| estimate.value),
                low: interval.map(|interval| interval.low),
                high: interval.map(|interval| interval.high),
            });
        }
    }
    rows
}

/// Writes rows and gives the hash of the file.
pub(super) fn write(path: &Path, rows: &[Row]) -> Result<String, StoreError> {
    let text = |name: &str, of: fn(&Row) -> &str| Column::new(name.into(), rows.iter().map(of).collect::<Vec<&str>>());
    let number = |name: &str, of: fn(&Row) -> Option<f64>| {
        Column::new(name.into(), rows.iter().map(of).collect::<Vec<Option<f64>>>())
    };
    let columns = vec![
        text("cell", |row| &row.cell),
        text("metric", |row| &row.metric),
        text("id", |row| &row.id),
        text("protocol", |row| &row.protocol),
        number("value", |row| row.value),
        number("low", |row| row.low),
        number("high", |row| row.high),
    ];
    write_frame(path, DataFrame::new(rows.len(), columns))
}

/// Writes the raw samples of a run and gives the hash of the file.
pub(super) fn write_samples(path: &Path, run: &Run) -> Result<String, StoreError> {
    let (mut cells, mut metrics, mut values) = (Vec::new(), Vec::new(), Vec::new());
    let (mut weights, mut clusters, mut protocols) = (Vec::new(), Vec::new(), Vec::new());
    let names: Vec<String> = run.records.iter().map(|record| record.cell.cell.to_string()).collect();
    for (record, name) in run.records.iter().zip(&names) {
        for seen in &record.cell.observations {
            for (index, sample) in seen.samples.iter().enumerate() {
                cells.push(name.as_str());
                metrics.push(seen.metric.as_str());
                values.push(*sample);
                weights.push(seen.weights.get(index).copied());
                clusters.push(seen.clusters.get(index).copied());
                protocols.push(seen.protocol.as_deref());
            }
        }
    }
    let columns = vec![
        Column::new("cell".into(), cells),
        Column::new("metric".into(), metrics),
        Column::new("sample".into(), &values),
        Column::new("weight".into(), weights),
        Column::new("cluster".into(), clusters),
        Column::new("protocol".into(), protocols),
    ];
    write_frame(path, DataFrame::new(values.len(), columns))
}

fn write_frame(path: &Path, frame: PolarsResult<DataFrame>) -> Result<String, StoreError> {
    let mut frame = frame.map_err(|error| StoreError::write(path)(std::io::Error::other(error)))?;
    let bytes = files::parquet(path, &mut frame)?;
    files::write(path, &bytes)?;
    Ok(files::hash(&bytes))
}

/// Reads rows, checking them against the hash they were written with.
pub(super) fn read(path: &Path, hash: &str) -> Result<Vec<Row>, StoreError> {
    let frame = checked(path, hash)?;
    let damaged = |error: PolarsError| StoreError::damaged(path, error);
    let text = |name: &str| frame.column(name).and_then(|column| column.str().cloned()).map_err(damaged);
    let number = |name: &str| frame.column(name).and_then(|column| column.f64().cloned()).map_err(damaged);
    let (cells, metrics, ids, protocols) = (text("cell")?, text("metric")?, text("id")?, text("protocol")?);
    let (values, lows, highs) = (number("value")?, number("low")?, number("high")?);
    let word = |column: &StringChunked, row: usize| column.get(row).unwrap_or_default().to_owned();
    Ok((0..frame.height())
        .map(|row| Row {
            cell: word(&cells, row),
            metric: word(&metrics, row),
            id: word(&ids, row),
            protocol: word(&protocols, row),
            value: values.get(row),
            low: lows.get(row),
            high: highs.get(row),
        })
        .collect())
}

/// The raw samples of an entry by cell and metric.
pub(super) fn observations(dir: &Path, entry: &Entry) -> Result<HashMap<(String, String), Observation>, StoreError> {
    let path = dir.join(entry.samples_name());
    let frame = checked(&path, &entry.samples)?;
    let damaged = |error: PolarsError| StoreError::damaged(&path, error);
    let text = |name: &str| frame.column(name).and_then(|column| column.str().cloned()).map_err(damaged);
    let number = |name: &str| frame.column(name).and_then(|column| column.f64().cloned()).map_err(damaged);
    let (cells, metrics, protocols) = (text("cell")?, text("metric")?, text("protocol")?);
    let (values, weights) = (number("sample")?, number("weight")?);
    let clusters = frame.column("cluster").and_then(|column| column.u32().cloned()).map_err(damaged)?;
    let mut all: HashMap<(String, String), Observation> = HashMap::new();
    for row in 0..frame.height() {
        let (Some(cell), Some(metric), Some(value)) = (cells.get(row), metrics.get(row), values.get(row)) else {
            return Err(StoreError::damaged(&path, "a sample without a name or a number"));
        };
        let Some(info) = entry.metrics.iter().find(|info| info.id == metric) else { continue };
        let observation = all.entry((cell.to_owned(), metric.to_owned())).or_insert_with(|| Observation {
            protocol: protocols.get(row).map(str::to_owned),
            ..Observation::absent(metric, info.reduction, None)
        });
        observation.samples.push(value);
        observation.weights.extend(weights.get(row));
        observation.clusters.extend(clusters.get(row));
    }
    Ok(all)
}

fn checked(path: &Path, hash: &str) -> Result<DataFrame, StoreError> {
    let bytes = fs::read(path).map_err(StoreError::read(path))?;
    if files::hash(&bytes) != hash {
        return Err(StoreError::damaged(path, "its content is not what was written"));
    }
    files::read_parquet(path, bytes)
}
