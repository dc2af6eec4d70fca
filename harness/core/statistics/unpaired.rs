//! The difference of two independent observations.

use super::bootstrap::{Bootstrap, too_few};
use super::effect::{Effect, Scale};
use super::units::{Units, membership};
use super::{Interval, MINIMUM_UNITS, Refusal, Studentised, quantile, trimmed_difference};
use crate::metric::Reduction;
use crate::record::Observation;
use crate::seed::stream;

impl Bootstrap {
    /// The difference of two independent sets of samples, each drawn by itself: for times, whose rounds are not the
    /// same event on both sides. The interval is of the plain quantiles; the p-value is Yuen's for the trimmed means of
    /// logarithms, and for ratios that of the studentised difference.
    ///
    /// # Errors
    /// A [`Refusal`] when the two were not measured in the same way.
    pub fn unpaired(&self, a: &Observation, b: &Observation) -> Result<Effect, Refusal> {
        let mut effect = Effect::bare(a, b)?;
        let (first, second) = (membership(a), membership(b));
        if a.reduction == Reduction::Single {
            "one number on each side".clone_into(&mut effect.test);
            return Ok(effect);
        }
        let fewer = first.count.min(second.count);
        let unit = if first.count <= second.count { first.noun(a) } else { second.noun(b) };
        if fewer < MINIMUM_UNITS {
            effect.test = too_few(fewer, unit);
            return Ok(effect);
        }
        effect.test = match a.reduction {
            Reduction::Median => format!("bootstrap of two medians, {} and {} rounds", first.count, second.count),
            _ => format!("unpaired bootstrap, {} and {} {unit}", first.count, second.count),
        };
        let (left, right) = (Units::gather(a, &first), Units::gather(b, &second));
        let mut streams = [stream(self.seed, &["bootstrap", "a"]), stream(self.seed, &["bootstrap", "b"])];
        let mut scratch = Vec::new();
        let (mut differences, mut ratios) = (Vec::new(), Vec::new());
        for _ in 0..self.resamples {
            let [one, two] = &mut streams;
            let x = left.statistic(draw(one, first.count), &mut scratch);
            let y = right.statistic(draw(two, second.count), &mut scratch);
            differences.push(y - x);
            ratios.push(y / x - 1.0);
        }
        let tail = f64::midpoint(1.0, -self.level);
        let interval = |values: &mut Vec<f64>| {
            values.sort_unstable_by(f64::total_cmp);
            let finite = values.iter().all(|value| value.is_finite());
            let ends = quantile(values, tail).zip(quantile(values, 1.0 - tail));
            ends.filter(|_| finite).map(|(low, high)| Interval { low, high, level: self.level })
        };
        effect.interval = interval(&mut differences);
        effect.relative_interval = effect.relative.and_then(|_| interval(&mut ratios));
        if let Some((scale, studentised)) = test(a, b, &left, &right) {
            effect.judge(scale, studentised, unit);
        }
        Ok(effect)
    }
}

fn test(a: &Observation, b: &Observation, left: &Units, right: &Units) -> Option<(Scale, Studentised)> {
    if let (Units::Sums { sums: first, exponential }, Units::Sums { sums: second, .. }) = (left, right) {
        let scale = if *exponential { Scale::LogRatio } else { Scale::Difference };
        let difference = Studentised::of_clusters(second)?.minus(&Studentised::of_clusters(first)?);
        return Some((scale, difference));
    }
    let positive = a.samples.iter().chain(&b.samples).all(|sample| *sample > 0.0);
    let logarithms = |side: &Observation| side.samples.iter().map(|sample| sample.ln()).collect::<Vec<f64>>();
    if positive {
        return Some((Scale::LogRatio, trimmed_difference(&logarithms(a), &logarithms(b))?));
    }
    Some((Scale::Difference, trimmed_difference(&a.samples, &b.samples)?))
}

fn draw(random: &mut impl rand_chacha::rand_core::Rng, count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |_| ((u64::from(random.next_u32()) * count as u64) >> 32) as usize)
}
