//! A language model as decoders see it.

use crate::decode::DecodeError;

/// What a model may fail with.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Gives logits after token sequences. The sequences of a decoder extend one prompt (two when it compares two branches),
/// so that an implementation does well to keep what it computed for their common prefixes; no decoder relies on it.
pub trait LanguageModel {
    /// Tokens there are; the length of a row of logits.
    fn vocabulary(&self) -> usize;

    /// Tokens that end a sequence.
    fn ends(&self) -> &[u32];

    /// The longest sequence it reads.
    fn context(&self) -> usize;

    /// Whether it gives hidden states.
    fn has_states(&self) -> bool {
        false
    }

    /// Reads sequences and gives the rows that are asked for.
    ///
    /// # Errors
    /// Whatever the model fails with.
    fn pass(&mut self, request: &Request) -> Result<Rows, Failure>;
}

/// What a model is asked.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Whole sequences, prompt included, of one token or more each; their lengths may differ.
    pub sequences: &'a [&'a [u32]],
    /// Rows of logits wanted of each sequence: those after its last so many tokens.
    pub logits: usize,
    /// Hidden states wanted of each sequence, in the same way.
    pub states: usize,
}

/// What a model answers, sequence by sequence and within it by rising position.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rows {
    /// Rows of logits, `vocabulary` values each.
    pub logits: Vec<Vec<f32>>,
    /// Final hidden states.
    pub states: Vec<Vec<f32>>,
}

/// How often a model was called.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    /// Passes, of any number of sequences.
    pub passes: usize,
    /// Sequences in them: what the literature of beam search counts as calls.
    pub sequences: usize,
}

/// A model whose calls are counted and whose answers are looked at.
pub(crate) struct Counted<'a> {
    model: &'a mut dyn LanguageModel,
    pub calls: Calls,
}

impl<'a> Counted<'a> {
    pub fn new(model: &'a mut dyn LanguageModel) -> Self {
        Self { model, calls: Calls::default() }
    }

    /// Logits after the last `last` tokens of each sequence.
    pub fn logits(&mut self, sequences: &[&[u32]], last: usize) -> Result<Vec<Vec<f32>>, DecodeError> {
        Ok(self.rows(&Request { sequences, logits: last, states: 0 })?.logits)
    }

    /// Logits after one sequence.
    pub fn next(&mut self, sequence: &[u32]) -> Result<Vec<f32>, DecodeError> {
        Ok(self.logits(&[sequence], 1)?.swap_remove(0))
    }

    pub fn rows(&mut self, request: &Request) -> Result<Rows, DecodeError> {
        self.calls.passes += 1;
        self.calls.sequences += request.sequences.len();
        let rows = self.model.pass(request).map_err(DecodeError::Model)?;
        let (wanted, states) = (request.sequences.len() * request.logits, request.sequences.len() * request.states);
        let vocabulary = self.model.vocabulary();
        if rows.logits.len() != wanted || rows.states.len() != states {
            return Err(DecodeError::Answer {
                what: "rows",
                expected: wanted + states,
                found: rows.logits.len() + rows.states.len(),
            });
        }
        if let Some(row) = rows.logits.iter().find(|row| row.len() != vocabulary) {
            return Err(DecodeError::Answer { what: "logits in a row", expected: vocabulary, found: row.len() });
        }
        Ok(rows)
    }
}
