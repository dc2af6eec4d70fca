//! lm-eval's `results_DATE.json`, with the `samples_TASK_DATE.jsonl` beside it where there are any.
//!
//! A task becomes a cell, of the model that the file names; a filter other than `none` stands in the label of its data.
//! Every number becomes a metric, standard errors too. Where the samples of a metric give its value as a mean or as a
//! perplexity they are kept, so that it has an interval and can be paired; where they do not, or are missing, the value
//! stands alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use harness_core::cell::Coordinate;
use harness_core::stamp::Source;
use harness_core::{Arm, Axis, Cell, Direction, Noise, Observation, Reduction, Value};

use super::gather::{Gather, agree};
use super::json::{At, Json, parse};
use super::{ImportError, Imported, Importer, Options, each_line, extension, hash_of, head, read};
use crate::files;
use crate::passport::{KEY, Passport};
use crate::run::MetricInfo;
use crate::time::rfc3339;

pub const IMPORTER: Importer = Importer {
    name: "lm-eval",
    about: "a results file of lm-eval, or its output folder",
    recognises: |path| {
        if path.is_dir() {
            return results_files(path).is_ok_and(|found| !found.is_empty());
        }
        let head = head(path);
        extension(path) == "json" && head.trim_start().starts_with('{') && head.contains("\"results\"")
    },
    read: import,
};

/// Members of a task's results that are no metric.
const NO_METRIC: [&str; 5] = ["name", "alias", "sample_len", "sample_count", "samples"];

fn import(path: &Path, _: &Options) -> Result<Imported, ImportError> {
    let (files, mut left_out) =
        if path.is_dir() { latest(results_files(path)?) } else { (vec![path.to_owned()], vec![]) };
    if files.is_empty() {
        return Err(ImportError::Empty { path: path.to_owned(), reason: "there is no results_*.json".to_owned() });
    }
    let mut gather = Gather::new(path);
    let mut hashes = Vec::new();
    let mut first: Option<(Source, String)> = None;
    for file in &files {
        let bytes = read(file)?;
        let json = parse(file, &bytes)?;
        let at = At::root(file, "", &json);
        let results = Results { at: at.clone(), file, hash: files::hash(&bytes) };
        let (source, started) = results.source()?;
        hashes.push(results.hash.clone());
        match results.at.get(KEY) {
            Some(passports) => hashes.extend(results.add_ours(&mut gather, &passports)?),
            None => hashes.extend(results.add(&mut gather, &mut left_out)?),
        }
        first.get_or_insert((source, started));
    }
    let (source, started) = first.unwrap_or_default();
    let (metrics, records) = gather.finish();
    let source = Source { hash: hash_of(&hashes), ..source };
    Ok(Imported { source, started, metrics, records, left_out })
}

