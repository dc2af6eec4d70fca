//! Whether a text is as long as was asked for.
//!
//! - LongWriter (Bai et al. 2024, arXiv 2408.07055): of x words asked for and y written, `100 max(0, 1 − (y/x − 1) / 3)` where y > x and
//!   `100 max(0, 1 − (x/y − 1) / 2)` where y ≤ x: too short costs more than too long.
//! - Self-Lengthen (Quan et al. 2024, arXiv 2410.23933): a length in an interval [a, b] scores 1, one below it `max(2y/a − 1, 0)`, one above
//!   it `max(3 − 2y/b, 0)`.
//!
//! Words are runs between white space; every Chinese, Japanese or Korean character counts as one.
//!
//! # Difference from the reference
//! No words score 0, where the first program divides by zero.

use crate::JudgeError;
use crate::error::parameter;

/// A length that is asked for, in words.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Asked {
    /// About so many: a fifth less or more is right.
    About(f64),
    /// From so many to so many.
    Between(f64, f64),
    /// So many and up to half as many more.
    Above(f64),
    /// So many at most, and half of them at least.
    Below(f64),
}

impl Asked {
    /// The lengths that are right.
    ///
    /// # Errors
    /// A length that is not above 0, or an interval that ends before it begins.
    fn interval(self) -> Result<(f64, f64), JudgeError> {
        let (low, high) = match self {
            Self::About(words) => (0.8 * words, 1.2 * words),
            Self::Between(low, high) => (low, high),
            Self::Above(words) => (words, 1.5 * words),
            Self::Below(words) => (0.5 * words, words),
        };
        if low > 0.0 && low <= high && high.is_finite() {
            Ok((low, high))
        } else {
            Err(parameter("asked", format!("{low} to {high} words"), "lengths above 0, the smaller one first"))
        }
    }

    /// The score of a text of so many words by Self-Lengthen, 0 to 1.
    ///
    /// # Errors
    /// Lengths as [`Asked`] cannot have them.
    pub fn score(self, written: usize) -> Result<f64, JudgeError> {
        let (low, high) = self.interval()?;
        let written = written as f64;
        Ok(if written < low {
            (2.0 * written / low - 1.0).max(0.0)
        } else if written > high {
            (3.0 - 2.0 * written / high).max(0.0)
        } else {
            1.0
        })
    }
}

/// The score of a text of `written` words where `asked` were asked for, by LongWriter, 0 to 100.
///
/// # Errors
/// No words asked for.
pub fn length_score(asked: usize, written: usize) -> Result<f64, JudgeError> {
    if asked == 0 {
        return Err(parameter("asked", "0 words", "at least one word"));
    }
    if written == 0 {
        return Ok(0.0);
    }
    let (asked, written) = (asked as f64, written as f64);
    let lost = if written > asked { (written / asked - 1.0) / 3.0 } else { (asked / written - 1.0) / 2.0 };
    Ok(100.0 * (1.0 - lost).max(0.0))
}

/// Words of a text.
pub fn words(text: &str) -> usize {
    text.split_whitespace()
        .map(|run| {
            let characters = run.chars().filter(|letter| is_character(*letter)).count();
            characters + usize::from(run.chars().any(|letter| letter.is_alphanumeric() && !is_character(letter)))
        })
        .sum()
}

/// Chinese characters, kana and hangul.
fn is_character(letter: char) -> bool {
    matches!(letter, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_of_a_thousand_words_are_the_publications() {
        let cases = [
            (0, 0.0),
            (333, 0.0),
            (334, 0.299_401),
            (500, 50.0),
            (800, 87.5),
            (1000, 100.0),
            (1500, 83.333_333),
            (2000, 66.666_667),
            (3999, 0.033_333),
            (4000, 0.0),
            (90_000, 0.0),
        ];
        for (written, score) in cases {
            let found = length_score(1000, written).unwrap();
            assert!((found - score).abs() < 1e-6, "{written}: {found}");
        }
        assert!(length_score(0, 5).is_err());
    }

    #[test]
    fn intervals_of_about_four_thousand_words_are_the_publications() {
        for (written, score) in [(1600, 0.0), (2400, 0.5), (3200, 1.0), (4800, 1.0), (6000, 0.5), (7200, 0.0), (0, 0.0)]
        {
            let found = Asked::About(4000.0).score(written).unwrap();
            assert!((found - score).abs() < 1e-12, "{written}: {found}");
        }
        assert_eq!(Asked::Above(100.0).score(150).unwrap(), 1.0);
        assert_eq!(Asked::Below(100.0).score(50).unwrap(), 1.0);
        assert_eq!(Asked::Between(10.0, 20.0).score(5).unwrap(), 0.0);
        assert!(Asked::Between(20.0, 10.0).score(5).is_err() && Asked::About(-1.0).score(5).is_err());
        assert!(Asked::About(f64::NAN).score(5).is_err());
    }

    #[test]
    fn words_are_runs_and_characters() {
        assert_eq!(words("One, two —\n three."), 3);
        assert_eq!(words("天気がいい today"), 6);
        assert_eq!(words(" \n"), 0);
    }
}
