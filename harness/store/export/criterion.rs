//! criterion's folder: `criterion/GROUP/FUNCTION/VALUE/BASELINE/{benchmark,estimates,sample}.json`, which critcmp reads
//! too and criterion itself compares with.
//!
//! It holds times only: metrics in seconds, and rates `X/s` as the time one X takes. A group is a bench, a function the
//! cell's arms, a value the metric, and the baseline the run, so that several runs exported to one folder stand beside
//! each other. Failed cells and absent metrics have no folder, nor has a single sample, from which criterion's
//! estimates cannot be made.

use std::collections::BTreeSet;

use harness_core::Observation;
use harness_core::seed::stream;
use harness_core::statistics::quantile;
use rand_chacha::rand_core::Rng;
use serde_json::{Value, json};

use super::{Export, ExportError, File, Format, Number, Subject, json_bytes, numbers, something};
use crate::passport::{KEY, Passport};

pub const FORMAT: Format =
    Format { name: "criterion", about: "criterion's folder, for critcmp and criterion itself", folder: true, write };

/// Longest part of a folder's name, in bytes, as criterion cuts it.
const LONGEST: usize = 64;
/// Draws of the bootstrap of criterion's estimates.
const RESAMPLES: usize = 4000;
const LEVEL: f64 = 0.95;
/// Makes the median absolute deviation of normal samples their deviation, as criterion has it.
const NORMAL: f64 = 1.4826;
/// Nanoseconds in a second.
pub const SECOND: f64 = 1e9;

/// How a metric in a unit becomes time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// It is a time in seconds.
    Time,
    /// It is a rate a second; an iteration is one of what is counted.
    Rate,
}

impl Clock {
    /// Of a unit, `None` where it is neither.
    pub fn of(unit: &str) -> Option<Self> {
        match unit {
            "s" => Some(Self::Time),
            _ if unit.ends_with("/s") => Some(Self::Rate),
            _ => None,
        }
    }

    /// The value of a measurement of `iterations` that took `time` nanoseconds.
    pub fn value(self, iterations: f64, time: f64) -> f64 {
        match self {
            Self::Time => time / (iterations * SECOND),
            Self::Rate => iterations * SECOND / time,
        }
    }

    /// A measurement, iterations and nanoseconds, that gives exactly this value when it is read back: divisions round,
    /// so that not every count of iterations will do. `None` for values that are no time.
    pub fn measurement(self, value: f64) -> Option<(f64, f64)> {
        let usable = value.is_finite() && value > 0.0;
        (1..=4096).map(f64::from).filter(|_| usable).find_map(|iterations| {
            let time = match self {
                Self::Time => value * (iterations * SECOND),
                Self::Rate => iterations * SECOND / value,
            };
            let near = [time, time.next_up(), time.next_down()];
            near.into_iter().find(|time| self.value(iterations, *time) == value).map(|time| (iterations, time))
        })
    }
}

fn write(subject: &Subject) -> Result<Export, ExportError> {
    let (numbers, mut left_out) = numbers(subject.run, |metric| Clock::of(&metric.unit).is_some());
    let baseline = file_name(&subject.run.name());
    let mut folders = BTreeSet::new();
    let mut files = Vec::new();
    for number in something(FORMAT.name, numbers, &left_out)? {
        let Some((iterations, times)) = measurements(number.observation, &number.metric.unit) else {
            left_out.push(format!("{} of {}: needs two samples above zero", number.metric.id, number.cell.cell));
            continue;
        };
        let function = function(&number);
        let wanted = [&number.cell.cell.bench, &function, &number.metric.id].map(|part| file_name(part)).join("/");
        let mut folder = wanted.clone();
        let mut repetition = 1;
        while !folders.insert(folder.clone()) {
            repetition += 1;
            folder = format!("{wanted}_{repetition}");
        }
        let benchmark = benchmark(subject, &number, &function, &folder)?;
        let samples = json!({"sampling_mode": "Flat", "iters": iterations, "times": times});
        for (name, content) in
            [("benchmark", benchmark), ("estimates", estimates(&iterations, &times)), ("sample", samples)]
        {
            let bytes = json_bytes(FORMAT.name, &content)?;
            files.push(File { path: format!("criterion/{folder}/{baseline}/{name}.json"), bytes });
        }
    }
    let files = something(FORMAT.name, files, &left_out)?;
    Ok(Export { files, left_out })
}

/// The cell without its bench; a cell without arms goes by its bench again.
fn function(number: &Number) -> String {
    let labels: Vec<&str> = number.cell.cell.coordinates.values().map(|at| at.label.as_str()).collect();
    if labels.is_empty() { number.cell.cell.bench.clone() } else { labels.join(" / ") }
}

fn measurements(seen: &Observation, unit: &str) -> Option<(Vec<f64>, Vec<f64>)> {
    let clock = Clock::of(unit)?;
    let all: Option<Vec<(f64, f64)>> = seen.samples.iter().map(|sample| clock.measurement(*sample)).collect();
    all.filter(|all| all.len() >= 2).map(|all| all.into_iter().unzip())
}

