//! Selective Context: a prompt without its least informative units.
//!
//! The self-information of a token is `−ln p` in nats under a causal model, every sentence on its own behind the
//! beginning-of-sequence token. A unit has the mean (or sum) of its tokens'; units strictly below the `ratio` percentile of
//! all units of the text (linear interpolation) are left out. Because what equals the threshold stays, the share of tokens
//! that is really removed differs from `ratio` (constant scores remove nothing), so it is measured and reported.
//!
//! # Difference from the reference
//! Units are tokens or sentences. The reference's default, phrases, merges the noun chunks of a parser; there is none
//! here, and no rule of thumb stands in for it. A sentence ends at `.` or `?` followed by a space, and white space is
//! collapsed, as there. A sentence longer than the model's context is an error, not cut.
//!
//! Source: Li et al.: Compressing Context to Enhance Inference Efficiency of Large Language Models, EMNLP 2023.

use harness_core::{Domain, ParameterError, Parameters};

use crate::decode::expand::log_probability_of;
use crate::decode::model::Counted;
use crate::decode::{Calls, DecodeError, LanguageModel};
use crate::sample::Candidates;

harness_core::choice! {
    /// What is kept or left out as a whole.
    pub enum Unit {
        /// A token.
        Token = "token",
        /// A sentence.
        Sentence = "sentence",
    }
}

harness_core::choice! {
    /// What a unit's score is.
    pub enum Aggregate {
        /// The mean self-information of its tokens, as the authors' code has it.
        Mean = "mean",
        /// The sum, as their paper defines it.
        Sum = "sum",
    }
}

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// The percentile, as a share, below which units are left out.
        ratio: f64 = 0.35, Domain::half_open(0.0, 1.0);
        /// What is kept or left out as a whole.
        unit: Unit = Unit::Sentence;
        /// The score of a unit from its tokens'.
        aggregate: Aggregate = Aggregate::Mean;
    }
}

/// Why nothing could be selected.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// A parameter.
    #[error(transparent)]
    Parameters(#[from] ParameterError),
    /// No sentence, or one without tokens.
    #[error("the text is empty, or a sentence of it has no tokens")]
    Empty,
    /// A sentence that the model cannot read.
    #[error("sentence {sentence} has {tokens} tokens; with the token before it the context of {context} is too short")]
    TooLong {
        /// Its number, from 0.
        sentence: usize,
        /// Its tokens.
        tokens: usize,
        /// Positions of the model.
        context: usize,
    },
    /// The model.
    #[error(transparent)]
    Model(#[from] DecodeError),
}

/// What is left of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    /// The tokens kept of every sentence, in their order.
    pub sentences: Vec<Vec<u32>>,
    /// Scores of all units, in their order.
    pub scores: Vec<f64>,
    /// Which units are kept.
    pub kept: Vec<usize>,
    /// The score below which units are left out.
    pub threshold: f64,
    /// The share of tokens really removed.
    pub reduction: f64,
    /// Calls of the model.
    pub calls: Calls,
}

/// The sentences of a text: white space collapsed, cut behind `.` or `?` where a space follows.
pub fn sentences(text: &str) -> Vec<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.split_inclusive(|word| word.ends_with(['.', '?'])).map(|sentence| sentence.join(" ")).collect()
}

/// The score below which units are left out: the `ratio` percentile by linear interpolation.
pub fn threshold(scores: &[f64], ratio: f64) -> f64 {
    let mut sorted: Vec<f64> = scores.to_vec();
    sorted.sort_by(f64::total_cmp);
    let position = ratio * (sorted.len() - 1) as f64;
    let (low, high) = (position.floor() as usize, position.ceil() as usize);
    (sorted[high] - sorted[low]).mul_add(position.fract(), sorted[low])
}

/// The units that are kept, those of at least the threshold, and the threshold.
pub fn keep(scores: &[f64], ratio: f64) -> (Vec<usize>, f64) {
    let threshold = threshold(scores, ratio);
    ((0..scores.len()).filter(|at| scores[*at] >= threshold).collect(), threshold)
}

/// Self-information in nats of every token of a sentence, behind `begin` (the beginning-of-sequence token).
///
/// # Errors
/// The model's, or a row that holds no distribution.
pub fn self_information(model: &mut dyn LanguageModel, begin: u32, sentence: &[u32]) -> Result<Vec<f64>, DecodeError> {
    information(&mut Counted::new(model), begin, sentence)
}

fn information(model: &mut Counted, begin: u32, sentence: &[u32]) -> Result<Vec<f64>, DecodeError> {
    let Some((_, before)) = sentence.split_last() else { return Ok(Vec::new()) };
    let sequence = [&[begin], before].concat();
    let rows = model.logits(&[&sequence], sentence.len())?;
    let mut candidates = Candidates::default();
    let each = rows.iter().zip(sentence).enumerate();
    each.map(|(at, (row, token))| Ok(-log_probability_of(&mut candidates, row, *token, at)?)).collect()
}

