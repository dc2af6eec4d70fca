//! What each place of the grammar says: probability tables over word classes, by topic and frame.

use std::ops::Range;

use rand_chacha::ChaCha8Rng;

use crate::Parameters;
use crate::document::{below, normal};
use crate::lexicon::{BEGIN, Category, END, Lexicon, PARAGRAPH};

/// What is said at a place of the grammar. The order is that of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Slot {
    /// The begin mark.
    Begin,
    /// The end mark.
    End,
    /// The paragraph mark.
    Paragraph,
    /// A comma.
    Comma,
    /// A full stop.
    Stop,
    /// A determiner before a subject.
    SubjectDeterminer,
    /// A determiner before an object.
    ObjectDeterminer,
    /// A determiner before a place.
    PlaceDeterminer,
    /// A conjunction.
    Conjunction,
    /// A preposition; depends on the frame.
    Preposition,
    /// A numeral; flat.
    Numeral,
    /// A role.
    Role,
    /// A noun as subject; depends on the topic.
    SubjectNoun,
    /// A noun as object; depends on topic and frame.
    ObjectNoun,
    /// A noun as place; depends on the topic.
    PlaceNoun,
    /// A verb; depends on topic and frame.
    Verb,
    /// An adjective; depends on the topic.
    Adjective,
    /// An adverb; depends on the frame.
    Adverb,
    /// The name of the role just mentioned; depends on what the document has said.
    RoleName,
    /// A name standing alone; depends on what the document has said.
    Cast,
}

/// Number of slots that have a table; the two kinds of name follow them.
const TABLES: usize = 18;

impl Slot {
    pub(crate) const ALL: [Self; 20] = [
        Self::Begin,
        Self::End,
        Self::Paragraph,
        Self::Comma,
        Self::Stop,
        Self::SubjectDeterminer,
        Self::ObjectDeterminer,
        Self::PlaceDeterminer,
        Self::Conjunction,
        Self::Preposition,
        Self::Numeral,
        Self::Role,
        Self::SubjectNoun,
        Self::ObjectNoun,
        Self::PlaceNoun,
        Self::Verb,
        Self::Adjective,
        Self::Adverb,
        Self::RoleName,
        Self::Cast,
    ];
}

/// The distributions of one slot over `words`, one row for each (topic, frame) or fewer when it depends on less.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    /// The tokens of the rows' columns.
    pub(crate) words: Vec<u32>,
    /// Row of each (topic, frame) pair, topic-major.
    row: Vec<usize>,
    rows: Vec<Vec<f64>>,
}

impl Table {
    /// The distribution over `words` at a (topic, frame) pair.
    pub(crate) fn distribution(&self, pair: usize) -> &[f64] {
        &self.rows[self.row[pair]]
    }
}

/// All tables of a language.
#[derive(Debug, Clone)]
pub(crate) struct Emissions {
    tables: Vec<Table>,
    /// For each token the slots with a table that may say it, and its column there.
    speakers: Vec<Vec<(Slot, usize)>>,
    /// Prior of each topic.
    pub(crate) topics: Vec<f64>,
    /// Prior of each frame given the topic, topic-major.
    pub(crate) frames: Vec<f64>,
    /// The tokens of names.
    pub(crate) names: Range<u32>,
    /// The tokens of roles.
    pub(crate) roles: Range<u32>,
}

impl Emissions {
    pub(crate) fn new(parameters: &Parameters, lexicon: &Lexicon) -> Self {
        let builder = Builder { parameters, lexicon };
        let tables: Vec<_> = Slot::ALL[..TABLES].iter().map(|&slot| builder.table(slot)).collect();
        let mut speakers = vec![Vec::new(); lexicon.len()];
        for (&slot, table) in Slot::ALL.iter().zip(&tables) {
            for (column, &word) in table.words.iter().enumerate() {
                speakers[word as usize].push((slot, column));
            }
        }
        let mut rng = parameters.stream(&["frames"]);
        let frames = (0..parameters.topics)
            .flat_map(|_| {
                normalised((0..parameters.frames).map(|_| (parameters.frame_spread * normal(&mut rng)).exp()).collect())
            })
            .collect();
        let topics = normalised((0..parameters.topics).map(|rank| zipf(rank, 0.5)).collect());
        let (names, roles) = (lexicon.tokens(Category::Name), lexicon.tokens(Category::Role));
        Self { tables, speakers, topics, frames, names, roles }
    }

