//! Generated data sets as a source of training text.

use harness_core::seed::stream;
use harness_language::{BEGIN, Dataset, END, Language, LanguageError};
use harness_model::tokenizer::{Tokenizer, TokenizerError};
use harness_model::train::TokenSource;
use rand_chacha::rand_core::Rng;

/// Why a generated data set could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum GeneratedError {
    /// The language.
    #[error(transparent)]
    Language(#[from] LanguageError),
    /// Its tokenizer.
    #[error("the tokenizer of the generated data set: {0}")]
    Tokenizer(#[from] TokenizerError),
}

/// A generated data set: its language and its tokenizer.
#[derive(Debug)]
pub struct Generated {
    dataset: Dataset,
    language: Language,
    tokenizer: Tokenizer,
    identity: String,
}

impl Generated {
    /// Opens a data set from the text of its `dataset.toml`.
    ///
    /// # Errors
    /// A file that is not a data set of this format, or parameters that make no language.
    pub fn parse(text: &str) -> Result<Self, GeneratedError> {
        let dataset = Dataset::parse(text)?;
        let language = Language::from_parameters(&dataset.language)?;
        let tokenizer = Tokenizer::from_json(language.lexicon().tokenizer_json().as_bytes(), Some(BEGIN), Some(END))?;
        // Everything the text depends on, so that a changed parameter cannot pass for the old text.
        let identity = format!("{} {} {:?} {:?}", dataset.name(), dataset.version(), dataset.language, dataset.splits);
        Ok(Self { dataset, language, tokenizer, identity })
    }

    /// The data set's description.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// The language, with its exact truth.
    pub fn language(&self) -> &Language {
        &self.language
    }
}

impl TokenSource for Generated {
    fn identity(&self) -> String {
        self.identity.clone()
    }

    fn vocabulary(&self) -> usize {
        self.language.vocabulary()
    }

    fn begin(&self) -> Option<u32> {
        Some(BEGIN)
    }

    fn end(&self) -> Option<u32> {
        Some(END)
    }

    fn tokenizer(&self) -> Option<Tokenizer> {
        Some(self.tokenizer.clone())
    }

    /// Even windows begin with a document drawn from the split; odd ones begin up to two mean documents further on,
    /// so that a model knows texts from their beginning and from their middle.
    fn window(&self, split: &str, index: u64, length: usize) -> Result<Vec<u32>, String> {
        let split = self.dataset.split(split).map_err(|error| error.to_string())?;
        let mut rng = stream(self.dataset.language.seed, &["window", &split.name, &index.to_string()]);
        let mut document = rng.next_u64() % split.documents;
        let reach = (2.0 * self.language.mean_document()) as u64;
        let skip = if index.is_multiple_of(2) { 0 } else { 1 + rng.next_u64() % reach } as usize;
        let mut tokens = Vec::with_capacity(skip + length);
        while tokens.len() < skip + length {
            tokens.extend(self.language.document(&split.name, document));
            document = (document + 1) % split.documents;
        }
        Ok(tokens[skip..skip + length].to_vec())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn fables() -> Generated {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../datasets/corpora/fables/dataset.toml");
        Generated::parse(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    #[test]
    fn windows_are_functions_of_split_and_index() {
        let fables = fables();
        let window = fables.window("train", 6, 257).unwrap();
        assert_eq!((window.len(), window[0]), (257, BEGIN));
        assert_eq!(window, fables.window("train", 6, 257).unwrap());
        assert_ne!(window, fables.window("train", 8, 257).unwrap());
        assert_ne!(window, fables.window("valid", 6, 257).unwrap());
        assert_eq!(window[..100], fables.window("train", 6, 100).unwrap());
        let middles = (0..20).filter(|i| fables.window("train", 2 * i + 1, 8).unwrap()[0] != BEGIN).count();
        assert!(middles > 15, "{middles}");
        assert!(fables.window("tarin", 0, 8).unwrap_err().contains("`train`"));
    }

    #[test]
    fn the_tokenizer_agrees_with_the_language() {
        let fables = fables();
        let document = fables.language().document("test", 0);
        let text = fables.language().lexicon().spell(&document).unwrap();
        let tokenizer = fables.tokenizer().unwrap();
        assert_eq!(tokenizer.encode(&text, false).unwrap(), document);
        assert_eq!(tokenizer.decode(&document[1..40]).unwrap(), {
            fables.language().lexicon().spell(&document[1..40]).unwrap()
        });
        assert_eq!(tokenizer.vocab_size(), fables.vocabulary());
    }
}
