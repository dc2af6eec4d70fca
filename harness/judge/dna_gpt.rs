//! DNA-GPT (Yang et al. 2023, arXiv 2305.17359): text of a model overlaps what that model writes again from its first
//! part more than human text does.
//!
//! A text is cut into a prefix and a rest y₀; the suspected model continues the prefix K times, giving Ω₁..Ω_K. Without the
//! model's probabilities
//!
//! `BScore = (1/K) Σ_k Σ_{n = n₀..N} n ln n · |grams(y₀) ∩ grams(Ω_k)| / (|Ω_k| · |grams(y₀)|)`
//!
//! with clipped counts, |Ω_k| in tokens, n₀ = 4 and N = 25 ([`dna_bscore`], the definition as the paper is remembered; the
//! paper could not be read again). The authors' programs weigh by the place of a value in a dictionary in place of n and
//! divide by the places with overlap: [`dna_bscore_repo2`] (their notebooks, two entries an n) and [`dna_bscore_repo3`]
//! (`DNA-GPT-dist.py`, three); both stop at n = 24. With probabilities, [`wscore`]. Their programs also stem words
//! (Porter); here the caller decides what a token is.

use crate::JudgeError;
use crate::error::{not_empty, parameter};
use crate::n_gram::Names;

/// The overlap of a text with its regenerations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Overlap {
    /// The score, 0 or more; higher means written by the model.
    pub score: f64,
    /// Regenerations that are not empty, over which the score is a mean.
    pub regenerations: usize,
    /// Empty regenerations, left out.
    pub empty: usize,
    /// Whether the rest is shorter than the shortest n-gram that counts; its score is 0 then.
    pub too_short: bool,
}

/// Lengths of n-grams in the paper's form.
pub const LENGTHS: std::ops::RangeInclusive<usize> = 4..=25;
/// The longest n-gram of the authors' programs.
const REPOSITORY_LONGEST: usize = 24;

/// For every regeneration that is not empty, its length and for n = 1..=longest the clipped overlap as a share of the
/// n-grams of the rest.
fn shares<T: AsRef<[u32]>>(
    rest: &[u32],
    regenerations: &[T],
    longest: usize,
) -> Result<Vec<(usize, Vec<f64>)>, JudgeError> {
    not_empty("regenerations", regenerations)?;
    let texts: Vec<&[u32]> =
        std::iter::once(rest).chain(regenerations.iter().map(AsRef::as_ref).filter(|text| !text.is_empty())).collect();
    if texts.len() == 1 {
        return Err(JudgeError::Empty { what: "regenerations that are not empty" });
    }
    let mut found: Vec<(usize, Vec<f64>)> = texts[1..].iter().map(|text| (text.len(), Vec::new())).collect();
    let mut names = Names::new(&texts);
    for _ in 1..=longest {
        let own = names.counts(0);
        let total = names.texts()[0].len().max(1) as f64;
        for (index, (_, shares)) in found.iter_mut().enumerate() {
            let other = names.counts(index + 1);
            shares.push(common(&own, &other) as f64 / total);
        }
        names.lengthen();
    }
    Ok(found)
}

/// Σ of the smaller count over names in both, each ascending by name.
fn common(a: &[(u32, u32)], b: &[(u32, u32)]) -> u64 {
    let (mut i, mut j, mut sum) = (0, 0, 0);
    while i < a.len() && j < b.len() {
        match a[i].0.cmp(&b[j].0) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                sum += u64::from(a[i].1.min(b[j].1));
                (i, j) = (i + 1, j + 1);
            }
        }
    }
    sum
}

fn overlap<T: AsRef<[u32]>>(
    rest: &[u32],
    regenerations: &[T],
    longest: usize,
    shortest: usize,
    score: impl Fn(usize, &[f64]) -> f64,
) -> Result<Overlap, JudgeError> {
    let found = shares(rest, regenerations, longest)?;
    let sum: f64 = found.iter().map(|(length, shares)| score(*length, shares)).sum();
    Ok(Overlap {
        score: sum / found.len() as f64,
        regenerations: found.len(),
        empty: regenerations.len() - found.len(),
        too_short: rest.len() < shortest,
    })
}

/// BScore of the rest of a text against regenerations of it, for n-grams of the given lengths ([`LENGTHS`]).
///
/// # Errors
/// No regeneration that is not empty; lengths that are empty or begin at 0.
pub fn dna_bscore<T: AsRef<[u32]>>(
    rest: &[u32],
    regenerations: &[T],
    lengths: std::ops::RangeInclusive<usize>,
) -> Result<Overlap, JudgeError> {
    if lengths.is_empty() || *lengths.start() == 0 {
        return Err(parameter("lengths", format!("{lengths:?}"), "a range that begins at 1 or more"));
    }
    let (shortest, longest) = (*lengths.start(), *lengths.end());
    overlap(rest, regenerations, longest, shortest, |length, shares| {
        let weigh = |n: usize| n as f64 * (n as f64).ln() * shares[n - 1];
        (shortest..=longest).map(weigh).sum::<f64>() / length as f64
    })
}

