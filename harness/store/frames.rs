//! Records as tables, and back without loss.

use std::collections::HashMap;
use std::path::Path;

use harness_core::statistics::{Estimate, Interval, UnitKind};
use harness_core::{Axis, CellId, CellRecord, Failure, Observation, Profile, Reduction, Value};
use polars::prelude::*;

use crate::error::StoreError;
use crate::run::{Record, Run};

/// The table of profiles; a run whose metrics have none has an empty one.
pub const PROFILES: &str = "profiles.parquet";

/// The tables of a run by file name.
pub fn write(run: &Run) -> Result<[(&'static str, DataFrame); 4], StoreError> {
    let failed = |name: &'static str| {
        let path = run.dir.join(name);
        move |error: PolarsError| StoreError::write(&path)(std::io::Error::other(error))
    };
    Ok([
        ("cells.parquet", cells(run).map_err(failed("cells.parquet"))?),
        ("records.parquet", records(run).map_err(failed("records.parquet"))?),
        ("samples.parquet", samples(run).map_err(failed("samples.parquet"))?),
        (PROFILES, profiles(run).map_err(failed(PROFILES))?),
    ])
}

fn text<'a, T: AsRef<str>>(name: &str, values: impl IntoIterator<Item = Option<T>> + 'a) -> Column {
    let values: Vec<Option<String>> = values.into_iter().map(|value| value.map(|v| v.as_ref().to_owned())).collect();
    Column::new(name.into(), values)
}

fn used_axes(run: &Run) -> impl Iterator<Item = Axis> {
    Axis::ALL.into_iter().filter(|axis| run.records.iter().any(|record| record.cell.cell.label(*axis).is_some()))
}

/// One row a cell; the last column holds the cell as JSON, from which it is read back exactly.
fn cells(run: &Run) -> PolarsResult<DataFrame> {
    let all = || run.records.iter().map(|record| &record.cell);
    let mut columns = vec![
        text("id", all().map(|cell| Some(cell.id.as_str()))),
        text("bench", all().map(|cell| Some(cell.cell.bench.as_str()))),
    ];
    for axis in used_axes(run) {
        let at = || all().map(move |cell| cell.cell.coordinates.get(&axis));
        columns.push(text(axis.key(), at().map(|at| at.map(|at| at.label.as_str()))));
        columns.push(text(&format!("{axis}.method"), at().map(|at| at.map(|at| at.id.as_str()))));
        let mut names: Vec<&str> = Vec::new();
        for (name, _) in at().flatten().flat_map(|at| &at.parameters) {
            if !names.contains(&name.as_str()) && name != "method" {
                names.push(name);
            }
        }
        for name in names {
            let values: Vec<Option<&Value>> = at()
                .map(|at| at.and_then(|at| at.parameters.iter().find(|(key, _)| key == name)).map(|(_, value)| value))
                .collect();
            columns.push(parameter(&format!("{axis}.{name}"), &values));
        }
    }
    columns.push(text("failed_at", all().map(|cell| cell.failure.as_ref().map(|failure| failure.stage.as_str()))));
    columns.push(text("failure", all().map(|cell| cell.failure.as_ref().map(|failure| failure.reason.as_str()))));
    columns.push(Column::new("seconds".into(), all().map(|cell| cell.seconds).collect::<Vec<f64>>()));
    columns.push(text("warnings", all().map(|cell| serde_json::to_string(&cell.warnings).ok())));
    columns.push(text("cell", all().map(|cell| serde_json::to_string(&cell.cell).ok())));
    DataFrame::new(run.records.len(), columns)
}

/// A parameter as a column: numbers where every value is one, text otherwise, null where unset.
fn parameter(name: &str, values: &[Option<&Value>]) -> Column {
    let set = || values.iter().flatten().filter(|value| ***value != Value::Unset);
    if set().all(|value| value.as_number().is_some()) {
        let numbers: Vec<Option<f64>> = values.iter().map(|value| value.and_then(Value::as_number)).collect();
        return Column::new(name.into(), numbers);
    }
    text(
        name,
        values.iter().map(|value| match value {
            None | Some(Value::Unset) => None,
            Some(Value::Text(text)) => Some(text.clone()),
            Some(other) => Some(other.to_string()),
        }),
    )
}

