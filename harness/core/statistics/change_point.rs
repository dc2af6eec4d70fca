//! Where a series changes its level: seeded binary segmentation on ranks.
//!
//! Over many stretches of the series (Kovács et al. 2020: all lengths, evenly shifted, so that a bump is seen as well as
//! a step) every split is scored by the standardised rank sum of what stands before it (Wilcoxon), which neither outliers
//! nor the shape of the noise move much. The best split of all is taken when it is significant, stretches across it are
//! dropped, and so on. At last every change is tested again between its neighbours, and dated there by least squares over
//! values whose outliers are drawn in.
//!
//! The probability of a split is the tail of its rank sum, times the number of splits looked at: a union bound, so it errs
//! on the side of no change. The tail is the saddlepoint of the exact distribution where one side has at most [`SMALL`]
//! values, the normal one with ties and continuity corrected otherwise, and never less than that of the most extreme
//! arrangement, `2 / C(n, k)`. Of tied values the shorter of the two counts: shared ranks are means over the ways to break
//! the ties, so their rank sum spreads no wider than that of values without ties.

use serde::{Deserialize, Serialize};

use super::{normal_cumulative, quantile, rank_sum};

/// The fewest values on either side of a change.
pub const SHORTEST: usize = 3;
/// Each layer of stretches is shorter than the one before by this factor.
const DECAY: f64 = std::f64::consts::FRAC_1_SQRT_2;

/// Sides up to this size have their exact distribution approximated.
pub const SMALL: usize = 60;
/// Below this score a split is far from significant, and the normal tail will do.
const CLEAR: f64 = 2.5;
/// Values may lie so many robust deviations (1.4826 times the median distance from their level) outside the two levels
/// before they are drawn in for dating.
const CLIP: f64 = 3.0;

/// A change of level.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ChangePoint {
    /// Position of the first value of the new level.
    pub at: usize,
    /// Standardised rank sum; 0 where the change needs no test.
    pub score: f64,
    /// Probability of such a split anywhere in a series without changes, at most.
    pub probability: f64,
    /// Median of the level before.
    pub before: f64,
    /// Median of the level after.
    pub after: f64,
}

/// Changes of level of a noisy series with probability of at most `level`, in order. Values that are not finite are
/// passed over.
pub fn change_points(values: &[f64], level: f64) -> Vec<ChangePoint> {
    let (places, finite): (Vec<usize>, Vec<f64>) =
        values.iter().copied().enumerate().filter(|(_, value)| value.is_finite()).unzip();
    let stretches = stretches(finite.len());
    let looks = looks(&stretches);
    let mut scan = Scan::default();
    let mut candidates: Vec<(usize, usize, Split)> = stretches
        .into_iter()
        .filter_map(|(start, end)| scan.best(&finite[start..end]).map(|split| (start, end, split)))
        .filter(|(.., split)| split.probability * looks <= level)
        .collect();
    let mut found: Vec<usize> = Vec::new();
    while let Some((start, _, best)) = candidates
        .iter()
        .min_by(|a, b| a.2.probability.total_cmp(&b.2.probability).then(b.2.score.total_cmp(&a.2.score)))
    {
        let at = start + best.at;
        found.push(at);
        candidates.retain(|(start, end, _)| at <= *start || *end <= at);
    }
    found.sort_unstable();
    let mut changes = dated(&finite, &found, looks, level, &mut scan);
    levels(&finite, &mut changes);
    for change in &mut changes {
        change.at = places[change.at];
    }
    changes
}

/// Changes of a series without noise: every step larger than `tolerance`, as a share of the value before it.
pub fn steps(values: &[f64], tolerance: f64) -> Vec<ChangePoint> {
    let (places, finite): (Vec<usize>, Vec<f64>) =
        values.iter().copied().enumerate().filter(|(_, value)| value.is_finite()).unzip();
    let mut changes: Vec<ChangePoint> = (1..finite.len())
        .filter(|at| (finite[*at] - finite[at - 1]).abs() > tolerance * finite[at - 1].abs())
        .map(|at| ChangePoint { at, score: 0.0, probability: 0.0, before: 0.0, after: 0.0 })
        .collect();
    levels(&finite, &mut changes);
    for change in &mut changes {
        change.at = places[change.at];
    }
    changes
}

/// Tests and dates each change again between its neighbours, and drops those that no longer stand out there.
fn dated(values: &[f64], found: &[usize], looks: f64, level: f64, scan: &mut Scan) -> Vec<ChangePoint> {
    let mut kept: Vec<ChangePoint> = Vec::new();
    for (index, _) in found.iter().enumerate() {
        let start = kept.last().map_or(0, |change| change.at);
        let end = found.get(index + 1).copied().unwrap_or(values.len());
        let Some(split) = scan.best(&values[start..end]) else { continue };
        let probability = (split.probability * looks).min(1.0);
        if probability <= level {
            let at = start + located(&values[start..end], split.at);
            kept.push(ChangePoint { at, score: split.score, probability, before: 0.0, after: 0.0 });
        }
    }
    kept
}