/// The form of the authors' notebooks: n = 3..24 weighed by `w ln w` with w = 2n − 1, over Σ w of the n with overlap.
///
/// # Errors
/// No regeneration that is not empty.
pub fn dna_bscore_repo2<T: AsRef<[u32]>>(rest: &[u32], regenerations: &[T]) -> Result<Overlap, JudgeError> {
    repository(rest, regenerations, 3, |n| 2 * n - 1)
}

/// The form of the authors' `DNA-GPT-dist.py`: n = 2..24 weighed by `w ln w` with w = 3n − 2, over Σ w of the n with
/// overlap.
///
/// # Errors
/// No regeneration that is not empty.
pub fn dna_bscore_repo3<T: AsRef<[u32]>>(rest: &[u32], regenerations: &[T]) -> Result<Overlap, JudgeError> {
    repository(rest, regenerations, 2, |n| 3 * n - 2)
}

fn repository<T: AsRef<[u32]>>(
    rest: &[u32],
    regenerations: &[T],
    shortest: usize,
    place: fn(usize) -> usize,
) -> Result<Overlap, JudgeError> {
    overlap(rest, regenerations, REPOSITORY_LONGEST, shortest, |length, shares| {
        let (mut sum, mut places) = (0.0, 0.0);
        for n in shortest..=REPOSITORY_LONGEST {
            let (weight, share) = (place(n) as f64, shares[n - 1]);
            if share > 0.0 {
                sum += weight * weight.ln() * share / length as f64;
                places += weight;
            }
        }
        sum / (places + 1e-8)
    })
}

/// WScore: the mean log-probability a token of the rest, less that of the regenerations, averaged over these; nats. All
/// log-probabilities are those of the suspected model after the prefix. Empty regenerations are left out.
///
/// # Errors
/// An empty rest, no regeneration that is not empty, values that are not finite.
pub fn wscore<T: AsRef<[f64]>>(rest: &[f64], regenerations: &[T]) -> Result<f64, JudgeError> {
    let mean = |what: &'static str, values: &[f64]| {
        if let Some((index, &value)) = values.iter().enumerate().find(|(_, value)| !value.is_finite()) {
            return Err(JudgeError::Value { what, index, value, allowed: "finite" });
        }
        Ok(values.iter().sum::<f64>() / values.len() as f64)
    };
    not_empty("log-probabilities of the rest", rest)?;
    let own = mean("log-probability of the rest", rest)?;
    let others: Vec<&[f64]> = regenerations.iter().map(AsRef::as_ref).filter(|values| !values.is_empty()).collect();
    not_empty("regenerations that are not empty", &others)?;
    let sum = others
        .iter()
        .try_fold(0.0, |sum, values| Ok(sum + own - mean("log-probability of a regeneration", values)?))?;
    Ok(sum / others.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::{LENGTHS, dna_bscore, dna_bscore_repo2, dna_bscore_repo3, wscore};

    /// abcdefg and xabcdey.
    const REST: [u32; 7] = [0, 1, 2, 3, 4, 5, 6];
    const AGAIN: [u32; 7] = [8, 0, 1, 2, 3, 4, 9];

    #[test]
    fn the_worked_example() {
        for (found, expected) in [
            (dna_bscore(&REST, &[AGAIN], LENGTHS), 0.779_284),
            (dna_bscore_repo2(&REST, &[AGAIN]), 0.124_018),
            (dna_bscore_repo3(&REST, &[AGAIN]), 0.144_947),
        ] {
            let found = found.unwrap();
            assert!((found.score - expected).abs() < 5e-7, "{found:?} {expected}");
            assert!(!found.too_short && found.regenerations == 1);
        }
        let white = wscore(&[-1.2, -0.8, -2.0], &[vec![-1.0, -1.5], vec![-1.2]]).unwrap();
        assert!((white + 0.108_333).abs() < 5e-7, "{white}");
    }

    #[test]
    fn edges_are_flagged_or_refused() {
        let empty: [&[u32]; 2] = [&AGAIN, &[]];
        let found = dna_bscore(&REST, &empty, LENGTHS).unwrap();
        assert_eq!((found.regenerations, found.empty), (1, 1));
        assert!((found.score - 0.779_284).abs() < 5e-7);
        let short = dna_bscore(&REST[..3], &[AGAIN], LENGTHS).unwrap();
        assert!(short.too_short && short.score == 0.0, "{short:?}");
        assert!(dna_bscore::<Vec<u32>>(&REST, &[], LENGTHS).is_err());
        assert!(dna_bscore(&REST, &empty[1..], LENGTHS).is_err());
        assert!(dna_bscore(&REST, &[AGAIN], 0..=3).is_err());
        assert!(wscore::<Vec<f64>>(&[-1.0], &[]).is_err());
        assert!(wscore(&[f64::NAN], &[vec![-1.0]]).is_err());
    }

    #[test]
    fn counts_are_clipped() {
        // "a a a a a" holds two 4-grams aaaa; a regeneration with three of them matches two.
        let found = dna_bscore(&[1; 5], &[[1u32; 6]], 4..=4).unwrap();
        assert!((found.score - 4.0 * 4f64.ln() / 6.0).abs() < 1e-12, "{found:?}");
    }
}
