//! `harness verify`.

use std::path::{Path, PathBuf};

use clap::Args;
use harness_core::chart::StyleName;
use harness_report::{chart_paths, render};
use harness_store::Disagreement;
use serde_json::json;

use crate::exit::{DONE, GATE_VIOLATED, INTERNAL, OrExit, Outcome, refuse};
use crate::report::{Rebuilt, rebuild};

/// Recompute the report of a run from its rows, and fail on any difference.
#[derive(Args)]
#[command(after_help = "\
Every number is reduced from its raw samples again and compared with the stored one; every table, figure and page is
made again from the parquet rows and compared byte by byte with the file that is there. Exit code 0 when all agree, 10
on any difference, 5 when the rows themselves are missing or are not what was sealed.

Examples:
  harness verify pruning-1a2b3c4d
  harness verify reports/runs/pruning-1a2b3c4d --report /tmp/report --json")]
pub struct Arguments {
    /// A run folder, or its name below reports/runs.
    run: PathBuf,
    /// Where the report stands; by default in the run folder.
    #[arg(long)]
    report: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A file that is not what the rows give.
#[derive(Debug, PartialEq)]
struct Difference {
    file: String,
    /// Line from 1; zero for the whole file.
    line: usize,
    /// What the rows give, around the first difference.
    wanted: String,
    /// What is there.
    found: String,
}

pub fn main(arguments: &Arguments) -> Outcome {
    let Rebuilt { folder, run, mut report } = rebuild(&arguments.run)?;
    let place = arguments.report.clone().unwrap_or(folder);
    // `harness report --style` may have drawn more than the suite declares; what is there is checked.
    report.draw_in(&StyleName::ALL.map(|(_, style)| style), |chart, style| {
        chart_paths(chart, style).iter().any(|path| place.join(path).exists())
    });
    let numbers = harness_store::recompute(&run);
    let files = render(&report.0).or_exit(INTERNAL)?;
    let differences: Vec<Difference> =
        files.iter().filter_map(|file| compare(&place, &file.path, &file.bytes)).collect();
    let checked: usize = run.records.iter().map(|record| record.estimates.len()).sum();
    if arguments.json {
        let value = json!({
            "run": run.name(),
            "numbers": checked,
            "files": files.len(),
            "disagreements": numbers.iter().map(disagreement).collect::<Vec<_>>(),
            "differences": differences.iter().map(|difference| json!({
                "file": difference.file, "line": difference.line, "wanted": difference.wanted, "found": difference.found,
            })).collect::<Vec<_>>(),
        });
        println!("{}", serde_json::to_string_pretty(&value).or_exit(INTERNAL)?);
    } else {
        for number in &numbers {
            println!(
                "{} of {} in {}: stored {}, the samples give {}",
                number.what, number.metric, number.cell, number.stored, number.recomputed
            );
        }
        for difference in &differences {
            println!("{}, line {}", difference.file, difference.line);
            println!("  the rows give  {}", difference.wanted);
            println!("  the file has   {}", difference.found);
        }
    }
    if numbers.is_empty() && differences.is_empty() {
        if !arguments.json {
            println!("{checked} numbers and {} files of {} are what its rows give", files.len(), run.name());
        }
        return Ok(DONE);
    }
    let other = run.stamp.commit != env!("HARNESS_COMMIT") || run.stamp.version != env!("CARGO_PKG_VERSION");
    let hint = if other && !differences.is_empty() {
        "; the run was made by another build of harness: if its report was never edited, `harness report` renders it anew"
    } else {
        ""
    };
    refuse(
        GATE_VIOLATED,
        format!(
            "{} numbers and {} files differ from the rows of {}{hint}",
            numbers.len(),
            differences.len(),
            run.name()
        ),
    )
}

fn disagreement(number: &Disagreement) -> serde_json::Value {
    json!({"cell": number.cell, "metric": number.metric, "what": number.what, "stored": number.stored,
        "recomputed": number.recomputed})
}

/// The first difference between a file and what it should hold.
fn compare(place: &Path, path: &str, wanted: &[u8]) -> Option<Difference> {
    let difference =
        |line, wanted: String, found: String| Some(Difference { file: path.to_owned(), line, wanted, found });
    let found = match std::fs::read(place.join(path)) {
        Ok(found) => found,
        Err(error) => return difference(0, format!("{} bytes", wanted.len()), error.to_string()),
    };
    if found == wanted {
        return None;
    }
    let at = wanted.iter().zip(&found).position(|(a, b)| a != b).unwrap_or_else(|| wanted.len().min(found.len()));
    let line = wanted[..at].split(|byte| *byte == b'\n').count();
    difference(line, excerpt(wanted, at), excerpt(&found, at))
}

/// What stands around a place, on its line; bytes that are no text are counted instead.
fn excerpt(bytes: &[u8], at: usize) -> String {
    /// Bytes shown on either side.
    const AROUND: usize = 40;
    if std::str::from_utf8(bytes).is_err() {
        return bytes
            .get(at)
            .map_or_else(|| format!("{} bytes", bytes.len()), |byte| format!("byte {at} is {byte:02x}"));
    }
    let start =
        bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1).max(at.saturating_sub(AROUND));
    let rest = &bytes[at..];
    let end = at + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()).min(AROUND);
    String::from_utf8_lossy(&bytes[start..end]).into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_first_difference_is_shown_with_its_line() {
        let folder = std::env::temp_dir().join(format!("harness-verify-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("a.csv"), "x,y\n1,23.5\n").unwrap();
        let found = compare(&folder, "a.csv", b"x,y\n1,23.4\n").unwrap();
        assert_eq!((found.line, found.wanted.as_str(), found.found.as_str()), (2, "1,23.4", "1,23.5"));
        assert_eq!(compare(&folder, "a.csv", b"x,y\n1,23.5\n"), None);
        assert_eq!(compare(&folder, "a.csv", b"x,y\n1,23.5\n2,3\n").unwrap().line, 3);
        assert_eq!(compare(&folder, "b.csv", b"x").unwrap().line, 0);
        assert_eq!(excerpt(&[0, 255, 1], 1), "byte 1 is ff");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
