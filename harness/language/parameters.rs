//! The parameters of a generated language and of the data set made from it (`dataset.toml`).

use harness_core::seed::stream;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::LanguageError;

/// What a language is built from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// Seed of the words, the tables and every document.
    pub seed: u64,
    /// A dialect has the words and the grammar of the language and uses them in its own way: which words go with which topic and frame is
    /// drawn anew, and so are the documents. None is the language itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dialect: Option<String>,
    /// Hidden topics; one rules a few paragraphs.
    pub topics: usize,
    /// Hidden frames; one rules a clause.
    pub frames: usize,
    /// Nouns.
    pub nouns: usize,
    /// Verbs that are not nouns as well.
    pub verbs: usize,
    /// Words that are nouns and verbs, counted among the nouns.
    pub shared: usize,
    /// Adjectives.
    pub adjectives: usize,
    /// Adverbs.
    pub adverbs: usize,
    /// Numerals, all equally likely: the flattest context there is.
    pub numerals: usize,
    /// Roles, each bound to one name in each document.
    pub roles: usize,
    /// Names.
    pub names: usize,
    /// Exponent of the Zipf law inside a word class.
    pub zipf: f64,
    /// Exponent of the Zipf law over roles.
    pub role_zipf: f64,
    /// Standard deviation of a word's log-probability between topics.
    pub topic_spread: f64,
    /// Standard deviation of a frame's log-probability between topics.
    pub frame_spread: f64,
    /// Share of nouns and verbs that a frame may use.
    pub frame_share: f64,
    /// Probability that a new paragraph draws a new topic.
    pub topic_switch: f64,
    /// Concentration of the hidden cast distribution of a document.
    pub cast: f64,
    /// Probability that a paragraph ends after a sentence.
    pub paragraph_end: f64,
    /// Probability that the document ends after a paragraph.
    pub document_end: f64,
}

impl Parameters {
    /// Random numbers of the language, of a dialect its own ones.
    pub(crate) fn stream(&self, names: &[&str]) -> ChaCha8Rng {
        let names: Vec<&str> = names.iter().copied().chain(self.dialect.as_deref()).collect();
        stream(self.seed, &names)
    }

    pub(crate) fn check(&self) -> Result<(), LanguageError> {
        fn within<T: PartialOrd + Copy + std::fmt::Display>(
            key: &'static str,
            value: T,
            low: T,
            high: T,
        ) -> Result<(), LanguageError> {
            if value >= low && value <= high {
                return Ok(());
            }
            Err(LanguageError::Parameter { key, value: value.to_string(), allowed: format!("{low} to {high}") })
        }
        within("topics", self.topics, 1, 1024)?;
        within("frames", self.frames, 1, 1024)?;
        within("nouns", self.nouns, 1, 100_000)?;
        within("verbs", self.verbs, 1, 100_000)?;
        within("shared", self.shared, 0, self.nouns)?;
        within("adjectives", self.adjectives, 1, 100_000)?;
        within("adverbs", self.adverbs, 1, 100_000)?;
        within("numerals", self.numerals, 1, 100_000)?;
        within("roles", self.roles, 1, crate::lexicon::ROLES.len())?;
        within("names", self.names, 1, 100_000)?;
        within("zipf", self.zipf, 0.0, 10.0)?;
        within("role_zipf", self.role_zipf, 0.0, 10.0)?;
        within("topic_spread", self.topic_spread, 0.0, 10.0)?;
        within("frame_spread", self.frame_spread, 0.0, 10.0)?;
        within("frame_share", self.frame_share, 1e-6, 1.0)?;
        within("topic_switch", self.topic_switch, 0.0, 1.0)?;
        within("cast", self.cast, 1e-6, 1e6)?;
        within("paragraph_end", self.paragraph_end, 1e-6, 1.0)?;
        within("document_end", self.document_end, 1e-6, 1.0)
    }
}

/// One part of a data set. Parts are disjoint: a document's seed is made of its split's name and its index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// Name, as suites write it after the slash.
    pub name: String,
    /// Number of documents.
    pub documents: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Heading {
    format: u32,
    name: String,
    version: u32,
    about: String,
    licence: String,
}

/// A generated data set: the content of `dataset.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dataset {
    #[serde(rename = "dataset")]
    heading: Heading,
    /// The language.
    pub language: Parameters,
    /// The splits.
    #[serde(rename = "split")]
    pub splits: Vec<Split>,
}

impl Dataset {
    /// Reads `dataset.toml`.
    ///
    /// # Errors
    /// A text that is not TOML, an unknown or missing key, another format number, a parameter out of its range.
    pub fn parse(text: &str) -> Result<Self, LanguageError> {
        let dataset: Self = toml::from_str(text).map_err(|error| LanguageError::Parse(error.to_string()))?;
        if dataset.heading.format != 1 {
            return Err(LanguageError::Parameter {
                key: "format",
                value: dataset.heading.format.to_string(),
                allowed: "1, the only format this version reads".to_owned(),
            });
        }
        dataset.language.check()?;
        Ok(dataset)
    }

    /// Name of the data set.
    pub fn name(&self) -> &str {
        &self.heading.name
    }

    /// Version of the text; it changes whenever the same index gives another document.
    pub fn version(&self) -> u32 {
        self.heading.version
    }

    /// One sentence about it.
    pub fn about(&self) -> &str {
        &self.heading.about
    }

    /// Licence of the generated text.
    pub fn licence(&self) -> &str {
        &self.heading.licence
    }

    /// The split of that name.
    ///
    /// # Errors
    /// [`LanguageError::UnknownSplit`], with the names there are.
    pub fn split(&self, name: &str) -> Result<&Split, LanguageError> {
        self.splits.iter().find(|split| split.name == name).ok_or_else(|| LanguageError::UnknownSplit {
            name: name.to_owned(),
            known: self.splits.iter().map(|split| format!("`{}`", split.name)).collect::<Vec<_>>().join(", "),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::LanguageError;

    fn shipped() -> String {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../datasets/corpora/fables/dataset.toml");
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn the_shipped_data_set_is_read_and_names_its_splits() {
        let dataset = Dataset::parse(&shipped()).unwrap();
        assert_eq!(dataset.name(), "fables");
        assert_eq!(dataset.licence(), "CC0-1.0");
        let names: Vec<_> = dataset.splits.iter().map(|split| split.name.as_str()).collect();
        assert_eq!(names, ["train", "valid", "test"]);
        let error = dataset.split("tset").unwrap_err();
        assert_eq!(error.to_string(), "the data set has no split `tset`; it has `train`, `valid`, `test`");
    }

    #[test]
    fn unknown_keys_and_values_out_of_range_are_refused() {
        let misspelt = shipped().replace("topics", "topcis");
        assert!(matches!(Dataset::parse(&misspelt), Err(LanguageError::Parse(text)) if text.contains("topcis")));
        let mut parameters = Dataset::parse(&shipped()).unwrap().language;
        parameters.topic_switch = 1.5;
        assert_eq!(
            parameters.check().unwrap_err().to_string(),
            "parameter `topic_switch` of the language is 1.5; it must be 0 to 1"
        );
        parameters.topic_switch = f64::NAN;
        assert!(parameters.check().is_err());
    }
}