/// Results files in a folder and in the folders in it.
fn results_files(folder: &Path) -> Result<Vec<PathBuf>, ImportError> {
    let mut found = Vec::new();
    let mut folders = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let failed = |source| ImportError::Read { path: folder.clone(), source };
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() && depth == 0 {
                folders.push((entry.path(), 1));
            } else if kind.is_file() && name.starts_with("results_") && name.ends_with(".json") {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The latest file of each folder, as lm-eval's own readers choose, and a word on the others.
fn latest(files: Vec<PathBuf>) -> (Vec<PathBuf>, Vec<String>) {
    let mut last: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    let mut left_out = Vec::new();
    for file in files {
        let folder = file.parent().map(Path::to_owned).unwrap_or_default();
        if let Some(earlier) = last.insert(folder, file) {
            left_out.push(format!("{} is older than another of its folder", earlier.display()));
        }
    }
    (last.into_values().collect(), left_out)
}

/// One results file.
struct Results<'a> {
    at: At<'a>,
    file: &'a Path,
    hash: String,
}

/// A sample as a row has it: a number, or a pair with its weight.
type Sample = (f64, Option<f64>);

/// Samples of a task by filter and metric, in the order of the documents.
type Samples = BTreeMap<(String, String), Vec<(u64, Sample)>>;

impl Results<'_> {
    fn source(&self) -> Result<(Source, String), ImportError> {
        let text = |key: &str| self.at.get(key).map_or(Ok(""), |at| at.text());
        let started = self.at.get("date").map(|at| at.number()).transpose()?.and_then(rfc3339).unwrap_or_default();
        let mut source =
            Source { tool: "lm-eval".to_owned(), version: text("lm_eval_version")?.to_owned(), ..Source::default() };
        if let Some(first) = self.at.get(KEY).and_then(|passports| passports.list().ok()?.into_iter().next()) {
            let passport: Passport = first.typed()?;
            passport.names(&mut source);
        }
        Ok((source, started))
    }

    /// The model, as far as the file names it.
    fn model(&self) -> Result<String, ImportError> {
        let named = |at: &At, key: &str| at.get(key).map(|at| at.text().map(str::to_owned)).transpose();
        if let Some(name) = named(&self.at, "model_name")? {
            return Ok(name);
        }
        let config = self.at.get("config");
        let arguments = config.as_ref().and_then(|config| config.get("model_args"));
        let name = match arguments {
            Some(at) if matches!(at.value(), Json::Text(_)) => {
                let parts = at.text()?.split(',');
                parts
                    .filter_map(|part| part.split_once('='))
                    .find(|(key, _)| *key == "pretrained")
                    .map(|(_, v)| v.to_owned())
            }
            Some(at) => named(&at, "pretrained")?,
            None => None,
        };
        match (name, config) {
            (Some(name), _) => Ok(name),
            (None, Some(config)) => Ok(named(&config, "model")?.unwrap_or_else(|| "unnamed".to_owned())),
            (None, None) => Ok("unnamed".to_owned()),
        }
    }

    /// The file of a task's samples, by lm-eval's name for it or by one without odd signs.
    fn samples_file(&self, task: &str) -> Option<PathBuf> {
        let name = self.file.file_name()?.to_str()?;
        let date = name.strip_prefix("results_")?.strip_suffix(".json")?;
        let plain: String = task.chars().map(|sign| if sign.is_alphanumeric() { sign } else { '_' }).collect();
        [task, &plain]
            .into_iter()
            .filter(|task| !task.contains(['/', '\\']))
            .map(|task| self.file.with_file_name(format!("samples_{task}_{date}.jsonl")))
            .find(|path| path.is_file())
    }

    /// The samples of a task and the hash of their file; none without a file.
    fn samples(&self, task: &str) -> Result<(Samples, Option<String>), ImportError> {
        let mut samples = Samples::new();
        let Some(path) = self.samples_file(task) else { return Ok((samples, None)) };
        let hash = each_line(&path, |number, line| {
            let json = parse(&path, line)?;
            let row = At::root(&path, format!("line {number}"), &json);
            let document = row.need("doc_id")?.count()?;
            let filter = row.get("filter").map_or(Ok("none"), |at| at.text())?;
            let Some(metrics) = row.get("metrics") else { return Ok(()) };
            for metric in metrics.list()? {
                let metric = metric.text()?;
                // What is no number here is aggregated in a way that this program does not know.
                if let Some(sample) = row.get(metric).map(|at| sample(&at)).transpose()?.flatten() {
                    samples.entry((filter.to_owned(), metric.to_owned())).or_default().push((document, sample));
                }
            }
            Ok(())
        })?;
        for rows in samples.values_mut() {
            rows.sort_by_key(|(document, _)| *document);
        }
        Ok((samples, Some(hash)))
    }

    /// Adds what this program exported; returns hashes of what else was read.
    fn add_ours(&self, gather: &mut Gather, passports: &At) -> Result<Vec<String>, ImportError> {
        let mut read: BTreeMap<String, Samples> = BTreeMap::new();
        let mut hashes = Vec::new();
        for at in passports.list()? {
            let passport: Passport = at.typed()?;
            let task = passport.cell.label(Axis::Data).unwrap_or("none");
            if !read.contains_key(task) {
                let (samples, hash) = self.samples(task)?;
                hashes.extend(hash);
                read.insert(task.to_owned(), samples);
            }
            let id = &passport.metric.id;
            let value = self.at.need("results")?.need(task)?.need(&format!("{id},none"))?.number()?;
            let rows = read.get(task).and_then(|samples| samples.get(&("none".to_owned(), id.clone())));
            let rows: Vec<Sample> = rows.map(|rows| rows.iter().map(|(_, row)| *row).collect()).unwrap_or_default();
            let sign = if passport.reduction == Reduction::ExpRatio { -1.0 } else { 1.0 };
            let (samples, weights) = match passport.reduction {
                Reduction::Single => (vec![value], passport.weights.clone()),
                _ => (
                    rows.iter()
                        .map(|(sample, weight)| if weight.is_some() { sign * sample } else { *sample })
                        .collect(),
                    rows.iter().filter_map(|(_, weight)| *weight).collect(),
                ),
            };
            let found = passport.reduction.reduce(&samples, &weights);
            if !found.is_some_and(|found| agree(found, value)) {
                return Err(
                    at.wrong(format!("the value of `{id}` in `{task}` is {value}, and its samples give {found:?}"))
                );
            }
            gather.passport(&passport, samples, weights)?;
        }
        Ok(hashes)
    }

    /// Adds lm-eval's own results; returns hashes of what else was read.
    fn add(&self, gather: &mut Gather, left_out: &mut Vec<String>) -> Result<Vec<String>, ImportError> {
        let model = self.model()?;
        let directions = self.directions()?;
        let mut hashes = Vec::new();
        for (task, results) in self.at.need("results")?.entries()? {
            let (samples, hash) = self.samples(task)?;
            hashes.extend(hash);
            for (key, at) in results.entries()? {
                if NO_METRIC.contains(&key) || key.trim().is_empty() {
                    continue;
                }
                let (metric, filter) = key.split_once(',').unwrap_or((key, "none"));
                let error = metric.ends_with("_stderr");
                let seen = match at.value() {
                    Json::Whole(_) | Json::Number(_) => {
                        let rows = samples.get(&(filter.to_owned(), metric.to_owned()));
                        observation(metric, at.number()?, rows)
                    }
                    // A standard error that is not there is no metric that is missing.
                    Json::Null | Json::Text(_) if error => continue,
                    Json::Null => Observation::absent(metric, Reduction::Single, Some("lm-eval gives null".to_owned())),
                    Json::Text(text) => {
                        Observation::absent(metric, Reduction::Single, Some(format!("lm-eval gives {text}")))
                    }
                    _ => {
                        left_out.push(format!("{metric} of {task} is no number"));
                        continue;
                    }
                };
                let cell = self.cell(&model, task, filter)?;
                let id = gather.foreign("lm-eval", &self.hash, cell)?.id.clone();
                let seen = Observation { protocol: Some(self.protocol(task, filter)), ..seen };
                let direction = directions.get(metric).copied().unwrap_or(Direction::Neutral);
                gather.observe(&id, &metric_info(metric, direction), seen)?;
            }
        }
        Ok(hashes)
    }

    /// Which way is good, by metric; a metric whose tasks disagree has no direction.
    fn directions(&self) -> Result<BTreeMap<String, Direction>, ImportError> {
        let mut directions: BTreeMap<String, Direction> = BTreeMap::new();
        let Some(tasks) = self.at.get("higher_is_better") else { return Ok(directions) };
        for (_, metrics) in tasks.entries()? {
            for (metric, at) in metrics.entries()? {
                let direction = match at.value() {
                    Json::Bool(true) => Direction::Higher,
                    Json::Bool(false) => Direction::Lower,
                    _ => continue,
                };
                directions
                    .entry(metric.to_owned())
                    .and_modify(|known| {
                        if *known != direction {
                            *known = Direction::Neutral;
                        }
                    })
                    .or_insert(direction);
            }
        }
        Ok(directions)
    }

    fn cell(&self, model: &str, task: &str, filter: &str) -> Result<Cell, ImportError> {
        let mut data = Coordinate::plain(task);
        if filter != "none" {
            let arm = Arm::new(task).with("filter", Value::Text(filter.to_owned()));
            data.label = arm.to_string();
            data.parameters = arm.parameters;
        }
        if let Some(shots) = self.at.get("n-shot").and_then(|shots| shots.get(task)) {
            data.parameters.push(("n_shot".to_owned(), Value::Int(shots.count()? as i64)));
        }
        let coordinates = BTreeMap::from([(Axis::Model, Coordinate::plain(model)), (Axis::Data, data)]);
        Ok(Cell { bench: "lm-eval".to_owned(), coordinates })
    }

    /// What two results must share to be subtracted.
    fn protocol(&self, task: &str, filter: &str) -> String {
        let shown = |at: Option<At>| match at.as_ref().map(At::value) {
            Some(Json::Text(text)) => text.clone(),
            Some(Json::Whole(number)) => number.to_string(),
            Some(Json::Number(number)) => number.to_string(),
            _ => "none".to_owned(),
        };
        let member = |key: &str| self.at.get(key).and_then(|all| all.get(task));
        let limit = self.at.get("config").and_then(|config| config.get("limit"));
        format!(
            "lm-eval {task}, version {}, {}-shot, filter {filter}, limit {}",
            shown(member("versions")),
            shown(member("n-shot")),
            shown(limit)
        )
    }
}

