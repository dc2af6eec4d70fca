//! distinct-n (Li et al. 2016, arXiv 1510.03055): how many of the n-grams are different.
//!
//! `distinct-n = U / C`, U different n-grams among C, pooled over all texts. It falls with the amount of text, so compare
//! equal budgets ([`crate::n_gram::first_tokens`]) or the expectation-adjusted form (Liu et al. 2022, arXiv 2202.13587):
//! `EAD = U / (V (1 − ((V − 1) / V)^C))`, V the number of n-grams that are possible.
//!
//! The script of ari-holtzman/degen counts n-grams that occur exactly once; that share is [`Distinct::once_ratio`].

use crate::JudgeError;
use crate::error::{not_empty, parameter};
use crate::n_gram::Names;

/// Counts of the n-grams of all texts together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Distinct {
    /// Different n-grams.
    pub unique: usize,
    /// n-grams that occur exactly once.
    pub once: usize,
    /// All n-grams; at least 1.
    pub total: usize,
    /// Texts shorter than n, which add none.
    pub short: usize,
}

impl Distinct {
    /// Counts the n-grams of all texts.
    ///
    /// # Errors
    /// n = 0, no texts, or no text of n tokens.
    pub fn of<T: AsRef<[u32]>>(texts: &[T], n: usize) -> Result<Self, JudgeError> {
        not_empty("texts", texts)?;
        let names = Names::of(texts, n)?;
        let counts = names.pooled();
        if names.total() == 0 {
            return Err(JudgeError::Empty { what: "n-grams (every text is shorter than n)" });
        }
        Ok(Self {
            unique: names.distinct(),
            once: counts.iter().filter(|&&count| count == 1).count(),
            total: names.total(),
            short: names.texts().iter().filter(|text| text.is_empty()).count(),
        })
    }

    /// distinct-n, in (0, 1].
    pub fn ratio(&self) -> f64 {
        self.unique as f64 / self.total as f64
    }

    /// The share of n-grams that occur exactly once, in [0, 1].
    pub fn once_ratio(&self) -> f64 {
        self.once as f64 / self.total as f64
    }

    /// Expectation-adjusted distinct: U over the number expected of as many uniform draws from `possible` n-grams.
    ///
    /// # Errors
    /// Fewer possible n-grams than were seen.
    pub fn expectation_adjusted(&self, possible: f64) -> Result<f64, JudgeError> {
        if !possible.is_finite() || possible < self.unique as f64 {
            return Err(parameter("possible", possible, format!("finite and at least the {} seen", self.unique)));
        }
        let expected = -possible * f64::exp_m1(self.total as f64 * f64::ln_1p(-1.0 / possible));
        Ok(self.unique as f64 / expected)
    }
}

/// distinct-n of each text by itself; `None` for a text shorter than n. Their mean is the macro form.
///
/// # Errors
/// n = 0 or no texts.
pub fn by_text<T: AsRef<[u32]>>(texts: &[T], n: usize) -> Result<Vec<Option<f64>>, JudgeError> {
    not_empty("texts", texts)?;
    let names = Names::of(texts, n)?;
    let ratio = |text: usize| {
        let total = names.texts()[text].len();
        (total > 0).then(|| names.counts(text).len() as f64 / total as f64)
    };
    Ok((0..texts.len()).map(ratio).collect())
}

#[cfg(test)]
mod tests {
    use super::{Distinct, by_text};

    /// The text of the definitions: abcabcabd.
    const TEXT: [u32; 9] = [0, 1, 2, 0, 1, 2, 0, 1, 3];

    #[test]
    fn the_worked_example() {
        for (n, ratio, once) in [(1, 4.0 / 9.0, 0.111_111), (2, 0.5, 0.125), (3, 0.571_429, 0.142_857)] {
            let distinct = Distinct::of(&[TEXT], n).unwrap();
            assert!((distinct.ratio() - ratio).abs() < 5e-7, "{n}: {distinct:?}");
            assert!((distinct.once_ratio() - once).abs() < 5e-7, "{n}: {distinct:?}");
            assert_eq!(by_text(&[TEXT], n).unwrap(), [Some(distinct.ratio())]);
        }
    }

    #[test]
    fn the_adjusted_form_is_one_for_uniform_draws() {
        // 4 of 4 tokens among V = 4: expected 4 (1 − (3/4)⁹).
        let adjusted = Distinct::of(&[TEXT], 1).unwrap().expectation_adjusted(4.0).unwrap();
        assert!((adjusted - 4.0 / (4.0 * (1.0 - 0.75f64.powi(9)))).abs() < 1e-12, "{adjusted}");
        assert!(Distinct::of(&[TEXT], 1).unwrap().expectation_adjusted(3.0).is_err());
        // Among very many possible n-grams every draw is new: the plain ratio.
        let huge = Distinct::of(&[TEXT], 2).unwrap().expectation_adjusted(1e15).unwrap();
        assert!((huge - 0.5).abs() < 1e-9, "{huge}");
    }

    #[test]
    fn short_texts_are_counted_and_nothing_is_refused() {
        let texts: [&[u32]; 3] = [&TEXT, &[1], &[]];
        let distinct = Distinct::of(&texts, 2).unwrap();
        assert_eq!((distinct.short, distinct.total), (2, 8));
        assert_eq!(by_text(&texts, 2).unwrap(), [Some(0.5), None, None]);
        assert!(Distinct::of(&[[1u32]], 2).is_err());
        assert!(Distinct::of::<Vec<u32>>(&[], 1).is_err());
        assert!(Distinct::of(&[TEXT], 0).is_err());
    }
}
