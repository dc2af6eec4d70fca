//! The words: a few function words, roles and numerals as they are, and a pronounceable lexicon made from the seed.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use harness_core::seed::stream;
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use crate::document::below;
use crate::{LanguageError, Parameters};

/// Token of a word outside the vocabulary; the language never produces it.
pub const UNKNOWN: u32 = 0;
/// Token at the beginning of every document.
pub const BEGIN: u32 = 1;
/// Token at the end of every document.
pub const END: u32 = 2;
/// Token at the end of every paragraph.
pub const PARAGRAPH: u32 = 3;

const SPECIALS: [&str; 3] = ["<unk>", "<s>", "</s>"];
const DETERMINERS: [&str; 6] = ["the", "a", "this", "that", "some", "every"];
const CONJUNCTIONS: [&str; 6] = ["and", "but", "so", "then", "while", "for"];
const PREPOSITIONS: [&str; 12] =
    ["in", "on", "by", "with", "from", "near", "over", "under", "to", "at", "behind", "through"];
pub(crate) const ROLES: [&str; 32] = [
    "captain", "baker", "queen", "miller", "hunter", "weaver", "doctor", "singer", "smith", "widow", "shepherd",
    "judge", "painter", "fisher", "king", "tailor", "scholar", "farmer", "potter", "sailor", "nurse", "monk", "guard",
    "merchant", "brewer", "mason", "clerk", "poet", "ranger", "cook", "thief", "herald",
];

/// The kind of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Category {
    /// Unknown word, begin, end and paragraph marks.
    Mark,
    /// Comma and full stop.
    Punctuation,
    /// Determiners.
    Determiner,
    /// Conjunctions.
    Conjunction,
    /// Prepositions.
    Preposition,
    /// Numerals.
    Numeral,
    /// Roles, which are always followed by a name.
    Role,
    /// Names.
    Name,
    /// Nouns, among them those that are verbs as well.
    Noun,
    /// Verbs that are not nouns.
    Verb,
    /// Adjectives.
    Adjective,
    /// Adverbs.
    Adverb,
}

impl Category {
    const ALL: [Self; 12] = [
        Self::Mark,
        Self::Punctuation,
        Self::Determiner,
        Self::Conjunction,
        Self::Preposition,
        Self::Numeral,
        Self::Role,
        Self::Name,
        Self::Noun,
        Self::Verb,
        Self::Adjective,
        Self::Adverb,
    ];
}

/// The vocabulary: token ids, spellings and word classes.
#[derive(Debug, Clone)]
pub struct Lexicon {
    words: Vec<String>,
    ids: HashMap<String, u32>,
    ranges: Vec<Range<u32>>,
}

impl Lexicon {
    pub(crate) fn new(parameters: &Parameters) -> Result<Self, LanguageError> {
        let mut coin = Coin::new(parameters.seed);
        let mut lexicon = Self { words: Vec::new(), ids: HashMap::new(), ranges: Vec::new() };
        for category in Category::ALL {
            let from = lexicon.words.len() as u32;
            match category {
                Category::Mark => {
                    lexicon.words.extend(SPECIALS.map(str::to_owned));
                    lexicon.words.push("¶".to_owned());
                }
                Category::Punctuation => lexicon.words.extend([",", "."].map(str::to_owned)),
                Category::Determiner => lexicon.words.extend(DETERMINERS.map(str::to_owned)),
                Category::Conjunction => lexicon.words.extend(CONJUNCTIONS.map(str::to_owned)),
                Category::Preposition => lexicon.words.extend(PREPOSITIONS.map(str::to_owned)),
                Category::Numeral => lexicon.words.extend((2..parameters.numerals + 2).map(|n| n.to_string())),
                Category::Role => lexicon.words.extend(ROLES[..parameters.roles].iter().map(|&word| word.to_owned())),
                Category::Name => lexicon.coined(&mut coin, parameters.names, "names", |word| capitalised(&word))?,
                Category::Noun => lexicon.coined(&mut coin, parameters.nouns, "nouns", |word| word)?,
                Category::Verb => lexicon.coined(&mut coin, parameters.verbs, "verbs", |word| word + "s")?,
                Category::Adjective => lexicon.coined(&mut coin, parameters.adjectives, "adjectives", |word| word)?,
                Category::Adverb => lexicon.coined(&mut coin, parameters.adverbs, "adverbs", |word| word + "ly")?,
            }
            lexicon.ranges.push(from..lexicon.words.len() as u32);
        }
        lexicon.ids = lexicon.words.iter().zip(0..).map(|(word, id)| (word.clone(), id)).collect();
        Ok(lexicon)
    }

