//! `harness compare`.

use std::collections::BTreeMap;
use std::path::Path;

use clap::Args;
use harness_core::statistics::Bootstrap;
use harness_core::verdict::Margin;
use harness_core::{Arm, Axis, Verdict};
use harness_store::{CompareOptions, Comparison, ComparisonRow, Run, Selection, compare, comparison_table};
use serde_json::{Value, json};

use crate::exit::{BAD_INPUT, DONE, INTERNAL, NOTHING_SELECTED, OrExit, Outcome, Refusal, refuse};
use crate::report;

/// Compare two runs, or two arms, metric by metric.
#[derive(Args)]
#[command(after_help = "\
A side is RUN or RUN#ARM; an arm may leave parameters out as long as it means one. Sampled metrics are paired on their
windows, times on their rounds where they were taken together; verdicts are corrected for the number of metrics tested.
Different protocols, host classes and builds are refused with the reason; when nothing else is left, the exit code is 4.

Examples:
  harness compare pruning-1a2b3c4d pruning-5e6f7a8b
  harness compare 'pruning-1a2b3c4d#magnitude(sparsity=0.5)' 'pruning-1a2b3c4d#wanda(sparsity=0.5)'
  harness compare main-1a2b3c4d mine-5e6f7a8b --margin ppl=0.5% --margin top1=0.01")]
pub struct Arguments {
    /// The reference side.
    a: String,
    /// The other side.
    b: String,
    /// The largest difference of a metric that does not matter, in its unit or as a share of the reference; may be given
    /// several times.
    #[arg(long = "margin", value_name = "METRIC=SIZE[%]", value_parser = margin)]
    margins: Vec<(String, Margin)>,
    /// Level of the intervals; verdicts may be wrong about one or more metrics with the rest of it.
    #[arg(long, default_value_t = Bootstrap::default().level, value_parser = level)]
    level: f64,
    /// How often the samples are drawn for each interval.
    #[arg(long, default_value_t = Bootstrap::default().resamples, value_parser = resamples)]
    resamples: usize,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn main(arguments: &Arguments) -> Outcome {
    let (a, b) = (Side::open(&arguments.a)?, Side::open(&arguments.b)?);
    let margins: BTreeMap<String, Margin> = arguments.margins.iter().cloned().collect();
    if let Some(unknown) = margins.keys().find(|id| a.run.metric(id).or(b.run.metric(id)).is_none()) {
        let known: Vec<&str> = a.run.metrics.iter().map(|metric| metric.id.as_str()).collect();
        return refuse(
            BAD_INPUT,
            format!("--margin: neither side has the metric `{unknown}`; there are {}", known.join(", ")),
        );
    }
    let bootstrap = Bootstrap { level: arguments.level, resamples: arguments.resamples, ..Bootstrap::default() };
    let comparison = compare(&a.selection(), &b.selection(), &CompareOptions { bootstrap, margins });
    if comparison.rows.is_empty() {
        return refuse(NOTHING_SELECTED, "the two sides have no metric in common");
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&json(&comparison)).or_exit(INTERNAL)?);
    } else {
        println!("{}", harness_report::markdown_table(&comparison_table(&comparison)));
        let count = |verdict| comparison.count(verdict);
        let rest: String = [Verdict::New, Verdict::Gone, Verdict::Failed]
            .into_iter()
            .filter(|verdict| count(*verdict) > 0)
            .map(|verdict| format!(", {} {verdict}", count(verdict)))
            .collect();
        let refused = comparison.rows.iter().filter(|row| row.refused).count();
        println!(
            "{} better, {} worse, {} same, {} cannot tell ({refused} of them refused){rest}",
            count(Verdict::Better),
            count(Verdict::Worse),
            count(Verdict::Same),
            count(Verdict::CannotTell)
        );
    }
    match comparison.refusal() {
        Some(reason) => refuse(NOTHING_SELECTED, format!("nothing could be compared: {reason}")),
        None => Ok(DONE),
    }
}

fn json(comparison: &Comparison) -> Value {
    let rows: Vec<Value> = comparison.rows.iter().map(json_row).collect();
    json!({"a": comparison.a, "b": comparison.b, "level": comparison.level, "resamples": comparison.resamples,
        "tests": comparison.tests, "rows": rows})
}

