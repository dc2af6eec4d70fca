//! Which blocks become factors, by how far they turn what they read.

use super::{Blocks, LowRankError};

/// Blocks that are chosen where no number is set.
const LAYERS: usize = 10;

harness_core::choice! {
    /// Which blocks are chosen first.
    pub enum Choice {
        /// Those that turn the last token of a text least.
        LeastTurned = "least-turned",
        /// Those that turn it most, a control.
        MostTurned = "most-turned",
        /// Those nearest to the end, a control.
        Last = "last",
    }
}

/// `layers` blocks, rising; ten where it is not set, or as many as can be chosen. The first and the last can be chosen with `ends`. Of blocks
/// that turn alike earlier ones are chosen first.
///
/// # Errors
/// [`LowRankError::Layers`].
pub fn blocks(known: &Blocks, layers: Option<usize>, ends: bool, choice: Choice) -> Result<Vec<usize>, LowRankError> {
    let first = usize::from(!ends);
    let mut free: Vec<usize> = (first..known.count.saturating_sub(first)).collect();
    let asked = layers.unwrap_or(LAYERS.min(free.len()));
    if asked == 0 || asked > free.len() {
        return Err(LowRankError::Layers { asked: layers.unwrap_or(0), available: free.len(), ends });
    }
    let distance = |block: &usize| known.distances.get(*block).copied().unwrap_or(0.0);
    match choice {
        Choice::LeastTurned => free.sort_by(|a, b| distance(a).total_cmp(&distance(b))),
        Choice::MostTurned => free.sort_by(|a, b| distance(b).total_cmp(&distance(a))),
        Choice::Last => free.reverse(),
    }
    free.truncate(asked);
    free.sort_unstable();
    Ok(free)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn blocks_are_chosen_by_their_turn_and_ends_stay() {
        let known = Blocks { count: 6, distances: vec![0.01, 0.3, 0.1, 0.2, 0.1, 0.02] };
        let of = |layers, ends, choice| blocks(&known, layers, ends, choice).unwrap();
        assert_eq!(of(Some(2), false, Choice::LeastTurned), [2, 4]);
        assert_eq!(of(Some(2), true, Choice::LeastTurned), [0, 5]);
        assert_eq!(of(Some(1), false, Choice::LeastTurned), [2]);
        assert_eq!(of(Some(2), false, Choice::MostTurned), [1, 3]);
        assert_eq!(of(Some(2), false, Choice::Last), [3, 4]);
        assert_eq!(of(None, false, Choice::MostTurned), [1, 2, 3, 4]);
        let error = blocks(&known, Some(5), false, Choice::Last).unwrap_err();
        assert_eq!(error, LowRankError::Layers { asked: 5, available: 4, ends: false });
    }
}
