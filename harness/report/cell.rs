//! Cells as readers look them up: what was asked for, what came out, the raw samples, and the command that does it
//! again. The page holds them as one compact block of data and lays out the cell that is asked for.

use std::collections::HashMap;

use harness_core::chart::{Entry, IntervalStyle};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::number::{Scale, entry_text, format_value};

/// Where a cell stands on one axis.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CellArm {
    /// The axis.
    pub axis: String,
    /// As printed.
    pub label: String,
    /// Every parameter with its value, defaults included.
    pub parameters: Vec<(String, String)>,
}

/// One metric of a cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellNumber {
    /// Metric id.
    pub metric: String,
    /// Unit of the number.
    pub unit: String,
    /// The number, or why there is none.
    pub entry: Entry,
    /// What it was drawn from: `64 samples in 8 documents`.
    pub drawn: String,
    /// How it was measured.
    pub protocol: String,
    /// What the reader should know of its interval.
    pub note: String,
    /// Raw samples on the metric's own scale, in the order they were taken.
    pub samples: Vec<f64>,
}

/// A cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellPage {
    /// Its id.
    pub id: String,
    /// As printed: `bench / model / arm / …`.
    pub name: String,
    /// Where it stands on each axis.
    pub arms: Vec<CellArm>,
    /// At which step it failed, and why.
    pub failure: Option<(String, String)>,
    /// Advice that belongs to it.
    pub warnings: Vec<String>,
    /// Seconds it took alone.
    pub seconds: f64,
    /// The command that measures this cell alone.
    pub command: String,
    /// Its metrics.
    pub numbers: Vec<CellNumber>,
}

/// Text that many cells share, written once.
#[derive(Default)]
struct Shared {
    texts: Vec<Value>,
    numbers: HashMap<String, usize>,
}

impl Shared {
    /// The number of a text; the same value is written once.
    fn number(&mut self, value: Value) -> usize {
        let texts = &mut self.texts;
        *self.numbers.entry(value.to_string()).or_insert_with(|| {
            texts.push(value);
            texts.len() - 1
        })
    }
}

