//! The draw probe: do the draws of a chain follow what the chain left?

use harness_core::seed::stream;
use harness_core::statistics::{kolmogorov_tail, uniform_distance};
use harness_methods::sample::Past;
use rand_chacha::rand_core::Rng;

use crate::sampling::recipe::Recipe;

/// A chain whose draws are less probable than this under its own law does not obey it.
pub const REFUSED: f64 = 1e-6;

/// What the draws said.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LawTest {
    /// Draws.
    pub draws: usize,
    /// Kolmogorov's p-value.
    pub p: f64,
}

/// Draws from rows in turn and turns every draw into a number that is uniform if the law holds: the probability of the
/// lower ids among what the chain left, plus a random part of the probability of the drawn token itself. That holds for
/// stages that learn from draws or take random numbers too, because each draw is compared with what was left for it.
///
/// # Errors
/// A step that cannot be taken, or a draw of a token that was not left.
pub fn test(recipe: &Recipe, rows: &[(Vec<f32>, Vec<u32>)], draws: usize) -> Result<LawTest, String> {
    let mut random = stream(recipe.seed, &["law"]);
    let mut numbers = Vec::with_capacity(draws);
    for (place, (logits, past)) in rows.iter().enumerate() {
        let mut chain = recipe.chain(&format!("law {place}"))?;
        for _ in 0..draws.div_ceil(rows.len()) {
            let drawn = chain
                .next(logits, Past { prompt: past, generated: &[] })
                .map_err(|error| format!("law, row {place}: {error}"))?;
            let candidates = chain.candidates();
            let Some(at) = candidates.place(drawn.token) else {
                return Err(format!("law, row {place}: token {} was drawn and had been removed", drawn.token));
            };
            let probabilities = candidates.probabilities();
            let below: f64 = probabilities[..at].iter().sum();
            let part = (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
            numbers.push(below + part * probabilities[at]);
        }
    }
    Ok(LawTest::of(&numbers))
}

impl LawTest {
    /// The test of numbers that are uniform if the law holds.
    fn of(numbers: &[f64]) -> Self {
        let draws = numbers.len();
        Self { draws, p: kolmogorov_tail((draws as f64).sqrt() * uniform_distance(numbers)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_with_a_slight_bias_are_refused_and_right_ones_are_not() {
        let even: Vec<f64> = (0..20_000).map(|at| (f64::from(at) + 0.5) / 20_000.0).collect();
        assert!(LawTest::of(&even).p > 0.99);
        // A token of probability 0.3 that is drawn with 0.33, at the cost of the others.
        let biased =
            |number: &f64| if *number < 0.33 { number * 0.3 / 0.33 } else { 0.3 + (number - 0.33) * 0.7 / 0.67 };
        assert!(LawTest::of(&even.iter().map(biased).collect::<Vec<_>>()).p < REFUSED);
    }
}
