//! Perplexity of texts from the log-probabilities of their tokens, and its forms that survive other tokenizers and
//! truncation.
//!
//! `PPL = exp(−(1/N) Σ ln p)` over all N scored tokens of all texts together (micro), not a mean of perplexities. Score
//! generations with an untruncated model at temperature 1, and set human text under the same model beside them: the
//! target is its value, lower is not better. Bits per byte, `Σ −log₂ p / bytes`, is the only form that can be compared
//! across tokenizers.

use std::f64::consts::LN_2;

use crate::JudgeError;
use crate::error::{not_empty, parameter};

/// What to do with a token of probability zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Infinite {
    /// An error that says where.
    Refuse,
    /// The perplexity is infinite.
    Allow,
}

/// Summed negative log-likelihood of texts.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Surprise {
    /// Σ −ln p, in nats.
    pub nll: f64,
    /// Scored tokens.
    pub tokens: usize,
    /// Bytes of the scored text.
    pub bytes: usize,
}

impl Surprise {
    /// Adds one text: the natural log-probabilities of its scored tokens and how many bytes they spell.
    ///
    /// # Errors
    /// NaN, a positive log-probability, or minus infinity unless allowed.
    pub fn add(&mut self, log_probabilities: &[f64], bytes: usize, infinite: Infinite) -> Result<(), JudgeError> {
        for (position, &value) in log_probabilities.iter().enumerate() {
            // A log-softmax in f32 may come out a little above 0.
            if value.is_nan() || value > 1e-5 {
                let what = "log-probability";
                return Err(JudgeError::Value { what, index: position, value, allowed: "0 or less" });
            }
            if value == f64::NEG_INFINITY && infinite == Infinite::Refuse {
                return Err(JudgeError::InfiniteNll { position });
            }
        }
        self.nll -= log_probabilities.iter().sum::<f64>();
        self.tokens += log_probabilities.len();
        self.bytes += bytes;
        Ok(())
    }

    /// Mean negative log-likelihood, nats a token.
    ///
    /// # Errors
    /// No tokens.
    pub fn mean(&self) -> Result<f64, JudgeError> {
        if self.tokens == 0 {
            return Err(JudgeError::Empty { what: "scored tokens" });
        }
        Ok(self.nll / self.tokens as f64)
    }

    /// exp of the mean.
    ///
    /// # Errors
    /// No tokens.
    pub fn perplexity(&self) -> Result<f64, JudgeError> {
        Ok(self.mean()?.exp())
    }

    /// Bits per byte.
    ///
    /// # Errors
    /// No bytes.
    pub fn bits_per_byte(&self) -> Result<f64, JudgeError> {
        if self.bytes == 0 {
            return Err(JudgeError::Empty { what: "bytes of the scored text" });
        }
        Ok(self.nll / (LN_2 * self.bytes as f64))
    }
}

/// ε-perplexity (Martins et al. 2020, arXiv 2004.02644) of a distribution that gives some tokens probability 0:
/// `exp(−mean ln((q + ε) / (1 + ε V)))`, q the probabilities of the true tokens, V the vocabulary.
///
/// # Errors
/// No tokens, probabilities outside [0, 1], ε ≤ 0, V = 0.
pub fn epsilon_perplexity(probabilities: &[f64], epsilon: f64, vocabulary: usize) -> Result<f64, JudgeError> {
    not_empty("scored tokens", probabilities)?;
    if !(epsilon > 0.0 && epsilon.is_finite()) {
        return Err(parameter("epsilon", epsilon, "finite and above 0"));
    }
    if vocabulary == 0 {
        return Err(parameter("vocabulary", vocabulary, "at least 1"));
    }
    if let Some((index, &value)) = probabilities.iter().enumerate().find(|(_, p)| !(0.0..=1.0 + 1e-6).contains(*p)) {
        return Err(JudgeError::Value { what: "probability", index, value, allowed: "in [0, 1]" });
    }
    let whole = (1.0 + epsilon * vocabulary as f64).ln();
    let sum: f64 = probabilities.iter().map(|p| whole - (p + epsilon).ln()).sum();
    Ok((sum / probabilities.len() as f64).exp())
}

#[cfg(test)]
mod tests {
    use super::{Infinite, Surprise, epsilon_perplexity};
    use crate::JudgeError;

    #[test]
    fn the_worked_example() {
        let mut surprise = Surprise::default();
        let logs: Vec<f64> = [0.5f64, 0.25, 0.125].iter().map(|p| p.ln()).collect();
        surprise.add(&logs, 4, Infinite::Refuse).unwrap();
        assert!((surprise.perplexity().unwrap() - 4.0).abs() < 1e-12);
        // 1 + 2 + 3 bits over four bytes.
        assert!((surprise.bits_per_byte().unwrap() - 1.5).abs() < 1e-12);
    }

    #[test]
    fn texts_are_pooled_by_token() {
        let mut surprise = Surprise::default();
        surprise.add(&[0.5f64.ln()], 1, Infinite::Refuse).unwrap();
        surprise.add(&[0.125f64.ln(); 3], 3, Infinite::Refuse).unwrap();
        assert!((surprise.perplexity().unwrap() - 2f64.powf(2.5)).abs() < 1e-12, "not the mean of 2 and 8");
    }

    #[test]
    fn impossible_tokens_are_told() {
        let mut surprise = Surprise::default();
        let logs = [-1.0, f64::NEG_INFINITY];
        assert_eq!(surprise.add(&logs, 2, Infinite::Refuse), Err(JudgeError::InfiniteNll { position: 1 }));
        assert_eq!(surprise, Surprise::default(), "a refused text leaves no trace");
        assert!(surprise.perplexity().is_err());
        assert!(surprise.bits_per_byte().is_err());
        assert!(surprise.add(&[f64::NAN], 1, Infinite::Allow).is_err());
        assert!(surprise.add(&[0.1], 1, Infinite::Allow).is_err());
        surprise.add(&logs, 2, Infinite::Allow).unwrap();
        assert_eq!(surprise.perplexity().unwrap(), f64::INFINITY);
        // With ε the same text has a finite value; V = 2 and ε = ½ halve the distance to uniform.
        let finite = epsilon_perplexity(&[1.0, 0.0], 0.5, 2).unwrap();
        assert!((finite - (0.75f64 * 0.25).powf(-0.5)).abs() < 1e-12, "{finite}");
        assert!(epsilon_perplexity(&[0.5], 0.0, 2).is_err());
        assert!(epsilon_perplexity(&[1.5], 0.1, 2).is_err());
    }
}
