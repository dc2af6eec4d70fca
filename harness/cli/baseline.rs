//! `harness baseline`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use harness_store::{History, StoreError};
use serde_json::json;

use crate::document::from_store;
use crate::exit::{BAD_INPUT, DONE, INTERNAL, NOTHING_SELECTED, OrExit, Outcome, Refusal, refuse};
use crate::report;
use crate::track::HISTORY;

/// Keep runs under names, and pin the one that later nights are compared with.
#[derive(Args)]
#[command(after_help = "\
Without a pinned baseline each night is compared with the one before. Pinning also accepts every change up to now.

Examples:
  harness baseline save nightly-1a2b3c4d release-1 --pin
  harness baseline list
  harness baseline pin release-1 --suite nightly
  harness baseline drop release-1 --suite nightly")]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Keep a finished run under a name.
    Save {
        /// A finished run: its folder, or its name below reports/runs.
        run: PathBuf,
        /// The name: letters, digits, `-` and `_`.
        name: String,
        /// Compare later nights with it.
        #[arg(long)]
        pin: bool,
        /// The folder of histories.
        #[arg(long, default_value = HISTORY)]
        history: PathBuf,
    },
    /// List the baselines of all suites and classes of machines.
    List {
        /// The folder of histories.
        #[arg(long, default_value = HISTORY)]
        history: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Compare later nights with a baseline; without a name, with the night before again.
    Pin {
        /// The baseline.
        name: Option<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Forget a baseline.
    Drop {
        /// The baseline.
        name: String,
        #[command(flatten)]
        place: Place,
    },
}

/// Which history is meant, where there are several.
#[derive(Args)]
struct Place {
    /// The suite, as `harness baseline list` shows it.
    #[arg(long)]
    suite: Option<String>,
    /// A part of the class of machines.
    #[arg(long)]
    class: Option<String>,
    /// The folder of histories.
    #[arg(long, default_value = HISTORY)]
    history: PathBuf,
}

pub fn main(arguments: &Arguments) -> Outcome {
    match &arguments.action {
        Action::Save { run, name, pin, history } => {
            let run = report::open(run)?;
            check_name(name)?;
            let history = History::of(history, &run).map_err(from_store)?;
            history.save_baseline(&run, name).map_err(refused)?;
            println!("{name}: {} in {}", run.name(), history.dir().display());
            if *pin {
                history.pin_baseline(Some(name)).map_err(refused)?;
                println!("later nights are compared with {name}");
            }
        }
        Action::List { history, json } => list(history, *json)?,
        Action::Pin { name, place } => {
            let history = place.find(name.as_deref())?;
            history.pin_baseline(name.as_deref()).map_err(refused)?;
            println!("later nights are compared with {}", name.as_deref().unwrap_or("the night before"));
        }
        Action::Drop { name, place } => {
            let history = place.find(Some(name))?;
            history.drop_baseline(name).map_err(refused)?;
            println!("{name} is dropped");
        }
    }
    Ok(DONE)
}

fn list(root: &Path, as_json: bool) -> Result<(), Refusal> {
    let mut rows = Vec::new();
    for history in History::all(root).map_err(from_store)? {
        for baseline in history.baselines().map_err(from_store)? {
            rows.push(json!({"name": baseline.name, "pinned": baseline.pinned, "suite": history.suite(), "class": history.class(),
                "run": baseline.entry.run, "commit": baseline.entry.commit, "started": baseline.entry.started}));
        }
    }
    if as_json {
        println!("{}", serde_json::to_string_pretty(&rows).or_exit(INTERNAL)?);
        return Ok(());
    }
    for row in &rows {
        let text = |key: &str| row[key].as_str().unwrap_or_default();
        let pinned = if row["pinned"] == true { " (pinned)" } else { "" };
        let commit = text("commit");
        println!(
            "{}{pinned}  {}  {} {}  {}  [{}]",
            text("name"),
            text("suite"),
            text("run"),
            commit.get(..7).unwrap_or(commit),
            text("started"),
            text("class")
        );
    }
    if rows.is_empty() {
        println!("no baselines below {}", root.display());
    }
    Ok(())
}

impl Place {
    /// The one history that is meant: it has the baseline, where one is named.
    fn find(&self, name: Option<&str>) -> Result<History, Refusal> {
        let all = History::all(&self.history).map_err(from_store)?;
        let fits = |history: &History| {
            self.suite.as_deref().is_none_or(|suite| history.suite() == suite)
                && self.class.as_deref().is_none_or(|class| history.class().contains(class))
        };
        let mut found = Vec::new();
        for history in all.into_iter().filter(fits) {
            let has = match name {
                Some(name) => history.baselines().map_err(from_store)?.iter().any(|baseline| baseline.name == name),
                None => history.pin().map_err(from_store)?.is_some(),
            };
            if has {
                found.push(history);
            }
        }
        let what = name.map_or_else(|| "pinned baseline".to_owned(), |name| format!("baseline `{name}`"));
        if found.len() > 1 {
            let places = found.iter().map(|h| format!("--suite {} --class '{}'", h.suite(), h.class()));
            return refuse(
                BAD_INPUT,
                format!("several histories have a {what}; say {}", places.collect::<Vec<_>>().join(" or ")),
            );
        }
        match found.pop() {
            Some(history) => Ok(history),
            None => refuse(
                NOTHING_SELECTED,
                format!(
                    "there is no {what} below {}; `harness baseline list` shows those there are",
                    self.history.display()
                ),
            ),
        }
    }
}

fn check_name(name: &str) -> Result<(), Refusal> {
    let good = |sign: char| sign.is_ascii_alphanumeric() || sign == '-' || sign == '_';
    if name.is_empty() || name.len() > 80 || !name.chars().all(good) {
        return refuse(
            BAD_INPUT,
            format!("`{name}` cannot be the name of a baseline; write letters, digits, `-` and `_`, at most 80"),
        );
    }
    Ok(())
}

/// Names that are taken or unknown are the command line's fault.
fn refused(error: StoreError) -> Refusal {
    match error {
        StoreError::Taken { .. } | StoreError::NoBaseline { .. } => {
            Refusal { code: BAD_INPUT, message: error.to_string() }
        }
        other => from_store(other),
    }
}
