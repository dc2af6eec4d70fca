//! Repetition within a text.
//!
//! - `seq-rep-n` (Welleck et al. 2020, arXiv 1908.04319): 1 − unique n-grams / n-grams of one text.
//! - `rep-n` (Su et al. 2022, arXiv 2202.06417): 100 (1 − ΣU / ΣC) over all texts, in percent; `diversity` is
//!   `Π (1 − rep-n / 100)` over n = 2, 3, 4. The script of yxuansu/SimCTG loses the last n-gram of each text; this one
//!   does not.
//! - `rep/ℓ` (Welleck): the share of tokens that occur among the ℓ tokens before them.
//! - loops (Holtzman et al. 2020, arXiv 1904.09751): texts that end in an n-gram repeated back to back.

use crate::JudgeError;
use crate::error::{not_empty, parameter, same_length};
use crate::n_gram::Names;

/// seq-rep-n of each text, in [0, 1]; `None` for a text shorter than n.
///
/// # Errors
/// n = 0 or no texts.
pub fn seq_rep<T: AsRef<[u32]>>(texts: &[T], n: usize) -> Result<Vec<Option<f64>>, JudgeError> {
    let ratios = crate::distinct::by_text(texts, n)?;
    Ok(ratios.into_iter().map(|ratio| ratio.map(|ratio| 1.0 - ratio)).collect())
}

/// rep-n of all texts, in percent. Repetition is counted within each text, never across texts.
///
/// # Errors
/// n = 0, no texts, or no text of n tokens.
pub fn rep<T: AsRef<[u32]>>(texts: &[T], n: usize) -> Result<f64, JudgeError> {
    not_empty("texts", texts)?;
    let names = Names::of(texts, n)?;
    if names.total() == 0 {
        return Err(JudgeError::Empty { what: "n-grams (every text is shorter than n)" });
    }
    let unique: usize = (0..texts.len()).map(|text| names.counts(text).len()).sum();
    Ok(100.0 * (1.0 - unique as f64 / names.total() as f64))
}

/// diversity = Π over n = 2, 3, 4 of (1 − rep-n / 100), in [0, 1].
///
/// # Errors
/// No texts, or no text of 4 tokens.
pub fn diversity<T: AsRef<[u32]>>(texts: &[T]) -> Result<f64, JudgeError> {
    (2..=4).try_fold(1.0, |product, n| Ok(product * (1.0 - rep(texts, n)? / 100.0)))
}

/// rep/ℓ of one text: the share of its tokens that occur among the `window` tokens before them, in [0, 1].
///
/// # Errors
/// An empty text or window.
pub fn rep_within(text: &[u32], window: usize) -> Result<f64, JudgeError> {
    repeated(text, text, window, |_, _| true)
}

/// wrep/ℓ: the share of predictions that occur among the `window` tokens of the true text before them and are not the
/// true next token, in [0, 1]. `predicted[t]` is what the model would say after `text[..t]`.
///
/// # Errors
/// An empty text or window, or lengths that differ.
pub fn wrong_rep_within(predicted: &[u32], text: &[u32], window: usize) -> Result<f64, JudgeError> {
    repeated(predicted, text, window, |predicted, gold| predicted != gold)
}

fn repeated(
    predicted: &[u32],
    text: &[u32],
    window: usize,
    counts: impl Fn(u32, u32) -> bool,
) -> Result<f64, JudgeError> {
    not_empty("tokens of the text", text)?;
    same_length("predicted tokens", predicted.len(), text.len())?;
    if window == 0 {
        return Err(parameter("window", window, "at least 1"));
    }
    // Where each token was last seen: within the window or not, at one look-up a token.
    let mut last = rustc_hash::FxHashMap::default();
    let mut found = 0usize;
    for (place, (&token, &gold)) in predicted.iter().zip(text).enumerate() {
        let near = last.get(&token).is_some_and(|&seen: &usize| place - seen <= window);
        found += usize::from(near && counts(token, gold));
        last.insert(gold, place);
    }
    Ok(found as f64 / text.len() as f64)
}

/// What a text ends in, over and over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loop {
    /// Tokens that are repeated.
    pub period: usize,
    /// How often they stand at the end, back to back.
    pub repeats: usize,
}

/// The longest period that is tried.
const LONGEST_PERIOD: usize = 90;
/// Periods below this need many repeats: "ha ha ha" is no loop.
const SHORT_PERIOD: usize = 3;
/// Repeats beyond which a short period is a loop too.
const MANY_REPEATS: usize = 50;

