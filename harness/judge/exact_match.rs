//! Exact match of a generated number, as the GSM8K tasks of the EleutherAI evaluation harness score it.
//!
//! The generation is cut at the first stop string (in the text, never in token ids); an answer is extracted; commas,
//! dollar signs, everything up to "#### " and one trailing full stop go; what is left must equal the reference answer,
//! treated alike, letter for letter without case. "5.0" is not "5" in that rule; [`same_number`] is the kinder one.

use std::sync::LazyLock;

use regex::Regex;

use crate::JudgeError;
use crate::error::{not_empty, parameter};

/// How an answer is found in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extraction {
    /// The first number behind "#### ".
    Strict,
    /// The first number in "The answer is N.".
    ChainOfThought,
    /// The first number behind "the answer is", whichever case it begins with: as the examples of the OLMo suite say it.
    Stated,
    /// The last number.
    Flexible,
}

/// Stop strings of the task without worked solutions.
pub const STOPS: [&str; 3] = ["Question:", "</s>", "<|im_end|>"];
/// Stop strings of the chain-of-thought task.
pub const CHAIN_OF_THOUGHT_STOPS: [&str; 3] = ["Q:", "</s>", "<|im_end|>"];

#[allow(clippy::expect_used, reason = "constant patterns, each used by a test")]
fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a constant pattern")
}

static STRICT: LazyLock<Regex> = LazyLock::new(|| pattern(r"#### (-?[0-9.,]+)"));
static CHAIN_OF_THOUGHT: LazyLock<Regex> = LazyLock::new(|| pattern(r"The answer is (-?[0-9.,]+)."));
static STATED: LazyLock<Regex> = LazyLock::new(|| pattern(r"[Tt]he answer is (-?[$0-9.,]+)"));
static FLEXIBLE: LazyLock<Regex> = LazyLock::new(|| pattern(r"(-?[$0-9.,]{2,})|(-?[0-9]+)"));

/// The text before the first stop string.
pub fn cut<'t>(text: &'t str, stops: &[&str]) -> &'t str {
    let first = stops.iter().filter(|stop| !stop.is_empty()).filter_map(|stop| text.find(stop)).min();
    &text[..first.unwrap_or(text.len())]
}

impl Extraction {
    /// The answer as it stands in the text; `None` when there is none.
    pub fn raw(self, text: &str) -> Option<&str> {
        let answer = match self {
            Self::Strict => STRICT.captures(text)?.get(1)?,
            Self::ChainOfThought => CHAIN_OF_THOUGHT.captures(text)?.get(1)?,
            Self::Stated => STATED.captures(text)?.get(1)?,
            Self::Flexible => FLEXIBLE.find_iter(text).last()?,
        };
        Some(answer.as_str().trim())
    }

    /// The answer in the form that is compared.
    pub fn extract(self, text: &str) -> Option<String> {
        self.raw(text).map(normalise)
    }
}

/// Without commas, dollar signs, everything up to the last "#### ", one trailing full stop, and case.
pub fn normalise(answer: &str) -> String {
    let plain: String = answer.chars().filter(|character| !matches!(character, ',' | '$')).collect();
    let behind = plain.rfind("#### ").map_or(plain.as_str(), |place| &plain[place + 5..]);
    behind.strip_suffix('.').unwrap_or(behind).to_lowercase()
}

/// Whether two answers are the same number ("5.0" and "5"); not part of the reference rule.
pub fn same_number(answer: &str, gold: &str) -> bool {
    let number = |text: &str| normalise(text).trim().parse::<f64>().ok().filter(|value| value.is_finite());
    matches!((number(answer), number(gold)), (Some(answer), Some(gold)) if answer == gold)
}

/// The outcome of one generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Whether an answer was found; without one the generation is wrong.
    pub extracted: bool,
    /// Whether it equals the reference answer.
    pub right: bool,
    /// Whether it is the same number.
    pub same_number: bool,
}

