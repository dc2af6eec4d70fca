//! Calibration: how much larger deviations are than they seem, found on runs of one commit that differ by nothing.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use harness_core::gate::{Evidence, FEWEST_NIGHTS, Policy, judge};
use harness_core::seed::stream;
use harness_core::statistics::resample::{below, pair, rounds};
use harness_core::statistics::{Bootstrap, clopper_pearson};
use harness_core::{Noise, Observation, Verdict};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::files;
use crate::history::{History, in_parallel};
use crate::run::Run;

/// The layout of a calibration; readers refuse a larger one.
const SCHEMA: u32 = 1;
/// The factors that are tried, the first within the budget is taken.
pub const SCALES: [f64; 11] = [1.0, 1.1, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0];
/// Level of the bound on the rate of false alarms.
pub const LEVEL: f64 = 0.95;
/// Runs that are needed: nights to know the noise from, and one to judge.
pub const FEWEST_RUNS: usize = FEWEST_NIGHTS + 1;

/// What a calibration found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Layout.
    pub schema: u32,
    /// The runs, by name.
    pub runs: Vec<String>,
    /// Series that are judged.
    pub series: usize,
    /// Nights that were made of the runs.
    pub trials: u64,
    /// Nights with a false alarm at each factor that was tried.
    pub alarms: Vec<(f64, u64)>,
    /// The factor by which deviations are taken to be larger.
    pub scale: f64,
    /// The rate of false alarms with that factor.
    pub rate: f64,
    /// Upper bound of that rate (Clopper and Pearson).
    pub bound: f64,
    /// The budget.
    pub false_alarms: f64,
}

/// Why runs cannot be calibrated on.
#[derive(Debug, thiserror::Error)]
pub enum CalibrateError {
    /// Too few.
    #[error("{found} runs were given and {FEWEST_RUNS} are needed; run the suite again at the same commit")]
    Few {
        /// How many.
        found: usize,
    },
    /// They are not repetitions of one thing.
    #[error("{a} and {b} are no repetitions: {what} differs")]
    Different {
        /// First run.
        a: String,
        /// The other.
        b: String,
        /// What differs.
        what: &'static str,
    },
    /// Nothing is judged.
    #[error("the runs have no judged metric in common")]
    Nothing,
    /// No factor keeps the budget.
    #[error(
        "even with deviations {scale} times as large as they seem, {alarms} of {trials} nights had a false alarm; \
         set larger floors, take more rounds, or give the suite a larger budget"
    )]
    Noise {
        /// The largest factor.
        scale: f64,
        /// False alarms with it.
        alarms: u64,
        /// Nights.
        trials: u64,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One metric of one cell in all runs.
struct Pool<'a> {
    metric: &'a str,
    noise: Noise,
    observations: Vec<&'a Observation>,
}

/// Finds the smallest factor with which the gate keeps its budget on nights made of runs that differ by nothing.
///
/// Each trial takes one run as tonight and the others as the nights before. Rounds are drawn anew within each run, and of
/// sampled metrics the documents of two runs, which change places at random: all noise is real, and no difference is.
///
/// # Errors
/// [`CalibrateError`].
pub fn calibrate(runs: &[Run], policy: &Policy, trials: u64, seed: u64) -> Result<Calibration, CalibrateError> {
    if runs.len() < FEWEST_RUNS {
        return Err(CalibrateError::Few { found: runs.len() });
    }
    same(runs)?;
    let pools = pools(runs, policy);
    if pools.is_empty() {
        return Err(CalibrateError::Nothing);
    }
    let numbers: Vec<u64> = (0..trials).collect();
    let nights = in_parallel(&numbers, |number| Ok(alarm(&pools, policy, seed, *number)))?;
    let mut alarms = Vec::new();
    for (index, scale) in SCALES.into_iter().enumerate() {
        let count = nights.iter().filter(|until| **until > index).count() as u64;
        alarms.push((scale, count));
        let bound = clopper_pearson(count, trials, 2.0 * LEVEL - 1.0).high;
        if bound <= policy.false_alarms {
            return Ok(Calibration {
                schema: SCHEMA,
                runs: runs.iter().map(Run::name).collect(),
                series: pools.len(),
                trials,
                alarms,
                scale,
                rate: count as f64 / trials as f64,
                bound,
                false_alarms: policy.false_alarms,
            });
        }
    }
    let (scale, alarms) = alarms.last().copied().unwrap_or_default();
    Err(CalibrateError::Noise { scale, alarms, trials })
}

/// How many of the factors, from the smallest, give a false alarm in a night.
fn alarm(pools: &[Pool], policy: &Policy, seed: u64, number: u64) -> usize {
    let evidence = night(pools, seed, number);
    let worse = |scale: f64| {
        let judged = judge(&evidence, &Policy { scale, ..policy.clone() });
        judged.iter().flatten().any(|judged| judged.verdict == Verdict::Worse)
    };
    SCALES.into_iter().take_while(|scale| worse(*scale)).count()
}

