//! Which sums are asked.

use harness_core::Domain;
use harness_core::seed::stream;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

/// Decimal digits, the highest first.
pub type Digits = Vec<u8>;

harness_core::choice! {
    /// What carries the numbers have.
    pub enum Carries {
        /// Those of numbers drawn by chance.
        Drawn = "drawn",
        /// As many as there can be: the first number is nines alone, the second ends with 1 or more, so every place carries.
        Longest = "longest",
    }
}

harness_core::parameters! {
    /// The keys of `data` in a bench of sums.
    pub struct AdditionSelection {
        /// Digits of the first number.
        first: usize = 2, Domain::closed(1.0, 1000.0);
        /// Digits of the second number; unset: as many as of the first.
        second: Option<usize> = None, Domain::closed(1.0, 1000.0);
        /// Sums.
        items: usize = 100, Domain::closed(1.0, 100_000.0);
        /// What carries they have.
        carries: Carries = Carries::Drawn;
    }
}

impl AdditionSelection {
    /// Digits of both numbers.
    pub fn digits(&self) -> (usize, usize) {
        (self.first, self.second.unwrap_or(self.first))
    }

    /// The two numbers of every sum, drawn by seed, digits and number of the item.
    pub fn problems(&self, seed: u64) -> Vec<(Digits, Digits)> {
        let (first, second) = self.digits();
        (0..self.items)
            .map(|item| {
                let key = ["sum", &first.to_string(), &second.to_string(), &item.to_string()];
                let mut rng = stream(seed, &key);
                let (mut a, mut b) = (number(&mut rng, first), number(&mut rng, second));
                if self.carries == Carries::Longest {
                    a.fill(9);
                    if let Some(last) = b.last_mut().filter(|last| **last == 0) {
                        *last = 1;
                    }
                }
                (a, b)
            })
            .collect()
    }
}

/// A whole number below `count`, each as likely.
pub(super) fn below(rng: &mut ChaCha8Rng, count: u64) -> u64 {
    ((u128::from(rng.next_u64()) * u128::from(count)) >> 64) as u64
}

/// A number of so many digits, none of which is a leading zero.
pub(super) fn number(rng: &mut ChaCha8Rng, digits: usize) -> Digits {
    (0..digits)
        .map(|place| {
            let lowest = u64::from(place == 0 && digits > 1);
            (lowest + below(rng, 10 - lowest)) as u8
        })
        .collect()
}

/// The sum of two numbers, without leading zeros.
pub fn add(a: &[u8], b: &[u8]) -> Digits {
    let mut sum: Digits = Vec::with_capacity(a.len().max(b.len()) + 1);
    let mut carry = 0;
    for place in 0..a.len().max(b.len()) {
        let digit = |of: &[u8]| of.len().checked_sub(place + 1).map_or(0, |at| of[at]);
        let total = digit(a) + digit(b) + carry;
        sum.push(total % 10);
        carry = total / 10;
    }
    sum.push(carry);
    sum.reverse();
    without_leading_zeros(&sum).to_vec()
}

/// The digits from the first that is not 0; the last one in any case.
pub(super) fn without_leading_zeros(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|digit| **digit == 0).count();
    &digits[zeros.min(digits.len().saturating_sub(1))..]
}
