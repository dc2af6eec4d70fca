//! The Zipf coefficient of a text: s in `frequency ∝ rank^−s`.
//!
//! Two estimates over ranks 1..N, N = min(types, 5000): least squares of ln count on ln rank (Holtzman et al. 2020, arXiv
//! 1904.09751), which gives the many words that occur once most of the say, and the maximum likelihood of a truncated
//! zeta law, `−s Σ c_r ln r − C ln H(N, s)`, the better estimator. The human value is the target. Compare equal budgets of
//! tokens ([`crate::n_gram::first_tokens`]).

use crate::JudgeError;
use crate::error::parameter;
use crate::n_gram::Names;

/// Ranks that are fitted at most.
pub const RANKS: usize = 5000;

/// A line through (ln rank, ln count).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// s, the negated slope.
    pub exponent: f64,
    /// ln count at rank 1 on the line.
    pub intercept: f64,
    /// Pearson's correlation, −1 on a perfect law; 0 when all counts are equal.
    pub correlation: f64,
}

/// Counts of the tokens of all texts, descending.
pub fn rank_counts<T: AsRef<[u32]>>(texts: &[T]) -> Vec<u64> {
    let mut counts = Names::new(texts).pooled();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    counts
}

/// Counts that can be fitted: descending, positive, two types or more.
fn checked(counts: &[u64], ranks: usize) -> Result<&[u64], JudgeError> {
    if ranks < 2 {
        return Err(parameter("ranks", ranks, "at least 2"));
    }
    if counts.len() < 2 {
        let advice = "one type has no slope; take more text";
        return Err(JudgeError::TooFew { what: "types", found: counts.len(), least: 2, advice });
    }
    if counts.contains(&0) || !counts.is_sorted_by(|a, b| a >= b) {
        return Err(parameter("counts", "not so", "positive and descending"));
    }
    Ok(&counts[..counts.len().min(ranks)])
}

/// Ordinary least squares over the first `ranks` ranks.
///
/// # Errors
/// Fewer than two types or ranks, counts of 0 or that do not descend.
pub fn least_squares(counts: &[u64], ranks: usize) -> Result<Line, JudgeError> {
    let counts = checked(counts, ranks)?;
    let points = || counts.iter().enumerate().map(|(rank, &count)| (((rank + 1) as f64).ln(), (count as f64).ln()));
    let many = counts.len() as f64;
    let (x_mean, y_mean) = points().fold((0.0, 0.0), |(x, y), point| (x + point.0 / many, y + point.1 / many));
    let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
    for (x, y) in points() {
        xx += (x - x_mean) * (x - x_mean);
        xy += (x - x_mean) * (y - y_mean);
        yy += (y - y_mean) * (y - y_mean);
    }
    let flat = counts.first() == counts.last();
    let slope = if flat { 0.0 } else { xy / xx };
    let correlation = if flat { 0.0 } else { (xy / (xx * yy).sqrt()).clamp(-1.0, 1.0) };
    Ok(Line { exponent: -slope, intercept: y_mean - slope * x_mean, correlation })
}

/// The exponent that makes the first `ranks` ranks most likely under a zeta law truncated there. 0 or more.
///
/// # Errors
/// Fewer than two types or ranks, counts of 0 or that do not descend.
pub fn maximum_likelihood(counts: &[u64], ranks: usize) -> Result<f64, JudgeError> {
    let counts = checked(counts, ranks)?;
    let logarithms: Vec<f64> = (1..=counts.len()).map(|rank| (rank as f64).ln()).collect();
    let total: u64 = counts.iter().sum();
    let seen: f64 = counts.iter().zip(&logarithms).map(|(&count, log)| count as f64 * log).sum::<f64>() / total as f64;
    // The likelihood is greatest where the mean of ln rank is the one seen; that mean falls with s.
    let excess = |s: f64| {
        let (mut weight, mut sum) = (0.0, 0.0);
        for log in logarithms.iter().rev() {
            let power = (-s * log).exp();
            weight += power;
            sum += power * log;
        }
        sum / weight - seen
    };
    if excess(0.0) <= 0.0 {
        return Ok(0.0);
    }
    let (mut low, mut high) = (0.0, 1.0);
    while excess(high) > 0.0 {
        (low, high) = (high, 2.0 * high);
    }
    loop {
        let middle = f64::midpoint(low, high);
        if middle <= low || middle >= high {
            return Ok(middle);
        }
        if excess(middle) > 0.0 { low = middle } else { high = middle }
    }
}

#[cfg(test)]
mod tests {
    use super::{RANKS, least_squares, maximum_likelihood, rank_counts};

    const COUNTS: [u64; 6] = [8, 4, 3, 2, 1, 1];

    #[test]
    fn the_worked_example() {
        let line = least_squares(&COUNTS, RANKS).unwrap();
        assert!((line.exponent - 1.200_785).abs() < 5e-7, "{line:?}");
        assert!(line.correlation < -0.97, "{line:?}");
        let exponent = maximum_likelihood(&COUNTS, RANKS).unwrap();
        assert!((exponent - 1.099_784).abs() < 5e-7, "{exponent}");
    }

    #[test]
    fn equal_counts_are_flat_and_too_few_are_refused() {
        assert_eq!(least_squares(&[3, 3, 3], RANKS).unwrap().exponent, 0.0);
        assert_eq!(maximum_likelihood(&[3, 3, 3], RANKS).unwrap(), 0.0);
        for counts in [&[][..], &[5], &[1, 2], &[2, 0]] {
            assert!(least_squares(counts, RANKS).is_err() && maximum_likelihood(counts, RANKS).is_err());
        }
        assert!(least_squares(&COUNTS, 1).is_err());
        // Only the first ranks are fitted: 8 and 4 at ranks 1 and 2 are a law with s = 1.
        assert!((least_squares(&COUNTS, 2).unwrap().exponent - 1.0).abs() < 1e-12);
        assert_eq!(rank_counts(&[vec![7u32, 7, 8], vec![7, 9, 9]]), [3, 2, 1]);
    }
}