    /// The table of a slot; the two kinds of name have none.
    pub(crate) fn table(&self, slot: Slot) -> Option<&Table> {
        self.tables.get(slot as usize)
    }

    /// The slots with a table that may say a token, with its column there.
    pub(crate) fn speakers(&self, token: u32) -> &[(Slot, usize)] {
        &self.speakers[token as usize]
    }
}

fn zipf(rank: usize, exponent: f64) -> f64 {
    ((rank + 1) as f64).powf(-exponent)
}

fn normalised(mut weights: Vec<f64>) -> Vec<f64> {
    let total: f64 = weights.iter().sum();
    for weight in &mut weights {
        *weight /= total;
    }
    weights
}

/// `0..count` in a random order.
fn shuffled(rng: &mut ChaCha8Rng, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        order.swap(last, below(rng, last + 1));
    }
    order
}

struct Builder<'a> {
    parameters: &'a Parameters,
    lexicon: &'a Lexicon,
}

impl Builder<'_> {
    fn table(&self, slot: Slot) -> Table {
        let zipf_exponent = self.parameters.zipf;
        let one = |word: u32| self.fixed(vec![word], vec![1.0]);
        let class = |category| self.lexicon.tokens(category).collect::<Vec<u32>>();
        let spelled = |word: &str| self.lexicon.token(word).into_iter().collect::<Vec<u32>>();
        match slot {
            Slot::Begin => one(BEGIN),
            Slot::End => one(END),
            Slot::Paragraph => one(PARAGRAPH),
            Slot::Comma => self.fixed(spelled(","), vec![1.0]),
            Slot::Stop => self.fixed(spelled("."), vec![1.0]),
            Slot::SubjectDeterminer => self.ranked(slot, Category::Determiner, 1.2),
            Slot::ObjectDeterminer => self.ranked(slot, Category::Determiner, 1.6),
            Slot::PlaceDeterminer => self.ranked(slot, Category::Determiner, 2.5),
            Slot::Conjunction => self.ranked(slot, Category::Conjunction, 1.5),
            Slot::Preposition => self.by_frame(slot, Category::Preposition, 2.5),
            Slot::Numeral => {
                let words = class(Category::Numeral);
                let flat = vec![1.0; words.len()];
                self.fixed(words, flat)
            }
            Slot::Role => self.fixed(
                class(Category::Role),
                (0..self.parameters.roles).map(|rank| zipf(rank, self.parameters.role_zipf)).collect(),
            ),
            Slot::SubjectNoun | Slot::PlaceNoun => self.by_topic(slot, class(Category::Noun), zipf_exponent),
            Slot::Adjective => self.by_topic(slot, class(Category::Adjective), zipf_exponent),
            Slot::ObjectNoun => self.by_topic_and_frame(slot, class(Category::Noun)),
            Slot::Verb => {
                let nouns = self.lexicon.tokens(Category::Noun);
                let mut words = class(Category::Verb);
                words.extend(nouns.start..nouns.start + self.parameters.shared as u32);
                self.by_topic_and_frame(slot, words)
            }
            Slot::Adverb => self.by_frame(slot, Category::Adverb, 1.0),
            Slot::RoleName | Slot::Cast => self.fixed(Vec::new(), Vec::new()),
        }
    }

    fn rng(&self, slot: Slot, what: &str) -> ChaCha8Rng {
        self.parameters.stream(&["table", &format!("{slot:?}"), what])
    }

    fn pairs(&self) -> usize {
        self.parameters.topics * self.parameters.frames
    }

    fn fixed(&self, words: Vec<u32>, weights: Vec<f64>) -> Table {
        Table { words, row: vec![0; self.pairs()], rows: vec![normalised(weights)] }
    }

    /// A Zipf law over a class in an order of the slot's own.
    fn ranked(&self, slot: Slot, category: Category, exponent: f64) -> Table {
        let words: Vec<u32> = self.lexicon.tokens(category).collect();
        let order = shuffled(&mut self.rng(slot, "order"), words.len());
        self.fixed(words, order.into_iter().map(|rank| zipf(rank, exponent)).collect())
    }

    /// A Zipf law in another order for each frame.
    fn by_frame(&self, slot: Slot, category: Category, exponent: f64) -> Table {
        let words: Vec<u32> = self.lexicon.tokens(category).collect();
        let mut rng = self.rng(slot, "order");
        let rows = (0..self.parameters.frames)
            .map(|_| {
                let order = shuffled(&mut rng, words.len());
                normalised(order.into_iter().map(|rank| zipf(rank, exponent)).collect())
            })
            .collect();
        let row = (0..self.pairs()).map(|pair| pair % self.parameters.frames).collect();
        Table { words, row, rows }
    }

    /// One log-normal factor for each topic and word.
    fn affinities(&self, slot: Slot, words: usize) -> Vec<Vec<f64>> {
        let mut rng = self.rng(slot, "topics");
        (0..self.parameters.topics)
            .map(|_| (0..words).map(|_| (self.parameters.topic_spread * normal(&mut rng)).exp()).collect())
            .collect()
    }

    /// A Zipf law that each topic tilts.
    fn by_topic(&self, slot: Slot, words: Vec<u32>, exponent: f64) -> Table {
        let order = shuffled(&mut self.rng(slot, "order"), words.len());
        let rows = self
            .affinities(slot, words.len())
            .iter()
            .map(|tilt| normalised(order.iter().zip(tilt).map(|(&rank, tilt)| zipf(rank, exponent) * tilt).collect()))
            .collect();
        let row = (0..self.pairs()).map(|pair| pair / self.parameters.frames).collect();
        Table { words, row, rows }
    }

    /// Each frame uses a share of the words in an order of its own; each topic tilts them.
    fn by_topic_and_frame(&self, slot: Slot, words: Vec<u32>) -> Table {
        let mut rng = self.rng(slot, "order");
        let used = ((words.len() as f64 * self.parameters.frame_share).ceil() as usize).clamp(1, words.len());
        let orders: Vec<_> = (0..self.parameters.frames).map(|_| shuffled(&mut rng, words.len())).collect();
        let tilts = self.affinities(slot, words.len());
        let mut rows = Vec::new();
        for tilt in &tilts {
            for order in &orders {
                let weight = |(&rank, tilt): (&usize, &f64)| {
                    if rank < used { zipf(rank, self.parameters.zipf) * tilt } else { 0.0 }
                };
                rows.push(normalised(order.iter().zip(tilt).map(weight).collect()));
            }
        }
        Table { words, row: (0..self.pairs()).collect(), rows }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::document::tests::fables;

    #[test]
    fn rows_sum_to_one_and_a_frame_uses_its_share_of_the_verbs() {
        let (dataset, language) = fables();
        let pairs = dataset.language.topics * dataset.language.frames;
        for (index, &slot) in Slot::ALL.iter().enumerate() {
            assert_eq!(slot as usize, index);
            let Some(table) = language.emissions.table(slot) else { continue };
            for pair in 0..pairs {
                let total: f64 = table.distribution(pair).iter().sum();
                assert!((total - 1.0).abs() < 1e-12, "{slot:?}");
            }
        }
        let verbs = language.emissions.table(Slot::Verb).unwrap();
        let used = verbs.distribution(3).iter().filter(|&&p| p > 0.0).count();
        let words = dataset.language.verbs + dataset.language.shared;
        assert_eq!(used, (words as f64 * dataset.language.frame_share).ceil() as usize);
        let numerals = language.emissions.table(Slot::Numeral).unwrap().distribution(0);
        assert!(numerals.iter().all(|&p| (p - 1.0 / 72.0).abs() < 1e-15));
    }
}
