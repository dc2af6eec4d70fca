//! Sums of two digits and a carry, and the loop that makes sums of any length of them.
//!
//! A prompt of five tokens is either two digits (`57`) or the last output, `C` and two digits (`15C56`: 5 + 6 and the 1 of 15); the answer of four is
//! a line end, the sum and a stop. `57+68`: `78` gives 15, `15C56` gives 12, so the digits are 2 and 5, and the 1 of 12 stands before them.

use rand_chacha::ChaCha8Rng;

use super::problems::{Digits, below, without_leading_zeros};
use super::{FIRST_MARK, PAD, SECOND_MARK, STOP, digit_of, tokens_of};

/// Tokens of a prompt.
pub(super) const PROMPT: usize = 5;
/// Tokens of an answer.
pub(super) const ANSWER: usize = 4;

/// A number below 20 in digits.
fn written(number: u8) -> Digits {
    if number < 10 { vec![number] } else { vec![number / 10, number % 10] }
}

/// The prompt of a pair, behind the last output where there is one.
pub(super) fn prompt(last: Option<&[u8]>, pair: [u8; 2]) -> Vec<u32> {
    let mut tokens: Vec<u32> = last.map(|last| tokens_of(last).chain([SECOND_MARK]).collect()).unwrap_or_default();
    tokens.extend(tokens_of(&pair));
    tokens.resize(PROMPT, PAD);
    tokens
}

/// A prompt and its answer, drawn: half of them with nothing before.
pub(super) fn example(rng: &mut ChaCha8Rng) -> Vec<u32> {
    let begins = below(rng, 2) == 0;
    let [a, b, c, d] = [(); 4].map(|()| below(rng, 10) as u8);
    let (mut tokens, sum) = if begins {
        (prompt(None, [a, b]), a + b)
    } else {
        (prompt(Some(&written(a + b)), [c, d]), c + d + u8::from(a + b >= 10))
    };
    tokens.push(FIRST_MARK);
    tokens.extend(tokens_of(&written(sum)));
    tokens.push(STOP);
    tokens.resize(PROMPT + ANSWER, PAD);
    tokens
}

/// The digits of an answer; `None` where it is none.
fn digits_of(answer: &[u32]) -> Option<Digits> {
    let (&mark, rest) = answer.split_first()?;
    let end = rest.iter().position(|token| *token == STOP)?;
    let digits: Digits = rest[..end].iter().map(|token| digit_of(*token)).collect::<Option<_>>()?;
    (mark == FIRST_MARK && matches!(digits.len(), 1 | 2)).then_some(digits)
}

/// Adds pairs of numbers from the right digit to the left; every step reads the outputs of the one before, never the truth. `respond` gives
/// an answer of [`ANSWER`] tokens to each prompt. `None` where an output was no number.
///
/// # Errors
/// What `respond` fails with.
pub(super) fn sums<E>(
    problems: &[(Digits, Digits)],
    respond: &mut dyn FnMut(&[Vec<u32>]) -> Result<Vec<Vec<u32>>, E>,
) -> Result<Vec<Option<Digits>>, E> {
    let steps = problems.iter().map(|(a, b)| a.len().max(b.len())).max().unwrap_or(0);
    // Digits from the lowest on, and the last output, of every sum that still is one.
    let mut open: Vec<Option<(Digits, Digits)>> = vec![Some((Vec::new(), Vec::new())); problems.len()];
    for step in 0..steps {
        let going: Vec<usize> = (0..problems.len())
            .filter(|at| open[*at].is_some() && step < problems[*at].0.len().max(problems[*at].1.len()))
            .collect();
        let prompts: Vec<Vec<u32>> = going
            .iter()
            .map(|&at| {
                let (a, b) = &problems[at];
                let digit = |of: &[u8]| of.len().checked_sub(step + 1).map_or(0, |place| of[place]);
                let last = open[at].as_ref().map(|(_, last)| last.as_slice()).filter(|_| step > 0);
                prompt(last, [digit(a), digit(b)])
            })
            .collect();
        for (&at, answer) in going.iter().zip(respond(&prompts)?) {
            open[at] = digits_of(&answer).zip(open[at].take()).map(|(output, (mut digits, _))| {
                digits.extend(output.last());
                (digits, output)
            });
        }
    }
    let whole = |(mut digits, last): (Digits, Digits)| {
        if let [tens, _] = last[..] {
            digits.push(tens);
        }
        digits.reverse();
        without_leading_zeros(&digits).to_vec()
    };
    Ok(open.into_iter().map(|sum| sum.map(whole)).collect())
}