/// The loop that a text ends in. Trailing `end` marks are no part of it. Of all periods up to 90 the one with the most
/// repeats is taken (the shortest among equals); it is a loop when it stands twice or more and has 3 tokens or more, or
/// stands more than 50 times.
pub fn final_loop(text: &[u32], end: Option<u32>) -> Option<Loop> {
    let marks = text.iter().rev().take_while(|&&token| Some(token) == end).count();
    let text = &text[..text.len() - marks];
    let mut most = Loop { period: 1, repeats: 0 };
    for period in 1..=LONGEST_PERIOD.min(text.len()) {
        let unit = &text[text.len() - period..];
        let repeats = text.rchunks_exact(period).take_while(|&chunk| chunk == unit).count();
        if repeats > most.repeats {
            most = Loop { period, repeats };
        }
    }
    (most.repeats > 1 && (most.period >= SHORT_PERIOD || most.repeats > MANY_REPEATS)).then_some(most)
}

/// The share of continuations that leave a loop within their first `within` tokens, in [0, 1], where the prompt ended in
/// whole repeats of `unit` (Hewitt et al. 2022, arXiv 2210.15191). A continuation that ends before has left it.
///
/// # Errors
/// No continuations, an empty unit, or `within` = 0.
pub fn escapes<T: AsRef<[u32]>>(unit: &[u32], continuations: &[T], within: usize) -> Result<f64, JudgeError> {
    not_empty("tokens of the loop", unit)?;
    not_empty("continuations", continuations)?;
    if within == 0 {
        return Err(parameter("within", within, "at least 1"));
    }
    let stays =
        |text: &[u32]| text.len() >= within && text.iter().zip(unit.iter().cycle()).take(within).all(|(a, b)| a == b);
    let left = continuations.iter().filter(|text| !stays(text.as_ref())).count();
    Ok(left as f64 / continuations.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::{Loop, diversity, escapes, final_loop, rep, rep_within, seq_rep, wrong_rep_within};

    /// abcabcabd.
    const TEXT: [u32; 9] = [0, 1, 2, 0, 1, 2, 0, 1, 3];

    #[test]
    fn the_worked_example() {
        for (n, expected) in [(1, 0.555_556), (2, 0.5), (3, 0.428_571), (4, 0.333_333)] {
            assert!((rep(&[TEXT], n).unwrap() - 100.0 * expected).abs() < 5e-5);
            assert!((seq_rep(&[TEXT], n).unwrap()[0].unwrap() - expected).abs() < 5e-7);
        }
        assert!((diversity(&[TEXT]).unwrap() - 0.190_476).abs() < 5e-7);
        // Equal texts do not repeat themselves.
        assert!((rep(&[TEXT, TEXT], 2).unwrap() - 50.0).abs() < 1e-12);
    }

    #[test]
    fn windows_look_back_and_no_further() {
        // a b a c a: distances to the last a are 2 and 2.
        let text = [0, 1, 0, 2, 0];
        assert_eq!(rep_within(&text, 1).unwrap(), 0.0);
        assert_eq!(rep_within(&text, 2).unwrap(), 0.4);
        assert_eq!(wrong_rep_within(&text, &text, 2).unwrap(), 0.0);
        // Says a after "a", "a b", "a b a", "a b a c": wrong where b and c stand, right at the two a.
        assert_eq!(wrong_rep_within(&[5, 0, 0, 0, 0], &text, 9).unwrap(), 0.4);
        assert!(rep_within(&[], 1).is_err());
        assert!(rep_within(&text, 0).is_err());
        assert!(wrong_rep_within(&text[1..], &text, 1).is_err());
    }

    #[test]
    fn loops_are_found_at_the_end_only() {
        assert_eq!(final_loop(&[9, 1, 2, 3, 1, 2, 3, 0, 0], Some(0)), Some(Loop { period: 3, repeats: 2 }));
        assert_eq!(final_loop(&[1, 2, 3, 1, 2, 3, 9], None), None);
        // Short periods are loops beyond 50 repeats.
        assert_eq!(final_loop(&[7; 50], None), None);
        assert_eq!(final_loop(&[7; 51], None), Some(Loop { period: 1, repeats: 51 }));
        assert_eq!(final_loop(&[0, 0], Some(0)), None);
        let long: Vec<u32> = (0..180).map(|i| i % 90).collect();
        assert_eq!(final_loop(&long, None), Some(Loop { period: 90, repeats: 2 }));
    }

    #[test]
    fn escape_is_the_first_other_token() {
        let texts: [&[u32]; 4] = [&[1, 2, 1, 2], &[1, 2, 1, 9], &[1, 3], &[1]];
        assert_eq!(escapes(&[1, 2], &texts, 3).unwrap(), 0.5);
        assert_eq!(escapes(&[1, 2], &texts, 4).unwrap(), 0.75);
        assert_eq!(escapes(&[1, 2], &texts, 1).unwrap(), 0.0);
        assert!(escapes(&[], &texts, 1).is_err());
    }
}