    fn coined(
        &mut self,
        coin: &mut Coin,
        count: usize,
        key: &'static str,
        form: impl Fn(String) -> String,
    ) -> Result<(), LanguageError> {
        for _ in 0..count {
            let stem = coin.stem().ok_or_else(|| LanguageError::Parameter {
                key,
                value: count.to_string(),
                allowed: "small enough that distinct words of three syllables suffice".to_owned(),
            })?;
            self.words.push(form(stem));
        }
        Ok(())
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether there are no words; never so for a lexicon that was built.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Spelling of a token, `None` outside the vocabulary.
    pub fn word(&self, token: u32) -> Option<&str> {
        self.words.get(token as usize).map(String::as_str)
    }

    /// Token of a spelling.
    pub fn token(&self, word: &str) -> Option<u32> {
        self.ids.get(word).copied()
    }

    /// The tokens of a class, which are consecutive.
    pub fn tokens(&self, category: Category) -> Range<u32> {
        self.ranges[category as usize].clone()
    }

    /// The class of a token, `None` outside the vocabulary.
    pub fn category(&self, token: u32) -> Option<Category> {
        Category::ALL.into_iter().find(|&category| self.tokens(category).contains(&token))
    }

    /// Spells tokens with one space between them.
    ///
    /// # Errors
    /// A token outside the vocabulary.
    pub fn spell(&self, tokens: &[u32]) -> Result<String, LanguageError> {
        let mut text = String::new();
        for (position, &token) in tokens.iter().enumerate() {
            let word =
                self.word(token).ok_or(LanguageError::Token { token, position, vocabulary: self.words.len() })?;
            if position > 0 {
                text.push(' ');
            }
            text.push_str(word);
        }
        Ok(text)
    }

    /// Reads text back: words between white space.
    ///
    /// # Errors
    /// A word outside the vocabulary.
    pub fn read(&self, text: &str) -> Result<Vec<u32>, LanguageError> {
        text.split_whitespace()
            .enumerate()
            .map(|(position, word)| {
                self.token(word).ok_or_else(|| LanguageError::Word { word: word.to_owned(), position })
            })
            .collect()
    }

    /// The vocabulary as a `tokenizer.json` (word level, words between white space), the same tokens as
    /// [`Lexicon::read`]; words outside the vocabulary become `<unk>`.
    pub fn tokenizer_json(&self) -> String {
        let special: Vec<_> = SPECIALS
            .iter()
            .enumerate()
            .map(|(id, content)| {
                json!({
                    "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": true,
                })
            })
            .collect();
        let vocabulary: serde_json::Map<String, serde_json::Value> =
            self.words.iter().enumerate().map(|(id, word)| (word.clone(), json!(id))).collect();
        let document = json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": special,
            "normalizer": null,
            "pre_tokenizer": {"type": "WhitespaceSplit"},
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [
                    {"SpecialToken": {"id": "<s>", "type_id": 0}},
                    {"Sequence": {"id": "A", "type_id": 0}},
                ],
                "pair": [
                    {"SpecialToken": {"id": "<s>", "type_id": 0}},
                    {"Sequence": {"id": "A", "type_id": 0}},
                    {"SpecialToken": {"id": "<s>", "type_id": 1}},
                    {"Sequence": {"id": "B", "type_id": 1}},
                ],
                "special_tokens": {"<s>": {"id": "<s>", "ids": [BEGIN], "tokens": ["<s>"]}},
            },
            "decoder": null,
            "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"},
        });
        format!("{document:#}\n")
    }
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// Makes distinct stems of two or three syllables.
struct Coin {
    rng: ChaCha8Rng,
    taken: HashSet<String>,
}

impl Coin {
    fn new(seed: u64) -> Self {
        // Fixed words, and what a suffix could turn a stem into, must not come up again.
        let fixed = DETERMINERS.iter().chain(&CONJUNCTIONS).chain(&PREPOSITIONS).chain(&ROLES);
        Self { rng: stream(seed, &["lexicon"]), taken: fixed.map(|&word| word.to_owned()).collect() }
    }

    fn stem(&mut self) -> Option<String> {
        const ONSETS: [&str; 20] =
            ["b", "d", "f", "g", "h", "j", "k", "l", "m", "n", "p", "r", "t", "v", "w", "z", "br", "st", "tr", "gl"];
        const VOWELS: [&str; 6] = ["a", "e", "i", "o", "u", "ai"];
        // Stems never end in s or ly, so that suffixed forms cannot meet bare ones.
        const CODAS: [&str; 6] = ["", "", "n", "r", "l", "k"];
        for _ in 0..1000 {
            let syllables = 2 + usize::from(below(&mut self.rng, 3) == 0);
            let mut word = String::new();
            for _ in 0..syllables {
                word.push_str(ONSETS[below(&mut self.rng, ONSETS.len())]);
                word.push_str(VOWELS[below(&mut self.rng, VOWELS.len())]);
            }
            word.push_str(CODAS[below(&mut self.rng, CODAS.len())]);
            if self.taken.insert(word.clone()) {
                return Some(word);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::document::tests::fables;

    #[test]
    fn every_word_is_distinct_and_classes_cover_the_vocabulary() {
        let (_, language) = fables();
        let lexicon = language.lexicon();
        assert_eq!(lexicon.len(), 768);
        let distinct: HashSet<_> = lexicon.words.iter().collect();
        assert_eq!(distinct.len(), lexicon.len());
        let total: usize = Category::ALL.iter().map(|&category| lexicon.tokens(category).len()).sum();
        assert_eq!(total, lexicon.len());
        assert_eq!(lexicon.category(BEGIN), Some(Category::Mark));
        assert_eq!(lexicon.category(lexicon.token("captain").unwrap()), Some(Category::Role));
        assert_eq!(lexicon.category(768), None);
        assert_eq!(lexicon.word(PARAGRAPH), Some("¶"));
    }

    #[test]
    fn text_and_tokens_round_trip() {
        let (_, language) = fables();
        let tokens = language.document("test", 0);
        let text = language.lexicon().spell(&tokens).unwrap();
        assert_eq!(language.lexicon().read(&text).unwrap(), tokens);
        let error = language.lexicon().read("the captain Zorglub").unwrap_err();
        assert_eq!(error.to_string(), "`Zorglub`, word 2 of the text, is not in the vocabulary");
    }
}
