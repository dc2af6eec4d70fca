//! Self-BLEU (Zhu et al. 2018, arXiv 1802.01886): how much each text repeats the others; higher is less diverse.
//!
//! The mean over texts of BLEU-N(text; references = all other texts), uniform weights over n = 1..N, clipped counts
//! against the largest count in any reference, the brevity penalty against the closest reference length (the shorter of
//! two equally close). An n without a match has `epsilon` in the numerator (method 1 of Chen and Cherry 2014, 0.1).
//!
//! "The largest count in any other text" is the largest of all unless the text itself holds it, and the second largest
//! then; keeping the two largest counts of each n-gram and their owner makes all M scores cost `O(M · length · N)`, and
//! no sampling of hypotheses is needed. More texts give higher values: compare equal M only.
//!
//! NLTK gives 0 to a text that shares no word with any other, whatever the smoothing: [`SelfBleu::zero_unmatched`].

use crate::JudgeError;
use crate::error::parameter;
use crate::n_gram::Names;

/// How to compute self-BLEU.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SelfBleu {
    /// Longest n-gram N, at least 1.
    pub longest: usize,
    /// Numerator of an n without a match, 0 or more; 0 makes such texts 0.
    pub epsilon: f64,
    /// Whether a text without any matching token scores 0 in place of its smoothed value, as in NLTK.
    pub zero_unmatched: bool,
}

impl Default for SelfBleu {
    fn default() -> Self {
        Self { longest: 4, epsilon: 0.1, zero_unmatched: false }
    }
}

/// The two largest counts of one n-gram, and which text has the largest.
#[derive(Debug, Clone, Copy, Default)]
struct Largest {
    first: u32,
    owner: u32,
    second: u32,
}

impl SelfBleu {
    /// The BLEU of every text against all others, in [0, 1]. A text without tokens scores 0.
    ///
    /// # Errors
    /// Fewer than two texts, N = 0, an epsilon that is negative or not finite.
    pub fn scores<T: AsRef<[u32]>>(&self, texts: &[T]) -> Result<Vec<f64>, JudgeError> {
        if texts.len() < 2 {
            let advice = "a text needs others to be compared with";
            return Err(JudgeError::TooFew { what: "texts", found: texts.len(), least: 2, advice });
        }
        if self.longest == 0 {
            return Err(parameter("longest", 0, "at least 1"));
        }
        if !(self.epsilon >= 0.0 && self.epsilon.is_finite()) {
            return Err(parameter("epsilon", self.epsilon, "finite, 0 or more"));
        }
        let mut logarithms = vec![0.0f64; texts.len()];
        let mut unmatched = vec![false; texts.len()];
        let mut names = Names::new(texts);
        for n in 1..=self.longest {
            let matches = matches(&names);
            for (text, &matched) in matches.iter().enumerate() {
                unmatched[text] |= n == 1 && matched == 0;
                let numerator = if matched == 0 { self.epsilon } else { matched as f64 };
                logarithms[text] += (numerator / names.texts()[text].len().max(1) as f64).ln();
            }
            names.lengthen();
        }
        let lengths: Vec<usize> = texts.iter().map(|text| text.as_ref().len()).collect();
        let penalties = brevity(&lengths);
        let score = |text: usize| {
            if lengths[text] == 0 || self.zero_unmatched && unmatched[text] {
                return 0.0;
            }
            penalties[text] * (logarithms[text] / self.longest as f64).exp()
        };
        Ok((0..texts.len()).map(score).collect())
    }

    /// The mean of [`Self::scores`].
    ///
    /// # Errors
    /// Those of [`Self::scores`].
    pub fn mean<T: AsRef<[u32]>>(&self, texts: &[T]) -> Result<f64, JudgeError> {
        Ok(self.scores(texts)?.iter().sum::<f64>() / texts.len() as f64)
    }
}