/// Where a change lies: ranks show that there is one, but the first values of a new level may rank as the last of the old
/// would. Values further than [`CLIP`] robust deviations outside both levels are drawn in, and the split with the largest
/// sum of squares between its sides is taken.
fn located(values: &[f64], at: usize) -> usize {
    let (before, after) = (median(&values[..at]), median(&values[at..]));
    let level = |index: usize| if index < at { before } else { after };
    let gaps: Vec<f64> = values.iter().enumerate().map(|(index, value)| (value - level(index)).abs()).collect();
    let room = CLIP * 1.4826 * median(&gaps);
    let (low, high) = (before.min(after) - room, before.max(after) + room);
    let clipped: Vec<f64> = values.iter().map(|value| value.clamp(low, high)).collect();
    let (n, sum) = (values.len() as f64, clipped.iter().sum::<f64>());
    let (mut best, mut place, mut part) = (f64::NEG_INFINITY, at, 0.0);
    for (index, value) in clipped.iter().enumerate() {
        part += value;
        let k = (index + 1) as f64;
        if index + 1 < SHORTEST || values.len() - (index + 1) < SHORTEST {
            continue;
        }
        let between = (part - k * sum / n).powi(2) / (k * (n - k));
        if between > best {
            (best, place) = (between, index + 1);
        }
    }
    place
}

fn levels(values: &[f64], changes: &mut [ChangePoint]) {
    let ends: Vec<usize> =
        std::iter::once(0).chain(changes.iter().map(|change| change.at)).chain([values.len()]).collect();
    for (index, change) in changes.iter_mut().enumerate() {
        change.before = median(&values[ends[index]..ends[index + 1]]);
        change.after = median(&values[ends[index + 1]..ends[index + 2]]);
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    quantile(&sorted, 0.5).unwrap_or(f64::NAN)
}

/// The stretches that are looked at, `start..end`.
fn stretches(count: usize) -> Vec<(usize, usize)> {
    let mut all = Vec::new();
    let mut share = 1.0_f64;
    loop {
        let length = (count as f64 * share).ceil() as usize;
        if length < 2 * SHORTEST || length > count {
            break;
        }
        let pieces = 2 * (1.0 / share).ceil() as usize - 1;
        for piece in 0..pieces {
            let start = (count - length) * piece / (pieces - 1).max(1);
            if all.last() != Some(&(start, start + length)) {
                all.push((start, start + length));
            }
        }
        share *= DECAY;
    }
    all
}

/// How many splits the stretches have.
fn looks(stretches: &[(usize, usize)]) -> f64 {
    stretches.iter().map(|(start, end)| (end - start - 2 * SHORTEST + 1) as f64).sum()
}

/// The best split of a stretch.
#[derive(Debug, Clone, Copy)]
struct Split {
    /// Values before it.
    at: usize,
    score: f64,
    /// Of this split alone.
    probability: f64,
}

/// Scratch space of a scan.
#[derive(Default)]
struct Scan {
    order: Vec<u32>,
    ranks: Vec<f64>,
}

impl Scan {
    /// The split with the highest score; `None` where all values are equal or too few.
    fn best(&mut self, values: &[f64]) -> Option<Split> {
        let count = values.len();
        if count < 2 * SHORTEST {
            return None;
        }
        let n = count as f64;
        let ties = self.rank(values);
        let spread = (n + 1.0) - ties / (n * (n - 1.0));
        if spread <= 1e-9 {
            return None;
        }
        let mut best: Option<(usize, f64)> = None;
        let mut sum = 0.0;
        for (index, rank) in self.ranks.iter().enumerate() {
            sum += rank;
            let k = (index + 1) as f64;
            if index + 1 < SHORTEST || count - (index + 1) < SHORTEST {
                continue;
            }
            let gap = (sum - k * (n + 1.0) / 2.0).abs() - 0.5;
            let score = gap / (k * (n - k) * spread / 12.0).sqrt();
            if best.is_none_or(|(_, highest)| score > highest) {
                best = Some((index + 1, score));
            }
        }
        let (at, score) = best?;
        let small = at.min(count - at);
        let normal = normal_cumulative(-score).max(rank_sum::rarest(at, n - at as f64));
        let tail = if small <= SMALL && score > CLEAR {
            let sum: f64 = self.ranks[..at].iter().sum();
            let (k, rest) = (at as f64, n - at as f64);
            // Shared ranks may leave a half; rounding it down makes the tail longer.
            let u = (k * rest / 2.0 + (sum - k * (n + 1.0) / 2.0).abs()).floor();
            let exact = rank_sum::upper_tail(at, count - at, u);
            if ties == 0.0 { exact } else { exact.min(normal) }
        } else {
            normal
        };
        Some(Split { at, score, probability: 2.0 * tail })
    }

    /// Ranks the values, ties sharing the mean rank; gives `Σ (t³ − t)` over groups of ties.
    fn rank(&mut self, values: &[f64]) -> f64 {
        self.order.clear();
        self.order.extend(0..values.len() as u32);
        self.order.sort_unstable_by(|a, b| values[*a as usize].total_cmp(&values[*b as usize]));
        self.ranks.clear();
        self.ranks.resize(values.len(), 0.0);
        let (mut first, mut ties) = (0, 0.0);
        while first < values.len() {
            let value = values[self.order[first] as usize];
            let equal = self.order[first..].iter().take_while(|place| values[**place as usize] == value).count();
            let shared = first as f64 + f64::midpoint(equal as f64, 1.0);
            for place in &self.order[first..first + equal] {
                self.ranks[*place as usize] = shared;
            }
            let size = equal as f64;
            ties += size * size * size - size;
            first += equal;
        }
        ties
    }
}

#[cfg(test)]
#[path = "change_point_tests.rs"]
mod tests;
