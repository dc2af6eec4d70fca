//! llama-bench's JSON (`-o json`): an array with a row for each test.
//!
//! A cell gives up to two rows, `pp` from `prefill_tps` and `tg` from `decode_tps`; other metrics have no place, and
//! failed cells no row. What llama.cpp knows and this program does not is null, except in the columns that its compare
//! script joins rows by, which must not be: they hold what is true here (one sequence on the CPU, no cache
//! quantization) or an empty text.

use harness_core::Axis;
use serde_json::{Value, json};

use super::{Export, ExportError, Format, Number, Subject, json_bytes, numbers, something};
use crate::passport::{KEY, Passport};

pub const FORMAT: Format =
    Format { name: "llama-bench", about: "llama-bench's JSON, for compare-llama-bench.py", folder: false, write };

/// The metrics that llama-bench has a test for, and the suite's key for how many tokens that test takes.
pub const TESTS: [(&str, &str); 2] = [("prefill_tps", "prefill_tokens"), ("decode_tps", "decode_tokens")];

fn write(subject: &Subject) -> Result<Export, ExportError> {
    let (numbers, mut left_out) = numbers(subject.run, |metric| TESTS.iter().any(|(id, _)| *id == metric.id));
    let mut rows = Vec::new();
    for number in something(FORMAT.name, numbers, &left_out)? {
        match row(subject, &number)? {
            Some(row) => rows.push(row),
            None => {
                left_out.push(format!("{} of {}: how many tokens is not known", number.metric.id, number.cell.cell));
            }
        }
    }
    let rows = something(FORMAT.name, rows, &left_out)?;
    Ok(Export { left_out, ..Export::single("llama-bench.json", json_bytes(FORMAT.name, &rows)?) })
}

fn row(subject: &Subject, number: &Number) -> Result<Option<Value>, ExportError> {
    let Number { cell, metric, observation, .. } = number;
    let stamp = &subject.run.stamp;
    let Some(tokens) = tokens(subject, number) else { return Ok(None) };
    let prompt = metric.id == TESTS[0].0;
    let (n_prompt, n_gen) = if prompt { (tokens, 0) } else { (0, tokens) };
    let rates = &observation.samples;
    let times: Vec<f64> = rates.iter().map(|rate| 1e9 * tokens as f64 / rate).collect();
    let arms = cell.cell.coordinates.values().map(|at| at.label.as_str()).collect::<Vec<_>>().join(" / ");
    let value = |id: &str| cell.observation(id).and_then(harness_core::Observation::value).filter(|v| v.is_finite());
    let passport = Passport::of(subject.run, cell, metric, observation, true);
    let passport = serde_json::to_value(passport).map_err(|error| ExportError::encode(FORMAT.name)(error.into()))?;
    let commit = if stamp.commit.is_empty() { &stamp.version } else { &stamp.commit };
    Ok(Some(json!({
        "build_commit": commit.get(..8).unwrap_or(commit),
        "build_number": null,
        "cpu_info": stamp.cpu,
        "gpu_info": "",
        "backends": stamp.device.to_uppercase(),
        "model_filename": arms,
        "model_type": arms,
        "model_size": value("bytes"),
        "model_n_params": value("params"),
        "n_batch": tokens,
        "n_ubatch": tokens,
        "n_threads": stamp.threads,
        "cpu_mask": "",
        "cpu_strict": false,
        "poll": 0,
        "type_k": "",
        "type_v": "",
        "n_gpu_layers": 0,
        "n_cpu_moe": 0,
        "split_mode": "none",
        "main_gpu": 0,
        "no_kv_offload": false,
        "flash_attn": false,
        "tensor_split": "",
        "tensor_buft_overrides": "none",
        "use_mmap": true,
        "embeddings": false,
        "no_op_offload": 0,
        "fit_target": 0,
        "fit_min_ctx": 0,
        "n_prompt": n_prompt,
        "n_gen": n_gen,
        // Text is generated after the prompt.
        "n_depth": if prompt { 0 } else { setting(subject, &cell.cell.bench, TESTS[0].1).unwrap_or(0) },
        "test_time": stamp.started,
        "avg_ns": mean(&times).round(),
        "stddev_ns": deviation(&times).round(),
        "avg_ts": mean(rates),
        "stddev_ts": deviation(rates),
        "samples_ns": times.iter().map(|time| time.round() as u64).collect::<Vec<_>>(),
        "samples_ts": rates,
        KEY: passport,
    })))
}

/// How many tokens the test took: as its suite says or, of an import from llama-bench, as its cell says.
fn tokens(subject: &Subject, number: &Number) -> Option<u64> {
    let (index, (_, key)) = TESTS.iter().enumerate().find(|(_, (id, _))| *id == number.metric.id)?;
    let said = number.cell.cell.coordinates.get(&Axis::Data).and_then(|at| {
        let name = ["n_prompt", "n_gen"][index];
        at.parameters.iter().find(|(key, _)| key == name).and_then(|(_, value)| value.as_number())
    });
    said.filter(|count| *count >= 1.0)
        .map(|count| count as u64)
        .or_else(|| setting(subject, &number.cell.cell.bench, key))
}

fn setting(subject: &Subject, bench: &str, key: &str) -> Option<u64> {
    let value = subject.suite?.bench(bench)?.setting(key)?.as_number()?;
    (value >= 1.0).then_some(value as u64)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The sample deviation, zero for one sample, as llama-bench has it.
fn deviation(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let mean = mean(values);
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64).sqrt()
}
