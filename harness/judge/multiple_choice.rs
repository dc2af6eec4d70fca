//! Multiple choice by likelihood: the answer is the choice that the model finds likeliest.
//!
//! - `acc`: the summed log-likelihood of the choice's tokens;
//! - `acc_norm`: divided by its length in characters, as the EleutherAI evaluation harness counts it (Python's `len`);
//! - by bytes: divided by its length in UTF-8 bytes; the same for ASCII.
//!
//! Lengths are those of the choice as it is scored, without the space that joins it to the question. The first of
//! equally likely choices is taken.

use crate::JudgeError;
use crate::error::{not_empty, parameter};

/// One way to make long and short choices comparable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normalisation {
    /// The sum of log-likelihoods as it is (`acc`).
    None,
    /// By characters (`acc_norm`).
    Characters,
    /// By bytes.
    Bytes,
}

/// One question.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Item<'a> {
    /// The choices as texts.
    pub choices: &'a [&'a str],
    /// Σ ln p of each choice's tokens after the question, nats.
    pub log_likelihoods: &'a [f64],
    /// Which choice is right.
    pub gold: usize,
}

impl Item<'_> {
    /// The choice taken.
    ///
    /// # Errors
    /// Fewer than two choices, an empty choice, a gold index beyond them, log-likelihoods that are NaN, above 0 or not
    /// one a choice.
    pub fn answer(&self, by: Normalisation) -> Result<usize, JudgeError> {
        let found = self.choices.len();
        if found < 2 {
            let advice = "a question with one answer cannot be got wrong";
            return Err(JudgeError::TooFew { what: "choices", found, least: 2, advice });
        }
        crate::error::same_length("log-likelihoods of the choices", self.log_likelihoods.len(), found)?;
        if self.gold >= found {
            return Err(parameter("gold", self.gold, format!("below the number of choices, {found}")));
        }
        let mut best = (0, f64::NEG_INFINITY);
        for (index, (choice, &value)) in self.choices.iter().zip(self.log_likelihoods).enumerate() {
            if value.is_nan() || value > 1e-5 {
                let what = "log-likelihood of a choice";
                return Err(JudgeError::Value { what, index, value, allowed: "0 or less" });
            }
            let length = match by {
                Normalisation::None => 1,
                Normalisation::Characters => choice.chars().count(),
                Normalisation::Bytes => choice.len(),
            };
            if length == 0 {
                return Err(JudgeError::Empty { what: "text of a choice" });
            }
            let score = value / length as f64;
            if score > best.1 {
                best = (index, score);
            }
        }
        Ok(best.0)
    }

    /// Whether the choice taken is the right one.
    ///
    /// # Errors
    /// Those of [`Self::answer`].
    pub fn is_right(&self, by: Normalisation) -> Result<bool, JudgeError> {
        Ok(self.answer(by)? == self.gold)
    }
}

/// The share of questions got right.
///
/// # Errors
/// No questions, or those of [`Item::answer`].
pub fn accuracy(items: &[Item], by: Normalisation) -> Result<f64, JudgeError> {
    not_empty("questions", items)?;
    let right = items.iter().try_fold(0usize, |right, item| Ok(right + usize::from(item.is_right(by)?)))?;
    Ok(right as f64 / items.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::{Item, Normalisation, accuracy};

    #[test]
    fn each_normalisation_has_its_own_winner() {
        // By sum the first, by characters the second (−3/4 against −4/8), by bytes the third (9 characters, 18 bytes).
        let item = Item {
            choices: &["abcd", "abcdefgh", "äöüäöüäöü"], log_likelihoods: &[-3.0, -4.0, -5.0], gold: 2
        };
        assert_eq!(item.answer(Normalisation::None), Ok(0));
        assert_eq!(item.answer(Normalisation::Characters), Ok(1));
        assert_eq!(item.answer(Normalisation::Bytes), Ok(2));
        assert_eq!(accuracy(&[item, Item { gold: 0, ..item }], Normalisation::Bytes), Ok(0.5));
    }

    #[test]
    fn ties_go_to_the_first_and_bad_items_are_refused() {
        let item = Item { choices: &["a", "b"], log_likelihoods: &[-1.0, -1.0], gold: 0 };
        assert_eq!(item.answer(Normalisation::None), Ok(0));
        let impossible = Item { log_likelihoods: &[f64::NEG_INFINITY, -1.0], ..item };
        assert_eq!(impossible.answer(Normalisation::None), Ok(1));
        for bad in [
            Item { choices: &["a"], log_likelihoods: &[-1.0], gold: 0 },
            Item { log_likelihoods: &[-1.0], ..item },
            Item { log_likelihoods: &[-1.0, f64::NAN], ..item },
            Item { log_likelihoods: &[-1.0, 0.5], ..item },
            Item { gold: 2, ..item },
        ] {
            assert!(bad.answer(Normalisation::None).is_err(), "{bad:?}");
        }
        assert!(Item { choices: &["a", ""], ..item }.answer(Normalisation::Characters).is_err());
        assert!(accuracy(&[], Normalisation::None).is_err());
    }
}
