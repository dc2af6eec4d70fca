//! Cutting a text that is too long before a model reads it: what is left, what is lost, and what that costs.
//!
//! Sources: DeepLearningBrasil at LT-EDI 2023, arXiv 2311.05047 (half of the head, half of the tail); Selective Context, Li et al. 2023;
//! arXiv 2403.12563 (words that say little go first, then the head is kept); Robertson and Zaragoza 2009 (BM25, for passages). The others
//! are the controls that such studies need.
//!
//! # Difference from the reference
//! A budget in tokens is held instead of a ratio, so that all ways of cutting are compared at equal length. Selective Context drops the
//! least informative sentences one after another until the rest fits, where the reference takes a percentile of the text. Stop words
//! are words of one token. Prompt and control are cut at the same places.

use std::collections::HashMap;

use harness_methods::decode::LanguageModel;
use harness_methods::select_context::self_information;
use rand_chacha::ChaCha8Rng;

use super::words::shuffled;

harness_core::choice! {
    /// What is left of a text that is cut to a budget.
    pub enum Cut {
        /// All of it.
        None = "none",
        /// Its beginning.
        Head = "head",
        /// Its end.
        Tail = "tail",
        /// Half of the budget from its beginning, the rest from its end.
        HeadTail = "head-tail",
        /// Its middle.
        Middle = "middle",
        /// Whole sentences, by chance.
        Random = "random",
        /// The sentences that surprise the model most.
        SelectiveContext = "selective-context",
        /// What stands first once words like "the" and "of" are out.
        StopWords = "stop-words",
        /// The passages that share rare words with the question.
        Passages = "passages",
    }
}

/// Tokens of a passage, about: whole sentences up to so many.
const PASSAGE: usize = 64;
/// Saturation and length normalisation of BM25.
const BM25: (f64, f64) = (1.2, 0.75);
/// English words that say little, each of one token in most vocabularies.
const STOP_WORDS: [&str; 64] = [
    "a", "about", "after", "all", "an", "and", "any", "are", "as", "at", "be", "been", "before", "but", "by", "can",
    "could", "did", "do", "for", "from", "had", "has", "have", "he", "her", "him", "his", "i", "if", "in", "into",
    "is", "it", "its", "me", "more", "my", "no", "not", "of", "on", "or", "our", "she", "so", "some", "than", "that",
    "the", "their", "them", "they", "this", "to", "up", "was", "we", "were", "with", "would", "you", "your", "yours",
];

/// A text in sentences, and what is asked of it.
pub(super) struct Long<'a> {
    /// Sentences, each whole, in their order.
    pub units: &'a [Vec<u32>],
    /// The question.
    pub question: &'a [u32],
    /// What a token stands for.
    pub word: &'a dyn Fn(u32) -> String,
}

impl Long<'_> {
    fn tokens(&self) -> usize {
        self.units.iter().map(Vec::len).sum()
    }

    /// Which tokens are left, at most `budget` of them; all where there are no more. `begin` stands before every sentence that the
    /// model judges.
    ///
    /// # Errors
    /// The model's.
    pub fn kept(
        &self,
        cut: Cut,
        budget: usize,
        begin: u32,
        model: &mut dyn LanguageModel,
        rng: &mut ChaCha8Rng,
    ) -> Result<Vec<bool>, String> {
        let total = self.tokens();
        let between = |from: usize, to: usize| (0..total).map(|at| from <= at && at < to).collect();
        if cut == Cut::StopWords {
            return Ok(self.without_stop_words(budget));
        }
        if total <= budget {
            return Ok(vec![true; total]);
        }
        Ok(match cut {
            Cut::None | Cut::StopWords => vec![true; total],
            Cut::Head => between(0, budget),
            Cut::Tail => between(total - budget, total),
            Cut::HeadTail => {
                let head = budget.div_ceil(2);
                (0..total).map(|at| at < head || at >= total - (budget - head)).collect()
            }
            Cut::Middle => between((total - budget) / 2, (total - budget) / 2 + budget),
            Cut::Random => whole(budget, self.units, &shuffled(rng, self.units.len())),
            Cut::SelectiveContext => {
                let scores =
                    self.units.iter().map(|unit| surprise(model, begin, unit)).collect::<Result<Vec<_>, _>>()?;
                whole(budget, self.units, &best_first(&scores))
            }
            Cut::Passages => {
                let passages = passages(self.units);
                let scores = relevance(&passages, self.question);
                whole(budget, &passages, &best_first(&scores))
            }
        })
    }

    fn without_stop_words(&self, budget: usize) -> Vec<bool> {
        let mut left = budget;
        let telling = self.units.iter().flatten().map(|&token| {
            let word = (self.word)(token).trim().to_lowercase();
            !STOP_WORDS.contains(&word.as_str())
        });
        telling
            .map(|stays| {
                let stays = stays && left > 0;
                left -= usize::from(stays);
                stays
            })
            .collect()
    }
}