fn sample(at: &At) -> Result<Option<Sample>, ImportError> {
    Ok(match at.value() {
        Json::Bool(value) => Some((f64::from(u8::from(*value)), None)),
        Json::Whole(_) | Json::Number(_) => Some((at.number()?, None)),
        Json::List(pair) if pair.len() == 2 && pair.iter().all(|v| matches!(v, Json::Whole(_) | Json::Number(_))) => {
            let pair = at.numbers()?;
            Some((pair[0], Some(pair[1])))
        }
        _ => None,
    })
}

/// The observation of a value: with its samples where they give it in one of lm-eval's usual ways.
fn observation(metric: &str, value: f64, rows: Option<&Vec<(u64, Sample)>>) -> Observation {
    let alone = Observation::single(metric, value);
    let Some(rows) = rows.filter(|rows| !rows.is_empty()) else { return alone };
    let samples: Vec<f64> = rows.iter().map(|(_, (sample, _))| *sample).collect();
    let weights: Vec<f64> = rows.iter().map(|(_, (_, weight))| weight.unwrap_or(1.0)).collect();
    let scaled = |scale: f64| samples.iter().map(|sample| scale * sample).collect::<Vec<f64>>();
    // A mean, bits a byte, and a perplexity, from log-likelihoods.
    let ways = [
        (Reduction::Ratio, samples.clone()),
        (Reduction::ExpRatio, scaled(-1.0)),
        (Reduction::Ratio, scaled(-std::f64::consts::LOG2_E)),
    ];
    let fits = |(reduction, samples): &(Reduction, Vec<f64>)| {
        weights.iter().all(|weight| *weight >= 0.0)
            && reduction.reduce(samples, &weights).is_some_and(|found| agree(found, value))
    };
    match ways.into_iter().find(fits) {
        Some((reduction, samples)) => Observation { samples, weights, ..Observation::absent(metric, reduction, None) },
        None => alone,
    }
}

fn metric_info(id: &str, direction: Direction) -> MetricInfo {
    MetricInfo {
        id: id.to_owned(),
        about: "as lm-eval computes it".to_owned(),
        unit: "1".to_owned(),
        direction,
        noise: Noise::Sampled,
        reduction: Reduction::Ratio,
        version: 1,
        along: None,
    }
}
