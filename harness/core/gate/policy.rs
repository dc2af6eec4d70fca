//! What a suite asks of its gate, and what comes of it for the metrics that were measured.

use serde::{Deserialize, Serialize};

use super::FALSE_ALARMS;
use crate::metric::{Direction, Noise};
use crate::statistics::change_point::ChangePoint;
use crate::verdict::Margin;

/// Which changes are bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Larger is better.
    Higher,
    /// Smaller is better.
    Lower,
    /// No change is good.
    Both,
}

impl Side {
    /// All sides, as written in suites.
    pub const ALL: [(&'static str, Self); 3] = [("higher", Self::Higher), ("lower", Self::Lower), ("both", Self::Both)];

    /// Whether a difference (new less old) is bad.
    pub fn bad(self, difference: f64) -> bool {
        match self {
            Self::Higher => difference < 0.0,
            Self::Lower => difference > 0.0,
            Self::Both => difference != 0.0,
        }
    }
}

/// What a suite says of one metric.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricRequest {
    /// Metric id.
    pub metric: String,
    /// Which changes are bad; the metric's own direction where it is left out.
    pub side: Option<Side>,
    /// Changes that do not matter, as a share of the reference.
    pub floor: Option<f64>,
    /// Changes that do not matter, in the metric's unit.
    pub floor_absolute: Option<f64>,
    /// Its share of the false alarms.
    pub error_rate: Option<f64>,
}

/// The `[gate]` of a suite.
#[derive(Debug, Clone, PartialEq)]
pub struct GateRequest {
    /// The chance of any false alarm in a night.
    pub false_alarms: f64,
    /// The metrics that are judged; every metric with a good side where it is empty.
    pub metrics: Vec<MetricRequest>,
}

impl Default for GateRequest {
    fn default() -> Self {
        Self { false_alarms: FALSE_ALARMS, metrics: Vec::new() }
    }
}

/// How the series of one metric are judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Metric id.
    pub metric: String,
    /// Which changes are bad.
    pub side: Side,
    /// Changes that do not matter.
    pub margin: Margin,
    /// The chance of a false alarm in any of its series.
    pub error_rate: f64,
}

impl Rule {
    /// Whether a change of level is larger than the floor.
    pub fn matters(&self, change: &ChangePoint) -> bool {
        (change.after - change.before).abs() > self.margin.around(change.before)
    }
}

/// How a night is judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// The chance of any false alarm in a night.
    pub false_alarms: f64,
    /// One rule for each judged metric; their error rates add up to `false_alarms`.
    pub rules: Vec<Rule>,
    /// Deviations are taken to be larger by this factor, as calibration found necessary; at least 1.
    pub scale: f64,
}

impl Policy {
    /// The policy for the metrics that were measured. Metrics without an error rate of their own share evenly what the
    /// others leave of the budget.
    pub fn of<'a>(
        request: &GateRequest,
        measured: impl IntoIterator<Item = (&'a str, Direction, Noise)>,
        scale: f64,
    ) -> Self {
        let asked = |id: &str| request.metrics.iter().find(|asked| asked.metric == id);
        let mut rules = Vec::new();
        for (id, direction, noise) in measured {
            let own = asked(id);
            let natural = match direction {
                Direction::Higher => Some(Side::Higher),
                Direction::Lower => Some(Side::Lower),
                Direction::Neutral => own.map(|_| Side::Both),
            };
            let Some(side) = own.and_then(|own| own.side).or(natural) else { continue };
            if own.is_none() && !request.metrics.is_empty() {
                continue;
            }
            let mut margin = default_margin(noise);
            if let Some(own) = own.filter(|own| own.floor.is_some() || own.floor_absolute.is_some()) {
                margin = Margin { relative: own.floor.unwrap_or(0.0), absolute: own.floor_absolute.unwrap_or(0.0) };
            }
            // NaN marks a share that is still to be given out.
            let error_rate = own.and_then(|own| own.error_rate).unwrap_or(f64::NAN);
            rules.push(Rule { metric: id.to_owned(), side, margin, error_rate });
        }
        let given: f64 = rules.iter().map(|rule| rule.error_rate).filter(|rate| !rate.is_nan()).sum();
        let open = rules.iter().filter(|rule| rule.error_rate.is_nan()).count();
        let share = (request.false_alarms - given).max(0.0) / open.max(1) as f64;
        for rule in rules.iter_mut().filter(|rule| rule.error_rate.is_nan()) {
            rule.error_rate = share;
        }
        Self { false_alarms: request.false_alarms, rules, scale: scale.max(1.0) }
    }

    /// The rule of a metric.
    pub fn rule(&self, metric: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.metric == metric)
    }
}

/// The changes that do not matter where the suite does not say: none for exact metrics, 0.2 % for sampled ones (and
/// 1e-6 in their unit, for those that are zero), 2 % for timed ones.
pub fn default_margin(noise: Noise) -> Margin {
    match noise {
        Noise::Exact => Margin::default(),
        Noise::Sampled => Margin { absolute: 1e-6, relative: 0.002 },
        Noise::Timed => Margin::relative(0.02),
    }
}
