//! The exact next-token distribution, by the forward recursion in f64.

use std::collections::HashMap;

use crate::emission::Slot;
use crate::grammar::{Renewal, STATES, State};
use crate::memory::Memory;
use crate::{Language, LanguageError};

/// Where a sequence begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the begin mark of a document.
    Document,
    /// Anywhere in a long stream of documents: the unknown past is integrated out.
    Anywhere,
}

/// The belief about the hidden state of a sequence before its next token. Pushing a token and asking for one
/// probability cost a few thousand operations, so a sequence is scored in time linear in its length.
#[derive(Debug, Clone)]
pub struct TruthState<'a> {
    language: &'a Language,
    memory: Memory,
    start: Start,
    position: usize,
    /// Probability of each (place, topic, frame) at the next token, place-major.
    belief: Vec<f64>,
    /// Whether a place has any mass.
    active: [bool; STATES],
}

impl<'a> TruthState<'a> {
    /// The belief before the first token.
    pub fn new(language: &'a Language, start: Start) -> Self {
        let share = match start {
            Start::Document => {
                let mut share = [0.0; STATES];
                share[State::Begin as usize] = 1.0;
                share
            }
            Start::Anywhere => language.grammar.stationary(),
        };
        let emissions = &language.emissions;
        let frames = language.parameters.frames;
        let mut belief = Vec::with_capacity(STATES * emissions.frames.len());
        for place in share {
            // Every new topic is drawn from the prior and every new frame from its topic's, whatever the place.
            belief.extend(
                emissions.frames.iter().enumerate().map(|(pair, f)| place * emissions.topics[pair / frames] * f),
            );
        }
        let memory = Memory::new(emissions, language.parameters.cast);
        Self { language, memory, start, position: 0, belief, active: share.map(|value| value > 0.0) }
    }

    fn pairs(&self) -> usize {
        self.language.emissions.frames.len()
    }

    fn mass(&self, state: State) -> &[f64] {
        let pairs = self.pairs();
        &self.belief[state as usize * pairs..(state as usize + 1) * pairs]
    }