/// The tokens of whole parts of the text, taken in an order as long as the next one still fits.
fn whole(budget: usize, parts: &[Vec<u32>], order: &[usize]) -> Vec<bool> {
    let mut left = budget;
    let mut stays = vec![false; parts.len()];
    for &part in order {
        // What comes later is worth less: it does not take the room of what did not fit.
        let Some(rest) = left.checked_sub(parts[part].len()) else { break };
        left = rest;
        stays[part] = true;
    }
    parts.iter().zip(stays).flat_map(|(part, stays)| std::iter::repeat_n(stays, part.len())).collect()
}

/// The places of scores, the highest first; of equal ones the first.
fn best_first(scores: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order
}

/// The mean self-information of a sentence, in nats a token; one longer than the model reads in parts.
fn surprise(model: &mut dyn LanguageModel, begin: u32, sentence: &[u32]) -> Result<f64, String> {
    let part = model.context().max(2) - 1;
    let mut sum = 0.0;
    for part in sentence.chunks(part) {
        let each = self_information(model, begin, part).map_err(|error| error.to_string())?;
        sum += each.iter().sum::<f64>();
    }
    Ok(sum / sentence.len().max(1) as f64)
}

/// Sentences that follow each other, joined up to [`PASSAGE`] tokens.
fn passages(units: &[Vec<u32>]) -> Vec<Vec<u32>> {
    let mut passages: Vec<Vec<u32>> = Vec::new();
    for unit in units {
        match passages.last_mut() {
            Some(last) if last.len() + unit.len() <= PASSAGE => last.extend(unit),
            _ => passages.push(unit.clone()),
        }
    }
    passages
}

/// Okapi BM25 of passages for a question, on tokens.
fn relevance(passages: &[Vec<u32>], question: &[u32]) -> Vec<f64> {
    let mut asked = question.to_vec();
    asked.sort_unstable();
    asked.dedup();
    let counts: Vec<HashMap<u32, f64>> = passages
        .iter()
        .map(|passage| {
            let mut counts = HashMap::new();
            for token in passage {
                *counts.entry(*token).or_insert(0.0) += 1.0;
            }
            counts
        })
        .collect();
    let number = passages.len() as f64;
    let mean = passages.iter().map(Vec::len).sum::<usize>() as f64 / number.max(1.0);
    let (saturation, length) = BM25;
    let mut scores = vec![0.0; passages.len()];
    for token in asked {
        let holding = counts.iter().filter(|counts| counts.contains_key(&token)).count() as f64;
        let rarity = ((number - holding + 0.5) / (holding + 0.5)).ln_1p();
        for ((score, counts), passage) in scores.iter_mut().zip(&counts).zip(passages) {
            let count = counts.get(&token).copied().unwrap_or(0.0);
            let norm = saturation * (1.0 - length + length * passage.len() as f64 / mean);
            *score += rarity * count * (saturation + 1.0) / (count + norm);
        }
    }
    scores
}

#[cfg(test)]
#[path = "cut_tests.rs"]
mod tests;
