//! Generated answers: written by a model with a chain, cut at the stops, taken out of the text, and compared.

use harness_judge::exact_match::{Extraction, cut, score};
use harness_methods::sample::Chain;
use harness_model::decoder::Decoder;
use harness_model::tokenizer::Tokenizer;

use super::questions::{Question, Questions};
use crate::writing::{Job, Read, Written, write};

/// What came of one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a metric of its own")]
pub struct Answered {
    /// Whether the last number of the answer is right.
    pub right: bool,
    /// Whether it is the same number, however written.
    pub same_number: bool,
    /// Whether the number behind "the answer is" is right.
    pub stated: bool,
    /// No number was found.
    pub unanswered: bool,
    /// The answer was ended by its number of tokens.
    pub cut_off: bool,
    /// Tokens written.
    pub tokens: usize,
}

impl Questions {
    /// Answers every question, each with a chain of its own, named after the question so that arms are paired.
    ///
    /// # Errors
    /// The question and what went wrong.
    pub fn answer(
        &self,
        decoder: &Decoder,
        tokenizer: &Tokenizer,
        chain: &dyn Fn(&str) -> Result<Chain, String>,
        read: &mut Read,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<Answered>, String> {
        let jobs: Result<Vec<Job>, String> = self
            .asked
            .iter()
            .enumerate()
            .map(|(number, question)| {
                let chain = chain(&format!("question {number}"))?;
                Ok(Job { prompt: &question.prompt, chain, length: self.tokens })
            })
            .collect();
        let stops: Vec<&str> = self.stops.iter().map(String::as_str).collect();
        let stop = |_: usize, tokens: &[u32]| {
            // A stop may begin in earlier tokens; none is longer than the text of the last few.
            let recent = &tokens[tokens.len().saturating_sub(16)..];
            tokenizer.decode(recent).is_ok_and(|text| cut(&text, &stops).len() < text.len())
        };
        self.judge(tokenizer, &write(decoder, jobs?, read, &stop, progress)?)
    }

    /// The prompts in the order of the questions.
    pub fn prompts(&self) -> impl Iterator<Item = &[u32]> {
        self.asked.iter().map(|question| question.prompt.as_slice())
    }

    /// Judges answers, one a question.
    ///
    /// # Errors
    /// The question and what went wrong.
    pub fn judge(&self, tokenizer: &Tokenizer, texts: &[Written]) -> Result<Vec<Answered>, String> {
        let stops: Vec<&str> = self.stops.iter().map(String::as_str).collect();
        let one = |(number, (question, written)): (usize, (&Question, &Written))| {
            judge(written, tokenizer, &question.gold, &stops).map_err(|error| format!("question {number}: {error}"))
        };
        self.asked.iter().zip(texts).enumerate().map(one).collect()
    }
}

fn judge(written: &Written, tokenizer: &Tokenizer, gold: &str, stops: &[&str]) -> Result<Answered, String> {
    let text = tokenizer.decode(&written.tokens).map_err(|error| error.to_string())?;
    let last = score(&text, gold, Extraction::Flexible, stops).map_err(|error| error.to_string())?;
    let stated = score(&text, gold, Extraction::Stated, stops).map_err(|error| error.to_string())?;
    Ok(Answered {
        right: last.right,
        same_number: last.same_number,
        stated: stated.right,
        unanswered: !last.extracted,
        cut_off: written.cut_off,
        tokens: written.tokens.len(),
    })
}
