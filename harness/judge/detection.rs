//! How well a score tells two classes apart: the receiver operating characteristic.

use crate::JudgeError;
use crate::error::not_empty;

/// The curve of true against false positive rate over all thresholds; higher scores mean positive.
#[derive(Debug, Clone, PartialEq)]
pub struct Roc {
    /// (false positive rate, true positive rate) from (0, 0) to (1, 1), both ascending; tied scores are one step.
    pub points: Vec<(f64, f64)>,
}

impl Roc {
    /// From the scores of positives and of negatives. For a score that is lower for positives, negate both.
    ///
    /// # Errors
    /// An empty class or NaN.
    pub fn of(positives: &[f64], negatives: &[f64]) -> Result<Self, JudgeError> {
        not_empty("scores of positives", positives)?;
        not_empty("scores of negatives", negatives)?;
        for (what, scores) in [("score of a positive", positives), ("score of a negative", negatives)] {
            if let Some(index) = scores.iter().position(|score| score.is_nan()) {
                return Err(JudgeError::Value { what, index, value: f64::NAN, allowed: "a number" });
            }
        }
        let labelled = |scores: &[f64], positive: bool| scores.iter().map(move |&score| (score, positive)).collect();
        let mut all: Vec<(f64, bool)> = labelled(positives, true);
        all.extend::<Vec<_>>(labelled(negatives, false));
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        let (mut right, mut wrong) = (0usize, 0usize);
        let mut points = vec![(0.0, 0.0)];
        for tied in all.chunk_by(|a, b| a.0 == b.0) {
            let hits = tied.iter().filter(|(_, positive)| *positive).count();
            right += hits;
            wrong += tied.len() - hits;
            points.push((wrong as f64 / negatives.len() as f64, right as f64 / positives.len() as f64));
        }
        Ok(Self { points })
    }

    /// The area under the curve: the chance that a positive scores above a negative, ties counted half.
    pub fn area(&self) -> f64 {
        self.points.windows(2).map(|pair| (pair[1].0 - pair[0].0) * f64::midpoint(pair[0].1, pair[1].1)).sum()
    }

    /// The true positive rate at a false positive rate in [0, 1], linear between points; the highest where the curve
    /// rises straight up.
    pub fn true_positive_rate_at(&self, false_positive_rate: f64) -> f64 {
        let rate = false_positive_rate.clamp(0.0, 1.0);
        let beyond = self.points.partition_point(|point| point.0 <= rate);
        let before = self.points[beyond.saturating_sub(1)];
        match self.points.get(beyond) {
            Some(after) => before.1 + (after.1 - before.1) * (rate - before.0) / (after.0 - before.0),
            None => before.1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Roc;

    #[test]
    fn areas_count_pairs() {
        let roc = Roc::of(&[3.0, 2.0, 1.0], &[2.0, 0.0]).unwrap();
        // Pairs won: 2 + (½ + 1) + (0 + 1) of 6.
        assert!((roc.area() - 4.5 / 6.0).abs() < 1e-12);
        assert_eq!(Roc::of(&[1.0], &[1.0]).unwrap().area(), 0.5);
        assert_eq!(Roc::of(&[2.0, 3.0], &[0.0, 1.0]).unwrap().area(), 1.0);
    }

    #[test]
    fn rates_are_linear_between_points() {
        // Points (0,0) (0,1/3) (½,2/3) (½,1) (1,1).
        let roc = Roc::of(&[3.0, 2.0, 1.0], &[2.0, 0.0]).unwrap();
        for (rate, expected) in [(0.0, 1.0 / 3.0), (0.25, 0.5), (0.5, 1.0), (0.75, 1.0), (1.0, 1.0)] {
            assert!((roc.true_positive_rate_at(rate) - expected).abs() < 1e-12, "{rate}");
        }
        assert!(Roc::of(&[], &[1.0]).is_err());
        assert!(Roc::of(&[1.0], &[f64::NAN]).is_err());
    }
}
