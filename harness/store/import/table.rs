//! The tables that `harness export` writes: csv, parquet and jsonl. They hold whole runs.

use std::fmt::Display;
use std::io::Cursor;
use std::path::Path;

use harness_core::stamp::Source;
use harness_core::statistics::{Bootstrap, UnitKind};
use harness_core::{CellRecord, Direction, Failure, Noise, Observation, Reduction};
use polars::prelude::*;
use serde::de::DeserializeOwned;

use super::gather::{Gather, agree, fault};
use super::{ImportError, Imported, Importer, MOST_CELLS, Options, extension, head, read};
use crate::files;
use crate::flat::{Row, Status};
use crate::run::MetricInfo;

pub const CSV: Importer = Importer {
    name: "csv",
    about: "a table of `harness export --format csv`",
    recognises: |path| extension(path) == "csv" && head(path).starts_with("run,program,host,id,"),
    read: csv,
};
pub const PARQUET: Importer = Importer {
    name: "parquet",
    about: "a table of `harness export --format parquet`",
    recognises: |path| head(path).starts_with("PAR1"),
    read: parquet,
};
pub const JSONL: Importer = Importer {
    name: "jsonl",
    about: "rows of `harness export --format jsonl`",
    recognises: |path| head(path).starts_with("{\"run\":"),
    read: jsonl,
};

/// The most rows: twenty metrics in each of the most cells.
const MOST_ROWS: usize = 20 * MOST_CELLS;

fn jsonl(path: &Path, _: &Options) -> Result<Imported, ImportError> {
    let bytes = read(path)?;
    let malformed = |line: usize, reason: String| ImportError::Malformed {
        path: path.to_owned(),
        format: "jsonl",
        reason: format!("line {line}: {reason}"),
    };
    let mut rows = Vec::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
        rows.push(serde_json::from_slice(line).map_err(|error| malformed(index + 1, error.to_string()))?);
    }
    gathered(path, &bytes, rows)
}

fn csv(path: &Path, _: &Options) -> Result<Imported, ImportError> {
    let bytes = read(path)?;
    let options = CsvReadOptions::default().with_has_header(true).with_infer_schema_length(Some(0));
    let frame = guarded(path, "csv", || options.into_reader_with_file_handle(Cursor::new(bytes.clone())).finish())?;
    framed(path, &bytes, "csv", &frame, true)
}

fn parquet(path: &Path, _: &Options) -> Result<Imported, ImportError> {
    let bytes = read(path)?;
    let count = guarded(path, "parquet", || ParquetReader::new(Cursor::new(bytes.clone())).num_rows())?;
    if count > MOST_ROWS {
        return Err(ImportError::TooMuch {
            path: path.to_owned(),
            found: format!("{count} rows"),
            most: format!("{MOST_ROWS} rows"),
        });
    }
    let frame = guarded(path, "parquet", || ParquetReader::new(Cursor::new(bytes.clone())).finish())?;
    if let Some(short) = files::uneven(&frame) {
        let reason = format!("its column {short} has not as many rows as the file");
        return Err(ImportError::Malformed { path: path.to_owned(), format: "parquet", reason });
    }
    framed(path, &bytes, "parquet", &frame, false)
}

/// Reads with polars, whose readers may panic on what no writer makes.
fn guarded<T>(path: &Path, format: &'static str, work: impl FnOnce() -> PolarsResult<T>) -> Result<T, ImportError> {
    let malformed = |reason: String| ImportError::Malformed { path: path.to_owned(), format, reason };
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(malformed(error.to_string())),
        Err(_) => Err(malformed("its parts contradict each other".to_owned())),
    }
}

fn framed(
    path: &Path,
    bytes: &[u8],
    format: &'static str,
    frame: &DataFrame,
    lists_as_text: bool,
) -> Result<Imported, ImportError> {
    let table = Table { frame, lists_as_text };
    let rows = (0..frame.height()).map(|index| {
        let reason = |reason: String| format!("row {}: {reason}", index + 1);
        table.row(index).map_err(|fault| ImportError::Malformed {
            path: path.to_owned(),
            format,
            reason: reason(fault),
        })
    });
    gathered(path, bytes, rows.collect::<Result<_, _>>()?)
}

/// A table whose columns are read by name.
struct Table<'a> {
    frame: &'a DataFrame,
    lists_as_text: bool,
}

