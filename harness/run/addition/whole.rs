//! Whole sums, `57+68=125` and a stop, as a language model writes them: the highest digit first.

use std::ops::Range;

use rand_chacha::ChaCha8Rng;

use super::problems::{Digits, add, below, number, without_leading_zeros};
use super::{FIRST_MARK, PAD, SECOND_MARK, STOP, digit_of, tokens_of};

/// Tokens of the longest sum of numbers of so many digits.
pub(super) fn longest(digits: usize) -> usize {
    3 * digits + 4
}

/// The prompt of a sum.
pub(super) fn prompt(a: &[u8], b: &[u8]) -> Vec<u32> {
    tokens_of(a).chain([FIRST_MARK]).chain(tokens_of(b)).chain([SECOND_MARK]).collect()
}

/// A sum of two numbers of up to so many digits, every number of digits as likely.
pub(super) fn example(digits: usize, rng: &mut ChaCha8Rng) -> Vec<u32> {
    let [a, b] = [(); 2].map(|()| {
        let digits = 1 + below(rng, digits as u64) as usize;
        number(rng, digits)
    });
    let mut tokens = prompt(&a, &b);
    tokens.extend(tokens_of(&add(&a, &b)));
    tokens.push(STOP);
    tokens.resize(longest(digits), PAD);
    tokens
}

/// Where the answer of a sum stands, its stop included.
pub(super) fn answer(window: &[u32]) -> Range<usize> {
    let place = |token: u32| window.iter().position(|other| *other == token);
    let begin = place(SECOND_MARK).map_or(0, |at| at + 1);
    begin..place(STOP).map_or(window.len(), |at| at + 1)
}

/// Tokens of an answer at most.
pub(super) fn answer_tokens((a, b): &(Digits, Digits)) -> usize {
    a.len().max(b.len()) + 2
}

/// The number that was written before a stop; `None` where it is none.
pub(super) fn number_of(written: &[u32]) -> Option<Digits> {
    let end = written.iter().position(|token| *token == STOP)?;
    let digits: Digits = written[..end].iter().map(|token| digit_of(*token)).collect::<Option<_>>()?;
    (!digits.is_empty()).then(|| without_leading_zeros(&digits).to_vec())
}
