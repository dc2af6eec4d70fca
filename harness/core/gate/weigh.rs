//! The evidence of one series, weighed by itself.

use super::{Evidence, FEWEST_NIGHTS, LEVEL, POWER, Rule, Side};
use crate::metric::Noise;
use crate::statistics::fence::{fence, past_changes};
use crate::statistics::{Power, deviation, mean, normal_cumulative, normal_quantile, student_reach, student_tail};

/// What one series says before all are looked at together.
#[derive(Debug, Clone, Default)]
pub(super) struct Weighed {
    /// Probability of a change this bad by chance; NaN where no test was made.
    pub worse: f64,
    /// Probability of a change this good by chance; NaN where no test was made.
    pub better: f64,
    pub level: Option<f64>,
    pub difference: Option<f64>,
    pub interval: Option<(f64, f64)>,
    pub floor: f64,
    pub fence: Option<f64>,
    pub detectable: Option<f64>,
    pub needed: Option<u64>,
    pub units: Option<u64>,
    pub test: String,
    /// Why nothing can be said.
    pub unknown: Option<String>,
}

impl Weighed {
    pub fn within_floor(&self) -> bool {
        self.unknown.is_none()
            && self.difference.is_some_and(|difference| {
                let (low, high) = self.interval.unwrap_or((difference, difference));
                -self.floor <= low && high <= self.floor
            })
    }
}

/// The nights before tonight, and how far one more may lie from them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Night {
    /// Their mean.
    pub mean: f64,
    /// Standard error of one more night about that mean: `s √(1 + 1/n)`.
    pub error: f64,
    /// Degrees of freedom of `s`.
    pub freedom: f64,
}

impl Night {
    /// `None` for fewer than [`FEWEST_NIGHTS`].
    pub fn of(past: &[f64]) -> Option<Self> {
        if past.len() < FEWEST_NIGHTS {
            return None;
        }
        let count = past.len() as f64;
        Some(Self { mean: mean(past)?, error: deviation(past)? * (1.0 + 1.0 / count).sqrt(), freedom: count - 1.0 })
    }

    /// Two-sided probability of a night this far from the mean (Student's prediction interval), the error taken to be
    /// larger by `scale`.
    pub fn probability(&self, tonight: f64, scale: f64) -> f64 {
        let gap = tonight - self.mean;
        // Equal values leave rounding in their mean, which is no difference.
        if gap.abs() <= 1e-12 * self.mean.abs() {
            return 1.0;
        }
        student_tail(gap / (self.error * scale), self.freedom)
    }
}

pub(super) fn weigh(evidence: &Evidence, rule: &Rule, scale: f64, level: f64) -> Weighed {
    if !evidence.tonight.is_finite() {
        let unknown = Some(format!("tonight's value is {}", evidence.tonight));
        return Weighed { worse: f64::NAN, better: f64::NAN, unknown, ..Weighed::default() };
    }
    match evidence.noise {
        Noise::Timed => timed(evidence, rule, scale, level),
        Noise::Sampled | Noise::Exact => compared(evidence, rule, scale, level),
    }
}

/// A metric whose noise lies between nights: only the nights before can tell how large it is.
fn timed(evidence: &Evidence, rule: &Rule, scale: f64, level: f64) -> Weighed {
    let Some(night) = Night::of(&evidence.past) else {
        let unknown = format!(
            "{} nights are known since its last change, and {FEWEST_NIGHTS} are needed to know its noise",
            evidence.past.len()
        );
        let level = mean(&evidence.past);
        let difference = level.map(|level| evidence.tonight - level);
        let floor = level.map_or(0.0, |level| rule.margin.around(level));
        return Weighed {
            worse: f64::NAN,
            better: f64::NAN,
            level,
            difference,
            floor,
            unknown: Some(unknown),
            ..Weighed::default()
        };
    };
    let difference = evidence.tonight - night.mean;
    let error = night.error * scale;
    let reach = student_reach(1.0 - LEVEL, night.freedom) * error;
    let (worse, better) = sides(rule.side, difference, night.probability(evidence.tonight, scale));
    Weighed {
        worse,
        better,
        level: Some(night.mean),
        difference: Some(difference),
        interval: Some((difference - reach, difference + reach)),
        floor: rule.margin.around(night.mean),
        fence: fence(&past_changes(&evidence.past)).map(|fence| fence * night.mean.abs()),
        detectable: Some(reaches(level, night.freedom) * error),
        test: format!("against the {} nights before", evidence.past.len()),
        ..Weighed::default()
    }
}

