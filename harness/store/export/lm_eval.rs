//! lm-eval's output folder: `MODEL/results_DATE.json` and `MODEL/samples_TASK_DATE.jsonl`.
//!
//! A model is a cell without its data (`tiny-1m wanda(sparsity=0.5)`), a task its data, and a metric stands under
//! `METRIC,none`, with a standard error under `METRIC_stderr,none` where it has one.
//! Timed metrics have no place. A failed cell and an absent metric have no entry. Sample rows are windows; where a
//! metric weighs its samples they are pairs, for a perplexity lm-eval's own pair of log-likelihood and count.

use harness_core::{CellRecord, Noise, Observation, Reduction};
use serde_json::{Map, Value, json};

use super::{Export, ExportError, File, Format, Number, Subject, json_bytes, numbers, something};
use crate::files;
use crate::passport::{KEY, Passport};
use crate::time::{file_date, unix_seconds};

pub const FORMAT: Format = Format {
    name: "lm-eval",
    about: "lm-eval's output folder, results and samples of each model",
    folder: true,
    write,
};

/// The task of a cell whose bench has no data.
const NO_DATA: &str = "none";

fn write(subject: &Subject) -> Result<Export, ExportError> {
    let (numbers, left_out) = numbers(subject.run, |metric| metric.noise != Noise::Timed);
    let numbers = something(FORMAT.name, numbers, &left_out)?;
    let mut models: Vec<(String, Vec<Number>)> = Vec::new();
    let several = subject.run.benches().len() > 1;
    for number in numbers {
        let name = model_name(number.cell, several);
        match models.iter_mut().find(|(known, _)| *known == name) {
            Some((_, numbers)) => numbers.push(number),
            None => models.push((name, vec![number])),
        }
    }
    let date = file_date(&subject.run.stamp.started);
    let mut export = Export { left_out, ..Export::default() };
    for (name, numbers) in &models {
        let folder = sanitized(name);
        let mut results = model(subject, name, &folder, &numbers[0]);
        for task in tasks(numbers) {
            let rows = add_task(subject, &mut results, &task)?;
            if !rows.is_empty() {
                let path = format!("{folder}/samples_{}_{date}.jsonl", word_only(task.name));
                export.files.push(File { path, bytes: rows });
            }
        }
        let bytes = json_bytes(FORMAT.name, &results)?;
        export.files.push(File { path: format!("{folder}/results_{date}.json"), bytes });
    }
    Ok(export)
}

struct Task<'a> {
    name: &'a str,
    numbers: Vec<&'a Number<'a>>,
}

