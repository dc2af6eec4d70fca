//! What can go wrong when a decoder is built or run.

use crate::config::Projection;

/// Why a decoder could not be built or run.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A tensor operation failed.
    #[error("{what}: {source}")]
    Compute {
        /// What was being computed, and in which block.
        what: String,
        /// The tensor library's reason.
        source: candle_core::Error,
    },
    /// A tensor the configuration asks for is not there.
    #[error("the checkpoint has no tensor {name}, which its configuration asks for")]
    MissingTensor {
        /// Canonical name.
        name: String,
    },
    /// A tensor has another shape than the configuration says.
    #[error("tensor {name} is {found:?} where the configuration asks for {expected:?}")]
    TensorShape {
        /// Canonical name.
        name: String,
        /// Rows and columns found.
        found: (usize, usize),
        /// Rows and columns expected.
        expected: (usize, usize),
    },
    /// The configuration contradicts itself.
    #[error("the model configuration is not usable: {0}")]
    Config(String),
    /// A checkpoint that scales its rotary frequencies, and nobody applied it.
    #[error("the checkpoint scales its rotary frequencies by `{0}`, and the decoder was made without them")]
    Scaling(String),
    /// A token id outside the vocabulary.
    #[error("token {token} lies outside the vocabulary of {vocabulary}; the text was encoded with another tokenizer")]
    Token {
        /// The token.
        token: u32,
        /// Size of the vocabulary.
        vocabulary: usize,
    },
    /// Windows of one batch must be equally long and not empty.
    #[error("a batch needs windows of one length, at least one token each; it has {0:?}")]
    Windows(Vec<usize>),
    /// A learned position table ends before the text does.
    #[error("position {position} lies past the {table} learned positions; use shorter windows")]
    Position {
        /// First position without an embedding.
        position: usize,
        /// Rows of the table.
        table: usize,
    },
    /// A block or row range that is not there.
    #[error("{what} {start}..{end} was asked for, but there are {available}")]
    Range {
        /// What is counted.
        what: &'static str,
        /// First one asked for.
        start: usize,
        /// One past the last one asked for.
        end: usize,
        /// How many there are.
        available: usize,
    },
    /// A batch of another size than the cache was filled with.
    #[error("the key-value cache holds {cached} sequences, but {given} were given; use a new cache")]
    CacheBatch {
        /// Sequences in the cache.
        cached: usize,
        /// Sequences given.
        given: usize,
    },
    /// Carried states of other sequences than were given.
    #[error("the carried states are those of {carried} sequences, but {given} were given; begin with new states")]
    CarriedStates {
        /// Sequences that left the states.
        carried: usize,
        /// Sequences given.
        given: usize,
    },
    /// Positions that a text in states would go back to, or be taken apart at.
    #[error(
        "the states of a text of {read} tokens cannot go back to {length} or be cut there: all of it is mixed in them; begin with a new cache"
    )]
    CacheStates {
        /// Positions wanted.
        length: usize,
        /// Tokens read.
        read: usize,
    },
    /// What a decoder of state spaces does not have.
    #[error("a decoder of state spaces has no {what}; leave the method out, or name a model with attention")]
    StateSpace {
        /// What was asked for.
        what: &'static str,
    },
    /// Factors that cannot be moved from one layer to another.
    #[error("{found} factors were given for {expected} channels; one positive number each is needed")]
    Factors {
        /// How many were given.
        found: usize,
        /// How many are needed.
        expected: usize,
    },
    /// Groups that do not fit a head, the window or bytes.
    #[error(
        "keys and values of {bits} bits in groups of {group} with a window of {window} do not fit heads of {head_dim} dimensions: a group has to divide the dimensions of a head and the window, and its codes have to fill bytes"
    )]
    CacheGroup {
        /// Bits of a code.
        bits: usize,
        /// Tokens or channels of a group.
        group: usize,
        /// Positions that are kept in full.
        window: usize,
        /// Dimensions of a head.
        head_dim: usize,
    },
    /// A key or value that cannot be quantized.
    #[error(
        "{what} of block {layer} cannot be quantized: {value} is beyond half precision, in which minima and scales are stored"
    )]
    CacheValue {
        /// Block.
        layer: usize,
        /// Keys or values.
        what: &'static str,
        /// The number, or NaN for one that is not finite.
        value: f32,
    },
    /// Positions that would have to come back from their codes.
    #[error(
        "a key-value cache cannot go back to {length} positions: {codes} have become codes, whose numbers are gone; use a new cache"
    )]
    CacheCodes {
        /// Positions wanted.
        length: usize,
        /// Positions that are codes.
        codes: usize,
    },
    /// Positions whose keys and values a windowed cache has let go.
    #[error(
        "a key-value cache cannot go back to {length} positions: it holds the newest from {from} on, and queries there look further back; use a new cache"
    )]
    CacheDropped {
        /// Positions wanted.
        length: usize,
        /// First position that is there.
        from: usize,
    },
    /// A text that is longer than a rule of attention can read.
    #[error(
        "a text of {length} positions is longer than the {longest} that its remapped positions reach; use a larger group or window, or shorter texts"
    )]
    WindowExceeded {
        /// Positions of the text.
        length: usize,
        /// Positions that can be read.
        longest: usize,
    },
    /// What a quantized cache cannot do.
    #[error("a quantized key-value cache cannot {what}; use one in full precision and quantize it afterwards")]
    CacheFormat {
        /// What was asked of it.
        what: &'static str,
    },
    /// What a cache that lets keys go cannot do.
    #[error("a key-value cache that lets keys go cannot {what}; use one that keeps all of them")]
    CacheEvicts {
        /// What was asked of it.
        what: &'static str,
    },
    /// Positions whose keys have been let go, or have received what later queries gave them.
    #[error(
        "a key-value cache cannot go back to {length} positions: what it holds is chosen by all queries up to {from}; use a new cache"
    )]
    CacheEvicted {
        /// Positions wanted.
        length: usize,
        /// The first length it can go back to.
        from: usize,
    },
    /// Numbers by which nothing sensible stays in a cache.
    #[error("a key-value cache cannot keep {0}")]
    CacheBudget(String),
    /// Factors that are no map of the shape they are said to be.
    #[error("a {rows}x{cols} map cannot be held as factors: {why}")]
    Factored {
        /// Outputs.
        rows: usize,
        /// Inputs.
        cols: usize,
        /// What does not fit.
        why: String,
    },
    /// A replacement of another shape than the map it replaces.
    #[error("block {layer} {projection:?}: a {found:?} map cannot stand for a {expected:?} one")]
    Replacement {
        /// Block.
        layer: usize,
        /// Linear map.
        projection: Projection,
        /// Rows and columns of the replacement.
        found: (usize, usize),
        /// Rows and columns needed.
        expected: (usize, usize),
    },
}

/// Adds what was being done to a tensor library's error.
pub(crate) trait Context<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, ModelError>;
}

impl<T> Context<T> for candle_core::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, ModelError> {
        self.map_err(|source| ModelError::Compute { what: what(), source })
    }
}
