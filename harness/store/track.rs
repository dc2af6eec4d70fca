//! Tonight against the nights before: evidence for the gate, and the trend of every series.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use harness_core::gate::{self, Evidence, Judgement, MARK_LEVEL, Policy, RECENT, Rule};
use harness_core::statistics::Bootstrap;
use harness_core::statistics::change_point::{ChangePoint, change_points, steps};
use harness_core::trend::{NightLabel, Trend, TrendPoint, TrendSeries};
use harness_core::{Noise, Observation, Verdict};

use crate::error::StoreError;
use crate::history::{Baseline, Entry, History, Pin, Point, in_parallel};
use crate::run::{MetricInfo, Run};

/// Series whose values repeat in at least this share of nights have no noise between nights: each step is a change.
const QUIET: f64 = 0.75;
/// Steps smaller than this share are rounding.
const ROUNDING: f64 = 1e-6;

type Samples = Arc<HashMap<(String, String), Observation>>;

/// Judges a run by the nights before it. The run itself must not be among them; see [`History::before`].
///
/// # Errors
/// [`StoreError`] when samples of the reference cannot be read.
pub fn track(history: &History, run: &Run, policy: &Policy, bootstrap: Bootstrap) -> Result<Trend, StoreError> {
    let tracker = Tracker {
        history,
        policy,
        bootstrap,
        pinned: history.pinned()?,
        baseline: Mutex::new(None),
        samples: Mutex::new(HashMap::new()),
    };
    let tonight = tonight(history, run);
    let looked = in_parallel(&tonight, |series| tracker.look(series))?;
    let gathered: Vec<Evidence> = looked.iter().filter_map(|look| look.evidence.clone()).collect();
    let mut judged = gate::judge(&gathered, policy).into_iter();
    let mut series: Vec<TrendSeries> = looked
        .into_iter()
        .map(|mut look| {
            if look.evidence.is_some() {
                look.series.judgement = judged.next().flatten();
            }
            look.series
        })
        .collect();
    series.extend(gone(history, run, policy, &tonight));
    series.sort_by_key(|series| series.judgement.as_ref().map_or(6, |judged| rank(judged.verdict)));
    let failed = run
        .failed()
        .map(|(cell, failure)| (cell.cell.to_string(), format!("{}: {}", failure.stage, failure.reason)))
        .collect();
    let nights = history.entries().iter().map(label).chain([NightLabel {
        run: run.name(),
        started: run.stamp.started.clone(),
        commit: run.stamp.commit.clone(),
        dirty: run.stamp.dirty,
    }]);
    let mut trend = Trend {
        title: history.suite().to_owned(),
        class: history.class().to_owned(),
        nights: nights.collect(),
        series,
        failed,
        reference: tracker.reference(),
        summary: Vec::new(),
        notes: history.notes().to_vec(),
    };
    trend.summary = summary(&trend, policy);
    Ok(trend)
}

fn label(entry: &Entry) -> NightLabel {
    NightLabel {
        run: entry.run.clone(),
        started: entry.started.clone(),
        commit: entry.commit.clone(),
        dirty: entry.dirty,
    }
}

fn rank(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Worse => 0,
        Verdict::Failed => 1,
        Verdict::Gone => 2,
        Verdict::Better => 3,
        Verdict::CannotTell => 4,
        Verdict::New | Verdict::Same => 5,
    }
}

/// One metric of one cell as it was measured tonight.
struct Tonight<'a> {
    cell: String,
    metric: &'a MetricInfo,
    observation: &'a Observation,
    value: Option<f64>,
    manner: u32,
}

fn tonight<'a>(history: &History, run: &'a Run) -> Vec<Tonight<'a>> {
    let mut all = Vec::new();
    for record in &run.records {
        let cell = record.cell.cell.to_string();
        for observation in &record.cell.observations {
            let Some(metric) = run.metric(&observation.metric) else { continue };
            let value = record.value(&observation.metric);
            let manner = history.manner_of(observation.protocol.as_deref(), metric.version);
            all.push(Tonight { cell: cell.clone(), metric, observation, value, manner });
        }
    }
    all
}

/// What was found of one series.
struct Look {
    series: TrendSeries,
    /// What the gate is given; `None` where it has nothing to judge.
    evidence: Option<Evidence>,
}

struct Tracker<'a> {
    history: &'a History,
    policy: &'a Policy,
    bootstrap: Bootstrap,
    pinned: Option<(Pin, Baseline)>,
    baseline: Mutex<Option<Samples>>,
    samples: Mutex<HashMap<usize, Samples>>,
}

