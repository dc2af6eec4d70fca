//! Rows of logits as in `tests/peers/llama_samplers.cpp`: normal with a deviation of 3, and within ±1 for a flat distribution.

use harness_core::seed;
use rand_chacha::rand_core::Rng;

/// Sixteen rows, so that none stays in a branch predictor.
pub fn rows(vocabulary: usize, flat: bool) -> Vec<Vec<f32>> {
    let mut random = seed::stream(1, &["rows"]);
    let mut uniform = || (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
    let mut number = || {
        if flat {
            return (2.0 * uniform() - 1.0) as f32;
        }
        // Box and Muller.
        let (radius, angle) = ((-2.0 * (1.0 - uniform()).ln()).sqrt(), std::f64::consts::TAU * uniform());
        (3.0 * radius * angle.cos()) as f32
    };
    (0..16).map(|_| (0..vocabulary).map(|_| number()).collect()).collect()
}
