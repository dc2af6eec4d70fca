//! The gate of a night: from tonight's numbers and those of the nights before to one word for each series, with a budget
//! of false alarms for all of them together.
//!
//! A series is worse when three things agree: the change is significant after Holm's correction within its metric's share
//! of the budget, it is larger than the floor that the suite sets, and it lies beyond the fence of past changes. Half of
//! each share goes to this test, half to changes of level that only show over several nights.

mod policy;
mod weigh;

pub use policy::{GateRequest, MetricRequest, Policy, Rule, Side, default_margin};
pub use weigh::Night;

use serde::{Deserialize, Serialize};

use crate::metric::Noise;
use crate::statistics::change_point::ChangePoint;
use crate::statistics::{Effect, holm};
use crate::verdict::Verdict;
use weigh::{Weighed, weigh};

/// The chance of any false alarm in a night, over the whole suite, unless the suite says otherwise.
pub const FALSE_ALARMS: f64 = 0.01;
/// Nights that must be known before a metric with noise between nights is judged.
pub const FEWEST_NIGHTS: usize = 5;
/// A change of level this many nights back is still held against a series, unless a baseline pinned since accepts it.
pub const RECENT: usize = 14;
/// Changes of level are marked in trends at this probability.
pub const MARK_LEVEL: f64 = 0.01;
/// The chance of seeing a change that counts are stated for.
pub const POWER: f64 = 0.95;
/// Level of the interval that has to lie within the floor for `same`.
pub const LEVEL: f64 = 0.95;

/// What is known of one series tonight.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// Metric id.
    pub metric: String,
    /// What makes it noisy.
    pub noise: Noise,
    /// Tonight's value.
    pub tonight: f64,
    /// Tonight against the reference, from raw samples; or why there is no such comparison.
    pub effect: Result<Effect, String>,
    /// Values of earlier nights since the last change of level, measured alike, oldest first.
    pub past: Vec<f64>,
    /// The last change of level that is still held against the series.
    pub change: Option<ChangePoint>,
}

/// What the gate says of one series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// In one word.
    pub verdict: Verdict,
    /// What tonight is compared with: the reference, or the mean of the nights before.
    pub level: Option<f64>,
    /// Tonight less the level.
    pub difference: Option<f64>,
    /// Interval of the difference, at [`LEVEL`].
    pub interval: Option<(f64, f64)>,
    /// Probability of a change this bad without one, after Holm's correction within the metric.
    pub probability: Option<f64>,
    /// What the probability must not exceed.
    pub threshold: f64,
    /// Differences up to this do not matter, in the metric's unit.
    pub floor: f64,
    /// Differences up to this happen anyway, in the metric's unit; `None` with too few past changes.
    pub fence: Option<f64>,
    /// The smallest change that would be told with a chance of [`POWER`], in the metric's unit.
    pub detectable: Option<f64>,
    /// Units (documents, windows) with which a change of the floor's size would be told with a chance of [`POWER`].
    pub needed: Option<u64>,
    /// Whether the verdict comes from a change of level some nights ago.
    pub since: Option<ChangePoint>,
    /// Why, in words.
    pub reason: String,
}

impl Judgement {
    /// A judgement that no numbers led to.
    pub fn plain(verdict: Verdict, reason: impl Into<String>) -> Self {
        Self {
            verdict,
            level: None,
            difference: None,
            interval: None,
            probability: None,
            threshold: 0.0,
            floor: 0.0,
            fence: None,
            detectable: None,
            needed: None,
            since: None,
            reason: reason.into(),
        }
    }
}

/// Judges all series of a night together. A series whose metric has no rule is left out (`None`).
pub fn judge(evidence: &[Evidence], policy: &Policy) -> Vec<Option<Judgement>> {
    let mut judged: Vec<Option<Judgement>> = evidence.iter().map(|_| None).collect();
    for rule in &policy.rules {
        let places: Vec<usize> = (0..evidence.len()).filter(|at| evidence[*at].metric == rule.metric).collect();
        let budget = rule.error_rate / 2.0;
        // The strictest level that Holm's correction may ask of one series; counts are stated for it.
        let level = budget / places.len().max(1) as f64;
        let weighed: Vec<Weighed> = places.iter().map(|at| weigh(&evidence[*at], rule, policy.scale, level)).collect();
        let worse = holm(&weighed.iter().map(|series| series.worse).collect::<Vec<_>>());
        let better = holm(&weighed.iter().map(|series| series.better).collect::<Vec<_>>());
        let drift: Vec<f64> =
            places.iter().map(|at| evidence[*at].change.map_or(1.0, |change| change.probability)).collect();
        let drift = holm(&drift);
        for (index, (at, series)) in places.iter().zip(weighed).enumerate() {
            let change = evidence[*at].change.filter(|change| drift[index] <= budget && rule.matters(change));
            let adjusted = Adjusted { worse: worse[index], better: better[index], budget };
            judged[*at] = Some(decide(series, rule, &adjusted, change));
        }
    }
    judged
}

struct Adjusted {
    worse: f64,
    better: f64,
    budget: f64,
}

fn decide(series: Weighed, rule: &Rule, adjusted: &Adjusted, change: Option<ChangePoint>) -> Judgement {
    let far = series.difference.is_some_and(|difference| {
        difference.abs() > series.floor && series.fence.is_none_or(|fence| difference.abs() > fence)
    });
    let mut judgement = Judgement {
        verdict: Verdict::CannotTell,
        level: series.level,
        difference: series.difference,
        interval: series.interval,
        probability: (!adjusted.worse.is_nan()).then_some(adjusted.worse),
        threshold: adjusted.budget,
        floor: series.floor,
        fence: series.fence,
        detectable: series.detectable,
        needed: None,
        since: None,
        reason: String::new(),
    };
    let tell = |verdict, reason: &str| (verdict, reason.to_owned());
    (judgement.verdict, judgement.reason) = if far && adjusted.worse <= adjusted.budget {
        tell(Verdict::Worse, &series.test)
    } else if let Some(change) = change {
        judgement.since = Some(change);
        let verdict = if rule.side.bad(change.after - change.before) { Verdict::Worse } else { Verdict::Better };
        tell(verdict, "its level changed some nights ago")
    } else if far && adjusted.better <= adjusted.budget {
        tell(Verdict::Better, &series.test)
    } else if series.within_floor() {
        tell(Verdict::Same, &series.test)
    } else {
        judgement.needed = series.needed;
        (Verdict::CannotTell, series.unknown.clone().unwrap_or_else(|| undecided(&series)))
    };
    judgement
}

/// Why a series with known noise cannot be told.
fn undecided(series: &Weighed) -> String {
    match (series.needed, series.units, series.fence, series.difference) {
        (Some(needed), Some(units), ..) if needed > units => {
            format!("{}; a change as large as the floor needs about {needed} of them", series.test)
        }
        (_, _, Some(fence), Some(difference)) if difference.abs() > series.floor && difference.abs() <= fence => {
            format!("{}; changes as large as this have happened before without cause", series.test)
        }
        _ => format!("{}; its interval reaches beyond the floor", series.test),
    }
}

#[cfg(test)]
#[path = "gate/mod_tests.rs"]
mod tests;
