//! llama-bench's JSON and JSONL.
//!
//! A row becomes a cell: its model the file, its data the test (`pp512`, `tg128 @ d512`). What else differs between
//! rows, threads or the type of the cache for example, stands in the model's label. A `pp` row gives `prefill_tps`, a
//! `tg` row `decode_tps`, a row of both `mixed_tps`, each the mean of its samples as llama-bench has it. Fields that
//! are not known here are passed over.

use std::collections::BTreeMap;
use std::path::Path;

use harness_core::cell::Coordinate;
use harness_core::stamp::Source;
use harness_core::{Arm, Axis, Cell, Direction, Noise, Observation, Reduction, Value};

use super::gather::{Gather, agree};
use super::json::{At, Json, parse};
use super::{ImportError, Imported, Importer, Options, head, read};
use crate::files;
use crate::passport::{KEY, Passport};
use crate::run::MetricInfo;

pub const IMPORTER: Importer = Importer {
    name: "llama-bench",
    about: "output of `llama-bench -o json` or `-o jsonl`",
    recognises: |path| head(path).contains("\"build_commit\""),
    read: import,
};

/// What a configuration is made of, besides the model and the test.
const KNOBS: [&str; 22] = [
    "n_batch",
    "n_ubatch",
    "n_threads",
    "cpu_mask",
    "cpu_strict",
    "poll",
    "type_k",
    "type_v",
    "n_gpu_layers",
    "n_cpu_moe",
    "split_mode",
    "main_gpu",
    "no_kv_offload",
    "flash_attn",
    "tensor_split",
    "tensor_buft_overrides",
    "devices",
    "use_mmap",
    "load_mode",
    "embeddings",
    "no_op_offload",
    "no_host",
];

fn import(path: &Path, _: &Options) -> Result<Imported, ImportError> {
    let bytes = read(path)?;
    let documents = documents(path, &bytes)?;
    let rows: Vec<At> = documents
        .iter()
        .map(|(place, json)| At::root(path, place.clone(), json))
        .map(|at| if matches!(at.value(), Json::List(_)) { at.list() } else { Ok(vec![at]) })
        .collect::<Result<Vec<_>, _>>()?
        .concat();
    let Some(first) = rows.first() else {
        return Err(ImportError::Empty { path: path.to_owned(), reason: "the list of tests is empty".to_owned() });
    };
    let hash = files::hash(&bytes);
    let mut gather = Gather::new(path);
    let mut source = Source { hash: hash.clone(), ..source(first)? };
    let varying: Vec<&str> = KNOBS.into_iter().filter(|knob| varies(&rows, knob)).collect();
    for row in &rows {
        match row.get(KEY) {
            Some(passport) => {
                let passport: Passport = passport.typed()?;
                // Weights stand in the passport here.
                let weights = passport.weights.clone();
                gather.passport(&passport, row.need("samples_ts")?.numbers()?, weights)?;
                passport.names(&mut source);
            }
            None => add(&mut gather, row, &varying, &hash)?,
        }
    }
    let started = first.get("test_time").map(|time| time.text()).transpose()?.unwrap_or_default().to_owned();
    let (metrics, records) = gather.finish();
    Ok(Imported { source, started, metrics, records, left_out: Vec::new() })
}

/// The documents of a file: one, or one a line.
fn documents(path: &Path, bytes: &[u8]) -> Result<Vec<(String, Json)>, ImportError> {
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Ok(vec![(String::new(), parse(path, bytes)?)]);
    }
    let lines = bytes.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.trim_ascii().is_empty());
    lines.map(|(index, line)| Ok((format!("line {}", index + 1), parse(path, line)?))).collect()
}

fn source(row: &At) -> Result<Source, ImportError> {
    let text = |key: &str| row.get(key).map_or(Ok(""), |at| at.text());
    let commit = row.need("build_commit")?.text()?;
    let number = row.get("build_number").map(|at| at.count()).transpose()?;
    let version = number.map_or_else(|| commit.to_owned(), |number| format!("b{number} ({commit})"));
    let threads = row.get("n_threads").map(|at| at.count()).transpose()?;
    let threads = threads.map(|threads| format!("{threads} threads"));
    let parts = [text("cpu_info")?, text("gpu_info")?, text("backends")?, threads.as_deref().unwrap_or_default()];
    let host = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ");
    Ok(Source { tool: "llama-bench".to_owned(), version, host, ..Source::default() })
}

fn varies(rows: &[At], knob: &str) -> bool {
    let value = |row: &At| row.get(knob).map(|at| at.value().clone());
    rows.iter().any(|row| value(row) != value(&rows[0]))
}

