//! How small a difference a test finds, and how many units it takes to find a given one.

use super::beta::{binomial_at_least, binomial_at_most};
use super::normal::{normal_cumulative, normal_quantile};
use super::student::student_reach;
use super::{MINIMUM_UNITS, Studentised};

/// What a test is asked for: how often it may see a difference where there is none, and how often it shall see one where
/// there is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Power {
    /// Two-sided false-alarm rate of the one test, after any correction for the number of tests.
    pub alpha: f64,
    /// How often the difference is to be found.
    pub power: f64,
}

/// How often a difference of the stated size is found.
pub const POWER: f64 = 0.8;

impl Power {
    /// A share of [`POWER`] at the level of one test out of `tests`: what the strictest step of Holm's correction leaves.
    pub fn among(alpha: f64, tests: usize) -> Self {
        Self { alpha: alpha / tests.max(1) as f64, power: POWER }
    }

    /// The smallest true value that a studentised test finds, in the unit of the value: means of clusters, and means of
    /// logarithms of times. 0 where there is no noise.
    pub fn detectable(&self, of: &Studentised) -> f64 {
        of.error * self.distance(of.freedom)
    }

    /// How many units like those seen it takes to find a true value of `size`. `None` for no size or no noise.
    pub fn units_needed(&self, of: &Studentised, size: f64) -> Option<u64> {
        let size = size.abs();
        if !(size > 0.0 && size.is_finite() && of.error > 0.0) {
            return None;
        }
        let units = of.units as f64;
        // Degrees of freedom grow with the units, and with them the distance shrinks a little.
        let share = of.freedom / (units - 1.0);
        let enough = |count: f64| {
            let error = of.error * (units / count).sqrt();
            error * self.distance((share * (count - 1.0)).max(1.0)) <= size
        };
        Some(least(MINIMUM_UNITS as f64, enough))
    }

    /// The smallest difference of two accuracies that McNemar's test finds among `items` independent items, when the two
    /// sides differ on the share `discordant` of them. 1 where no difference would be found.
    pub fn detectable_share(&self, discordant: f64, items: u64) -> f64 {
        let found = |difference: f64| mcnemar_power(self.alpha, discordant.max(difference), difference, items);
        if found(1.0) < self.power {
            return 1.0;
        }
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..30 {
            let middle = f64::midpoint(low, high);
            if found(middle) < self.power { low = middle } else { high = middle }
        }
        high
    }

    /// How many independent items McNemar's test needs to find a difference of two accuracies, when the two sides differ
    /// on the share `discordant` of them. `None` for no difference.
    pub fn items_needed(&self, discordant: f64, difference: f64) -> Option<u64> {
        let size = difference.abs();
        if !(size > 0.0 && size <= 1.0) {
            return None;
        }
        let share = discordant.max(size);
        Some(least(1.0, |items| mcnemar_power(self.alpha, share, size, items as u64) >= self.power))
    }

    /// The true value, in standard errors, that is found with the wanted power: the non-centrality of Student's
    /// distribution at which it passes its critical value that often.
    fn distance(&self, freedom: f64) -> f64 {
        let critical = student_reach(self.alpha, freedom);
        // The start is the normal approximation of Jennett and Welch (1939).
        let spread = (1.0 + critical * critical / (2.0 * freedom)).sqrt();
        let start = critical * (1.0 - 0.25 / freedom) + normal_quantile(self.power) * spread;
        let excess = |distance: f64| student_power(distance, critical, freedom) - self.power;
        secant(start, start + 0.05 * spread, excess)
    }
}

/// A root near two starts; the better of the last two points where the steps lead nowhere.
fn secant(mut x: f64, mut y: f64, function: impl Fn(f64) -> f64) -> f64 {
    let (mut at_x, mut at_y) = (function(x), function(y));
    for _ in 0..40 {
        if at_y == at_x || at_y.abs() < 1e-12 {
            break;
        }
        let next = (y - at_y * (y - x) / (at_y - at_x)).max(0.0);
        (x, at_x) = (y, at_y);
        y = next;
        at_y = function(y);
        if (y - x).abs() <= 1e-11 * y {
            break;
        }
    }
    y
}

