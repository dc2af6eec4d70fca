//! Multiple choice by likelihood: what a model gives to each answer behind its question.

use std::path::Path;

use harness_judge::multiple_choice::{Item, Normalisation};
use harness_model::decoder::Decoder;

use super::requests::read;
use super::{ChoiceSelection, TaskError, spread};
use crate::inputs::{LoadedModel, hash_texts};
use crate::reading::{Passage, log_likelihoods};

/// An answer behind its question.
#[derive(Debug, Clone)]
struct Choice {
    /// Question and answer as tokens, of which the answer's count.
    passage: Passage,
    /// The answer as it is measured for its length.
    text: String,
}

/// One question.
#[derive(Debug, Clone)]
struct Asked {
    choices: Vec<Choice>,
    gold: usize,
}

/// Questions with given answers, ready for a model.
#[derive(Debug, Clone)]
pub(crate) struct Choices {
    asked: Vec<Asked>,
    /// Everything that makes two scores comparable, in one line.
    pub protocol: String,
    /// SHA-256 of questions, answers and which are right.
    pub hash: String,
    /// The share that guessing gets.
    pub chance: f64,
}

/// What a model chose for one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chosen {
    /// The likeliest answer, from 0.
    pub answer: usize,
    /// Whether the likeliest answer is right.
    pub plain: bool,
    /// Whether the likeliest by character is.
    pub by_character: bool,
    /// Whether the likeliest by byte is.
    pub by_byte: bool,
}

impl Choices {
    /// The questions that a selection takes of a file, as a model reads them.
    pub fn of(path: &Path, name: &str, selection: &ChoiceSelection, model: &LoadedModel) -> Result<Self, TaskError> {
        let requests = read(path)?;
        let groups: Vec<_> = requests.chunk_by(|a, b| a.doc_id == b.doc_id).collect();
        let (found, wanted) = (groups.len(), selection.items);
        if wanted > found {
            return Err(TaskError::TooFew { path: path.to_owned(), found, wanted });
        }
        let tokenizer = model.tokenizer()?;
        let context = model.decoder.config().max_positions;
        let mut asked = Vec::with_capacity(wanted);
        let mut facts: Vec<String> = Vec::new();
        for group in spread(found, wanted).map(|at| groups[at]) {
            let wrong =
                |reason: String| TaskError::Question { path: path.to_owned(), question: group[0].doc_id, reason };
            let gold = group[0].label.as_u64().map(|gold| gold as usize).filter(|gold| *gold < group.len());
            let gold = gold.ok_or_else(|| {
                wrong(format!("its `label` is {} and it has {} answers", group[0].label, group.len()))
            })?;
            if group.len() < 2 {
                return Err(wrong("it has one answer, so it cannot be got wrong".to_owned()));
            }
            let mut choices = Vec::new();
            for request in group {
                let (question, answer) = (&request.body.context, &request.body.continuation);
                // Spaces at the end of a question belong to the first word of the answer.
                let kept = question.trim_end_matches(' ');
                let before = tokenizer.encode(kept, true)?;
                let tokens = tokenizer.encode(&format!("{question}{answer}"), true)?;
                let passage = Passage::behind(&before, tokens);
                if answer.trim().is_empty() || passage.counted() == 0 {
                    return Err(wrong("an answer is empty".to_owned()));
                }
                if passage.tokens.len() > context {
                    let (path, model) = (path.to_owned(), model.name.clone());
                    let (question, tokens) = (request.doc_id, passage.tokens.len());
                    return Err(TaskError::TooLong { path, question, tokens, context, model });
                }
                facts.push(format!("{question}{answer}"));
                choices.push(Choice { passage, text: answer.strip_prefix(' ').unwrap_or(answer).to_owned() });
            }
            facts.push(gold.to_string());
            asked.push(Asked { choices, gold });
        }
        let hash = hash_texts(facts.iter().map(String::as_str));
        let protocol = format!(
            "task={name}@{} items={wanted} of {found} select=spread tokenizer={}",
            &hash[..12],
            &model.tokenizer_hash()[..12]
        );
        let chance = asked.iter().map(|asked| 1.0 / asked.choices.len() as f64).sum::<f64>() / wanted as f64;
        Ok(Self { asked, protocol, hash, chance })
    }

    /// What a model chooses, question by question.
    ///
    /// # Errors
    /// What stops the model.
    pub fn choose(&self, decoder: &Decoder, progress: &mut dyn FnMut(usize, usize)) -> Result<Vec<Chosen>, String> {
        let found = self.weigh(decoder, progress)?;
        self.asked.iter().zip(&found).map(|(asked, log_likelihoods)| asked.judge(log_likelihoods)).collect()
    }

    /// Σ ln p of each answer's tokens behind its question, question by question.
    pub(super) fn weigh(
        &self,
        decoder: &Decoder,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<Vec<f64>>, String> {
        let passages: Vec<&Passage> =
            self.asked.iter().flat_map(|asked| asked.choices.iter().map(|choice| &choice.passage)).collect();
        let mut found = log_likelihoods(decoder, &passages, progress)?.into_iter();
        Ok(self.asked.iter().map(|asked| found.by_ref().take(asked.choices.len()).collect()).collect())
    }
}

impl Asked {
    fn judge(&self, log_likelihoods: &[f64]) -> Result<Chosen, String> {
        let choices: Vec<&str> = self.choices.iter().map(|choice| choice.text.as_str()).collect();
        let item = Item { choices: &choices, log_likelihoods, gold: self.gold };
        let right = |by| item.answer(by).map(|answer| answer == self.gold).map_err(|error| error.to_string());
        Ok(Chosen {
            answer: item.answer(Normalisation::None).map_err(|error| error.to_string())?,
            plain: right(Normalisation::None)?,
            by_character: right(Normalisation::Characters)?,
            by_byte: right(Normalisation::Bytes)?,
        })
    }
}