/// One row for each metric of each cell.
fn records(run: &Run) -> PolarsResult<DataFrame> {
    let rows: Vec<(&CellRecord, &Observation, Option<&Estimate>)> = run
        .records
        .iter()
        .flat_map(|record| {
            let estimates = record.estimates.iter().map(Option::as_ref);
            record.cell.observations.iter().zip(estimates).map(|(seen, estimate)| (&record.cell, seen, estimate))
        })
        .collect();
    let metric = |seen: &Observation| run.metric(&seen.metric);
    let number = |name: &str, of: fn(&Estimate) -> Option<f64>| {
        Column::new(name.into(), rows.iter().map(|(_, _, estimate)| estimate.and_then(of)).collect::<Vec<_>>())
    };
    let mut columns = vec![
        text("id", rows.iter().map(|(cell, ..)| Some(cell.id.as_str()))),
        text("bench", rows.iter().map(|(cell, ..)| Some(cell.cell.bench.as_str()))),
    ];
    for axis in used_axes(run) {
        columns.push(text(axis.key(), rows.iter().map(|(cell, ..)| cell.cell.label(axis))));
    }
    columns.extend([
        text("metric", rows.iter().map(|(_, seen, _)| Some(seen.metric.as_str()))),
        number("value", |estimate| Some(estimate.value)),
        number("low", |estimate| estimate.interval.map(|interval| interval.low)),
        number("high", |estimate| estimate.interval.map(|interval| interval.high)),
        number("level", |estimate| estimate.interval.map(|interval| interval.level)),
        text("unit", rows.iter().map(|(_, seen, _)| metric(seen).map(|metric| metric.unit.as_str()))),
        text("direction", rows.iter().map(|(_, seen, _)| metric(seen).and_then(|metric| word(&metric.direction)))),
        text("noise", rows.iter().map(|(_, seen, _)| metric(seen).and_then(|metric| word(&metric.noise)))),
        Column::new("samples".into(), rows.iter().map(|(_, seen, _)| seen.samples.len() as u64).collect::<Vec<_>>()),
        Column::new(
            "units".into(),
            rows.iter().map(|(.., estimate)| estimate.map(|estimate| estimate.units as u64)).collect::<Vec<_>>(),
        ),
        text("unit_kind", rows.iter().map(|(.., estimate)| estimate.and_then(|estimate| word(&estimate.kind)))),
        text("protocol", rows.iter().map(|(_, seen, _)| seen.protocol.as_deref())),
        text("absent", rows.iter().map(|(_, seen, _)| seen.absent.as_deref())),
        text("note", rows.iter().map(|(.., estimate)| estimate.and_then(|estimate| estimate.note.as_deref()))),
        text("reduction", rows.iter().map(|(_, seen, _)| word(&seen.reduction))),
    ]);
    DataFrame::new(rows.len(), columns)
}

/// One row a raw sample.
fn samples(run: &Run) -> PolarsResult<DataFrame> {
    let (mut ids, mut metrics, mut indices) = (Vec::new(), Vec::new(), Vec::new());
    let (mut values, mut weights, mut clusters) = (Vec::new(), Vec::new(), Vec::new());
    for record in &run.records {
        for seen in &record.cell.observations {
            for (index, sample) in seen.samples.iter().enumerate() {
                ids.push(record.cell.id.as_str());
                metrics.push(seen.metric.as_str());
                indices.push(index as u32);
                values.push(*sample);
                weights.push(seen.weights.get(index).copied());
                clusters.push(seen.clusters.get(index).copied());
            }
        }
    }
    DataFrame::new(
        ids.len(),
        vec![
            Column::new("id".into(), ids),
            Column::new("metric".into(), metrics),
            Column::new("index".into(), indices),
            Column::new("sample".into(), values),
            Column::new("weight".into(), weights),
            Column::new("cluster".into(), clusters),
        ],
    )
}