fn benchmark(subject: &Subject, number: &Number, function: &str, folder: &str) -> Result<Value, ExportError> {
    let Number { cell, metric, observation, .. } = number;
    let passport = Passport::of(subject.run, cell, metric, observation, true);
    let passport = serde_json::to_value(passport).map_err(|error| ExportError::encode(FORMAT.name)(error.into()))?;
    let id = format!("{}/{function}/{}", cell.cell.bench, metric.id);
    let counted = Clock::of(&metric.unit) == Some(Clock::Rate);
    Ok(json!({
        "group_id": cell.cell.bench,
        "function_id": function,
        "value_str": metric.id,
        "throughput": counted.then(|| json!({"Elements": 1})),
        "full_id": id,
        "directory_name": folder,
        "title": id,
        KEY: passport,
    }))
}

/// criterion's estimates of the time an iteration takes, with percentile intervals of a bootstrap.
fn estimates(iterations: &[f64], times: &[f64]) -> Value {
    let samples: Vec<f64> = times.iter().zip(iterations).map(|(time, count)| time / count).collect();
    let point = statistics(&mut samples.clone());
    let mut random = stream(0, &["criterion"]);
    let mut drawn = vec![0.0; samples.len()];
    let mut draws: [Vec<f64>; 4] = Default::default();
    for _ in 0..RESAMPLES {
        for place in &mut drawn {
            *place = samples[((u64::from(random.next_u32()) * samples.len() as u64) >> 32) as usize];
        }
        for (draws, value) in draws.iter_mut().zip(statistics(&mut drawn)) {
            draws.push(value);
        }
    }
    let mut estimates = serde_json::Map::new();
    for ((name, point), mut draws) in ["mean", "median", "median_abs_dev", "std_dev"].into_iter().zip(point).zip(draws)
    {
        draws.sort_unstable_by(f64::total_cmp);
        let tail = f64::midpoint(1.0, -LEVEL);
        let estimate = json!({
            "confidence_interval": {
                "confidence_level": LEVEL,
                "lower_bound": quantile(&draws, tail),
                "upper_bound": quantile(&draws, 1.0 - tail),
            },
            "point_estimate": point,
            "standard_error": deviation(&draws),
        });
        estimates.insert(name.to_owned(), estimate);
    }
    // The slope belongs to linear sampling.
    estimates.insert("slope".to_owned(), Value::Null);
    Value::Object(estimates)
}

/// Mean, median, scaled median absolute deviation and sample deviation. Sorts the samples.
fn statistics(samples: &mut [f64]) -> [f64; 4] {
    samples.sort_unstable_by(f64::total_cmp);
    let median = quantile(samples, 0.5).unwrap_or(f64::NAN);
    let mut distances: Vec<f64> = samples.iter().map(|sample| (sample - median).abs()).collect();
    distances.sort_unstable_by(f64::total_cmp);
    let spread = NORMAL * quantile(&distances, 0.5).unwrap_or(f64::NAN);
    [samples.iter().sum::<f64>() / samples.len() as f64, median, spread, deviation(samples)]
}

fn deviation(samples: &[f64]) -> f64 {
    let mean = samples.iter().sum::<f64>() / samples.len() as f64;
    (samples.iter().map(|sample| (sample - mean).powi(2)).sum::<f64>() / (samples.len() - 1) as f64).sqrt()
}

/// A part of a path as criterion makes it: signs that file systems refuse become `_`, and the rest is cut.
fn file_name(text: &str) -> String {
    let unsafe_signs = ['?', '"', '/', '\\', '*', '<', '>', ':', '|', '^'];
    let mut name = text.replace(unsafe_signs, "_");
    let end = (0..=LONGEST.min(name.len())).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
    name.truncate(end);
    // Names of nothing but dots would climb.
    if name.chars().all(|sign| sign == '.') { "_".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_measurement_gives_its_value_back(value in 1e-9..1e12_f64) {
            for clock in [Clock::Time, Clock::Rate] {
                let (iterations, time) = clock.measurement(value).unwrap();
                prop_assert_eq!(clock.value(iterations, time), value);
                prop_assert!(time > 0.0 && iterations.fract() == 0.0);
            }
        }
    }

    #[test]
    fn what_is_no_time_has_no_measurement() {
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(Clock::Rate.measurement(bad), None);
        }
        assert_eq!((Clock::of("s"), Clock::of("tokens/s")), (Some(Clock::Time), Some(Clock::Rate)));
        assert_eq!((Clock::of("bytes"), Clock::of("1")), (None, None));
    }

    #[test]
    fn estimates_have_known_answers() {
        let value = estimates(&[1.0, 2.0, 1.0, 1.0], &[10.0, 24.0, 17.0, 11.0]);
        let point = |name: &str| value[name]["point_estimate"].as_f64().unwrap();
        assert_eq!((point("mean"), point("median")), (12.5, 11.5));
        assert!((point("std_dev") - (29.0_f64 / 3.0).sqrt()).abs() < 1e-12);
        assert!((point("median_abs_dev") - NORMAL).abs() < 1e-12);
        let interval = &value["mean"]["confidence_interval"];
        assert!(interval["lower_bound"].as_f64().unwrap() < 12.5 && interval["upper_bound"].as_f64().unwrap() > 12.5);
        assert!(value["slope"].is_null());
    }

    #[test]
    fn names_are_safe_for_file_systems() {
        assert_eq!(file_name("a/b:c"), "a_b_c");
        assert_eq!(file_name(".."), "_");
        assert_eq!(file_name(&"é".repeat(40)).len(), 64);
    }
}