fn tasks<'a>(numbers: &'a [Number<'a>]) -> Vec<Task<'a>> {
    let mut tasks: Vec<Task> = Vec::new();
    for number in numbers {
        let name = number.cell.cell.label(harness_core::Axis::Data).unwrap_or(NO_DATA);
        match tasks.iter_mut().find(|task| task.name == name) {
            Some(task) => task.numbers.push(number),
            None => tasks.push(Task { name, numbers: vec![number] }),
        }
    }
    tasks
}

/// All labels but the data's; with the bench where a run has several.
fn model_name(cell: &CellRecord, with_bench: bool) -> String {
    let arms = cell.cell.coordinates.iter().filter(|(axis, _)| **axis != harness_core::Axis::Data);
    let bench = with_bench.then_some(cell.cell.bench.as_str());
    bench.into_iter().chain(arms.map(|(_, at)| at.label.as_str())).collect::<Vec<_>>().join(" ")
}

/// The part of a results file that speaks of the model and the run.
fn model(subject: &Subject, name: &str, folder: &str, first: &Number) -> Value {
    let stamp = &subject.run.stamp;
    let arguments: Map<String, Value> = first
        .cell
        .cell
        .coordinates
        .iter()
        .filter(|(axis, _)| **axis != harness_core::Axis::Data)
        .map(|(axis, at)| {
            let key = if *axis == harness_core::Axis::Model { "pretrained" } else { axis.key() };
            (key.to_owned(), at.label.clone().into())
        })
        .collect();
    let mut all = json!({
        "results": {},
        "group_subtasks": {},
        "configs": {},
        "versions": {},
        "n-shot": {},
        "higher_is_better": {},
        "n-samples": {},
        "config": {
            "model": "harness",
            "model_args": arguments,
            "batch_size": null,
            "batch_sizes": [],
            "device": stamp.device,
            "use_cache": null,
            "limit": null,
            "bootstrap_iters": 0,
            "gen_kwargs": null,
        },
        "git_hash": stamp.commit,
        "date": unix_seconds(&stamp.started),
        "pretty_env_info": format!("{}, {}", stamp.program(), stamp.host_class()),
        "model_source": "harness",
        "model_name": name,
        "model_name_sanitized": folder,
        "system_instruction": null,
        "system_instruction_sha": null,
        "fewshot_as_multiturn": null,
        "chat_template": null,
        "chat_template_sha": null,
        "task_hashes": {},
        "total_evaluation_time_seconds": seconds(stamp),
        KEY: [],
    });
    if let Some(seed) = stamp.seeds.get("suite") {
        for name in ["random_seed", "numpy_seed", "torch_seed", "fewshot_seed"] {
            all["config"][name] = (*seed).into();
        }
    }
    all
}

/// As lm-eval has it, text.
fn seconds(stamp: &harness_core::Stamp) -> String {
    let ends = unix_seconds(&stamp.finished).zip(unix_seconds(&stamp.started));
    ends.map_or_else(|| "0".to_owned(), |(finished, started)| (finished - started).to_string())
}

/// Adds a task to a results file; returns its sample rows.
fn add_task(subject: &Subject, results: &mut Value, task: &Task) -> Result<Vec<u8>, ExportError> {
    let name = task.name;
    let count = task.numbers.iter().map(|number| sampled(number.observation)).max().unwrap_or(0);
    let mut values = json!({"name": name, "alias": name, "sample_len": count});
    let mut directions = Map::new();
    let mut metrics = Vec::new();
    for number in &task.numbers {
        let (id, seen) = (&number.metric.id, number.observation);
        values[format!("{id},none")] = number.estimate.value.into();
        if let Some(error) = standard_error(seen, number.estimate.value) {
            values[format!("{id}_stderr,none")] = error.into();
        }
        let higher = match number.metric.direction {
            harness_core::Direction::Higher => Some(true),
            harness_core::Direction::Lower => Some(false),
            harness_core::Direction::Neutral => None,
        };
        directions.insert(id.clone(), higher.into());
        metrics.push(json!({"metric": id, "aggregation": aggregation(seen), "higher_is_better": higher}));
        let passport = Passport::of(subject.run, number.cell, number.metric, seen, sampled(seen) == 0);
        let passport =
            serde_json::to_value(passport).map_err(|error| ExportError::encode(FORMAT.name)(error.into()))?;
        if let Some(passports) = results[KEY].as_array_mut() {
            passports.push(passport);
        }
    }
    let version = task.numbers.iter().map(|number| number.metric.version).max();
    let (rows, hash) = samples(task, count)?;
    results["results"][name] = values;
    results["group_subtasks"][name] = json!([]);
    results["configs"][name] = json!({
        "task": name, "metric_list": metrics, "num_fewshot": 0, "metadata": {"version": version}
    });
    results["versions"][name] = version.into();
    results["n-shot"][name] = 0.into();
    results["higher_is_better"][name] = directions.into();
    results["n-samples"][name] = json!({"original": count, "effective": count});
    results["task_hashes"][name] = hash.into();
    Ok(rows)
}

/// How many sample rows an observation has.
fn sampled(seen: &Observation) -> usize {
    if seen.reduction == Reduction::Single { 0 } else { seen.samples.len() }
}

fn aggregation(seen: &Observation) -> &'static str {
    match seen.reduction {
        Reduction::Single => "bypass",
        Reduction::ExpRatio => "weighted_perplexity",
        Reduction::Ratio => "weighted_mean",
        Reduction::Median => "median",
    }
}

