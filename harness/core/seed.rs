//! Counter-based random streams keyed by what they are for, never by the order of work or by the method, so that
//! arms share random numbers and adding a cell shifts nobody.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use sha2::{Digest, Sha256};

/// The stream of a seed and a path of labels, for example `(7, ["random-mask", "model.layers.0.mlp.up_proj"])`.
pub fn stream(seed: u64, labels: &[&str]) -> ChaCha8Rng {
    let mut hasher = Sha256::new();
    hasher.update(seed.to_le_bytes());
    for label in labels {
        // The length goes first so that ["ab", "c"] and ["a", "bc"] differ.
        hasher.update((label.len() as u64).to_le_bytes());
        hasher.update(label.as_bytes());
    }
    ChaCha8Rng::from_seed(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::Rng;

    use super::stream;

    #[test]
    fn streams_depend_on_every_label() {
        let first = |seed, labels: &[&str]| stream(seed, labels).next_u64();
        assert_eq!(first(1, &["a", "b"]), first(1, &["a", "b"]));
        assert_ne!(first(1, &["ab", "c"]), first(1, &["a", "bc"]));
        assert_ne!(first(1, &["a"]), first(2, &["a"]));
    }
}