/// A metric that is compared with its reference on the same samples, or exactly.
fn compared(evidence: &Evidence, rule: &Rule, scale: f64, level: f64) -> Weighed {
    let unknown = |reason: &str| Weighed {
        worse: f64::NAN,
        better: f64::NAN,
        unknown: Some(reason.to_owned()),
        ..Weighed::default()
    };
    let effect = match &evidence.effect {
        Ok(effect) => effect,
        Err(reason) => return unknown(reason),
    };
    let floor = rule.margin.around(effect.a);
    let mut weighed = Weighed {
        level: Some(effect.a),
        difference: Some(effect.difference),
        floor,
        fence: fence(&past_changes(&evidence.past)).map(|fence| fence * effect.a.abs()),
        test: effect.test.clone(),
        ..Weighed::default()
    };
    if effect.difference == 0.0 || evidence.noise == Noise::Exact {
        // Nothing is uncertain about equal numbers, nor about numbers without noise.
        let chance = if effect.difference == 0.0 { 1.0 } else { 0.0 };
        (weighed.worse, weighed.better) = sides(rule.side, effect.difference, chance);
        if effect.difference == 0.0 { "equal" } else { "exact" }.clone_into(&mut weighed.test);
        return weighed;
    }
    let (Some(probability), Some(interval)) = (effect.probability, effect.interval) else {
        weighed.worse = f64::NAN;
        weighed.better = f64::NAN;
        weighed.unknown = Some(format!("{}: its noise is not known", effect.test));
        return weighed;
    };
    let mut chance = inflated(probability, scale);
    if let Some(night) = Night::of(&evidence.past) {
        chance = chance.max(night.probability(evidence.tonight, scale));
    }
    (weighed.worse, weighed.better) = sides(rule.side, effect.difference, chance);
    let stretch = |end: f64| effect.difference + (end - effect.difference) * scale;
    weighed.interval = Some((stretch(interval.low), stretch(interval.high)));
    // Both tests are two-sided at twice the one-sided level.
    let power = Power { alpha: 2.0 * level, power: POWER };
    weighed.detectable = effect.detectable(power).map(|size| size * scale);
    weighed.needed = effect.units_needed(power, floor / scale);
    weighed.units = effect.evidence.as_ref().map(|evidence| evidence.studentised.units as u64);
    weighed
}

/// One-sided probabilities of being worse and better, from a two-sided one and the side the difference lies on.
fn sides(side: Side, difference: f64, two_sided: f64) -> (f64, f64) {
    let (this, other) = (two_sided / 2.0, 1.0 - two_sided / 2.0);
    match side {
        Side::Both => (two_sided, 1.0),
        _ if difference == 0.0 => (1.0, 1.0),
        _ if side.bad(difference) => (this, other),
        _ => (other, this),
    }
}

/// The probability of the same deviation when deviations are larger by `scale`.
fn inflated(probability: f64, scale: f64) -> f64 {
    if scale == 1.0 || probability <= 0.0 || probability >= 1.0 {
        return probability;
    }
    let deviations = -normal_quantile(probability / 2.0) / scale;
    (2.0 * normal_cumulative(-deviations)).min(1.0)
}

/// Standard errors between no change and one that is told at a one-sided `level` with a chance of [`POWER`].
fn reaches(level: f64, freedom: f64) -> f64 {
    student_reach(2.0 * level, freedom) + student_reach(2.0 * (1.0 - POWER), freedom)
}