/// Leaves the least informative units of tokenized sentences out.
///
/// # Errors
/// A [`SelectError`].
pub fn select(
    model: &mut dyn LanguageModel,
    begin: u32,
    sentences: &[Vec<u32>],
    settings: &Settings,
) -> Result<Selection, SelectError> {
    if sentences.is_empty() || sentences.iter().any(Vec::is_empty) {
        return Err(SelectError::Empty);
    }
    let context = model.context();
    if let Some((sentence, ids)) = sentences.iter().enumerate().find(|(_, ids)| ids.len() > context) {
        return Err(SelectError::TooLong { sentence, tokens: ids.len(), context });
    }
    let mut model = Counted::new(model);
    let mut scores = Vec::new();
    for sentence in sentences {
        let each = information(&mut model, begin, sentence)?;
        let sum: f64 = each.iter().sum();
        match (settings.unit, settings.aggregate) {
            (Unit::Token, _) => scores.extend(each),
            (Unit::Sentence, Aggregate::Sum) => scores.push(sum),
            (Unit::Sentence, Aggregate::Mean) => scores.push(sum / each.len() as f64),
        }
    }
    let (kept, threshold) = keep(&scores, settings.ratio);
    let mut stays = vec![false; scores.len()];
    for at in &kept {
        stays[*at] = true;
    }
    let mut stays = stays.into_iter();
    let left: Vec<Vec<u32>> = sentences
        .iter()
        .map(|sentence| match settings.unit {
            Unit::Token => sentence.iter().zip(stays.by_ref()).filter(|(_, stays)| *stays).map(|(id, _)| *id).collect(),
            Unit::Sentence => {
                if stays.next() == Some(true) {
                    sentence.clone()
                } else {
                    Vec::new()
                }
            }
        })
        .collect();
    let count = |all: &[Vec<u32>]| all.iter().map(Vec::len).sum::<usize>() as f64;
    let reduction = 1.0 - count(&left) / count(sentences);
    Ok(Selection { sentences: left, scores, kept, threshold, reduction, calls: model.calls })
}

/// Reads settings from parameters as arms have them.
///
/// # Errors
/// The first parameter that does not fit.
pub fn settings(arm: &harness_core::Arm) -> Result<Settings, SelectError> {
    Ok(Settings::resolve(arm)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::decode::tables::Table;

    #[test]
    fn the_threshold_is_that_of_the_card() {
        let (kept, threshold) = keep(&[3.0, 1.0, 2.0, 5.0, 4.0], 0.35);
        assert!((threshold - 2.4).abs() < 1e-12);
        assert_eq!(kept, [0, 3, 4]);
        assert_eq!(keep(&[3.0, 1.0, 2.0], 0.0).0, [0, 1, 2]);
        assert_eq!(keep(&[2.0; 7], 0.8).0.len(), 7, "constant scores keep everything");
        let arm = |text: &str| settings(&text.parse().unwrap());
        assert!(arm("x(ratio=1)").unwrap_err().to_string().contains("outside its range [0, 1)"));
        assert_eq!(arm("x(unit=token, aggregate=sum)").unwrap().unit, Unit::Token);
    }

    #[test]
    fn a_text_is_cut_into_sentences() {
        let cut = sentences("One  two.\nIs it 3.5? Yes! It is.So\t");
        assert_eq!(cut, ["One two.", "Is it 3.5?", "Yes! It is.So"]);
        assert!(sentences(" \n").is_empty());
    }

    /// Token 1 follows 0 almost surely, the rest is a quarter each.
    fn table() -> Table {
        Table::new(4, &[]).with(&[], &[0.25; 4]).with(&[0], &[0.01, 0.97, 0.01, 0.01])
    }

    #[test]
    fn every_sentence_is_scored_alone_and_what_is_removed_is_measured() {
        let mut table = table();
        let text = [vec![1, 2], vec![3, 3, 3], vec![0, 1]];
        let sentence = Settings { ratio: 0.35, unit: Unit::Sentence, aggregate: Aggregate::Mean };
        let found = select(&mut table, 3, &text, &sentence).unwrap();
        let quarter = 4f64.ln();
        let wanted = [quarter, quarter, (quarter - 0.97f64.ln()) / 2.0];
        assert!(found.scores.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6), "{:?}", found.scores);
        // The begin token stands before every sentence, and nothing of the others.
        assert_eq!(table.read, [vec![3, 1], vec![3, 3, 3], vec![3, 0]]);
        assert_eq!((found.kept, found.calls.passes), (vec![0, 1], 3));
        assert!((found.reduction - 2.0 / 7.0).abs() < 1e-12);
        assert_eq!(found.sentences, [vec![1, 2], vec![3, 3, 3], vec![]]);
        let sum = Settings { aggregate: Aggregate::Sum, ratio: 0.6, ..sentence.clone() };
        assert_eq!(select(&mut table, 3, &text, &sum).unwrap().kept, [1]);
        let token = Settings { unit: Unit::Token, ratio: 0.1, ..sentence.clone() };
        let found = select(&mut table, 3, &text, &token).unwrap();
        assert_eq!(found.sentences[2], [0], "the sure token goes");
        assert!((found.reduction - 1.0 / 7.0).abs() < 1e-12);
        // Of seven equal scores nothing is below any percentile.
        let same = select(&mut table, 3, &[vec![1, 2], vec![2, 2]], &Settings { ratio: 0.8, ..token }).unwrap();
        assert_eq!(same.reduction, 0.0);
        assert!(matches!(select(&mut table, 3, &[], &sentence), Err(SelectError::Empty)));
        table.context = 2;
        let long = select(&mut table, 3, &text, &sentence).unwrap_err();
        assert!(matches!(long, SelectError::TooLong { sentence: 1, tokens: 3, context: 2 }));
    }
}