    fn places(&self) -> impl Iterator<Item = State> + '_ {
        State::ALL.into_iter().filter(|&state| self.active[state as usize])
    }

    /// Tokens pushed so far.
    pub fn position(&self) -> usize {
        self.position
    }

    /// The distribution of the next token: one probability for each token of the vocabulary, summing to one.
    pub fn distribution(&self) -> Vec<f64> {
        let mut distribution = vec![0.0; self.language.vocabulary()];
        let emissions = &self.language.emissions;
        for state in self.places() {
            let mass = self.mass(state);
            if let Some(table) = emissions.table(state.slot()) {
                for (pair, &weight) in mass.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
                    for (&word, p) in table.words.iter().zip(table.distribution(pair)) {
                        distribution[word as usize] += weight * p;
                    }
                }
            } else {
                let weight: f64 = mass.iter().sum();
                for (word, p) in emissions.names.clone().zip(self.memory.names(state.slot())) {
                    distribution[word as usize] += weight * p;
                }
            }
        }
        distribution
    }

    /// Probability of one next token; zero outside the vocabulary.
    pub fn probability(&self, token: u32) -> f64 {
        if token as usize >= self.language.vocabulary() {
            return 0.0;
        }
        self.places()
            .map(|state| self.mass(state).iter().zip(self.likelihood(state, token)).map(|(m, p)| m * p).sum::<f64>())
            .sum()
    }

    /// Probability of a token at a place for every (topic, frame).
    fn likelihood(&self, state: State, token: u32) -> impl Iterator<Item = f64> + '_ {
        let emissions = &self.language.emissions;
        let slot = state.slot();
        let column = emissions.speakers(token).iter().find(|(speaker, _)| *speaker == slot).map(|&(_, column)| column);
        let name = match emissions.table(slot) {
            None if emissions.names.contains(&token) => {
                self.memory.name(slot, (token - emissions.names.start) as usize)
            }
            _ => 0.0,
        };
        (0..self.pairs()).map(move |pair| match (emissions.table(slot), column) {
            (Some(table), Some(column)) => table.distribution(pair)[column],
            (Some(_), None) => 0.0,
            (None, _) => name,
        })
    }

    /// Entropy of the next token in nats.
    pub fn entropy(&self) -> f64 {
        self.distribution().iter().filter(|&&p| p > 0.0).map(|p| -p * p.ln()).sum()
    }

    /// The most probable thing to be said next, and whether it is the name of a role whose name is known.
    pub fn context(&self) -> (Slot, bool) {
        let mut masses: HashMap<Slot, f64> = HashMap::new();
        for state in self.places() {
            *masses.entry(state.slot()).or_default() += self.mass(state).iter().sum::<f64>();
        }
        let mut best = Slot::Begin;
        for slot in Slot::ALL {
            if masses.get(&slot) > masses.get(&best) {
                best = slot;
            }
        }
        (best, best == Slot::RoleName && self.memory.recalls())
    }

    /// Takes in the next token and returns its probability before it was seen.
    ///
    /// # Errors
    /// A token outside the vocabulary, or one of probability zero; the belief is then unchanged.
    pub fn push(&mut self, token: u32) -> Result<f64, LanguageError> {
        let vocabulary = self.language.vocabulary();
        if token as usize >= vocabulary {
            return Err(LanguageError::Token { token, position: self.position, vocabulary });
        }
        let pairs = self.pairs();
        let mut posterior = vec![0.0; self.belief.len()];
        let mut total = 0.0;
        for state in self.places() {
            let range = state as usize * pairs..(state as usize + 1) * pairs;
            let products = self.mass(state).iter().zip(self.likelihood(state, token)).map(|(m, p)| m * p);
            for (value, product) in posterior[range].iter_mut().zip(products) {
                *value = product;
                total += product;
            }
        }
        if total <= 0.0 {
            let word = self.language.lexicon.word(token).unwrap_or_default().to_owned();
            return Err(LanguageError::Impossible { token, word, position: self.position });
        }
        for value in &mut posterior {
            *value /= total;
        }
        self.predict(&posterior);
        if self.position == 0 && self.start == Start::Anywhere {
            self.memory.push_first(token, &self.language.emissions);
        } else {
            self.memory.push(token);
        }
        self.position += 1;
        Ok(total)
    }

    /// Moves the belief one step on.
    fn predict(&mut self, posterior: &[f64]) {
        let pairs = self.pairs();
        self.belief.fill(0.0);
        self.active = [false; STATES];
        for state in State::ALL {
            let mass = &posterior[state as usize * pairs..(state as usize + 1) * pairs];
            if mass.iter().all(|&value| value == 0.0) {
                continue;
            }
            for (renewal, targets) in &self.language.grammar.moves(state).renewal {
                let renewed = self.language.renewed(*renewal, mass);
                for &(to, probability) in targets {
                    self.active[to as usize] = true;
                    let target = &mut self.belief[to as usize * pairs..(to as usize + 1) * pairs];
                    for (value, mass) in target.iter_mut().zip(&renewed) {
                        *value += probability * mass;
                    }
                }
            }
        }
    }
}

impl Language {
    /// Mass over (topic, frame) after a renewal.
    fn renewed(&self, renewal: Renewal, mass: &[f64]) -> Vec<f64> {
        let (frames, emissions) = (self.parameters.frames, &self.emissions);
        if renewal == Renewal::Keep {
            return mass.to_vec();
        }
        let mut topics: Vec<f64> = mass.chunks(frames).map(|chunk| chunk.iter().sum()).collect();
        let switch = match renewal {
            Renewal::Document => 1.0,
            Renewal::Topic => self.parameters.topic_switch,
            Renewal::Frame | Renewal::Keep => 0.0,
        };
        let total: f64 = topics.iter().sum();
        for (topic, prior) in topics.iter_mut().zip(&emissions.topics) {
            *topic = (1.0 - switch) * *topic + switch * total * prior;
        }
        emissions.frames.iter().enumerate().map(|(pair, prior)| topics[pair / frames] * prior).collect()
    }
}
