//! n-grams by name: every distinct n-gram of a set of texts gets a number, so that counting is counting of numbers.
//!
//! The name of an n+1-gram is that of the pair (name of its first n tokens, name of its last token), so each further
//! length costs one look-up a position, whatever n is, and, unlike a rolling hash, two n-grams never share a name.

use rustc_hash::FxHashMap;

use crate::JudgeError;
use crate::error::parameter;

/// The n-grams of a set of texts, for one n.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    n: usize,
    /// Single tokens, named from 0.
    tokens: Vec<Vec<u32>>,
    /// The n-gram that starts at each position.
    grams: Vec<Vec<u32>>,
    distinct: usize,
}

impl Names {
    /// Names single tokens (n = 1).
    pub fn new<T: AsRef<[u32]>>(texts: &[T]) -> Self {
        let mut known: FxHashMap<u32, u32> = FxHashMap::default();
        let mut name = |token: u32| {
            let next = known.len() as u32;
            *known.entry(token).or_insert(next)
        };
        let tokens: Vec<Vec<u32>> =
            texts.iter().map(|text| text.as_ref().iter().map(|&token| name(token)).collect()).collect();
        Self { n: 1, grams: tokens.clone(), tokens, distinct: known.len() }
    }

    /// Names n-grams.
    ///
    /// # Errors
    /// n = 0.
    pub fn of<T: AsRef<[u32]>>(texts: &[T], n: usize) -> Result<Self, JudgeError> {
        if n == 0 {
            return Err(parameter("n", n, "at least 1"));
        }
        let mut names = Self::new(texts);
        while names.n < n && names.distinct > 0 {
            names.lengthen();
        }
        names.n = n;
        Ok(names)
    }

    /// Goes from n to n + 1.
    pub fn lengthen(&mut self) {
        let mut known: FxHashMap<u64, u32> = FxHashMap::default();
        for (names, tokens) in self.grams.iter_mut().zip(&self.tokens) {
            let longer = tokens.len().saturating_sub(self.n);
            for place in 0..longer {
                let pair = u64::from(names[place]) << 32 | u64::from(tokens[place + self.n]);
                let next = known.len() as u32;
                names[place] = *known.entry(pair).or_insert(next);
            }
            names.truncate(longer);
        }
        self.n += 1;
        self.distinct = known.len();
    }

    /// The n of these n-grams.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Different n-grams in all texts.
    pub fn distinct(&self) -> usize {
        self.distinct
    }

    /// All n-grams of all texts.
    pub fn total(&self) -> usize {
        self.grams.iter().map(Vec::len).sum()
    }

    /// The n-grams of each text, in order, by name.
    pub fn texts(&self) -> &[Vec<u32>] {
        &self.grams
    }

    /// How often each n-gram stands in one text: (name, count), by ascending name.
    pub fn counts(&self, text: usize) -> Vec<(u32, u32)> {
        let mut names = self.grams[text].clone();
        names.sort_unstable();
        names.chunk_by(|a, b| a == b).map(|run| (run[0], run.len() as u32)).collect()
    }

    /// How often each n-gram stands in all texts, by name.
    pub fn pooled(&self) -> Vec<u64> {
        let mut counts = vec![0; self.distinct];
        for &name in self.grams.iter().flatten() {
            counts[name as usize] += 1;
        }
        counts
    }
}

/// The first tokens of all texts together, for metrics that depend on how much text there is: the last text that is
/// taken is cut, those behind it are left out.
///
/// # Errors
/// Fewer tokens than asked for.
pub fn first_tokens<T: AsRef<[u32]>>(texts: &[T], tokens: usize) -> Result<Vec<&[u32]>, JudgeError> {
    let found: usize = texts.iter().map(|text| text.as_ref().len()).sum();
    if found < tokens {
        let advice = "lower the budget of tokens for all systems that are compared";
        return Err(JudgeError::TooFew { what: "tokens", found, least: tokens, advice });
    }
    let mut left = tokens;
    let mut taken = Vec::new();
    for text in texts {
        if left == 0 {
            break;
        }
        let text = &text.as_ref()[..left.min(text.as_ref().len())];
        left -= text.len();
        taken.push(text);
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::{Names, first_tokens};

    #[test]
    fn a_budget_cuts_the_last_text() {
        let texts: [&[u32]; 3] = [&[1, 2, 3], &[], &[4, 5, 6]];
        assert_eq!(first_tokens(&texts, 5).unwrap(), [&[1, 2, 3][..], &[], &[4, 5]]);
        assert!(first_tokens(&texts, 7).unwrap_err().to_string().contains("6 given, at least 7 needed"));
    }

    #[test]
    fn texts_shorter_than_n_have_none() {
        let names = Names::of(&[vec![1u32, 2], vec![1, 2, 3]], 3).unwrap();
        assert_eq!((names.total(), names.distinct(), names.counts(0).len()), (1, 1, 0));
        let none = Names::of(&[vec![1u32, 2]], 900).unwrap();
        assert_eq!((none.n(), none.total(), none.distinct()), (900, 0, 0));
        assert!(Names::of(&[vec![1u32]], 0).is_err());
    }
}
