//! The text around needles: sentences of a corpus, sentences made here, documents with questions, or a generated language.

use std::fmt::Write as _;

use harness_core::{Parameters, Value};
use rand_chacha::ChaCha8Rng;

use super::library::Library;
use super::spoken::Spoken;
use super::words::{ADJECTIVES, NOUNS, below};
use super::{LongError, LongSelection};
use crate::inputs::{InputError, Inputs, LoadedModel};
use crate::setup::arm_from;
use crate::text::{TextSelection, TextSource};

/// Where text comes from.
pub(super) enum Source {
    /// Sentences made of this program's words.
    Made,
    /// Documents of characters.
    Documents { name: String, documents: Vec<String> },
    /// Documents with questions about them.
    Library(Box<Library>),
    /// A generated language that the model speaks.
    Spoken(Box<Spoken>),
}

impl Source {
    /// The text that a selection names, for a model.
    pub fn open(selection: &LongSelection, model: &LoadedModel, inputs: &Inputs, seed: u64) -> Result<Self, LongError> {
        if let Some(questions) = &selection.questions {
            let path = inputs.task_path(questions).map_err(InputError::from)?;
            return Ok(Self::Library(Box::new(Library::read(&path, questions)?)));
        }
        let Some(corpus) = &selection.corpus else { return Ok(Self::Made) };
        if let Some(generated) = inputs.language(corpus, model)? {
            let split = corpus.rsplit_once('/').map_or("", |(_, split)| split);
            let split = generated.dataset().split(split)?.clone();
            return Ok(Self::Spoken(Box::new(Spoken { generated, split })));
        }
        let named = vec![("corpus".to_owned(), Value::Text(corpus.clone()))];
        let text = TextSelection::resolve(&arm_from("data", &named))?;
        match inputs.text(&text, model, seed)? {
            TextSource::Documents { name, documents } => Ok(Self::Documents { name, documents }),
            TextSource::Tokens { name, .. } => {
                Err(LongError::Unspeakable { model: model.name.clone(), text: format!("the text of {name}") })
            }
        }
    }

    pub fn is_spoken(&self) -> bool {
        matches!(self, Self::Spoken(_))
    }

    /// Its name in protocols.
    pub fn name(&self) -> String {
        match self {
            Self::Made => "made".to_owned(),
            Self::Documents { name, .. } => name.clone(),
            Self::Library(library) => library.name.clone(),
            Self::Spoken(spoken) => spoken.name(),
        }
    }

    /// Sentences from a place of chance on, each with a space before it; those of a corpus end where they began.
    pub fn sentences<'a>(&'a self, rng: &'a mut ChaCha8Rng) -> Box<dyn Iterator<Item = String> + 'a> {
        match self {
            Self::Documents { documents, .. } => {
                let total: usize = documents.iter().map(String::len).sum();
                let mut at = below(rng, total.max(1));
                let mut first = 0;
                while first + 1 < documents.len() && at >= documents[first].len() {
                    at -= documents[first].len();
                    first += 1;
                }
                let opened = documents.get(first).map_or("", String::as_str);
                let (before, after) = opened.split_at(opened.floor_char_boundary(at.min(opened.len())));
                // The first sentence may have begun before.
                let behind = sentences(after).skip(usize::from(!before.is_empty()));
                let others = (1..documents.len()).map(move |step| &documents[(first + step) % documents.len()]);
                Box::new(behind.chain(others.flat_map(|text| sentences(text))).chain(sentences(before)))
            }
            _ => Box::new(std::iter::repeat_with(|| made(rng))),
        }
    }
}

/// A sentence of this program's words, with a space before it.
fn made(rng: &mut ChaCha8Rng) -> String {
    let mut noun = || NOUNS[below(rng, NOUNS.len())];
    let [one, two] = [noun(), noun()];
    let adjective = ADJECTIVES[below(rng, ADJECTIVES.len())];
    match below(rng, 8) {
        0 => format!(" The {adjective} {one} stood beside the {two} for the whole winter."),
        1 => format!(" Nobody in the shop asked about this {adjective} {one} or the {two}."),
        2 => format!(" After lunch the {one} was carried past the {adjective} {two}."),
        3 => format!(" This {adjective} {one} needs less care than the {two}."),
        4 => format!(" They painted the {one} and left the {two} as {adjective} as it was."),
        5 => format!(" Under the {one} lay the {adjective} {two} and some dust."),
        6 => format!(" It took an hour to bring the {one} to the {adjective} {two}."),
        _ => format!(" The {one} was sold, and the {adjective} {two} stayed."),
    }
}

/// The sentences of a text, white space made one space, each with a space before it.
fn sentences(text: &str) -> impl Iterator<Item = String> {
    let mut words = text.split_inclusive(char::is_whitespace);
    std::iter::from_fn(move || {
        let mut sentence = String::new();
        for piece in words.by_ref() {
            let word = piece.trim();
            if !word.is_empty() {
                let _ = write!(sentence, " {word}");
            }
            let bare = word.trim_end_matches(['"', '\'', '”', '’', ')', ']', '_']);
            if bare.ends_with(['.', '!', '?']) && bare.chars().count() > 2 {
                break;
            }
        }
        (!sentence.is_empty()).then_some(sentence)
    })
}

#[cfg(test)]
mod tests {
    use harness_core::seed::stream;

    use super::*;

    #[test]
    fn sentences_end_at_their_marks() {
        let text = "It rained.\n\nShe said \"Go!\"  and\nhe went. (Mr. A. Who?) The end";
        let found: Vec<String> = sentences(text).collect();
        assert_eq!(found, [" It rained.", " She said \"Go!\"", " and he went.", " (Mr.", " A. Who?)", " The end"]);
        assert_eq!(sentences(" \n ").count(), 0);
    }

    #[test]
    fn a_corpus_is_gone_through_once_from_anywhere() {
        let documents: Vec<String> =
            (0..3).map(|text| (0..50).map(|at| format!("Sentence {text}x{at} is this. ")).collect()).collect();
        let source = Source::Documents { name: "three".to_owned(), documents };
        let read = |label: &str| source.sentences(&mut stream(1, &[label])).collect::<Vec<_>>();
        let (first, second) = (read("a"), read("b"));
        assert_ne!(first[0], second[0], "another item begins elsewhere");
        assert_eq!(first, read("a"));
        let mut whole: Vec<&String> =
            first.iter().filter(|text| text.starts_with(" Sentence") && text.len() > 18).collect();
        whole.sort();
        whole.dedup();
        assert!(first.len() <= 152 && whole.len() >= 148, "{} {}", first.len(), whole.len());
    }

    #[test]
    fn made_sentences_hold_no_numbers() {
        let mut rng = stream(1, &["made"]);
        let text: String = Source::Made.sentences(&mut rng).take(200).collect();
        assert!(text.chars().all(|letter| !letter.is_ascii_digit()) && text.matches('.').count() == 200);
    }
}
