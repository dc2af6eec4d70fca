//! `harness compare`.

use std::path::Path;

use clap::Args;
use harness_core::{Arm, Axis, Verdict};
use harness_store::{CompareOptions, Run, Selection, compare, comparison_table};
use serde_json::json;

use crate::exit::{BAD_INPUT, DONE, INTERNAL, OrExit, Outcome, Refusal, refuse};
use crate::report;

/// Compare two runs, or two arms, metric by metric.
#[derive(Args)]
#[command(after_help = "\
A side is RUN or RUN#ARM; an arm may leave parameters out as long as it means one. Sampled metrics are paired on their
windows; different protocols or host classes are refused with the reason.

Examples:
  harness compare pruning-1a2b3c4d pruning-5e6f7a8b
  harness compare 'pruning-1a2b3c4d#magnitude(sparsity=0.5)' 'pruning-1a2b3c4d#wanda(sparsity=0.5)'")]
pub struct Arguments {
    /// The reference side.
    a: String,
    /// The other side.
    b: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn main(arguments: &Arguments) -> Outcome {
    let (a, b) = (Side::open(&arguments.a)?, Side::open(&arguments.b)?);
    let comparison = compare(&a.selection(), &b.selection(), &CompareOptions::default());
    if comparison.rows.is_empty() {
        return refuse(crate::exit::NOTHING_SELECTED, "the two sides have no metric in common");
    }
    if arguments.json {
        let rows: Vec<_> = comparison
            .rows
            .iter()
            .map(|row| {
                let interval = row
                    .effect
                    .as_ref()
                    .and_then(|effect| effect.interval)
                    .map(|interval| [interval.low, interval.high]);
                json!({"cell": row.cell, "metric": row.metric, "unit": row.unit, "a": row.a, "b": row.b,
                    "difference": row.effect.as_ref().map(|effect| effect.difference), "interval": interval,
                    "verdict": row.verdict.words(), "reason": row.reason})
            })
            .collect();
        let value = json!({"a": comparison.a, "b": comparison.b, "level": comparison.level, "resamples": comparison.resamples, "rows": rows});
        println!("{}", serde_json::to_string_pretty(&value).or_exit(INTERNAL)?);
    } else {
        println!("{}", harness_report::markdown_table(&comparison_table(&comparison)));
        println!("{}", comparison.about());
        println!(
            "{} better, {} worse, {} same, {} cannot tell",
            comparison.count(Verdict::Better),
            comparison.count(Verdict::Worse),
            comparison.count(Verdict::Same),
            comparison.count(Verdict::CannotTell)
        );
    }
    Ok(DONE)
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