/// Scores one generation against a reference answer, which may be a whole worked solution ending in "#### N".
///
/// # Errors
/// A reference answer that is empty once normalised.
pub fn score(generation: &str, gold: &str, by: Extraction, stops: &[&str]) -> Result<Outcome, JudgeError> {
    let gold = normalise(gold);
    if gold.trim().is_empty() {
        return Err(parameter("gold", "empty", "a reference answer"));
    }
    let answer = by.extract(cut(generation, stops));
    Ok(Outcome {
        extracted: answer.is_some(),
        right: answer.as_deref() == Some(&gold),
        same_number: answer.as_deref().is_some_and(|answer| same_number(answer, &gold)),
    })
}

/// Rates over generations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExactMatch {
    /// The share that is right by the reference rule.
    pub exact: f64,
    /// The share that is the same number.
    pub same_number: f64,
    /// The share without an answer; it rises with temperature.
    pub failed_extraction: f64,
}

impl ExactMatch {
    /// Over outcomes.
    ///
    /// # Errors
    /// No outcomes.
    pub fn of(outcomes: &[Outcome]) -> Result<Self, JudgeError> {
        not_empty("generations", outcomes)?;
        let share = |is: fn(&Outcome) -> bool| {
            outcomes.iter().filter(|outcome| is(outcome)).count() as f64 / outcomes.len() as f64
        };
        Ok(Self {
            exact: share(|outcome| outcome.right),
            same_number: share(|outcome| outcome.same_number),
            failed_extraction: share(|outcome| !outcome.extracted),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Extraction::{ChainOfThought, Flexible, Stated, Strict};
    use super::{CHAIN_OF_THOUGHT_STOPS, ExactMatch, cut, normalise, same_number, score};

    /// The strings of the definitions: text, flexible, chain of thought, strict.
    const STRINGS: [(&str, Option<&str>, Option<&str>, Option<&str>); 7] = [
        ("She has 23 - 15 = 8 dollars. The answer is 8.", Some("8"), Some("8"), None),
        ("so 1,234.50 total.\n#### 1,234", Some("1234"), None, Some("1234")),
        ("The answer is $1,000.", Some("1000"), None, None),
        ("I have 3 apples, 5.", Some("5"), None, None),
        ("The answer is -7. Then 2 more", Some("2"), Some("-7"), None),
        ("The answer is 42. Q: next? The answer is 7.", Some("7"), Some("42"), None),
        ("no idea", None, None, None),
    ];

    #[test]
    fn the_worked_strings() {
        for (text, flexible, chain, strict) in STRINGS {
            assert_eq!(Flexible.extract(text).as_deref(), flexible, "{text}");
            assert_eq!(ChainOfThought.extract(text).as_deref(), chain, "{text}");
            assert_eq!(Strict.extract(text).as_deref(), strict, "{text}");
        }
        assert_eq!(Flexible.raw(STRINGS[0].0), Some("8."));
        assert_eq!(Stated.extract("So the answer is $1,018. Or 5").as_deref(), Some("1018"));
        assert_eq!(Stated.extract("I answer 3"), None);
        let before = cut(STRINGS[5].0, &CHAIN_OF_THOUGHT_STOPS);
        assert_eq!((before, Flexible.extract(before).as_deref()), ("The answer is 42. ", Some("42")));
    }

    #[test]
    fn answers_are_compared_as_the_reference_does() {
        let gold = "He pays 3 * 4 = <<3*4=12>>12 dollars.\n#### 1,012";
        assert_eq!(normalise(gold), "1012");
        let outcomes = [
            score("#### 1012.", gold, Strict, &[]).unwrap(),
            score("#### 1012.0", gold, Strict, &[]).unwrap(),
            score("1012", gold, Strict, &[]).unwrap(),
            score("Question: #### 1012", gold, Strict, &super::STOPS).unwrap(),
        ];
        let rates = ExactMatch::of(&outcomes).unwrap();
        assert_eq!((rates.exact, rates.same_number, rates.failed_extraction), (0.25, 0.5, 0.5));
        assert!(score("5", "#### ", Strict, &[]).is_err());
        assert!(ExactMatch::of(&[]).is_err());
        assert!(same_number("$5.0", "5") && !same_number("five", "five"));
    }
}