impl Table<'_> {
    fn column(&self, name: &str) -> Result<&Column, String> {
        self.frame.column(name).map_err(|_| format!("there is no column `{name}`"))
    }

    /// Text; empty text is as good as none.
    fn text(&self, name: &str, row: usize) -> Result<Option<String>, String> {
        let column = self.column(name)?.str().map_err(|error| format!("{name}: {error}"))?;
        Ok(column.get(row).filter(|text| !text.is_empty()).map(str::to_owned))
    }

    fn needed(&self, name: &str, row: usize) -> Result<String, String> {
        self.text(name, row)?.ok_or_else(|| format!("`{name}` is empty"))
    }

    fn number(&self, name: &str, row: usize) -> Result<Option<f64>, String> {
        if self.lists_as_text {
            return self.text(name, row)?.map(|text| parsed(name, &text)).transpose();
        }
        let column = self.column(name)?.f64().map_err(|error| format!("{name}: {error}"))?;
        Ok(column.get(row))
    }

    fn count(&self, name: &str, row: usize) -> Result<Option<u64>, String> {
        if self.lists_as_text {
            return self.text(name, row)?.map(|text| parsed(name, &text)).transpose();
        }
        let column = self.column(name)?.u64().map_err(|error| format!("{name}: {error}"))?;
        Ok(column.get(row))
    }

    fn numbers(&self, name: &str, row: usize) -> Result<Vec<f64>, String> {
        if self.lists_as_text {
            return split(name, self.text(name, row)?);
        }
        let Some(list) = self.series(name, row)? else { return Ok(Vec::new()) };
        let values = list.f64().map_err(|error| format!("{name}: {error}"))?;
        values.iter().map(|value| value.ok_or_else(|| format!("{name}: a sample is missing"))).collect()
    }

    fn clusters(&self, name: &str, row: usize) -> Result<Vec<u32>, String> {
        if self.lists_as_text {
            return split(name, self.text(name, row)?);
        }
        let Some(list) = self.series(name, row)? else { return Ok(Vec::new()) };
        let values = list.u32().map_err(|error| format!("{name}: {error}"))?;
        values.iter().map(|value| value.ok_or_else(|| format!("{name}: a cluster is missing"))).collect()
    }

    fn series(&self, name: &str, row: usize) -> Result<Option<Series>, String> {
        let column = self.column(name)?.list().map_err(|error| format!("{name}: {error}"))?;
        Ok(column.get_as_series(row))
    }

    /// A word of an enumeration.
    fn word<T: DeserializeOwned>(&self, name: &str, row: usize) -> Result<Option<T>, String> {
        let Some(word) = self.text(name, row)? else { return Ok(None) };
        let value = serde_json::Value::String(word);
        serde_json::from_value(value).map(Some).map_err(|error| format!("{name}: {error}"))
    }

    fn json<T: DeserializeOwned>(&self, name: &str, row: usize) -> Result<T, String> {
        serde_json::from_str(&self.needed(name, row)?).map_err(|error| format!("{name}: {error}"))
    }

    /// JSON of a column that older tables do not have.
    fn newer<T: DeserializeOwned>(&self, name: &str, row: usize) -> Result<Option<T>, String> {
        if self.frame.column(name).is_err() || self.text(name, row)?.is_none() {
            return Ok(None);
        }
        self.json(name, row).map(Some)
    }

    fn row(&self, row: usize) -> Result<Row, String> {
        let missing = |name: &str| format!("`{name}` is empty");
        Ok(Row {
            run: self.needed("run", row)?,
            program: self.needed("program", row)?,
            host: self.text("host", row)?.unwrap_or_default(),
            id: self.word("id", row)?.ok_or_else(|| missing("id"))?,
            bench: self.text("bench", row)?.unwrap_or_default(),
            labels: std::collections::BTreeMap::new(),
            status: self.word("status", row)?.ok_or_else(|| missing("status"))?,
            failed_at: self.text("failed_at", row)?,
            reason: self.text("reason", row)?,
            metric: self.text("metric", row)?,
            value: self.number("value", row)?,
            low: self.number("low", row)?,
            high: self.number("high", row)?,
            level: self.number("level", row)?,
            unit: self.text("unit", row)?,
            direction: self.word::<Direction>("direction", row)?,
            noise: self.word::<Noise>("noise", row)?,
            units: self.count("units", row)?,
            unit_kind: self.word::<UnitKind>("unit_kind", row)?,
            reduction: self.word::<Reduction>("reduction", row)?,
            metric_reduction: self.word::<Reduction>("metric_reduction", row)?,
            version: self.count("version", row)?.map(u32::try_from).transpose().map_err(|error| error.to_string())?,
            about: self.text("about", row)?,
            protocol: self.text("protocol", row)?,
            note: self.text("note", row)?,
            seconds: self.number("seconds", row)?.ok_or_else(|| missing("seconds"))?,
            warnings: self.json("warnings", row)?,
            cell: self.json("cell", row)?,
            samples: self.numbers("samples", row)?,
            weights: self.numbers("weights", row)?,
            clusters: self.clusters("clusters", row)?,
            along: self.newer("along", row)?,
            profile: self.newer("profile", row)?,
        })
    }
}