/// Clipped matches of every text with all others, for one n.
fn matches(names: &Names) -> Vec<u64> {
    let counts: Vec<Vec<(u32, u32)>> = (0..names.texts().len()).map(|text| names.counts(text)).collect();
    let mut largest = vec![Largest::default(); names.distinct()];
    for (text, counts) in counts.iter().enumerate() {
        for &(name, count) in counts {
            let entry = &mut largest[name as usize];
            if count > entry.first {
                *entry = Largest { first: count, owner: text as u32, second: entry.first };
            } else {
                entry.second = entry.second.max(count);
            }
        }
    }
    let others = |text: usize, name: u32| {
        let entry = largest[name as usize];
        if entry.owner as usize == text { entry.second } else { entry.first }
    };
    let matched = |(text, counts): (usize, &Vec<(u32, u32)>)| {
        counts.iter().map(|&(name, count)| u64::from(count.min(others(text, name)))).sum()
    };
    counts.iter().enumerate().map(matched).collect()
}

/// The brevity penalty of every text: 1 when it is longer than the closest other length, else exp(1 − closest / own).
fn brevity(lengths: &[usize]) -> Vec<f64> {
    let mut sorted = lengths.to_vec();
    sorted.sort_unstable();
    let penalty = |&own: &usize| {
        let first = sorted.partition_point(|&other| other < own);
        let beyond = sorted.partition_point(|&other| other <= own);
        let closest = if beyond - first > 1 {
            own
        } else {
            let (below, above) = (first.checked_sub(1).map(|place| sorted[place]), sorted.get(beyond).copied());
            match (below, above) {
                (Some(below), Some(above)) => {
                    if own - below <= above - own {
                        below
                    } else {
                        above
                    }
                }
                (Some(one), None) | (None, Some(one)) => one,
                (None, None) => own,
            }
        };
        if own >= closest { 1.0 } else { (1.0 - closest as f64 / own as f64).exp() }
    };
    lengths.iter().map(penalty).collect()
}

#[cfg(test)]
mod tests {
    use super::SelfBleu;

    /// abcd, abce, fghi.
    const TEXTS: [[u32; 4]; 3] = [[0, 1, 2, 3], [0, 1, 2, 4], [5, 6, 7, 8]];

    #[test]
    #[allow(clippy::approx_constant, reason = "digits of the definitions")]
    fn the_worked_example() {
        let cases =
            [(2, [0.707_107, 0.707_107, 0.028_868], 0.481_027), (3, [0.629_961, 0.629_961, 0.034_668], 0.431_530)];
        for (longest, expected, mean) in cases {
            let bleu = SelfBleu { longest, ..SelfBleu::default() };
            for (score, expected) in bleu.scores(&TEXTS).unwrap().iter().zip(expected) {
                assert!((score - expected).abs() < 5e-7, "{longest}: {score} {expected}");
            }
            assert!((bleu.mean(&TEXTS).unwrap() - mean).abs() < 5e-7);
        }
        let nltk = SelfBleu { longest: 2, zero_unmatched: true, ..SelfBleu::default() };
        assert_eq!(nltk.scores(&TEXTS).unwrap()[2], 0.0);
    }

    #[test]
    fn equal_texts_score_one_and_bad_input_is_refused() {
        let mean = SelfBleu::default().mean(&[TEXTS[0], TEXTS[0]]).unwrap();
        assert!((mean - 1.0).abs() < 1e-12, "{mean}");
        assert!(SelfBleu::default().scores(&[TEXTS[0]]).is_err());
        assert!(SelfBleu { longest: 0, ..SelfBleu::default() }.scores(&TEXTS).is_err());
        assert!(SelfBleu { epsilon: f64::NAN, ..SelfBleu::default() }.scores(&TEXTS).is_err());
        let empty: [&[u32]; 2] = [&[], &[1, 2]];
        assert_eq!(SelfBleu::default().scores(&empty).unwrap()[0], 0.0);
    }
}