/// One row a sample of a profile.
fn profiles(run: &Run) -> PolarsResult<DataFrame> {
    let (mut ids, mut metrics, mut reductions) = (Vec::new(), Vec::new(), Vec::new());
    let (mut places, mut values, mut weights, mut clusters) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for record in &run.records {
        for seen in &record.cell.observations {
            let Some(profile) = &seen.profile else { continue };
            for (index, (place, sample)) in profile.places.iter().zip(&profile.samples).enumerate() {
                ids.push(record.cell.id.as_str());
                metrics.push(seen.metric.as_str());
                reductions.push(word(&profile.reduction));
                places.push(*place);
                values.push(*sample);
                weights.push(profile.weights.get(index).copied());
                clusters.push(profile.clusters.get(index).copied());
            }
        }
    }
    DataFrame::new(
        ids.len(),
        vec![
            Column::new("id".into(), ids),
            Column::new("metric".into(), metrics),
            Column::new("place".into(), places),
            Column::new("sample".into(), values),
            Column::new("weight".into(), weights),
            Column::new("cluster".into(), clusters),
            Column::new("reduction".into(), reductions),
        ],
    )
}

/// The serialised word of an enumeration.
fn word(value: &impl serde::Serialize) -> Option<String> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Some(word),
        _ => None,
    }
}

fn from_word<T: serde::de::DeserializeOwned>(word: &str) -> Option<T> {
    serde_json::from_value(serde_json::Value::String(word.to_owned())).ok()
}

/// Raw samples of one observation.
#[derive(Default)]
struct Raw {
    samples: Vec<f64>,
    weights: Vec<f64>,
    clusters: Vec<u32>,
}

/// Reads the records back from the tables of cells, records and samples, and of profiles where there are any.
pub fn read(
    dir: &Path,
    [cells, records, samples]: &[DataFrame; 3],
    profiles: Option<&DataFrame>,
) -> Result<Vec<Record>, StoreError> {
    let cells_path = dir.join("cells.parquet");
    let mut read = read_cells(cells).map_err(|error| StoreError::damaged(&cells_path, error))?;
    let samples_path = dir.join("samples.parquet");
    let raw = read_samples(samples).map_err(|error| StoreError::damaged(&samples_path, error))?;
    let records_path = dir.join("records.parquet");
    read_records(records, raw, &mut read).map_err(|error| StoreError::damaged(&records_path, error))?;
    if let Some(profiles) = profiles {
        let path = dir.join(PROFILES);
        let mut found = read_profiles(profiles).map_err(|error| StoreError::damaged(&path, error))?;
        for record in &mut read {
            for seen in &mut record.cell.observations {
                seen.profile = found.remove(&(record.cell.id.to_string(), seen.metric.clone()));
            }
        }
    }
    Ok(read)
}

fn read_profiles(frame: &DataFrame) -> PolarsResult<HashMap<(String, String), Profile>> {
    let (ids, metrics) = (frame.column("id")?.str()?, frame.column("metric")?.str()?);
    let (places, values) = (frame.column("place")?.f64()?, frame.column("sample")?.f64()?);
    let (weights, clusters) = (frame.column("weight")?.f64()?, frame.column("cluster")?.u32()?);
    let reductions = frame.column("reduction")?.str()?;
    let mut all: HashMap<(String, String), Profile> = HashMap::new();
    for row in 0..frame.height() {
        let (id, metric) = ids.get(row).zip(metrics.get(row)).ok_or_else(|| broken("a profile's name"))?;
        let reduction = reductions.get(row).and_then(from_word::<Reduction>);
        let (place, sample) = places.get(row).zip(values.get(row)).ok_or_else(|| broken("a sample of a profile"))?;
        let reduction = reduction.ok_or_else(|| broken("the reduction of a profile"))?;
        let profile = all.entry((id.to_owned(), metric.to_owned())).or_insert_with(|| Profile {
            reduction,
            places: Vec::new(),
            samples: Vec::new(),
            weights: Vec::new(),
            clusters: Vec::new(),
        });
        profile.places.push(place);
        profile.samples.push(sample);
        profile.weights.extend(weights.get(row));
        profile.clusters.extend(clusters.get(row));
    }
    Ok(all)
}

fn broken(what: &str) -> PolarsError {
    PolarsError::ComputeError(format!("{what} cannot be read").into())
}

