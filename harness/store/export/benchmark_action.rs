//! github-action-benchmark's custom format: arrays of `{name, unit, value, range, extra}`.
//!
//! Its direction is chosen by the name of the tool, so there are two files: `bigger.json` for `customBiggerIsBetter`
//! and `smaller.json` for `customSmallerIsBetter`. A metric without a direction belongs to neither. Failed cells and
//! absent metrics have no entry; a file without entries is not written, since the action refuses it.

use harness_core::Direction;
use serde::Serialize;

use super::{Export, ExportError, File, Format, Number, Subject, json_bytes, numbers, something};
use crate::run::Run;

pub const FORMAT: Format = Format {
    name: "github-action-benchmark",
    about: "two JSON files, bigger.json and smaller.json, for the action's custom tools",
    folder: true,
    write,
};

#[derive(Serialize)]
struct Entry {
    name: String,
    unit: String,
    value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<String>,
    extra: String,
}

fn write(subject: &Subject) -> Result<Export, ExportError> {
    let (numbers, mut left_out) = numbers(subject.run, |metric| metric.direction != Direction::Neutral);
    let numbers = something(FORMAT.name, numbers, &left_out)?;
    let mut files = Vec::new();
    for (path, direction) in [("bigger.json", Direction::Higher), ("smaller.json", Direction::Lower)] {
        let chosen = numbers.iter().filter(|number| number.metric.direction == direction);
        let entries: Vec<Entry> = chosen.map(|number| entry(subject.run, number)).collect();
        if entries.is_empty() {
            left_out.push(format!("{path} would be empty and is not written"));
        } else {
            files.push(File { path: path.to_owned(), bytes: json_bytes(FORMAT.name, &entries)? });
        }
    }
    Ok(Export { files, left_out })
}

fn entry(run: &Run, number: &Number) -> Entry {
    let estimate = number.estimate;
    let range = estimate
        .interval
        .map(|interval| format!("[{}, {}] at {:.0} %", interval.low, interval.high, interval.level * 100.0));
    let mut extra = format!("cell {} of {}\n{}", number.cell.id, run.name(), run.stamp.program());
    if let Some(protocol) = &number.observation.protocol {
        extra.push_str(&format!("\n{protocol}"));
    }
    Entry {
        name: format!("{}: {}", number.cell.cell, number.metric.id),
        unit: number.metric.unit.clone(),
        value: estimate.value,
        range,
        extra,
    }
}
