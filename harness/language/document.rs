//! Generating documents: every one from a stream of its own, so any index costs the same.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use crate::grammar::{Renewal, State};
use crate::memory::Memory;
use crate::{Language, LanguageError, Split};

/// A uniform number in `[0, 1)` with 53 bits.
pub(crate) fn unit(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// A uniform index below `count`.
pub(crate) fn below(rng: &mut ChaCha8Rng, count: usize) -> usize {
    ((u128::from(rng.next_u64()) * count as u128) >> 64) as usize
}

/// A standard normal number (Box and Muller's transform).
pub(crate) fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - unit(rng)).ln()).sqrt();
    radius * (std::f64::consts::TAU * unit(rng)).cos()
}

/// Draws an index by its weight; the weights sum to one up to rounding.
fn pick(rng: &mut ChaCha8Rng, weights: impl Iterator<Item = f64>) -> usize {
    let mut left = unit(rng);
    let mut last = 0;
    for (index, weight) in weights.enumerate() {
        if weight > 0.0 {
            last = index;
            if left < weight {
                return index;
            }
            left -= weight;
        }
    }
    last
}

impl Language {
    /// Document `index` of the stream `split`, from its begin mark to its end mark.
    pub fn document(&self, split: &str, index: u64) -> Vec<u32> {
        let mut rng = self.parameters.stream(&["document", split, &index.to_string()]);
        let frames = self.parameters.frames;
        let mut tokens = Vec::new();
        let mut memory = Memory::new(&self.emissions, self.parameters.cast);
        let (mut topic, mut frame, mut state) = (0, 0, State::Begin);
        loop {
            let pair = topic * frames + frame;
            let token = if let Some(table) = self.emissions.table(state.slot()) {
                table.words[pick(&mut rng, table.distribution(pair).iter().copied())]
            } else {
                self.emissions.names.start + pick(&mut rng, memory.names(state.slot())) as u32
            };
            memory.push(token);
            tokens.push(token);
            if state == State::End {
                return tokens;
            }
            let (renewal, to) = self.step(&mut rng, state);
            state = to;
            if renewal == Renewal::Document
                || (renewal == Renewal::Topic && unit(&mut rng) < self.parameters.topic_switch)
            {
                topic = pick(&mut rng, self.emissions.topics.iter().copied());
            }
            if renewal != Renewal::Keep {
                let prior = &self.emissions.frames[topic * frames..(topic + 1) * frames];
                frame = pick(&mut rng, prior.iter().copied());
            }
        }
    }

    fn step(&self, rng: &mut ChaCha8Rng, state: State) -> (Renewal, State) {
        let moves: Vec<_> = self
            .grammar
            .moves(state)
            .renewal
            .iter()
            .flat_map(|(renewal, targets)| targets.iter().map(move |&(to, p)| (*renewal, to, p)))
            .collect();
        let (renewal, to, _) = moves[pick(rng, moves.iter().map(|&(_, _, p)| p))];
        (renewal, to)
    }

    /// Document `index` of a split of a data set.
    ///
    /// # Errors
    /// An index that the split does not have.
    pub fn document_of(&self, split: &Split, index: u64) -> Result<Vec<u32>, LanguageError> {
        if index >= split.documents {
            let (split, documents) = (split.name.clone(), split.documents);
            return Err(LanguageError::DocumentIndex { split, documents, index });
        }
        Ok(self.document(&split.name, index))
    }

    /// The first `count` documents of a split with at least `tokens` tokens (index and tokens); fewer when the
    /// split has no more. Lengths are geometric, so a document that long is one in `exp(tokens / mean_document)`.
    pub fn long_documents(&self, split: &Split, tokens: usize, count: usize) -> Vec<(u64, Vec<u32>)> {
        (0..split.documents)
            .map(|index| (index, self.document(&split.name, index)))
            .filter(|(_, document)| document.len() >= tokens)
            .take(count)
            .collect()
    }

    /// The documents of a split one after another.
    pub fn stream(&self, split: &Split) -> Vec<u32> {
        (0..split.documents).flat_map(|index| self.document(&split.name, index)).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use sha2::{Digest, Sha256};

    use crate::{BEGIN, Dataset, END, Language, LanguageError};

    pub(crate) fn fables() -> (Dataset, Language) {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../datasets/corpora/fables/dataset.toml");
        let dataset = Dataset::parse(&std::fs::read_to_string(path).unwrap()).unwrap();
        let language = Language::from_parameters(&dataset.language).unwrap();
        (dataset, language)
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        let (_, language) = fables();
        let mut hasher = Sha256::new();
        for split in ["train", "valid", "test"] {
            for index in 0..16 {
                let document = language.document(split, index);
                hasher.update(language.lexicon().spell(&document).unwrap().as_bytes());
            }
        }
        let hash = hasher.finalize().iter().fold(String::new(), |hash, byte| hash + &format!("{byte:02x}"));
        assert_eq!(hash, "37992dfbc24e2c8e17c6edb2044d5738dd281a2cf22f7be021839cb38061854d");
    }

    #[test]
    fn documents_are_whole_distinct_and_of_the_expected_length() {
        let (dataset, language) = fables();
        let mut total = 0;
        let mut squares = 0.0;
        for index in 0..400 {
            let document = language.document("test", index);
            assert_eq!((document[0], document[document.len() - 1]), (BEGIN, END));
            assert_eq!(document.iter().filter(|&&token| token == BEGIN || token == END).count(), 2);
            total += document.len();
            squares += (document.len() as f64).powi(2);
        }
        let mean = total as f64 / 400.0;
        let error = ((squares / 400.0 - mean * mean) / 400.0).sqrt();
        assert!((mean - language.mean_document()).abs() < 4.0 * error, "{mean} {}", language.mean_document());
        assert_ne!(language.document("test", 0), language.document("test", 1));
        assert_ne!(language.document("test", 0), language.document("train", 0));
        let test = dataset.split("test").unwrap();
        assert!(matches!(
            language.document_of(test, 512),
            Err(LanguageError::DocumentIndex { documents: 512, index: 512, .. })
        ));
        let long = language.long_documents(test, 2000, 3);
        assert_eq!(long.len(), 3);
        assert!(long.iter().all(|(_, document)| document.len() >= 2000));
    }
}
