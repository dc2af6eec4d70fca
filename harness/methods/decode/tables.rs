//! Small language models for the tests of decoders: a row of logits for every last two tokens or for every prefix.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use crate::decode::{Decode, Failure, LanguageModel, Models, Request, Rows, Task};
use crate::registry::{self, Method};

/// A model that looks its rows up.
pub struct Table {
    pub vocabulary: usize,
    pub ends: Vec<u32>,
    pub context: usize,
    /// Logits after a whole sequence; what is not there has those of its longest suffix that is.
    pub rows: HashMap<Vec<u32>, Vec<f32>>,
    /// Hidden states by last token; without any the model gives none.
    pub states: Vec<Vec<f32>>,
    /// Every sequence that was read.
    pub read: Vec<Vec<u32>>,
}

impl Table {
    pub fn new(vocabulary: usize, ends: &[u32]) -> Self {
        let (rows, states, read) = (HashMap::new(), Vec::new(), Vec::new());
        Self { vocabulary, ends: ends.to_vec(), context: usize::MAX, rows, states, read }
    }

    /// Logits after sequences that end in `suffix`, from probabilities.
    pub fn with(mut self, suffix: &[u32], probabilities: &[f64]) -> Self {
        self.rows.insert(suffix.to_vec(), probabilities.iter().map(|p| p.ln() as f32).collect());
        self
    }

    /// Random logits after every last token or two, of the given spread.
    pub fn random(vocabulary: usize, ends: &[u32], spread: f64, numbers: &mut ChaCha8Rng) -> Self {
        let mut table = Self::new(vocabulary, ends);
        let mut row = || -> Vec<f32> { (0..vocabulary).map(|_| (spread * normal(numbers)) as f32).collect() };
        table.rows.insert(Vec::new(), row());
        for a in 0..vocabulary as u32 {
            table.rows.insert(vec![a], row());
            for b in 0..vocabulary as u32 {
                table.rows.insert(vec![a, b], row());
            }
        }
        table
    }

    pub fn row(&self, sequence: &[u32]) -> Vec<f32> {
        let known = (0..=sequence.len()).find_map(|start| self.rows.get(&sequence[start..]));
        known.unwrap_or_else(|| panic!("no row after {sequence:?}")).clone()
    }

    /// Logarithms of the probabilities after a sequence.
    pub fn logs(&self, sequence: &[u32]) -> Vec<f64> {
        let row = self.row(sequence);
        let total = row.iter().map(|z| f64::from(*z).exp()).sum::<f64>().ln();
        row.iter().map(|z| f64::from(*z) - total).collect()
    }
}

/// A number of the normal distribution.
fn normal(numbers: &mut ChaCha8Rng) -> f64 {
    let mut uniform = || crate::sample::uniform(numbers);
    (-2.0 * (1.0 - uniform()).ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos()
}

/// A random whole number below `bound`.
pub fn below(bound: u64, numbers: &mut ChaCha8Rng) -> u64 {
    numbers.next_u64() % bound
}

impl LanguageModel for Table {
    fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    fn ends(&self) -> &[u32] {
        &self.ends
    }

    fn context(&self) -> usize {
        self.context
    }

    fn has_states(&self) -> bool {
        !self.states.is_empty()
    }

    fn pass(&mut self, request: &Request) -> Result<Rows, Failure> {
        let mut rows = Rows::default();
        for sequence in request.sequences {
            self.read.push(sequence.to_vec());
            let last = |count: usize| sequence.len() + 1 - count..=sequence.len();
            rows.logits.extend(last(request.logits).map(|end| self.row(&sequence[..end])));
            rows.states.extend(last(request.states).map(|end| self.states[sequence[end - 1] as usize].clone()));
        }
        Ok(rows)
    }
}

/// The decoder that an arm names.
pub fn decoder(arm: &str) -> Box<dyn Decode> {
    match registry::build(harness_core::Axis::Sampler, &arm.parse().unwrap()).unwrap() {
        Method::Decoder(decoder) => decoder,
        _ => panic!("{arm} is no decoder"),
    }
}

/// Decodes with one model.
pub fn decode(arm: &str, model: &mut Table, prompt: &[u32], tokens: usize) -> crate::decode::Decoded {
    let task = Task { prompt, tokens, sequence: "test", ..Task::default() };
    decoder(arm).decode(Models { model, second: None }, &task).unwrap()
}