fn read_cells(frame: &DataFrame) -> PolarsResult<Vec<Record>> {
    let column = |name: &str| frame.column(name)?.str().cloned();
    let (ids, cells, warnings) = (column("id")?, column("cell")?, column("warnings")?);
    let (stages, reasons) = (column("failed_at")?, column("failure")?);
    let seconds = frame.column("seconds")?.f64()?;
    (0..frame.height())
        .map(|row| {
            let cell = cells.get(row).and_then(|text| serde_json::from_str(text).ok());
            let failure = stages.get(row).zip(reasons.get(row));
            let record = CellRecord {
                id: ids.get(row).and_then(from_word::<CellId>).ok_or_else(|| broken("an id"))?,
                cell: cell.ok_or_else(|| broken("a cell"))?,
                observations: Vec::new(),
                failure: failure.map(|(stage, reason)| Failure { stage: stage.to_owned(), reason: reason.to_owned() }),
                warnings: warnings
                    .get(row)
                    .and_then(|text| serde_json::from_str(text).ok())
                    .ok_or_else(|| broken("a warning"))?,
                seconds: seconds.get(row).ok_or_else(|| broken("a duration"))?,
            };
            Ok(Record { cell: record, estimates: Vec::new() })
        })
        .collect()
}

fn read_samples(frame: &DataFrame) -> PolarsResult<HashMap<(String, String), Raw>> {
    let (ids, metrics) = (frame.column("id")?.str()?, frame.column("metric")?.str()?);
    let (values, weights) = (frame.column("sample")?.f64()?, frame.column("weight")?.f64()?);
    let clusters = frame.column("cluster")?.u32()?;
    let mut all: HashMap<(String, String), Raw> = HashMap::new();
    // Samples of one observation stand together: a name is made and looked up once for all of them.
    let (mut first, height) = (0, frame.height());
    while first < height {
        let (id, metric) = ids.get(first).zip(metrics.get(first)).ok_or_else(|| broken("a sample's name"))?;
        let mut end = first + 1;
        while end < height && ids.get(end) == Some(id) && metrics.get(end) == Some(metric) {
            end += 1;
        }
        let raw = all.entry((id.to_owned(), metric.to_owned())).or_default();
        raw.samples.reserve(end - first);
        for row in first..end {
            raw.samples.push(values.get(row).ok_or_else(|| broken("a sample"))?);
            raw.weights.extend(weights.get(row));
            raw.clusters.extend(clusters.get(row));
        }
        first = end;
    }
    Ok(all)
}

fn read_records(frame: &DataFrame, mut raw: HashMap<(String, String), Raw>, cells: &mut [Record]) -> PolarsResult<()> {
    let column = |name: &str| frame.column(name)?.str().cloned();
    let (ids, metrics, reductions) = (column("id")?, column("metric")?, column("reduction")?);
    let (protocols, absents, notes, kinds) =
        (column("protocol")?, column("absent")?, column("note")?, column("unit_kind")?);
    let number = |name: &str| frame.column(name)?.f64().cloned();
    let (values, lows, highs, levels) = (number("value")?, number("low")?, number("high")?, number("level")?);
    let units = frame.column("units")?.u64()?.clone();
    let places: HashMap<String, usize> =
        cells.iter().enumerate().map(|(place, record)| (record.cell.id.to_string(), place)).collect();
    for row in 0..frame.height() {
        let (id, metric) = ids.get(row).zip(metrics.get(row)).ok_or_else(|| broken("a record's name"))?;
        let place = *places.get(id).ok_or_else(|| broken("a record without a cell"))?;
        let raw = raw.remove(&(id.to_owned(), metric.to_owned())).unwrap_or_default();
        let reduction = reductions.get(row).and_then(from_word::<Reduction>);
        cells[place].cell.observations.push(Observation {
            metric: metric.to_owned(),
            reduction: reduction.ok_or_else(|| broken("a reduction"))?,
            samples: raw.samples,
            weights: raw.weights,
            clusters: raw.clusters,
            protocol: protocols.get(row).map(str::to_owned),
            absent: absents.get(row).map(str::to_owned),
            profile: None,
        });
        let interval = lows.get(row).zip(highs.get(row)).zip(levels.get(row));
        let kind = kinds.get(row).and_then(from_word::<UnitKind>);
        cells[place].estimates.push(values.get(row).zip(kind).map(|(value, kind)| Estimate {
            value,
            interval: interval.map(|((low, high), level)| Interval { low, high, level }),
            units: units.get(row).unwrap_or(0) as usize,
            kind,
            note: notes.get(row).map(str::to_owned),
        }));
    }
    Ok(())
}