fn parsed<T: std::str::FromStr<Err: Display>>(name: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|error| format!("{name}: `{text}`: {error}"))
}

fn split<T: std::str::FromStr<Err: Display>>(name: &str, text: Option<String>) -> Result<Vec<T>, String> {
    text.unwrap_or_default().split_ascii_whitespace().map(|word| parsed(name, word)).collect()
}

/// The run that rows speak of.
fn gathered(path: &Path, bytes: &[u8], rows: Vec<Row>) -> Result<Imported, ImportError> {
    let mut gather = Gather::new(path);
    let mut source = Source { hash: files::hash(bytes), ..Source::default() };
    for (index, row) in rows.into_iter().enumerate() {
        let wrong = |reason: &str| ImportError::Wrong {
            path: path.to_owned(),
            place: format!("row {}", index + 1),
            reason: reason.to_owned(),
        };
        if index == 0 {
            (source.tool, source.version) = program(&row.program);
            source.host.clone_from(&row.host);
        } else if source.host != row.host {
            return Err(wrong("the rows are of two machines; import them one by one"));
        }
        if !row.seconds.is_finite() {
            return Err(wrong("`seconds` is no number"));
        }
        let record = CellRecord {
            id: row.id.clone(),
            cell: row.cell.clone(),
            observations: Vec::new(),
            failure: (row.status == Status::Failed).then(|| Failure {
                stage: row.failed_at.clone().unwrap_or_default(),
                reason: row.reason.clone().unwrap_or_default(),
            }),
            warnings: row.warnings.clone(),
            seconds: row.seconds,
        };
        gather.cell(record)?;
        if matches!(row.status, Status::Measured | Status::Absent) {
            let (metric, seen) = observation(&row).map_err(|reason| wrong(&reason))?;
            gather.observe(&row.id, &metric, seen)?;
        }
    }
    let (metrics, records) = gather.finish();
    Ok(Imported { source, started: String::new(), metrics, records, left_out: Vec::new() })
}

/// The name and version of a program as stamps print it: `harness 0.1.0 (1a2b3c4)`.
fn program(text: &str) -> (String, String) {
    let (tool, version) = text.split_once(' ').unwrap_or((text, ""));
    (tool.to_owned(), version.split(", imported by").next().unwrap_or_default().to_owned())
}

fn observation(row: &Row) -> Result<(MetricInfo, Observation), String> {
    fn need<T>(value: Option<T>, name: &str) -> Result<T, String> {
        value.ok_or_else(|| format!("`{name}` is empty"))
    }
    let reduction = need(row.reduction, "reduction")?;
    let metric = MetricInfo {
        id: need(row.metric.clone(), "metric")?,
        about: row.about.clone().unwrap_or_default(),
        unit: need(row.unit.clone(), "unit")?,
        direction: need(row.direction, "direction")?,
        noise: need(row.noise, "noise")?,
        reduction: need(row.metric_reduction, "metric_reduction")?,
        version: need(row.version, "version")?,
        along: row.along.clone(),
    };
    let seen = Observation {
        samples: row.samples.clone(),
        weights: row.weights.clone(),
        clusters: row.clusters.clone(),
        protocol: row.protocol.clone(),
        absent: row.samples.is_empty().then(|| row.reason.clone().unwrap_or_default()),
        profile: row.profile.clone(),
        ..Observation::absent(&metric.id, reduction, None)
    };
    if row.profile.as_ref().is_some_and(|profile| !profile.is_sound()) {
        return Err(format!("{}: the parts of its profile do not fit together", metric.id));
    }
    if let Some(reason) = fault(&seen) {
        return Err(format!("{}: {reason}", metric.id));
    }
    match (row.status, row.value, seen.value()) {
        (Status::Measured, Some(told), Some(value)) if agree(told, value) => {}
        (Status::Measured, told, value) => {
            let text = |value: Option<f64>| value.map_or_else(|| "nothing".to_owned(), |value| value.to_string());
            let (told, value) = (text(told), text(value));
            return Err(format!("the value of `{}` is {told}, and its samples give {value}", metric.id));
        }
        (_, Some(told), _) => return Err(format!("`{}` has no number and the value {told}", metric.id)),
        (_, None, _) => {}
    }
    // The interval is made again from the samples; one that was edited would go unnoticed.
    let interval = Bootstrap::default().estimate(&seen).and_then(|estimate| estimate.interval);
    let told = row.low.zip(row.high);
    let same = match (told, interval) {
        (Some((low, high)), Some(interval)) => agree(low, interval.low) && agree(high, interval.high),
        (told, interval) => row.status != Status::Measured || told.is_some() == interval.is_some(),
    };
    if same { Ok((metric, seen)) } else { Err(format!("the interval of `{}` is not that of its samples", metric.id)) }
}
