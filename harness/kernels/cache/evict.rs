//! Which keys stay where not all do: counts, pooling and the highest of what keys received.

/// How many keys, as a share of a prompt or as a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Budget {
    /// Of the prompt's positions, rounded down.
    Share(f64),
    /// Whatever the prompt.
    Keys(usize),
}

impl Budget {
    /// Keys behind a prompt of so many positions.
    pub fn of(self, prompt: usize) -> usize {
        match self {
            Self::Share(share) => (share * prompt as f64) as usize,
            Self::Keys(keys) => keys,
        }
    }
}

/// What a value is taken from its neighbours by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean; zeros stand beyond the ends.
    Average,
    /// The largest of them.
    Maximum,
}

/// Pooling over an odd number of neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// How.
    pub pooling: Pooling,
    /// Values that are seen at once, odd.
    pub kernel: usize,
}

impl Pool {
    /// As many values as are given, each from itself and those around it.
    pub fn apply(self, values: &[f32]) -> Vec<f32> {
        let reach = self.kernel / 2;
        let around = |at: usize| &values[at.saturating_sub(reach)..(at + reach + 1).min(values.len())];
        let pooled = |at: usize| match self.pooling {
            Pooling::Average => around(at).iter().sum::<f32>() / self.kernel as f32,
            Pooling::Maximum => around(at).iter().copied().fold(f32::NEG_INFINITY, f32::max),
        };
        (0..values.len()).map(pooled).collect()
    }
}

/// A rule of which keys are let go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Eviction {
    /// Behind the prompt and behind every step the newest stay, and of those before them the ones that received the highest
    /// probabilities from all queries so far (H2O, Zhang et al., 2023).
    HeavyHitters {
        /// Keys that stay for what they received.
        heavy: Budget,
        /// Newest keys.
        recent: Budget,
    },
    /// Once, behind a prompt of more positions than the capacity: its last `window` stay, and of those before them the ones
    /// that received the highest pooled probabilities from the window's queries (SnapKV, Li et al., 2024).
    Snapshot {
        /// Last positions of the prompt.
        window: usize,
        /// Keys that stay of a prompt, the window among them.
        capacity: usize,
        /// Of what keys received.
        pool: Pool,
    },
}

/// The places of the `count` highest values, in their order; the earlier of equal ones.
pub fn highest(values: &[f32], count: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..values.len()).collect();
    if count == 0 {
        places.clear();
    } else if count < places.len() {
        places.select_nth_unstable_by(count - 1, |a, b| values[*b].total_cmp(&values[*a]).then(a.cmp(b)));
        places.truncate(count);
        places.sort_unstable();
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_receives_much_draws_its_neighbours_with_it() {
        let sums = [0.1, 0.0, 0.6, 0.0, 0.0, 0.3, 0.0, 0.0];
        let pooled = Pool { pooling: Pooling::Average, kernel: 3 }.apply(&sums);
        let expected = [0.033_333, 0.233_333, 0.2, 0.2, 0.1, 0.1, 0.1, 0.0];
        assert!(pooled.iter().zip(expected).all(|(a, e)| (a - e).abs() < 1e-6), "{pooled:?}");
        assert_eq!((highest(&pooled, 3), highest(&sums, 3)), (vec![1, 2, 3], vec![0, 2, 5]));
        let largest = Pool { pooling: Pooling::Maximum, kernel: 3 }.apply(&[-1.0, -3.0, -2.0, -5.0]);
        assert_eq!(largest, [-1.0, -1.0, -2.0, -2.0]);
        for pooling in [Pooling::Average, Pooling::Maximum] {
            assert_eq!(Pool { pooling, kernel: 1 }.apply(&sums), sums);
        }
    }

    #[test]
    fn the_highest_are_found_whatever_is_equal() {
        assert_eq!(highest(&[1.0, 3.0, 3.0, 2.0, 3.0], 2), [1, 2]);
        assert_eq!(highest(&[1.0, f32::NEG_INFINITY, 0.5], 2), [0, 2]);
        assert_eq!((highest(&[1.0, 2.0], 0), highest(&[1.0, 2.0], 5)), (vec![], vec![0, 1]));
    }

    #[test]
    fn shares_are_rounded_down() {
        assert_eq!((Budget::Share(0.1).of(39), Budget::Share(0.5).of(7), Budget::Share(0.2).of(4)), (3, 3, 0));
        assert_eq!(Budget::Keys(12).of(3), 12);
    }
}
