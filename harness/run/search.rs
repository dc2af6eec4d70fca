//! Searching what rotary frequencies are divided by, on text or on what has to be found in it.

use harness_core::{Arm, Value};
use harness_methods::position::search::{Found, START_TOKENS, Search};
use harness_methods::registry;
use harness_model::decoder::Decoder;
use harness_model::error::ModelError;

use crate::inputs::{Inputs, LoadedModel};
use crate::position::{PlaceError, placed, rotary_of, scheme_of};
use crate::score::{ScoreError, score, score_targets};
use crate::tasks::long::{Item, LongError, LongItems, LongSelection};

/// Why nothing was found.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The model has no rotary frequencies.
    #[error("the model tells positions apart by {0}; only rotary frequencies can be searched")]
    Scheme(String),
    /// Texts that need no extension.
    #[error(
        "texts of {length} tokens do not go beyond the {trained} positions that the model was trained at; take longer ones"
    )]
    Length {
        /// Tokens of the shortest text.
        length: usize,
        /// Positions of the training.
        trained: usize,
    },
    /// Nothing to measure on.
    #[error("there is no text to search on")]
    NoText,
    /// A candidate does not fit the model.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A candidate could not be scored.
    #[error(transparent)]
    Score(#[from] ScoreError),
    /// The questions could not be made.
    #[error(transparent)]
    Long(#[from] LongError),
    /// The model could not read a question.
    #[error("question {item}: {source}")]
    Forward {
        /// The question.
        item: usize,
        /// Why.
        source: ModelError,
    },
}

/// What candidates are measured by.
#[derive(Debug)]
pub enum Measure {
    /// Perplexity of all tokens of windows.
    Text(Vec<Vec<u32>>),
    /// Perplexity of the last tokens of windows, so many, that repeat what stands far before.
    Repeats(Vec<Vec<u32>>, usize),
    /// Perplexity of answers alone, each behind a long text that holds it and a question (needle-driven; LongRoPE2).
    Answers(Answers),
}

/// Questions behind long texts.
#[derive(Debug)]
pub struct Answers(Vec<Item>);

impl Answers {
    /// The questions of a selection.
    ///
    /// # Errors
    /// [`SearchError::Long`].
    pub fn of(selection: &LongSelection, model: &LoadedModel, inputs: &Inputs, seed: u64) -> Result<Self, SearchError> {
        Ok(Self(LongItems::of(selection, model, inputs, seed)?.0.items))
    }

    fn perplexity(&self, decoder: &Decoder) -> Result<f64, SearchError> {
        let mut losses = Vec::new();
        for (at, item) in self.0.iter().enumerate() {
            let tokens = [&item.prompt[..], &item.answer].concat();
            let whole = score_targets(decoder, &[tokens], item.prompt.len() - 1, &mut |_, _| {});
            let of_item = whole.map_err(|error| match error {
                ScoreError::Forward { source, .. } => SearchError::Forward { item: at, source },
                other => other.into(),
            })?;
            losses.extend(of_item.concat());
        }
        Ok(perplexity(&losses))
    }
}

/// The exponential of a mean loss in nats.
fn perplexity(losses: &[f64]) -> f64 {
    (losses.iter().sum::<f64>() / losses.len() as f64).exp()
}

impl Measure {
    fn shortest(&self) -> Option<usize> {
        match self {
            Self::Text(windows) | Self::Repeats(windows, _) => windows.iter().map(Vec::len).min(),
            Self::Answers(Answers(items)) => items.iter().map(|item| item.prompt.len() + item.answer.len()).min(),
        }
    }

    /// Perplexity of a decoder.
    ///
    /// # Errors
    /// [`SearchError`].
    pub fn of(&self, decoder: &Decoder) -> Result<f64, SearchError> {
        match self {
            Self::Text(windows) => {
                let scores = score(decoder, windows, 0, &mut |_, _| {})?;
                let (nll, tokens) =
                    scores.iter().fold((0.0, 0), |(nll, tokens), one| (nll + one.nll, tokens + one.tokens));
                Ok((nll / tokens as f64).exp())
            }
            Self::Repeats(windows, last) => {
                let first = self.shortest().unwrap_or_default().saturating_sub(last + 1);
                let losses = score_targets(decoder, windows, first, &mut |_, _| {})?;
                Ok(perplexity(&losses.concat()))
            }
            Self::Answers(answers) => answers.perplexity(decoder),
        }
    }

    /// Windows of calibration text whose ends repeat a passage of theirs, at depths from their beginnings to three quarters of the way, which
    /// is told by its first half.
    ///
    /// # Errors
    /// [`SearchError::NoText`] for windows that are too short to repeat anything.
    pub fn repeats(calibration: &[Vec<u32>]) -> Result<Self, SearchError> {
        let shortest = calibration.iter().map(Vec::len).min().unwrap_or_default();
        if shortest < 8 * PASSAGE {
            return Err(SearchError::NoText);
        }
        let ended = |(at, window): (usize, &Vec<u32>)| {
            let mut window = window[..shortest].to_vec();
            let deepest = 3 * shortest / 4;
            let from = deepest * at / calibration.len();
            window.copy_within(from..from + PASSAGE, shortest - PASSAGE);
            window
        };
        Ok(Self::Repeats(calibration.iter().enumerate().map(ended).collect(), PASSAGE / 2))
    }
}

/// Tokens of a passage that the end of a window repeats.
const PASSAGE: usize = 16;

/// The arm that a method of the axis comes to on a model: itself, or what it is searched to be on calibration text.
///
/// # Errors
/// [`SearchError`].
pub fn settled(
    decoder: &Decoder,
    arm: &Arm,
    calibration: Option<&[Vec<u32>]>,
    seen: &mut dyn FnMut(usize, f64),
) -> Result<Arm, SearchError> {
    let method = registry::position(arm).map_err(PlaceError::from)?;
    let Some(how) = method.search() else { return Ok(arm.clone()) };
    let measure = Measure::repeats(calibration.ok_or(SearchError::NoText)?)?;
    let found = search(decoder, &how, 1.0, &measure, seen)?;
    Ok(arm_of(how.factor, &found.best.factors, 1.0))
}

/// The arm of the axis of positions that divides frequencies beyond the training by such factors and leaves those within it, to the bit.
pub fn arm_of(factor: f64, factors: &[f64], attention_factor: f64) -> Arm {
    // Six digits are more than the frequencies, which are f32, tell apart.
    let plain = |value: f64| {
        let rounded = (value * 1e6).round() / 1e6;
        if rounded.fract() == 0.0 { Value::Int(rounded as i64) } else { Value::Float(rounded) }
    };
    let ones = factors.iter().map(|_| Value::Int(1)).collect();
    let long = factors.iter().map(|factor| plain(*factor)).collect();
    Arm::new("longrope")
        .with("factor", plain(factor))
        .with("short", Value::List(ones))
        .with("long", Value::List(long))
        .with("attention_factor", plain(attention_factor))
}

/// Searches the factors of a model. `seen` is told how many candidates were measured, and the best perplexity so far.
///
/// # Errors
/// [`SearchError`].
pub fn search(
    decoder: &Decoder,
    search: &Search,
    attention_factor: f64,
    measure: &Measure,
    seen: &mut dyn FnMut(usize, f64),
) -> Result<Found, SearchError> {
    let config = decoder.config();
    let Some((rotary, _)) = rotary_of(config) else {
        return Err(SearchError::Scheme(scheme_of(config).to_string()));
    };
    let length = measure.shortest().ok_or(SearchError::NoText)?;
    if length <= rotary.trained {
        return Err(SearchError::Length { length, trained: rotary.trained });
    }
    let mut best = f64::INFINITY;
    search.run(&rotary, &mut |factors, measured| {
        let (candidate, _) = placed(decoder, &arm_of(search.factor, factors, attention_factor))?;
        let found = measure.of(&candidate)?;
        best = best.min(found);
        seen(measured + 1, best);
        Ok(found)
    })
}

/// Searches how many first positions should keep their angles under an arm that [`arm_of`] made: each number with its perplexity, the
/// best first, of equal ones the smaller number. `seen` is told how many were measured, and the best perplexity so far.
///
/// # Errors
/// [`SearchError`].
pub fn search_start(
    decoder: &Decoder,
    arm: &Arm,
    measure: &Measure,
    seen: &mut dyn FnMut(usize, f64),
) -> Result<Vec<(usize, f64)>, SearchError> {
    let length = measure.shortest().ok_or(SearchError::NoText)?;
    let mut found: Vec<(usize, f64)> = Vec::new();
    for (at, first) in START_TOKENS.into_iter().filter(|first| *first < length).enumerate() {
        let perplexity = measure.of(&placed(decoder, &with_start(arm, first))?.0)?;
        found.push((first, perplexity));
        found.sort_by(|a, b| a.1.total_cmp(&b.1));
        seen(at + 1, found[0].1);
    }
    Ok(found)
}

/// An arm of [`arm_of`] whose first positions, so many, keep their angles.
pub fn with_start(arm: &Arm, first: usize) -> Arm {
    if first == 0 { arm.clone() } else { arm.clone().with("start_tokens", Value::Int(first as i64)) }
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