/// The least whole number that is enough, by doubling and halving to a thousandth.
fn least(floor: f64, enough: impl Fn(f64) -> bool) -> u64 {
    const MOST: f64 = 1e15;
    let (mut low, mut high) = (floor, floor);
    while !enough(high) && high < MOST {
        low = high;
        high *= 2.0;
    }
    while high - low > (1e-3 * high).max(1.0) {
        let middle = f64::midpoint(low, high).floor();
        if enough(middle) { high = middle } else { low = middle }
    }
    high.ceil() as u64
}

/// How often `|T|` passes `critical` when the true value lies `distance` standard errors off: the integral over the
/// estimated standard error, whose square follows the chi-square law.
fn student_power(distance: f64, critical: f64, freedom: f64) -> f64 {
    let half = freedom / 2.0;
    let front = std::f64::consts::LN_2 + half * half.ln() - libm::lgamma(half);
    // In the logarithm `x` of the standard error, where the law falls like exp(freedom x) to the left.
    let passes = |x: f64| {
        let density = (front + freedom * x - half * (2.0 * x).exp()).exp();
        let edge = critical * x.exp();
        density * (normal_cumulative(distance - edge) + normal_cumulative(-distance - edge))
    };
    let width = 8.0 / (2.0 * freedom).sqrt();
    let (from, to) = (-width - 40.0 / freedom, width);
    // Where the edge comes near the value the integrand falls from the density to nothing, steeply for a far edge.
    let place = |edge: f64| if edge > 0.0 { (edge / critical).ln().clamp(from, to) } else { from };
    let (falls, fallen) = (place(distance - 9.0), place(distance + 9.0));
    [(from, falls), (falls, fallen), (fallen, to)].iter().map(|(from, to)| simpson(*from, *to, passes)).sum()
}

fn simpson(from: f64, to: f64, function: impl Fn(f64) -> f64) -> f64 {
    const STEPS: usize = 400;
    if to <= from {
        return 0.0;
    }
    let step = (to - from) / STEPS as f64;
    let weight = |index: usize| if index == 0 || index == STEPS { 1.0 } else { [2.0, 4.0][index % 2] };
    let sum: f64 = (0..=STEPS).map(|index| weight(index) * function(from + step * index as f64)).sum();
    sum * step / 3.0
}

/// The power of the exact test of McNemar: over the number of discordant items, which is binomial, and over how they fall
/// to the sides.
fn mcnemar_power(alpha: f64, discordant: f64, difference: f64, items: u64) -> f64 {
    const POINTS: u64 = 64;
    let (n, p) = (items as f64, discordant.min(1.0));
    let (mean, deviation) = (n * p, (n * p * (1.0 - p)).sqrt());
    let first = (mean - 6.0 * deviation).floor().max(0.0) as u64;
    let last = ((mean + 6.0 * deviation).ceil() as u64).min(items);
    let stride = ((last - first) / POINTS).max(1);
    let toward = (f64::midpoint(1.0, difference / p)).min(1.0);
    let (mut power, mut mass) = (0.0, 0.0);
    let mut count = first;
    while count <= last {
        let k = count as f64;
        let chance = if p >= 1.0 {
            f64::from(u8::from(count == items))
        } else {
            let ways = libm::lgamma(n + 1.0) - libm::lgamma(k + 1.0) - libm::lgamma(n - k + 1.0);
            (ways + k * p.ln() + (n - k) * (-p).ln_1p()).exp()
        };
        if chance > 0.0 {
            mass += chance;
            if let Some(critical) = critical_count(alpha, count) {
                let right = binomial_at_least(count - critical, count, toward);
                power += chance * (right + binomial_at_most(critical, count, toward));
            }
        }
        count += stride;
    }
    if mass > 0.0 { power / mass } else { 0.0 }
}