/// The sample rows of a task, and the hash lm-eval makes of theirs.
fn samples(task: &Task, count: usize) -> Result<(Vec<u8>, String), ExportError> {
    let (mut bytes, mut all) = (Vec::new(), String::new());
    let nothing = files::hash(b"");
    for index in 0..count {
        let with: Vec<&&Number> = task.numbers.iter().filter(|number| index < sampled(number.observation)).collect();
        let document = with.iter().find_map(|number| number.observation.clusters.get(index));
        let doc = json!({"index": index, "document": document});
        let hash = files::hash(doc.to_string().as_bytes());
        all.extend([hash.as_str(), &nothing, &nothing]);
        let mut row = json!({
            "doc_id": index,
            "doc": doc,
            "target": "",
            "arguments": {},
            "resps": [],
            "filtered_resps": [],
            "filter": "none",
            "metrics": with.iter().map(|number| number.metric.id.as_str()).collect::<Vec<_>>(),
            "doc_hash": hash,
            "prompt_hash": nothing,
            "target_hash": nothing,
        });
        for number in with {
            row[&number.metric.id] = sample(number.observation, index);
        }
        serde_json::to_writer(&mut bytes, &row).map_err(|error| ExportError::encode(FORMAT.name)(error.into()))?;
        bytes.push(b'\n');
    }
    Ok((bytes, files::hash(all.as_bytes())))
}

/// A sample as lm-eval keeps it: a perplexity is made of pairs of log-likelihood and count.
fn sample(seen: &Observation, index: usize) -> Value {
    let sample = seen.samples[index];
    match (seen.reduction, seen.weights.get(index)) {
        (Reduction::ExpRatio, Some(weight)) => json!([-sample, weight]),
        (_, Some(weight)) => json!([sample, weight]),
        (_, None) => json!(sample),
    }
}

/// Standard error of a ratio of sums over clusters by linearisation (the delta method), `None` for other reductions and
/// for fewer than two clusters.
fn standard_error(seen: &Observation, value: f64) -> Option<f64> {
    if !matches!(seen.reduction, Reduction::Ratio | Reduction::ExpRatio) {
        return None;
    }
    let total: f64 = seen.weights.iter().sum();
    let ratio = seen.samples.iter().sum::<f64>() / total;
    let clustered = seen.clusters.len() == seen.samples.len();
    let mut clusters = std::collections::BTreeMap::<u32, f64>::new();
    for (index, (sample, weight)) in seen.samples.iter().zip(&seen.weights).enumerate() {
        let cluster = if clustered { seen.clusters[index] } else { index as u32 };
        *clusters.entry(cluster).or_default() += sample - ratio * weight;
    }
    let count = clusters.len() as f64;
    let spread: f64 = clusters.values().map(|residual| residual * residual).sum();
    let error = (spread * count / (count - 1.0)).sqrt() / total;
    let error = if seen.reduction == Reduction::ExpRatio { value * error } else { error };
    (clusters.len() > 1 && error.is_finite()).then_some(error)
}

/// A model's name as lm-eval makes a folder of it.
fn sanitized(name: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for sign in name.chars() {
        let refused = "\"<>:/|\\?*[]".contains(sign);
        if refused && !inside {
            out.push_str("__");
        } else if !refused {
            out.push(sign);
        }
        inside = refused;
    }
    // Names of nothing but dots would climb.
    if out.chars().all(|sign| sign == '.') { "_".to_owned() } else { out }
}

/// A task's name as lm-eval puts it into a file name.
fn word_only(name: &str) -> String {
    name.chars().map(|sign| if sign.is_alphanumeric() || sign == '_' { sign } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_sanitized_as_lm_eval_does() {
        assert_eq!(sanitized("org/model<<x>"), "org__model__x__");
        assert_eq!(word_only("fables/test(window=128)"), "fables_test_window_128_");
    }

    /// Answers from numpy: `sqrt(sum(r ** 2) * n / (n - 1)) / sum(w)` over the residuals summed by cluster.
    #[test]
    fn the_standard_error_of_a_clustered_ratio_has_known_answers() {
        let seen = Observation {
            samples: vec![3.0, 5.0, 2.0, 8.0, 1.0],
            weights: vec![2.0, 2.0, 1.0, 3.0, 1.0],
            clusters: vec![0, 0, 1, 1, 2],
            ..Observation::absent("x", Reduction::Ratio, None)
        };
        assert!((standard_error(&seen, 0.0).unwrap() - 0.267_077_872_256_591_74).abs() < 1e-15);
        let alone = Observation { clusters: Vec::new(), ..seen.clone() };
        assert!((standard_error(&alone, 0.0).unwrap() - 0.307_404_928_345_400_8).abs() < 1e-15);
        let one = Observation { clusters: vec![4; 5], ..seen };
        assert_eq!(standard_error(&one, 0.0), None);
    }
}
