//! How far one distribution is from another, in nats.
//!
//! `TV = ½ Σ |p − q|`; `KL(p‖q) = Σ p ln(p / q)`, infinite where q = 0 < p, with 0 ln 0 = 0; `JS = ½ KL(p‖m) + ½ KL(q‖m)`,
//! m their mean, in [0, ln 2]; Hellinger `√(½ Σ (√p − √q)²)`, in [0, 1].

use crate::JudgeError;
use crate::error::{distribution, not_empty, same_length};

fn pair(p: &[f64], q: &[f64]) -> Result<(), JudgeError> {
    distribution("the first distribution", p)?;
    distribution("the second distribution", q)?;
    same_length("the second distribution", q.len(), p.len())
}

/// Total variation, in [0, 1].
///
/// # Errors
/// Values that are no distributions, or lengths that differ.
pub fn total_variation(p: &[f64], q: &[f64]) -> Result<f64, JudgeError> {
    pair(p, q)?;
    Ok(0.5 * p.iter().zip(q).map(|(p, q)| (p - q).abs()).sum::<f64>())
}

/// KL(p‖q) in nats, 0 or more; infinite where p gives probability to what q excludes.
///
/// # Errors
/// Values that are no distributions, or lengths that differ.
pub fn kullback_leibler(p: &[f64], q: &[f64]) -> Result<f64, JudgeError> {
    pair(p, q)?;
    Ok(relative(p.iter().copied().zip(q.iter().copied())))
}

/// Jensen–Shannon divergence in nats, in [0, ln 2]; its root is a distance.
///
/// # Errors
/// Values that are no distributions, or lengths that differ.
pub fn jensen_shannon(p: &[f64], q: &[f64]) -> Result<f64, JudgeError> {
    pair(p, q)?;
    let middle = || p.iter().zip(q).map(|(p, q)| f64::midpoint(*p, *q));
    let first = relative(p.iter().copied().zip(middle()));
    Ok(f64::midpoint(first, relative(q.iter().copied().zip(middle()))))
}

/// Hellinger distance, in [0, 1].
///
/// # Errors
/// Values that are no distributions, or lengths that differ.
pub fn hellinger(p: &[f64], q: &[f64]) -> Result<f64, JudgeError> {
    pair(p, q)?;
    Ok((0.5 * p.iter().zip(q).map(|(p, q)| (p.sqrt() - q.sqrt()).powi(2)).sum::<f64>()).sqrt())
}

/// Shannon entropy in nats.
///
/// # Errors
/// Values that are no distribution.
pub fn entropy(p: &[f64]) -> Result<f64, JudgeError> {
    distribution("the distribution", p)?;
    Ok(p.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum())
}

/// Σ p ln(p / q) over pairs (p, q), not below 0.
pub(crate) fn relative(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
    pairs.filter(|(p, _)| *p > 0.0).map(|(p, q)| p * (p / q).ln()).sum::<f64>().max(0.0)
}

/// How much too large the KL of a distribution counted from `draws` is on average against the law it was drawn from,
/// to first order: (V − 1) / (2 n) for V possible values (Miller 1955).
pub fn plug_in_bias(values: usize, draws: usize) -> f64 {
    values.saturating_sub(1) as f64 / (2.0 * draws as f64)
}

/// How far sampled sequences are from a known law.
#[derive(Debug, Clone, PartialEq)]
pub struct SequenceDivergence {
    /// The share of samples that the law allows at all.
    pub validity: f64,
    /// Σ (ln q − ln p) of each allowed sample, nats a sequence; its mean estimates KL(q‖p) on the valid part.
    pub differences: Vec<f64>,
}

impl SequenceDivergence {
    /// From one pair a sample: Σ ln q under what drew it and Σ ln p under the true law (minus infinity where the law
    /// forbids it).
    ///
    /// # Errors
    /// No samples, NaN, positive infinity, or a sample that its own sampler gives probability 0.
    pub fn of(samples: &[(f64, f64)]) -> Result<Self, JudgeError> {
        not_empty("samples", samples)?;
        let allowed = "a log-probability";
        for (index, &(own, law)) in samples.iter().enumerate() {
            if !own.is_finite() {
                return Err(JudgeError::Value { what: "ln q of a sample", index, value: own, allowed });
            }
            if law.is_nan() || law == f64::INFINITY {
                return Err(JudgeError::Value { what: "ln p of a sample", index, value: law, allowed });
            }
        }
        let differences: Vec<f64> =
            samples.iter().filter(|(_, law)| law.is_finite()).map(|(own, law)| own - law).collect();
        Ok(Self { validity: differences.len() as f64 / samples.len() as f64, differences })
    }

    /// KL(q‖p) over valid samples, nats a sequence; `None` when none is valid. An estimate may be below 0.
    pub fn mean(&self) -> Option<f64> {
        let count = self.differences.len();
        (count > 0).then(|| self.differences.iter().sum::<f64>() / count as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        SequenceDivergence, entropy, hellinger, jensen_shannon, kullback_leibler, plug_in_bias, total_variation,
    };
    use crate::JudgeError;

    const P: [f64; 5] = [0.5, 0.3, 0.2, 0.0, 0.0];
    const Q: [f64; 5] = [0.6, 0.3, 0.0, 0.1, 0.0];

    #[test]
    fn the_worked_example() {
        assert!((total_variation(&P, &Q).unwrap() - 0.2).abs() < 1e-12);
        let shannon = jensen_shannon(&P, &Q).unwrap();
        assert!((shannon - 0.106_248).abs() < 5e-7, "{shannon}");
        assert!((shannon / std::f64::consts::LN_2 - 0.153_283).abs() < 5e-7);
        assert_eq!(kullback_leibler(&P, &Q).unwrap(), f64::INFINITY);
        assert_eq!(kullback_leibler(&Q, &P).unwrap(), f64::INFINITY);
        assert_eq!(kullback_leibler(&P, &P).unwrap(), 0.0);
        assert_eq!(hellinger(&[1.0, 0.0], &[0.0, 1.0]).unwrap(), 1.0);
        assert!((entropy(&[0.25; 4]).unwrap() - 4f64.ln()).abs() < 1e-12);
        assert_eq!(plug_in_bias(11, 100), 0.05);
    }

    #[test]
    fn what_is_no_distribution_is_refused() {
        assert!(matches!(total_variation(&[0.5, 0.4], &[0.5, 0.5]), Err(JudgeError::Sum { .. })));
        assert!(matches!(total_variation(&[1.5, -0.5], &[0.5, 0.5]), Err(JudgeError::Value { index: 1, .. })));
        assert!(matches!(total_variation(&[1.0], &[0.5, 0.5]), Err(JudgeError::Length { .. })));
        assert!(matches!(entropy(&[]), Err(JudgeError::Empty { .. })));
        assert!(matches!(entropy(&[f64::NAN]), Err(JudgeError::Value { .. })));
    }

    #[test]
    fn forbidden_sequences_count_against_validity() {
        let found = SequenceDivergence::of(&[(-1.0, -1.5), (-2.0, f64::NEG_INFINITY), (-1.0, -1.0)]).unwrap();
        assert!((found.validity - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(found.mean(), Some(0.25));
        assert_eq!(SequenceDivergence::of(&[(-2.0, f64::NEG_INFINITY)]).unwrap().mean(), None);
        assert!(SequenceDivergence::of(&[(f64::NEG_INFINITY, -1.0)]).is_err());
        assert!(SequenceDivergence::of(&[(-1.0, f64::NAN)]).is_err());
    }
}