impl Tracker<'_> {
    fn reference(&self) -> String {
        match (&self.pinned, self.history.entries().last()) {
            (Some((pin, baseline)), _) => format!("the pinned baseline {} ({})", pin.name, baseline.entry.run),
            (None, Some(last)) => format!("the night before ({})", last.run),
            (None, None) => "nothing: this is the first night".to_owned(),
        }
    }

    fn look(&self, tonight: &Tonight) -> Result<Look, StoreError> {
        let last = self.history.entries().len();
        let rule = self.policy.rule(&tonight.metric.id);
        let points =
            self.history.find(&tonight.cell, &tonight.metric.id).map_or(&[][..], |series| series.points.as_slice());
        let alike: Vec<Point> = points.iter().copied().filter(|point| point.manner == tonight.manner).collect();
        let mut values: Vec<f64> = alike.iter().map(|point| point.value).collect();
        let mut nights: Vec<usize> = alike.iter().map(|point| point.entry).collect();
        let finite = tonight.value.filter(|value| value.is_finite());
        values.extend(finite);
        nights.extend(finite.map(|_| last));
        let changes = changes(&values, tonight.metric.noise, rule);
        let mut series = TrendSeries {
            cell: tonight.cell.clone(),
            metric: tonight.metric.id.clone(),
            unit: tonight.metric.unit.clone(),
            direction: tonight.metric.direction,
            points: points
                .iter()
                .map(|point| TrendPoint { night: point.entry, value: point.value })
                .chain(finite.map(|value| TrendPoint { night: last, value }))
                .collect(),
            breaks: breaks(points, finite.map(|_| (last, tonight.manner))),
            changes: changes.iter().map(|change| ChangePoint { at: nights[change.at], ..*change }).collect(),
            judgement: None,
        };
        let Some(rule) = rule else { return Ok(Look { series, evidence: None }) };
        let Some(value) = tonight.value else {
            let reason = tonight.observation.absent.clone().unwrap_or_else(|| "it was not measured".to_owned());
            if !points.is_empty() {
                series.judgement = Some(Judgement::plain(Verdict::Gone, reason));
            }
            return Ok(Look { series, evidence: None });
        };
        let compared = self.compared_with(tonight, &alike)?;
        if alike.is_empty() && compared.is_none() {
            let reason = if points.is_empty() {
                "its first night"
            } else {
                "measured in another way than before (protocol or metric version), which is never subtracted"
            };
            series.judgement = Some(Judgement::plain(Verdict::New, reason));
            return Ok(Look { series, evidence: None });
        }
        let effect = match (tonight.metric.noise, compared) {
            (Noise::Timed, _) => Err("times are compared with all nights before".to_owned()),
            (_, None) => Err("the reference does not have it".to_owned()),
            (_, Some(reference)) => {
                self.bootstrap.paired(&reference, tonight.observation).map_err(|refusal| refusal.to_string())
            }
        };
        let before = alike.len();
        let start = changes.iter().map(|change| change.at).filter(|at| *at < before).max().unwrap_or(0);
        let evidence = Evidence {
            metric: tonight.metric.id.clone(),
            noise: tonight.metric.noise,
            tonight: value,
            effect,
            past: values[start..before].to_vec(),
            change: self.held(tonight, &series.changes, rule)?,
        };
        Ok(Look { series, evidence: Some(evidence) })
    }

    /// The observation that tonight's is compared with: the pinned baseline's, or that of the last night that has it.
    fn compared_with(&self, tonight: &Tonight, alike: &[Point]) -> Result<Option<Observation>, StoreError> {
        if tonight.metric.noise == Noise::Timed {
            return Ok(None);
        }
        let key = (tonight.cell.clone(), tonight.metric.id.clone());
        if let Some((_, baseline)) = &self.pinned {
            let mut held = lock(&self.baseline);
            let samples = if let Some(samples) = &*held {
                Arc::clone(samples)
            } else {
                let read: Samples = Arc::new(self.history.baseline_observations(baseline)?);
                *held = Some(Arc::clone(&read));
                read
            };
            return Ok(samples.get(&key).cloned());
        }
        let Some(last) = alike.last() else { return Ok(None) };
        Ok(self.samples_of(last.entry)?.get(&key).cloned())
    }

    fn samples_of(&self, entry: usize) -> Result<Samples, StoreError> {
        let mut held = lock(&self.samples);
        if let Some(samples) = held.get(&entry) {
            return Ok(Arc::clone(samples));
        }
        let samples: Samples = Arc::new(self.history.observations(entry)?);
        held.insert(entry, Arc::clone(&samples));
        Ok(samples)
    }

    /// The net change of level of the last [`RECENT`] nights, those accepted by a pin left out, tonight left to the
    /// comparison with the reference.
    fn held(&self, tonight: &Tonight, changes: &[ChangePoint], rule: &Rule) -> Result<Option<ChangePoint>, StoreError> {
        let last = self.history.entries().len();
        let accepted = self.pinned.as_ref().map_or(0, |(pin, _)| pin.after);
        let open =
            |at: usize| at + RECENT >= last && self.history.entries().get(at).is_some_and(|e| e.sequence > accepted);
        let recent: Vec<&ChangePoint> = changes.iter().filter(|change| open(change.at)).collect();
        let (Some(first), Some(latest)) = (recent.first(), recent.last()) else { return Ok(None) };
        let net = ChangePoint { before: first.before, after: latest.after, ..**latest };
        if !rule.matters(&net) {
            return Ok(None);
        }
        let along = recent.iter().filter(|change| (change.after > change.before) == (net.after > net.before));
        let Some(main) = along.max_by(|a, b| (a.after - a.before).abs().total_cmp(&(b.after - b.before).abs())) else {
            return Ok(None);
        };
        let mut held = ChangePoint { at: main.at, probability: main.probability, score: main.score, ..net };
        if main.score == 0.0 && tonight.metric.noise == Noise::Sampled {
            // A step without noise between nights may still be an accident of the passages that were chosen.
            let key = (tonight.cell.clone(), tonight.metric.id.clone());
            let sides = (self.samples_of(main.at.saturating_sub(1))?, self.samples_of(main.at)?);
            let effect = sides.0.get(&key).zip(sides.1.get(&key)).map(|(a, b)| self.bootstrap.paired(a, b));
            held.probability =
                effect.and_then(Result::ok).and_then(|effect| effect.probability).map_or(1.0, |p| p / 2.0);
        }
        Ok(Some(held))
    }
}

