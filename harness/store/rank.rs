//! Which of several numbers is the best, as far as their samples can tell.

use harness_core::chart::Standing;
use harness_core::statistics::{Bootstrap, Effect, Refusal, holm};
use harness_core::{Direction, Noise, Observation};

use crate::run::MetricInfo;

/// A value and the samples it was reduced from.
pub(crate) type Candidate<'a> = (f64, &'a Observation);

/// Exact numbers nearer to each other than this share of the larger are the same to a reader: a table shows four figures.
const SAME: f64 = 1e-3;

/// How each candidate stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ranking {
    /// One for each candidate, in their order.
    pub standings: Vec<Standing>,
    /// The best, where there is anything to compare.
    pub best: Option<usize>,
    /// Why nothing was compared, when it should have been.
    pub refused: Option<String>,
}

/// Compares the best candidate with each other one: exact metrics to four figures, sampled ones by the test
/// paired on the samples they share, times by the test paired on the rounds they share or by that of two sets of rounds;
/// the probabilities are corrected by Holm for their number. `None` stands for a candidate without a number. `release` says whether times count.
pub(crate) fn rank(metric: &MetricInfo, release: bool, candidates: &[Option<Candidate>]) -> Ranking {
    let plain = |best, refused| Ranking { standings: vec![Standing::Plain; candidates.len()], best, refused };
    let better: fn(f64, f64) -> bool = match metric.direction {
        Direction::Higher => |a, b| a > b,
        Direction::Lower => |a, b| a < b,
        Direction::Neutral => return plain(None, None),
    };
    let known = candidates.iter().enumerate();
    let present: Vec<(usize, Candidate)> = known
        .filter_map(|(at, candidate)| Some((at, (*candidate)?)))
        .filter(|(_, (value, _))| value.is_finite())
        .collect();
    let Some(best) = present.iter().copied().reduce(|a, b| if better(b.1.0, a.1.0) { b } else { a }) else {
        return plain(None, None);
    };
    if present.len() < 2 {
        return plain(Some(best.0), None);
    }
    if metric.noise == Noise::Timed && !release {
        return plain(Some(best.0), Some("times of a build without optimisation are not compared".to_owned()));
    }
    let others: Vec<(usize, Candidate)> = present.into_iter().filter(|(at, _)| *at != best.0).collect();
    let mut probabilities = Vec::with_capacity(others.len());
    for (_, other) in &others {
        match probability(metric.noise, best.1, *other) {
            Ok(Some(probability)) => probabilities.push(probability),
            Ok(None) => return plain(Some(best.0), None),
            Err(refusal) => return plain(Some(best.0), Some(refusal.to_string())),
        }
    }
    let alpha = 1.0 - Bootstrap::default().level;
    let tied: Vec<usize> = others
        .iter()
        .zip(holm(&probabilities))
        .filter(|(_, p)| p.is_nan() || *p > alpha)
        .map(|((at, _), _)| *at)
        .collect();
    let mut ranking = plain(Some(best.0), None);
    // Numbers without noise that are all the same say nothing about the arms.
    if metric.noise == Noise::Exact && tied.len() == others.len() {
        return ranking;
    }
    ranking.standings[best.0] = if tied.is_empty() { Standing::Best } else { Standing::Tied };
    for at in tied {
        ranking.standings[at] = Standing::Tied;
    }
    ranking
}

/// Two-sided probability of a difference this far from zero when there is none; `None` where the noise is not known.
fn probability(noise: Noise, best: Candidate, other: Candidate) -> Result<Option<f64>, Refusal> {
    if noise == Noise::Exact && best.1.protocol == other.1.protocol {
        let same = (best.0 - other.0).abs() <= SAME * best.0.abs().max(other.0.abs());
        return Ok(Some(f64::from(u8::from(same))));
    }
    // The tests need no draws; only intervals do.
    let undrawn = Bootstrap { resamples: 0, ..Bootstrap::default() };
    Ok(difference(undrawn, noise, best.1, other.1)?.probability)
}

/// The difference of two observations of one run: paired on their samples, times on the rounds that they were taken in
/// together; times of other rounds each by themselves.
///
/// # Errors
/// A [`Refusal`] when the two were not measured on the same samples in the same way.
pub(crate) fn difference(
    bootstrap: Bootstrap,
    noise: Noise,
    a: &Observation,
    b: &Observation,
) -> Result<Effect, Refusal> {
    let together = !a.clusters.is_empty() && a.clusters == b.clusters;
    if noise == Noise::Timed && !together { bootstrap.unpaired(a, b) } else { bootstrap.paired(a, b) }
}

#[cfg(test)]
#[path = "rank_tests.rs"]
mod tests;
