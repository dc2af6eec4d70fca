//! Asking a model for sums, greedily, in the way it was trained to write them.

use harness_kernels::logits;
use harness_model::decoder::Decoder;
use harness_model::error::ModelError;

use super::problems::{Digits, add};
use super::{AdditionSelection, Protocol, pairs, whole};
use crate::inputs::{InputError, LoadedModel};
use crate::tasks::long::Retrieved;
use crate::text::{Windows, hash_tokens};

/// Tokens that are read together, about.
const TOGETHER: usize = 8192;

/// Why no sums can be asked.
#[derive(Debug, thiserror::Error)]
pub enum AdditionError {
    /// Words instead of digits.
    #[error(
        "{model} was not trained on sums: its tokens are not those of `sums-pairs` or `sums-whole`; name a model that was, as `tiny-sums-pairs`"
    )]
    NoSums {
        /// The model.
        model: String,
    },
    /// The tokenizer.
    #[error(transparent)]
    Input(#[from] InputError),
}

/// Sums, ready for one model.
#[derive(Debug, Clone)]
pub(crate) struct Questions {
    problems: Vec<(Digits, Digits)>,
    protocol: Protocol,
}

impl Questions {
    /// The sums that a selection asks a model, and their prompts as windows, which name and identify them.
    ///
    /// # Errors
    /// [`AdditionError`].
    pub fn of(selection: &AdditionSelection, model: &LoadedModel, seed: u64) -> Result<(Self, Windows), AdditionError> {
        let protocol =
            Protocol::of(model.tokenizer()?).ok_or_else(|| AdditionError::NoSums { model: model.name.clone() })?;
        let questions = Self::from(selection, protocol, seed);
        let tokens: Vec<Vec<u32>> = questions.problems.iter().map(|(a, b)| whole::prompt(a, b)).collect();
        let hash = hash_tokens(&tokens);
        let (first, second) = selection.digits();
        // Not the model's way of writing: the sums are the same for all, and so are right ones.
        let line = format!(
            "task=sum@{} first={first} second={second} items={} carries={} rule=whole-sum seed={seed}",
            &hash[..12],
            selection.items,
            harness_core::ParameterValue::to_value(&selection.carries),
        );
        let documents = (0..tokens.len() as u32).collect();
        let windows = Windows { tokens, documents, dropped: 0, protocol: line, hash };
        Ok((questions, windows))
    }

    /// Sums written in some way.
    pub fn from(selection: &AdditionSelection, protocol: Protocol, seed: u64) -> Self {
        Self { problems: selection.problems(seed), protocol }
    }

    /// Asks every sum; whether it is right.
    ///
    /// # Errors
    /// The model's.
    pub fn ask(&self, decoder: &Decoder, progress: &mut dyn FnMut(usize, usize)) -> Result<Vec<Retrieved>, String> {
        let named = |error: ModelError| error.to_string();
        let longest = self.problems.iter().map(|(a, b)| a.len() + b.len()).max().unwrap_or(1);
        // Sums by pairs read nine tokens a step; whole ones as they are written.
        let together = match self.protocol {
            Protocol::Pairs => TOGETHER / (pairs::PROMPT + pairs::ANSWER),
            Protocol::Whole => (TOGETHER / (2 * longest)).max(1),
        };
        let mut found = Vec::with_capacity(self.problems.len());
        for problems in self.problems.chunks(together) {
            let sums = match self.protocol {
                Protocol::Pairs => {
                    let mut respond = |prompts: &[Vec<u32>]| written(decoder, prompts, pairs::ANSWER);
                    pairs::sums(problems, &mut respond).map_err(named)?
                }
                Protocol::Whole => {
                    let prompts: Vec<Vec<u32>> = problems.iter().map(|(a, b)| whole::prompt(a, b)).collect();
                    let tokens = problems.iter().map(whole::answer_tokens).max().unwrap_or(1);
                    let answers = written(decoder, &prompts, tokens).map_err(named)?;
                    answers.iter().map(|answer| whole::number_of(answer)).collect()
                }
            };
            found.extend(problems.iter().zip(sums).map(|((a, b), sum)| {
                let right = sum.is_some_and(|sum| sum == add(a, b));
                Retrieved { score: f64::from(right), prompt: a.len() + b.len() + 2, ..Retrieved::unasked() }
            }));
            progress(found.len(), self.problems.len());
        }
        Ok(found)
    }
}

/// The likeliest tokens behind prompts of one length, each read anew with what was written of it.
fn written(decoder: &Decoder, prompts: &[Vec<u32>], tokens: usize) -> Result<Vec<Vec<u32>>, ModelError> {
    let mut texts = prompts.to_vec();
    let (width, vocabulary) = (prompts.first().map_or(0, Vec::len), decoder.config().vocab_size);
    for step in 0..tokens {
        let views: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        let last = decoder.hidden_positions(&views, width + step - 1..width + step)?;
        let mut rows = Vec::new();
        decoder.logits_into(&last, 0..texts.len(), &mut rows)?;
        for (text, row) in texts.iter_mut().zip(rows.chunks(vocabulary)) {
            text.push(logits::statistics(row).argmax);
        }
    }
    Ok(texts.into_iter().map(|mut text| text.split_off(width)).collect())
}