/// A lock that a panic elsewhere does not make useless: what it guards is only ever replaced whole.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The changes of level of a series.
pub fn changes(values: &[f64], noise: Noise, rule: Option<&Rule>) -> Vec<ChangePoint> {
    if noise == Noise::Exact {
        return steps(values, 0.0);
    }
    let repeats = values.windows(2).filter(|pair| (pair[1] - pair[0]).abs() <= ROUNDING * pair[0].abs()).count();
    if values.len() > 1 && repeats as f64 >= QUIET * (values.len() - 1) as f64 {
        return steps(values, rule.map_or(ROUNDING, |rule| rule.margin.relative.max(ROUNDING)));
    }
    change_points(values, MARK_LEVEL)
}

/// Nights that begin a stretch measured in another way.
fn breaks(points: &[Point], tonight: Option<(usize, u32)>) -> Vec<usize> {
    let all: Vec<(usize, u32)> = points.iter().map(|point| (point.entry, point.manner)).chain(tonight).collect();
    all.windows(2).filter(|pair| pair[0].1 != pair[1].1).map(|pair| pair[1].0).collect()
}

/// Judged series of the last night that tonight does not have, those of failed cells left out.
fn gone(history: &History, run: &Run, policy: &Policy, tonight: &[Tonight]) -> Vec<TrendSeries> {
    let there: HashSet<(&str, &str)> =
        tonight.iter().map(|series| (series.cell.as_str(), series.metric.id.as_str())).collect();
    let failed: HashSet<String> = run.failed().map(|(cell, _)| cell.cell.to_string()).collect();
    let last = history.entries().len().checked_sub(1);
    history
        .series()
        .iter()
        .filter(|series| last.is_some() && series.points.last().map(|point| point.entry) == last)
        .filter(|series| policy.rule(&series.metric.id).is_some() && !failed.contains(&series.cell))
        .filter(|series| !there.contains(&(series.cell.as_str(), series.metric.id.as_str())))
        .map(|series| TrendSeries {
            cell: series.cell.clone(),
            metric: series.metric.id.clone(),
            unit: series.metric.unit.clone(),
            direction: series.metric.direction,
            points: series.points.iter().map(|p| TrendPoint { night: p.entry, value: p.value }).collect(),
            breaks: breaks(&series.points, None),
            changes: Vec::new(),
            judgement: Some(Judgement::plain(Verdict::Gone, "the night before had it")),
        })
        .collect()
}

/// The outcome in sentences, the most important first.
fn summary(trend: &Trend, policy: &Policy) -> Vec<String> {
    let counts = [Verdict::Worse, Verdict::Better, Verdict::Same, Verdict::CannotTell, Verdict::New, Verdict::Gone]
        .map(|verdict| (trend.count(verdict), verdict));
    let said: Vec<String> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, verdict)| format!("{count} {verdict}")).collect();
    let mut lines = Vec::new();
    if !trend.failed.is_empty() {
        lines.push(format!("{} cells failed.", trend.failed.len()));
    }
    let judged = if said.is_empty() { "no series is judged".to_owned() } else { said.join(", ") };
    lines.push(format!("{judged}; compared with {}.", trend.reference));
    lines.push(format!(
        "The chance of any false alarm in a night is held at {} %{}.",
        100.0 * policy.false_alarms,
        if policy.scale > 1.0 {
            format!(", with deviations {} times as large as they seem", policy.scale)
        } else {
            String::new()
        }
    ));
    lines
}

#[cfg(test)]
#[path = "track_tests.rs"]
mod tests;