/// All cells as one line of JSON that no HTML parser can take for markup. What `report.js` reads:
/// `texts` and `arms` are shared, and named by their number; a metric of a cell has `m` (metric), `t` (the number as
/// text), `d` (drawn from), `p` (protocol), `n` (note), `a` (why there is no number) and `s` (its samples, see
/// [`Plot`]) with `r` (the ends of their range) and `k` (levels of the value and its interval).
pub fn data(cells: &[CellPage]) -> String {
    let (mut texts, mut arms) = (Shared::default(), Shared::default());
    let pages: Vec<Value> = cells
        .iter()
        .map(|cell| {
            let mut page = Map::new();
            page.insert("id".into(), json!(cell.id));
            page.insert("name".into(), json!(cell.name));
            page.insert("command".into(), json!(cell.command));
            page.insert("seconds".into(), json!(format_value((cell.seconds * 1000.0).round() / 1000.0)));
            let at = |arm: &CellArm| arms.number(json!([arm.axis, arm.label, arm.parameters]));
            page.insert("arms".into(), cell.arms.iter().map(at).collect());
            if let Some((stage, reason)) = &cell.failure {
                page.insert("failed".into(), json!([stage, reason]));
            }
            if !cell.warnings.is_empty() {
                page.insert("warnings".into(), cell.warnings.iter().map(|text| texts.number(json!(text))).collect());
            }
            page.insert("numbers".into(), cell.numbers.iter().map(|number| row(number, &mut texts)).collect());
            Value::Object(page)
        })
        .collect();
    let all = json!({ "texts": texts.texts, "arms": arms.texts, "cells": pages });
    all.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

fn row(number: &CellNumber, texts: &mut Shared) -> Value {
    let mut row = Map::new();
    row.insert("m".into(), json!(texts.number(json!(number.metric))));
    let mut share = |key: &str, text: &str| {
        if !text.is_empty() {
            row.insert(key.into(), json!(texts.number(json!(text))));
        }
    };
    share("d", &number.drawn);
    share("p", &number.protocol);
    share("n", &number.note);
    if let Entry::Absent(reason) | Entry::Failed(reason) = &number.entry {
        share("a", reason);
    }
    let largest = match &number.entry {
        Entry::Number { value, .. } => *value,
        _ => 0.0,
    };
    let scale = Scale::fit(&number.unit, largest);
    let text = entry_text(&number.entry, &scale, IntervalStyle::Range);
    let unit = if scale.unit.is_empty() { String::new() } else { format!(" {}", scale.unit) };
    row.insert("t".into(), json!(format!("{text}{unit}")));
    if let Some(plot) = Plot::of(number) {
        row.insert("s".into(), json!(plot.samples));
        let ends = plot.ends.map(|end| format!("{}{unit}", format_value(end / scale.divisor)));
        row.insert("r".into(), json!(ends));
        row.insert("k".into(), json!(plot.marks));
    }
    Value::Object(row)
}

/// Samples as a small plot shows them: 64 levels, one sign of the alphabet each.
#[derive(Debug, Clone, PartialEq)]
pub struct Plot {
    /// `.` and one level a sample, or `|` and the lowest and highest level of each of [`BINS`] runs of samples; `~`
    /// stands for a sample that is no number.
    pub samples: String,
    /// What the lowest and the highest level stand for.
    pub ends: [f64; 2],
    /// Levels of the value, and of the ends of its interval where it has one.
    pub marks: Vec<u8>,
}

/// Runs into which many samples are gathered.
const BINS: usize = 120;
/// Samples beyond which they are gathered.
const MOST: usize = 2 * BINS;
/// Levels, lowest first.
const LEVELS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl Plot {
    /// The plot of a metric; `None` without a number or with fewer than two samples.
    pub fn of(number: &CellNumber) -> Option<Self> {
        let Entry::Number { value, interval, .. } = number.entry else { return None };
        if number.samples.len() < 2 || !value.is_finite() {
            return None;
        }
        let marked: Vec<f64> =
            [Some(value), interval.map(|i| i.0), interval.map(|i| i.1)].into_iter().flatten().collect();
        let all = || number.samples.iter().chain(&marked).copied().filter(|sample| sample.is_finite());
        let (low, high) = all().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
        let level = |sample: f64| {
            let share = if high > low { (sample - low) / (high - low) } else { 0.5 };
            (share * 63.0).round().clamp(0.0, 63.0) as u8
        };
        let sign = |sample: f64| if sample.is_finite() { char::from(LEVELS[usize::from(level(sample))]) } else { '~' };
        let count = number.samples.len();
        let samples = if count <= MOST {
            std::iter::once('.').chain(number.samples.iter().map(|sample| sign(*sample))).collect()
        } else {
            let runs = (0..BINS).flat_map(|bin| {
                let run = &number.samples[bin * count / BINS..(bin + 1) * count / BINS];
                let finite = || run.iter().copied().filter(|sample| sample.is_finite());
                [finite().fold(f64::NAN, f64::min), finite().fold(f64::NAN, f64::max)]
            });
            std::iter::once('|').chain(runs.map(sign)).collect()
        };
        Some(Self { samples, ends: [low, high], marks: marked.into_iter().map(level).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(samples: Vec<f64>) -> CellNumber {
        CellNumber {
            metric: "ppl".into(),
            unit: "1".into(),
            entry: Entry::number(2.0, Some((1.0, 4.0))),
            drawn: "5 samples".into(),
            protocol: String::new(),
            note: String::new(),
            samples,
        }
    }

    #[test]
    fn samples_become_levels_between_the_ends() {
        let plot = Plot::of(&number(vec![1.0, 7.3, 4.0, f64::NAN, 2.0]));
        let wanted = Plot { samples: ".A_e~K".into(), ends: [1.0, 7.3], marks: vec![10, 0, 30] };
        assert_eq!(plot, Some(wanted));
        assert_eq!(Plot::of(&number(vec![1.0])), None);
        let flat = CellNumber { entry: Entry::number(3.0, None), ..number(vec![3.0, 3.0]) };
        assert_eq!(Plot::of(&flat).map(|plot| (plot.samples, plot.marks)), Some((".gg".into(), vec![32])));
    }

    #[test]
    fn many_samples_become_the_ends_of_runs() {
        let plot = Plot::of(&number((0..100_000).map(|i| f64::from(i % 64)).collect()));
        let Some(plot) = plot else { panic!("no plot") };
        assert_eq!(plot.samples.len(), 1 + 2 * BINS);
        assert!(plot.samples.as_bytes()[1..].chunks(2).all(|run| run == b"A_"));
    }

    #[test]
    fn shared_text_stands_once_and_markup_never() {
        let page = |id: &str| CellPage {
            id: id.into(),
            name: "b / </script><script>".into(),
            arms: vec![CellArm { axis: "prune".into(), label: "none".into(), parameters: Vec::new() }],
            failure: None,
            warnings: vec!["short".into()],
            seconds: 1.0,
            command: "harness run x.toml".into(),
            numbers: vec![CellNumber { protocol: "a long protocol".into(), ..number(vec![1.0, 2.0]) }],
        };
        let text = data(&[page("1"), page("2")]);
        assert!(!text.contains(['<', '>']));
        assert_eq!(text.matches("a long protocol").count(), 1);
        let parsed: Result<Value, _> = serde_json::from_str(&text);
        assert!(parsed.is_ok_and(|value| value["cells"][1]["name"] == "b / </script><script>"));
    }
}
