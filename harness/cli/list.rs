//! `harness list`.

use std::path::Path;

use clap::{Args, ValueEnum};
use harness_core::{Kind, MethodSpec, MetricSpec, Value};
use harness_run::fetch::{Holds, Manifest};
use serde_json::json;

use crate::exit::{DONE, INTERNAL, OrExit, Outcome};
use crate::fetch::{from_fetch, inputs};
use crate::terminal::count;

/// List what there is to use.
#[derive(Args)]
#[command(after_help = "Examples:\n  harness list methods\n  harness list models --json")]
pub struct Arguments {
    /// What to list.
    what: What,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    Methods,
    Metrics,
    Models,
    Datasets,
    Tasks,
    Suites,
    Runs,
}

pub fn main(arguments: &Arguments) -> Outcome {
    let rows = match arguments.what {
        What::Methods => harness_run::catalog().methods.iter().map(method).collect(),
        What::Metrics => harness_run::catalog().metrics.iter().map(metric).collect(),
        What::Models => entries(Holds::Model)?,
        What::Datasets => entries(Holds::Corpus)?,
        What::Tasks => entries(Holds::Task)?,
        What::Suites => suites(Path::new("suites")),
        What::Runs => runs()?,
    };
    if arguments.json {
        let values: Vec<&serde_json::Value> = rows.iter().map(|row| &row.json).collect();
        println!("{}", serde_json::to_string_pretty(&values).or_exit(INTERNAL)?);
    } else {
        let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
        for row in &rows {
            println!("{:width$}  {}", row.name, row.about);
            row.details.iter().for_each(|detail| println!("{:width$}    {detail}", ""));
        }
    }
    Ok(DONE)
}

struct Row {
    name: String,
    about: String,
    details: Vec<String>,
    json: serde_json::Value,
}

fn method(spec: &MethodSpec) -> Row {
    let details = spec
        .parameters
        .iter()
        .map(|parameter| {
            let kind = match parameter.kind {
                Kind::Choice(words) => words.join("|"),
                Kind::Pattern => "N:M".to_owned(),
                Kind::Float | Kind::Int => parameter.domain.to_string(),
                Kind::Numbers => format!("[{}, …]", parameter.domain),
                Kind::Texts => "[text, …]".to_owned(),
                Kind::Bool => "true|false".to_owned(),
                Kind::Text => "text".to_owned(),
            };
            let default =
                if parameter.default == Value::Unset { String::new() } else { format!(" = {}", parameter.default) };
            format!("{}{default}  {kind}  {}", parameter.name, parameter.about)
        })
        .collect();
    let parameters: Vec<_> = spec
        .parameters
        .iter()
        .map(|parameter| json!({"name": parameter.name, "about": parameter.about, "default": parameter.default.to_string(), "domain": parameter.domain.to_string()}))
        .collect();
    Row {
        name: format!("{} {}", spec.axis, spec.id),
        about: format!("{} [{}]", spec.about, spec.source),
        details,
        json: json!({"id": spec.id, "axis": spec.axis, "about": spec.about, "source": spec.source, "version": spec.version,
            "calibrated": spec.calibrated, "random": spec.random, "parameters": parameters}),
    }
}

fn metric(spec: &MetricSpec) -> Row {
    let noise =
        serde_json::to_value(spec.noise).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default();
    Row {
        name: spec.id.to_owned(),
        about: format!("[{}, {noise}] {}", spec.unit, spec.about),
        details: Vec::new(),
        json: serde_json::to_value(spec).unwrap_or_default(),
    }
}

fn entries(holds: Holds) -> Result<Vec<Row>, crate::exit::Refusal> {
    let inputs = inputs()?;
    let manifests = inputs.catalog.manifests(holds).map_err(from_fetch)?;
    Ok(manifests
        .iter()
        .map(|manifest: &Manifest| {
            let absent = inputs.absent(manifest);
            let here = matches!(absent, Ok(false));
            let splits: Vec<&str> = manifest.splits.iter().map(|split| split.name.as_str()).collect();
            let details = if splits.is_empty() { Vec::new() } else { vec![format!("splits: {}", splits.join(", "))] };
            let state = match &absent {
                Ok(false) => "here",
                Ok(true) => "to fetch",
                Err(_) => "damaged",
            };
            let size = manifest.size().map(harness_run::fetch::manifest::human).unwrap_or_default();
            Row {
                name: manifest.name.clone(),
                about: format!("[{state}] {} ({}; {size})", manifest.about, manifest.licence),
                details,
                json: json!({"name": manifest.name, "about": manifest.about, "licence": manifest.licence, "here": here,
                    "damaged": absent.err().map(|error| error.to_string()), "bytes": manifest.size(),
                    "verified": manifest.verified, "splits": splits}),
            }
        })
        .collect())
}

fn suites(root: &Path) -> Vec<Row> {
    let mut folders = vec![root.to_owned()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "toml") {
                let about = std::fs::read_to_string(&path).unwrap_or_default();
                let about = about.lines().find_map(|line| line.trim().strip_prefix("about")).unwrap_or_default();
                let about = about.trim_start_matches([' ', '=']).trim_matches('"').to_owned();
                found.push((path.display().to_string(), about));
            }
        }
    }
    found.sort();
    found
        .into_iter()
        .map(|(name, about)| Row { json: json!({"path": name, "about": about}), name, about, details: Vec::new() })
        .collect()
}

fn runs() -> Result<Vec<Row>, crate::exit::Refusal> {
    let runs = harness_store::list_runs(Path::new(crate::run::RUNS)).map_err(crate::document::from_store)?;
    Ok(runs
        .into_iter()
        .map(|run| {
            let state = match (run.fault, run.cells) {
                (Some(fault), _) => fault,
                (None, Some((cells, 0))) => count(cells, "cell"),
                (None, Some((cells, failed))) => format!("{}, {failed} failed", count(cells, "cell")),
                (None, None) => "unfinished".to_owned(),
            };
            Row {
                about: format!("{} {} ({state})", run.started, run.suite),
                json: json!({"name": run.name, "folder": run.dir, "suite": run.suite, "started": run.started, "state": state}),
                name: run.name,
                details: Vec::new(),
            }
        })
        .collect())
}
