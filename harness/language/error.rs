//! What can go wrong with a generated language.

/// Why a language could not be built or asked.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LanguageError {
    /// The parameter file could not be parsed.
    #[error("the parameters of the data set cannot be read: {0}")]
    Parse(String),
    /// A parameter outside its range.
    #[error("parameter `{key}` of the language is {value}; it must be {allowed}")]
    Parameter {
        /// Name of the parameter.
        key: &'static str,
        /// What was given.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// A split that the data set does not have.
    #[error("the data set has no split `{name}`; it has {known}")]
    UnknownSplit {
        /// The name that was asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A document beyond the end of its split.
    #[error("split `{split}` has {documents} documents; document {index} does not exist")]
    DocumentIndex {
        /// Name of the split.
        split: String,
        /// Documents in it.
        documents: u64,
        /// The index that was asked for.
        index: u64,
    },
    /// A token outside the vocabulary.
    #[error("token {token} at position {position} is outside the vocabulary of {vocabulary} tokens")]
    Token {
        /// The token.
        token: u32,
        /// Its position in the sequence, from 0.
        position: usize,
        /// Number of tokens there are.
        vocabulary: usize,
    },
    /// A token that has probability zero after what came before it.
    #[error("token {token} (`{word}`) at position {position} cannot follow what comes before it in this language")]
    Impossible {
        /// The token.
        token: u32,
        /// Its spelling.
        word: String,
        /// Its position in the sequence, from 0.
        position: usize,
    },
    /// A word that is not in the vocabulary.
    #[error("`{word}`, word {position} of the text, is not in the vocabulary")]
    Word {
        /// The word.
        word: String,
        /// Its position in the text, from 0.
        position: usize,
    },
}
