//! Texts of a given length: whether a model writes as much as it is asked for, and how much of that it says twice.
//!
//! Source: LongWriter (Bai et al. 2024): a length is required and the words that were written are counted.
//!
//! # Difference from the reference
//! Topics are made here. No model judges the quality of texts; repeated runs of four tokens stand in the same row, because a text is made long
//! most easily by saying the same again.

use harness_judge::length_following::{length_score, words};
use harness_judge::repetition::seq_rep;
use rand_chacha::ChaCha8Rng;

use super::asking::{Asking, Frame};
use super::fit::{Item, Misfit};
use super::words::keys;
use super::{LongError, LongSelection, WORDS};

/// How long a text is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Written {
    /// Points of LongWriter, 0 to 100.
    pub score: f64,
    /// Words written.
    pub words: usize,
    /// Words asked for.
    pub asked: usize,
    /// Share of runs of four tokens that stand in it more than once, each counted after its first time.
    pub repeated: f64,
}

impl Written {
    /// What a text is, of which `asked` words were asked for. Ends and other marks do not count: they decode to nothing.
    pub fn of(asked: usize, text: &str, tokens: &[u32]) -> Result<Self, String> {
        let written = words(text);
        let judged = |error: harness_judge::JudgeError| error.to_string();
        let repeated = seq_rep(&[tokens], 4).map_err(judged)?.first().copied().flatten().unwrap_or(0.0);
        Ok(Self { score: length_score(asked, written).map_err(judged)?, words: written, asked, repeated })
    }
}

/// A prompt that asks for a text; `Err` where it does not fit with so many tokens of text.
pub(super) fn write(
    asking: &Asking,
    selection: &LongSelection,
    generation: usize,
    rng: &mut ChaCha8Rng,
) -> Result<Result<Item, Misfit>, LongError> {
    let asked = selection.words.unwrap_or(WORDS);
    let [adjective, noun] = keys(rng, 1).unwrap_or_default().first().copied().unwrap_or(["quiet", "river"]);
    let head = format!("Write a story about the {adjective} {noun}. It should have about {asked} words.");
    let Frame { head, tail } = asking.frame(&head, ".", "\n\n", "")?;
    let prompt = [head, tail].concat();
    let needed = prompt.len() + generation;
    if needed > selection.length {
        return Ok(Err(Misfit::Needle(needed)));
    }
    Ok(Ok(Item { prompt, control: None, answer: Vec::new(), golds: Vec::new(), needle_kept: 1.0, words: Some(asked) }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_text_is_as_long_as_its_words() {
        let found = Written::of(4, "one two three four", &[1, 2, 3, 4, 1, 2, 3, 4]).unwrap();
        assert_eq!((found.score, found.words, found.repeated), (100.0, 4, 1.0 - 4.0 / 5.0));
        assert_eq!(Written::of(4, "", &[]).unwrap().score, 0.0);
    }
}
