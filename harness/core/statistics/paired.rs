//! The difference of two observations on the same samples.

use super::bootstrap::{Bootstrap, note, too_few};
use super::effect::{Effect, Evidence, Scale, Test};
use super::units::{Membership, Units, membership, right_answers};
use super::{
    Discordant, Distribution, Interval, MINIMUM_UNITS, Refusal, Studentised, clopper_pearson, sign_flip, trimmed_mean,
};
use crate::metric::Reduction;
use crate::record::Observation;

impl Bootstrap {
    /// The difference of two observations on the same samples: the same units are drawn for both.
    ///
    /// The interval is the bootstrap's. The p-value is that of the studentised difference of clusters; for accuracies
    /// (samples of 0 and 1) that of McNemar's exact test where each item stands alone, and of all signs of the clusters'
    /// differences otherwise; for times taken in the same rounds that of the trimmed mean over rounds of the logarithm of
    /// the ratio.
    ///
    /// # Errors
    /// A [`Refusal`] when the two were not measured on the same samples in the same way.
    pub fn paired(&self, a: &Observation, b: &Observation) -> Result<Effect, Refusal> {
        let mut effect = Effect::bare(a, b)?;
        if a.samples.len() != b.samples.len() {
            return Err(Refusal::Count { a: a.samples.len(), b: b.samples.len() });
        }
        same_weights(a, b)?;
        let (members, others) = (membership(a), membership(b));
        if let Some(index) = (0..members.unit.len()).find(|index| members.unit[*index] != others.unit[*index]) {
            return Err(Refusal::Cluster { index });
        }
        if a.reduction == Reduction::Single {
            "one number on each side".clone_into(&mut effect.test);
            return Ok(effect);
        }
        let answers = right_answers(a).is_some() && right_answers(b).is_some();
        let unit = members.noun(a);
        effect.test = format!("paired bootstrap over {} {unit}", members.count);
        effect.note = note(&members);
        if a.reduction != Reduction::Median && a.samples == b.samples {
            return Ok(self.equal(effect, &members, answers, unit));
        }
        if members.count < MINIMUM_UNITS {
            effect.test = too_few(members.count, unit);
            return Ok(effect);
        }
        let (left, right) = (Units::gather(a, &members), Units::gather(b, &members));
        self.bootstrap_pair(&mut effect, &left, &right, members.count, a.reduction != Reduction::Median);
        match (&left, &right) {
            (Units::Sums { sums: first, .. }, Units::Sums { sums: second, .. }) => {
                let clusters: Vec<(f64, f64)> =
                    first.iter().zip(second).map(|((x, weight), (y, _))| (y - x, *weight)).collect();
                let scale = if a.reduction == Reduction::ExpRatio { Scale::LogRatio } else { Scale::Difference };
                let note = effect.note.clone();
                if let Some(studentised) = Studentised::of_clusters(&clusters) {
                    effect.judge(scale, studentised.above_rounding(rounding(first, second)), unit);
                }
                if answers {
                    judge_answers(&mut effect, a, b, &members, &clusters);
                    // What is to be said of Student's distribution does not concern an exact test.
                    effect.note = note;
                }
            }
            _ => judge_rounds(&mut effect, a, b, unit),
        }
        Ok(effect)
    }

    fn bootstrap_pair(&self, effect: &mut Effect, left: &Units, right: &Units, count: usize, smooth: bool) {
        let mut scratch = Vec::new();
        let mut both = |drawn: &[usize]| {
            let first = left.statistic(drawn.iter().copied(), &mut scratch);
            (first, right.statistic(drawn.iter().copied(), &mut scratch))
        };
        effect.interval = self.interval(count, effect.difference, smooth, |drawn| {
            let (first, second) = both(drawn);
            second - first
        });
        if let Some(relative) = effect.relative {
            effect.relative_interval = self.interval(count, relative, smooth, |drawn| {
                let (first, second) = both(drawn);
                second / first - 1.0
            });
        }
    }

    /// Every sample is the same on both sides, which is known however few there are.
    fn equal(&self, mut effect: Effect, members: &Membership, answers: bool, unit: &str) -> Effect {
        let none = Interval { low: 0.0, high: 0.0, level: self.level };
        effect.interval = Some(none);
        effect.relative_interval = effect.relative.map(|_| none);
        effect.probability = Some(1.0);
        effect.add_note("every sample is the same on both sides");
        if answers && members.alone() {
            let most = clopper_pearson(0, members.count as u64, self.level).high;
            effect.add_note(&format!("of {unit} like these up to {:.2} % may still differ", 100.0 * most));
        }
        effect
    }
}

/// Replaces the studentised test of an accuracy by one that is exact for zeros and ones.
fn judge_answers(effect: &mut Effect, a: &Observation, b: &Observation, members: &Membership, clusters: &[(f64, f64)]) {
    let Some(Evidence { test, .. }) = &mut effect.evidence else { return };
    let named = effect.test.split(';').next().unwrap_or_default().to_owned();
    if let Some(counts) = members.alone().then(|| Discordant::of(&a.samples, &b.samples)).flatten() {
        *test = Test::McNemar(counts);
        effect.probability = Some(counts.probability());
        effect.test = format!("{named}; McNemar, {} against {} items", counts.only_a, counts.only_b);
        return;
    }
    let differences: Vec<f64> = clusters.iter().map(|(difference, _)| *difference).collect();
    let (probability, how) = sign_flip(&differences);
    *test = Test::Signs;
    effect.probability = Some(probability);
    let how = match how {
        Distribution::Exact => "all",
        Distribution::Saddlepoint => "saddlepoint of all",
    };
    effect.test = format!("{named}; {how} signs of their differences");
}

/// Times of the same rounds.
fn judge_rounds(effect: &mut Effect, a: &Observation, b: &Observation, unit: &str) {
    let positive = a.samples.iter().chain(&b.samples).all(|sample| *sample > 0.0);
    let scale = if positive { Scale::LogRatio } else { Scale::Difference };
    let each = a.samples.iter().zip(&b.samples).map(|(x, y)| if positive { (y / x).ln() } else { y - x });
    if let Some(studentised) = trimmed_mean(&each.collect::<Vec<f64>>()) {
        let floor = if positive { 4.0 * f64::EPSILON } else { 4.0 * f64::EPSILON * (effect.a.abs() + effect.b.abs()) };
        effect.judge(scale, studentised.above_rounding(floor), unit);
    }
}

/// What the rounding of the sums can make of a difference of ratios that is none.
fn rounding(first: &[(f64, f64)], second: &[(f64, f64)]) -> f64 {
    let sums: f64 = first.iter().chain(second).map(|(sum, _)| sum.abs()).sum();
    let weight: f64 = first.iter().map(|(_, weight)| weight).sum();
    8.0 * f64::EPSILON * sums / weight
}

fn same_weights(a: &Observation, b: &Observation) -> Result<(), Refusal> {
    let weight = |observation: &Observation, index: usize| observation.weights.get(index).copied();
    let differs = (0..a.samples.len()).find(|index| weight(a, *index) != weight(b, *index));
    let text = |weight: Option<f64>| weight.map_or_else(|| "nothing".to_owned(), |weight| weight.to_string());
    match differs {
        Some(index) => Err(Refusal::Weight { index, a: text(weight(a, index)), b: text(weight(b, index)) }),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "paired_tests.rs"]
mod tests;