/// The evidence of one night without any change.
fn night(pools: &[Pool], seed: u64, number: u64) -> Vec<Evidence> {
    let mut random = stream(seed, &["calibrate", &number.to_string()]);
    let count = pools.first().map_or(0, |pool| pool.observations.len());
    // The order of the runs is the same for all series, so that what one run has in common stays together.
    let mut order: Vec<usize> = (0..count).collect();
    for place in (1..count).rev() {
        order.swap(place, below(&mut random, place + 1));
    }
    let bootstrap = Bootstrap { seed: number, ..Bootstrap::default() };
    let (tonight, before) = (order[count - 1], &order[..count - 1]);
    pools
        .iter()
        .map(|pool| {
            let at = |run: usize| pool.observations[run];
            let mut evidence = Evidence {
                metric: pool.metric.to_owned(),
                noise: pool.noise,
                tonight: f64::NAN,
                effect: Err("times are compared with all nights before".to_owned()),
                past: Vec::new(),
                change: None,
            };
            if pool.noise == Noise::Timed {
                let mut value = |run: usize| rounds(at(run), &mut random).value().unwrap_or(f64::NAN);
                evidence.past = before.iter().map(|run| value(*run)).collect();
                evidence.tonight = value(tonight);
                return evidence;
            }
            let (a, b) = (at(before[before.len() - 1]), at(tonight));
            let (a, b) = if pool.noise == Noise::Sampled && a.samples != b.samples {
                pair(a, b, units(a), true, &mut random)
            } else {
                (a.clone(), b.clone())
            };
            evidence.tonight = b.value().unwrap_or(f64::NAN);
            evidence.effect = bootstrap.paired(&a, &b).map_err(|refusal| refusal.to_string());
            evidence
        })
        .collect()
}

fn units(observation: &Observation) -> usize {
    let mut clusters = observation.clusters.clone();
    clusters.sort_unstable();
    clusters.dedup();
    if clusters.len() < 2 { observation.samples.len() } else { clusters.len() }
}

fn same(runs: &[Run]) -> Result<(), CalibrateError> {
    let first = &runs[0];
    for other in &runs[1..] {
        let (a, b) = (&first.stamp, &other.stamp);
        let checks = [
            ("the commit", a.commit == b.commit && a.dirty == b.dirty),
            ("the suite", a.suite.hash == b.suite.hash),
            ("the class of machines", crate::history::class(first) == crate::history::class(other)),
            ("what was read", a.inputs == b.inputs),
        ];
        if let Some((what, _)) = checks.into_iter().find(|(_, same)| !same) {
            return Err(CalibrateError::Different { a: first.name(), b: other.name(), what });
        }
    }
    Ok(())
}

/// The judged series that every run has a number for, measured alike.
fn pools<'a>(runs: &'a [Run], policy: &Policy) -> Vec<Pool<'a>> {
    let mut all: HashMap<(String, &str), Vec<&Observation>> = HashMap::new();
    for run in &runs[1..] {
        for record in &run.records {
            for seen in record.cell.observations.iter().filter(|seen| seen.value().is_some_and(f64::is_finite)) {
                all.entry((record.cell.cell.to_string(), seen.metric.as_str())).or_default().push(seen);
            }
        }
    }
    let mut pools = Vec::new();
    for record in &runs[0].records {
        for seen in &record.cell.observations {
            let Some(info) = runs[0].metric(&seen.metric).filter(|info| policy.rule(&info.id).is_some()) else {
                continue;
            };
            let others = all.remove(&(record.cell.cell.to_string(), seen.metric.as_str())).unwrap_or_default();
            let alike = others.iter().all(|other| other.protocol == seen.protocol);
            if others.len() + 1 == runs.len() && alike && seen.value().is_some_and(f64::is_finite) {
                let observations = std::iter::once(seen).chain(others).collect();
                pools.push(Pool { metric: &info.id, noise: info.noise, observations });
            }
        }
    }
    pools
}

fn path(dir: &Path) -> PathBuf {
    dir.join("calibration.json")
}

/// The calibration of a history, if it has one.
pub(crate) fn read(dir: &Path) -> Result<Option<Calibration>, StoreError> {
    let path = path(dir);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::read(&path)(error)),
    };
    let found: Calibration = serde_json::from_slice(&bytes).map_err(|error| StoreError::damaged(&path, error))?;
    if found.schema > SCHEMA {
        return Err(StoreError::Newer { path, found: found.schema, known: SCHEMA });
    }
    Ok(Some(found))
}

impl History {
    /// The calibration that later nights are judged with.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Newer`].
    pub fn calibration(&self) -> Result<Option<Calibration>, StoreError> {
        read(self.dir())
    }

    /// Judges later nights with a calibration.
    ///
    /// # Errors
    /// [`StoreError::Write`].
    pub fn keep_calibration(&self, calibration: &Calibration) -> Result<(), StoreError> {
        fs::create_dir_all(self.dir()).map_err(StoreError::write(self.dir()))?;
        let path = path(self.dir());
        let mut bytes =
            serde_json::to_vec_pretty(calibration).map_err(|error| StoreError::write(&path)(error.into()))?;
        bytes.push(b'\n');
        files::write(&path, &bytes)
    }
}

#[cfg(test)]
#[path = "calibrate_tests.rs"]
mod tests;