fn json_row(row: &ComparisonRow) -> Value {
    let effect = row.effect.as_ref();
    let ends = |interval: Option<harness_core::statistics::Interval>| interval.map(|i| [i.low, i.high]);
    json!({"cell": row.cell, "metric": row.metric, "unit": row.unit, "a": row.a, "b": row.b,
        "difference": effect.map(|effect| effect.difference), "interval": effect.and_then(|effect| ends(effect.interval)),
        "relative": effect.and_then(|effect| effect.relative),
        "relative_interval": effect.and_then(|effect| ends(effect.relative_interval)),
        "p": row.probability, "p_holm": row.adjusted, "margin": row.zone, "detectable": row.detectable,
        "units": effect.and_then(|effect| effect.evidence.as_ref()).map(|evidence| evidence.studentised.units),
        "unit_kind": effect.and_then(|effect| effect.evidence.as_ref()).map(|evidence| evidence.unit.clone()),
        "units_needed": row.needed, "test": effect.map(|effect| effect.test.clone()),
        "note": effect.and_then(|effect| effect.note.clone()), "verdict": row.verdict.words(), "refused": row.refused,
        "reason": row.reason})
}

/// `ppl=0.5%` or `top1=0.01`.
fn margin(text: &str) -> Result<(String, Margin), String> {
    let wrong = || format!("`{text}` is no margin; write METRIC=SIZE or METRIC=SHARE%, for example ppl=0.5%");
    let (metric, size) = text.split_once('=').ok_or_else(wrong)?;
    let (number, share) = size.strip_suffix('%').map_or((size, false), |number| (number, true));
    let size: f64 = number.trim().parse().map_err(|_| wrong())?;
    if !(size >= 0.0 && size.is_finite()) {
        return Err(wrong());
    }
    let margin = if share { Margin::relative(size / 100.0) } else { Margin { absolute: size, relative: 0.0 } };
    Ok((metric.trim().to_owned(), margin))
}

fn level(text: &str) -> Result<f64, String> {
    let level: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if (0.5..1.0).contains(&level) { Ok(level) } else { Err("a level lies between 0.5 and 1".to_owned()) }
}

fn resamples(text: &str) -> Result<usize, String> {
    let count: usize = text.parse().map_err(|_| format!("`{text}` is no count"))?;
    if (100..=1_000_000).contains(&count) { Ok(count) } else { Err("between 100 and 1000000 resamples".to_owned()) }
}

/// One side of the comparison.
struct Side {
    run: Run,
    arm: Option<(Axis, String)>,
}

impl Side {
    fn open(text: &str) -> Result<Self, Refusal> {
        let (run, arm) = text.split_once('#').map_or((text, None), |(run, arm)| (run, Some(arm)));
        let run = report::open(Path::new(run))?;
        let arm = arm.map(|arm| find(&run, arm)).transpose()?;
        Ok(Self { run, arm })
    }

    fn selection(&self) -> Selection<'_> {
        Selection { run: &self.run, arm: self.arm.as_ref().map(|(axis, label)| (*axis, label.as_str())) }
    }
}

/// The one arm of a run that a text means.
fn find(run: &Run, text: &str) -> Result<(Axis, String), Refusal> {
    let wanted: Option<Arm> = text.parse().ok();
    let means = |label: &str| {
        label == text
            || wanted.as_ref().zip(label.parse::<Arm>().ok()).is_some_and(|(wanted, arm)| {
                wanted.id == arm.id && wanted.parameters.iter().all(|(name, value)| arm.get(name) == Some(value))
            })
    };
    let found: Vec<(Axis, String)> = Axis::ALL
        .into_iter()
        .flat_map(|axis| {
            run.labels(axis)
                .into_iter()
                .filter(|label| means(label))
                .map(move |label| (axis, label.to_owned()))
                .collect::<Vec<_>>()
        })
        .collect();
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => {
            let known: Vec<&str> = Axis::ALL.into_iter().flat_map(|axis| run.labels(axis)).collect();
            refuse(BAD_INPUT, format!("`{text}` is no arm of {}; it has {}", run.name(), known.join(", ")))
        }
        several => {
            let labels: Vec<&str> = several.iter().map(|(_, label)| label.as_str()).collect();
            refuse(BAD_INPUT, format!("`{text}` means several arms of {}: {}", run.name(), labels.join(", ")))
        }
    }
}
