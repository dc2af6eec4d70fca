//! Needles in a generated language: a role whose name is said once, among sentences that do not speak of it.
//!
//! In that language a role is always followed by its name, which a document binds once; so a role said a second time asks for the
//! name that was said with it the first time, and a model of the language knows what is asked without being told.

use std::collections::HashMap;

use harness_language::{Category, END, Language, Lexicon, PARAGRAPH, Split};
use rand_chacha::ChaCha8Rng;

use super::fit::{Draft, Needle};
use super::words::{below, percent, shuffled};
use super::{Among, COUNT, Content, LongError, LongSelection, LongTask};
use crate::generated::Generated;

/// A generated language and the split that text is taken of.
pub(super) struct Spoken {
    pub generated: Generated,
    pub split: Split,
}

/// Tokens of text beyond a context, for the control.
const SPARE: usize = 128;

impl Spoken {
    pub fn name(&self) -> String {
        let dataset = self.generated.dataset();
        format!("{}/{}@v{}", dataset.name(), self.split.name, dataset.version())
    }

    /// A question: the sentence in which a role is named, the same of other roles, and a sentence broken off behind the role.
    pub fn draft(&self, selection: &LongSelection, model: &str, rng: &mut ChaCha8Rng) -> Result<Draft, LongError> {
        let asked = match selection.task {
            LongTask::Needle => 1,
            LongTask::MultiKey => selection.count.unwrap_or(COUNT),
            _ => 0,
        };
        let language = self.generated.language();
        let lexicon = language.lexicon();
        let (roles, names) = (lexicon.tokens(Category::Role), lexicon.tokens(Category::Name));
        let plain = (selection.among, selection.content) == (Among::Text, Content::Numbers);
        if asked == 0 || !plain || asked > roles.len() || asked >= names.len() {
            return Err(LongError::Unsaid { model: model.to_owned(), task: selection.task.word() });
        }
        let drawn = percent(rng);
        let depths: Vec<f64> = (0..asked)
            .map(|at| {
                let elsewhere = percent(rng);
                if at == 0 { selection.depth.unwrap_or(drawn) } else { elsewhere }
            })
            .collect();
        let role = shuffled(rng, roles.len()).into_iter().map(|at| roles.start + at as u32);
        let name = shuffled(rng, names.len()).into_iter().map(|at| names.start + at as u32);
        let keys: Vec<(u32, u32)> = role.zip(name).take(asked).collect();
        let first = below(rng, self.split.documents as usize) as u64;
        let found = Telling {
            lexicon,
            keys: &keys,
            bound: HashMap::new(),
            told: vec![None; asked],
            cue: None,
            filler: Vec::new(),
        }
        .read(language, &self.split, first, selection.length + SPARE);
        let wanted = selection.length;
        let (Some(cue), Some(told)) = (found.cue, found.told.into_iter().collect::<Option<Vec<_>>>()) else {
            let found = found.filler.iter().map(Vec::len).sum();
            return Err(LongError::TooLittleText { source_name: self.name(), found, wanted, length: wanted });
        };
        let needles = told.into_iter().zip(depths).enumerate();
        let needles = needles.map(|(at, (tokens, depth))| Needle { tokens, depth, asked: at == 0 }).collect();
        let answer = keys[0].1;
        Ok(Draft {
            head: vec![harness_language::BEGIN],
            filler: found.filler,
            needles,
            tail: cue,
            answer: vec![answer],
            golds: vec![lexicon.word(answer).unwrap_or_default().to_owned()],
        })
    }
}

/// What is gathered from documents.
struct Telling<'a> {
    lexicon: &'a Lexicon,
    /// Roles that are named once, with their names.
    keys: &'a [(u32, u32)],
    /// Names of the other roles, the same through the whole text.
    bound: HashMap<u32, u32>,
    /// The sentence in which each key is named.
    told: Vec<Option<Vec<u32>>>,
    /// A sentence up to the role that is asked for.
    cue: Option<Vec<u32>>,
    filler: Vec<Vec<u32>>,
}

impl Telling<'_> {
    /// Reads documents from one on, each once at most, until there is enough.
    fn read(mut self, language: &Language, split: &Split, first: u64, wanted: usize) -> Self {
        let mut tokens = 0;
        for step in 0..split.documents {
            let document = language.document(&split.name, (first + step) % split.documents);
            for sentence in self.sentences(&document) {
                if tokens >= wanted && self.cue.is_some() && self.told.iter().all(Option::is_some) {
                    return self;
                }
                tokens += self.take(sentence);
            }
        }
        self
    }

    /// The sentences of a document, each with its full stop and the end of its paragraph, without begin and end marks.
    fn sentences(&self, document: &[u32]) -> Vec<Vec<u32>> {
        let stop = self.lexicon.token(".").unwrap_or(END);
        let mut all: Vec<Vec<u32>> = Vec::new();
        let mut open = Vec::new();
        for &token in document.iter().filter(|token| **token != harness_language::BEGIN && **token != END) {
            match all.last_mut() {
                Some(last) if token == PARAGRAPH && open.is_empty() => last.push(token),
                _ => open.push(token),
            }
            if token == stop {
                all.push(std::mem::take(&mut open));
            }
        }
        all
    }

    /// Puts a sentence where it can be used; the tokens by which the text grows.
    fn take(&mut self, mut sentence: Vec<u32>) -> usize {
        let (roles, names) = (self.lexicon.tokens(Category::Role), self.lexicon.tokens(Category::Name));
        let places: Vec<usize> = (0..sentence.len()).filter(|at| roles.contains(&sentence[*at])).collect();
        let key = |token: u32| self.keys.iter().position(|(role, _)| *role == token);
        let others = |sentence: &[u32], skip: Option<usize>| {
            let at = |(at, token): (usize, &u32)| Some(at) != skip && self.keys.iter().any(|(_, name)| name == token);
            sentence.iter().enumerate().any(at)
        };
        if let [place] = places[..]
            && let Some(at) = key(sentence[place])
        {
            let Some(name) = sentence.get(place + 1) else { return 0 };
            if !names.contains(name) || others(&sentence, Some(place + 1)) {
                return 0;
            }
            if self.told[at].is_none() {
                sentence[place + 1] = self.keys[at].1;
                self.told[at] = Some(sentence);
            } else if at == 0 && self.cue.is_none() {
                sentence.truncate(place + 1);
                self.cue = Some(sentence);
            }
            return 0;
        }
        if places.iter().any(|place| key(sentence[*place]).is_some()) {
            return 0;
        }
        let mut bound = self.bound.clone();
        for place in places {
            let role = sentence[place];
            if let Some(name) = sentence.get_mut(place + 1) {
                *name = *bound.entry(role).or_insert(*name);
            }
        }
        if others(&sentence, None) {
            return 0;
        }
        self.bound = bound;
        let tokens = sentence.len();
        self.filler.push(sentence);
        tokens
    }
}