fn add(gather: &mut Gather, row: &At, varying: &[&str], hash: &str) -> Result<(), ImportError> {
    let (prompt, generated) = (row.need("n_prompt")?.count()?, row.need("n_gen")?.count()?);
    let depth = row.get("n_depth").map_or(Ok(0), |at| at.count())?;
    let (id, test, about) = match (prompt, generated) {
        (0, 0) => return Err(row.wrong("`n_prompt` and `n_gen` are both zero")),
        (_, 0) => ("prefill_tps", format!("pp{prompt}"), "prompt tokens a second, as llama-bench measures them"),
        (0, _) => ("decode_tps", format!("tg{generated}"), "generated tokens a second, as llama-bench measures them"),
        _ => ("mixed_tps", format!("pp{prompt}+tg{generated}"), "tokens a second of a prompt and what follows it"),
    };
    let label = if depth == 0 { test } else { format!("{test} @ d{depth}") };
    let whole = |count: u64| Value::Int(count as i64);
    let data = Coordinate {
        parameters: [("n_prompt", prompt), ("n_gen", generated), ("n_depth", depth)]
            .map(|(name, count)| (name.to_owned(), whole(count)))
            .to_vec(),
        ..Coordinate::plain(label)
    };
    let protocol = format!("llama-bench {}, mean of repetitions", data.label);
    let cell = Cell {
        bench: "llama-bench".to_owned(),
        coordinates: BTreeMap::from([(Axis::Model, model(row, varying)?), (Axis::Data, data)]),
    };
    let name = gather.foreign("llama-bench", hash, cell)?.id.clone();
    let samples = samples(row, prompt + generated)?;
    let metric = MetricInfo {
        id: id.to_owned(),
        about: about.to_owned(),
        unit: "tokens/s".to_owned(),
        direction: Direction::Higher,
        noise: Noise::Timed,
        reduction: Reduction::Ratio,
        version: 1,
        along: None,
    };
    let seen = Observation {
        weights: vec![1.0; samples.len()],
        samples,
        protocol: Some(protocol),
        ..Observation::absent(id, Reduction::Ratio, None)
    };
    gather.observe(&name, &metric, seen)
}

/// Tokens a second of every repetition; of the mean alone where a row has no samples.
fn samples(row: &At, tokens: u64) -> Result<Vec<f64>, ImportError> {
    let average = row.need("avg_ts")?.positive()?;
    let rates = match (row.get("samples_ts"), row.get("samples_ns")) {
        (Some(rates), _) => rates.list()?.iter().map(At::positive).collect::<Result<Vec<_>, _>>()?,
        (None, Some(times)) => {
            let rate = |at: &At| Ok(1e9 * tokens as f64 / at.positive()?);
            times.list()?.iter().map(rate).collect::<Result<Vec<_>, ImportError>>()?
        }
        (None, None) => vec![average],
    };
    if rates.is_empty() {
        return Err(row.wrong("the list of samples is empty"));
    }
    let mean = rates.iter().sum::<f64>() / rates.len() as f64;
    // llama-bench prints six decimals.
    if !agree(mean, average) && (mean - average).abs() > 1e-5 * average {
        return Err(row.wrong(format!("`avg_ts` is {average}, and the mean of the samples {mean}")));
    }
    Ok(rates)
}

fn model(row: &At, varying: &[&str]) -> Result<Coordinate, ImportError> {
    let file = row.need("model_filename")?.text()?;
    let stem = Path::new(file).file_stem().map_or_else(|| file.to_owned(), |stem| stem.to_string_lossy().into_owned());
    let mut parameters = vec![("model_type".to_owned(), Value::Text(row.need("model_type")?.text()?.to_owned()))];
    let mut knobs = Arm::new(&stem);
    for knob in KNOBS {
        if let Some(value) = row.get(knob).map(|at| value(&at)).transpose()? {
            if varying.contains(&knob) {
                knobs = knobs.with(knob, value.clone());
            }
            parameters.push((knob.to_owned(), value));
        }
    }
    Ok(Coordinate { label: knobs.to_string(), id: stem, parameters })
}

fn value(at: &At) -> Result<Value, ImportError> {
    Ok(match at.value() {
        Json::Bool(value) => Value::Bool(*value),
        Json::Whole(value) => Value::Int(*value),
        Json::Number(_) => Value::Float(at.number()?),
        _ => Value::Text(at.text()?.to_owned()),
    })
}
