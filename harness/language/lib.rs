//! The embedded language: text generated from a seed whose exact next-token distribution is known.
//!
//! A document is a hidden Markov chain over (topic, frame, place in the grammar). The topic stays for paragraphs,
//! the frame for a clause, and both shape which words are likely. Two kinds of name make a long context pay:
//!
//! - a *role* ("captain") is always followed by its name, which is drawn once a document, so the first mention is
//!   close to uniform over the names and every later one is certain;
//! - the *cast*: names that stand alone are independent draws from a hidden distribution of the document (a
//!   Dirichlet one), so the names seen so far predict the next one as a Pólya urn does.
//!
//! Both depend on the visible prefix alone and exchangeably, so the forward recursion stays exact whether it
//! starts at the beginning of a document or in the middle of a stream ([`Start`]).

mod document;
mod emission;
mod error;
mod floor;
mod grammar;
mod lexicon;
mod memory;
mod parameters;
mod truth;

use emission::Emissions;
use grammar::Grammar;

pub use emission::Slot;
pub use error::LanguageError;
pub use floor::{ContextRow, Floor, Protocol};
pub use lexicon::{BEGIN, Category, END, Lexicon, PARAGRAPH, UNKNOWN};
pub use parameters::{Dataset, Parameters, Split};
pub use truth::{Start, TruthState};

/// A generated language: its words, its grammar, and its exact law.
#[derive(Debug, Clone)]
pub struct Language {
    parameters: Parameters,
    lexicon: Lexicon,
    grammar: Grammar,
    emissions: Emissions,
}

impl Language {
    /// Builds the language that the parameters describe. The same parameters give the same language, bit for bit.
    ///
    /// # Errors
    /// A parameter outside its range, or word classes larger than the lists they are drawn from.
    pub fn from_parameters(parameters: &Parameters) -> Result<Self, LanguageError> {
        parameters.check()?;
        let lexicon = Lexicon::new(parameters)?;
        let grammar = Grammar::new(parameters);
        let emissions = Emissions::new(parameters, &lexicon);
        Ok(Self { parameters: parameters.clone(), lexicon, grammar, emissions })
    }

    /// What the language was built from.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The words and their classes.
    pub fn lexicon(&self) -> &Lexicon {
        &self.lexicon
    }

    /// Number of tokens in the vocabulary.
    pub fn vocabulary(&self) -> usize {
        self.lexicon.len()
    }

    /// Expected tokens of a document, both of its marks included.
    pub fn mean_document(&self) -> f64 {
        1.0 / self.grammar.stationary()[grammar::State::Begin as usize]
    }

    /// The exact distribution of the token after `prefix`, `vocabulary` probabilities that sum to one.
    /// A prefix that starts with the begin mark is a document's; any other is a cut out of a stream, whose
    /// unknown past is integrated out. The empty prefix is the start of a document.
    ///
    /// # Errors
    /// A token outside the vocabulary, or one that the language cannot produce there.
    pub fn truth(&self, prefix: &[u32]) -> Result<Vec<f64>, LanguageError> {
        let start = match prefix.first() {
            None | Some(&BEGIN) => Start::Document,
            Some(_) => Start::Anywhere,
        };
        let mut state = TruthState::new(self, start);
        for &token in prefix {
            state.push(token)?;
        }
        Ok(state.distribution())
    }
}

#[cfg(test)]
mod mod_tests;
