//! Whether what should be found in a long context stands in what a model wrote.
//!
//! Source: the rules of RULER (Hsieh et al. 2024: all references, any of them), of the passkey test of LM-Infinite (Han et al.
//! 2023: the first whole number) and of LongEval's lines (Li et al. 2023: the last whole number).
//!
//! # Difference from the reference
//! Whole numbers are compared as numbers, so that "007" is 7, and of any length. [`Rule::FirstWord`] is of this program: models of
//! a language of whole words write the answer as their next word.

use crate::JudgeError;
use crate::error::parameter;

/// How a text is held against what should stand in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The first run of digits is the reference.
    FirstInteger,
    /// The last run of digits is the reference.
    LastInteger,
    /// The share of the references that stand somewhere in the text, in whichever case.
    All,
    /// Whether any of the references stands somewhere in the text, in whichever case.
    Any,
    /// The first word is the reference.
    FirstWord,
}

impl Rule {
    /// Its name in protocols.
    pub fn word(self) -> &'static str {
        match self {
            Self::FirstInteger => "first-integer",
            Self::LastInteger => "last-integer",
            Self::All => "all",
            Self::Any => "any",
            Self::FirstWord => "first-word",
        }
    }

    /// The score of a text, 0 to 1.
    ///
    /// # Errors
    /// No reference, or one that is empty.
    pub fn score(self, text: &str, references: &[String]) -> Result<f64, JudgeError> {
        if references.is_empty() || references.iter().any(|reference| reference.trim().is_empty()) {
            return Err(parameter("references", "empty", "at least one reference, none of them empty"));
        }
        let is = |found: Option<&str>| {
            let plain = |number: &str| number.trim_start_matches('0').to_owned();
            f64::from(found.is_some_and(|found| plain(found) == plain(references[0].trim())))
        };
        let lower = text.to_lowercase();
        let mut stands = references.iter().map(|reference| lower.contains(&reference.to_lowercase()));
        Ok(match self {
            Self::FirstInteger => is(integers(text).next()),
            Self::LastInteger => is(integers(text).last()),
            Self::All => stands.filter(|stands| *stands).count() as f64 / references.len() as f64,
            Self::Any => f64::from(stands.any(|stands| stands)),
            Self::FirstWord => f64::from(text.split_whitespace().next() == Some(references[0].trim())),
        })
    }
}

/// The runs of digits of a text.
fn integers(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_ascii_digit()).filter(|run| !run.is_empty())
}

#[cfg(test)]
mod tests {
    use super::Rule;

    fn score(rule: Rule, text: &str, references: &[&str]) -> f64 {
        rule.score(text, &references.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn numbers_are_whole_runs_of_digits() {
        assert_eq!(score(Rule::FirstInteger, " 481, and later 77", &["481"]), 1.0);
        assert_eq!(score(Rule::FirstInteger, " 4812", &["481"]), 0.0);
        assert_eq!(score(Rule::FirstInteger, "it is 0481.", &["481"]), 1.0);
        assert_eq!(score(Rule::LastInteger, "line 3 holds <481>", &["481"]), 1.0);
        assert_eq!(score(Rule::LastInteger, "481 is in line 3", &["481"]), 0.0);
        assert_eq!(score(Rule::LastInteger, "none", &["481"]), 0.0);
    }

    #[test]
    fn references_are_found_in_any_case_and_place() {
        let references = ["Amber", "LANTERN", "oak"];
        assert!((score(Rule::All, "the amber lanterns", &references) - 2.0 / 3.0).abs() < 1e-15);
        assert_eq!(score(Rule::Any, "an OAK", &references), 1.0);
        assert_eq!(score(Rule::Any, "a birch", &references), 0.0);
        assert_eq!(score(Rule::FirstWord, " Bado goes", &["Bado"]), 1.0);
        assert_eq!(score(Rule::FirstWord, "Badon", &["Bado"]), 0.0);
    }

    #[test]
    fn scores_are_those_of_the_reference() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/long_context.json");
        let golden: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let cases = golden["scores"].as_array().unwrap();
        assert!(cases.len() > 40);
        let all = [Rule::FirstInteger, Rule::LastInteger, Rule::All, Rule::Any, Rule::FirstWord];
        for case in cases {
            let text = |key: &str| case[key].as_str().unwrap();
            let rule = all.into_iter().find(|rule| rule.word() == text("rule")).unwrap();
            let references: Vec<&str> =
                case["references"].as_array().unwrap().iter().filter_map(serde_json::Value::as_str).collect();
            let found = score(rule, text("text"), &references);
            assert!((found - case["score"].as_f64().unwrap()).abs() < 1e-12, "{case}: {found}");
        }
    }

    #[test]
    fn nothing_to_find_is_an_error() {
        assert!(Rule::All.score("a", &[]).is_err() && Rule::Any.score("a", &[" ".to_owned()]).is_err());
    }
}