/// The most items on the smaller side at which the exact test still rejects; `None` where it never does.
fn critical_count(alpha: f64, discordant: u64) -> Option<u64> {
    let rejects = |count: u64| 2.0 * binomial_at_most(count, discordant, 0.5) <= alpha;
    if !rejects(0) {
        return None;
    }
    let n = discordant as f64;
    let start = n / 2.0 + normal_quantile(alpha / 2.0) * n.sqrt() / 2.0;
    let mut count = start.max(0.0) as u64;
    while !rejects(count) {
        count -= 1;
    }
    while count < discordant / 2 && rejects(count + 1) {
        count += 1;
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rand_chacha::rand_core::Rng;

    use super::super::bootstrap::tests::normals;
    use super::super::{Discordant, trimmed_difference};
    use super::*;
    use crate::seed::stream;

    const FIVE_PER_CENT: Power = Power { alpha: 0.05, power: POWER };

    fn share(trials: u32, mut found: impl FnMut() -> bool) -> f64 {
        f64::from((0..trials).map(|_| u32::from(found())).sum::<u32>()) / f64::from(trials)
    }

    #[test]
    fn a_mean_of_the_named_size_is_found_as_often_as_said() {
        for (units, alpha) in [(6, 0.05), (24, 0.05), (24, 0.001), (200, 1e-5)] {
            let power = Power { alpha, power: POWER };
            let law = Studentised {
                value: 0.0,
                error: 1.0 / f64::from(units).sqrt(),
                freedom: f64::from(units) - 1.0,
                units: units as usize,
                skewness: 0.0,
            };
            let size = power.detectable(&law);
            let mut numbers = normals(21, &format!("{units} {alpha}"));
            let found = share(4000, || {
                let clusters: Vec<(f64, f64)> =
                    numbers.by_ref().take(units as usize).map(|z| (z + size, 1.0)).collect();
                Studentised::of_clusters(&clusters).unwrap().probability(0.0) <= alpha
            });
            assert!((found - POWER).abs() < 0.025, "{units} {alpha}: {found}");
            let needed = power.units_needed(&law, size).unwrap();
            assert!(needed.abs_diff(units as u64) <= 1, "{needed} {units}");
        }
    }

    #[test]
    fn a_ratio_of_times_of_the_named_size_is_found_as_often_as_said() {
        let mut numbers = normals(22, "rounds");
        let mut side = |shift: f64| numbers.by_ref().take(30).map(|z| shift + 0.03 * z).collect::<Vec<f64>>();
        let errors: Vec<Studentised> = (0..200).map(|_| trimmed_difference(&side(0.0), &side(0.0)).unwrap()).collect();
        let size = errors.iter().map(|error| FIVE_PER_CENT.detectable(error)).sum::<f64>() / 200.0;
        let found = share(4000, || trimmed_difference(&side(0.0), &side(size)).unwrap().probability(0.0) <= 0.05);
        assert!((found - POWER).abs() < 0.03, "{size}: {found}");
    }

    /// A point of accuracy lost where the sides differ on eight items in a hundred.
    #[test]
    fn the_named_number_of_items_is_enough() {
        let mut random = stream(23, &["items"]);
        let mut uniform = || (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        for (discordant, difference, alpha) in [(0.08, 0.02, 0.05), (0.2, 0.05, 0.01), (0.05, 0.04, 0.05)] {
            let power = Power { alpha, power: POWER };
            let items = power.items_needed(discordant, difference).unwrap();
            let found = share(3000, || {
                let mut counts = Discordant { only_a: 0, only_b: 0, items };
                for _ in 0..items {
                    let draw = uniform();
                    counts.only_a += u64::from(draw < f64::midpoint(discordant, difference));
                    counts.only_b += u64::from(draw > 1.0 - (discordant - difference) / 2.0);
                }
                counts.probability() <= alpha
            });
            assert!((found - POWER).abs() < 0.035, "{discordant} {difference}: {items} items, {found}");
            let size = power.detectable_share(discordant, items);
            assert!((size / difference - 1.0).abs() < 0.03, "{size} {difference}");
        }
    }

    #[test]
    fn what_cannot_be_found_is_said() {
        assert_eq!(FIVE_PER_CENT.detectable_share(0.0, 5), 1.0, "five items that all differ have p = 0.0625");
        let six = FIVE_PER_CENT.detectable_share(0.0, 6);
        assert!(six > 0.9 && six < 1.0, "{six}");
        assert_eq!(FIVE_PER_CENT.items_needed(0.1, 0.0), None);
        let exact = Studentised { value: 0.1, error: 0.0, freedom: 9.0, units: 10, skewness: 0.0 };
        assert_eq!((FIVE_PER_CENT.detectable(&exact), FIVE_PER_CENT.units_needed(&exact, 0.1)), (0.0, None));
    }
}
