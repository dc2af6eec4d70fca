//! How large the factors of each map are, by what each map costs alone.
//!
//! All pairs of a map and a share are ordered by loss. A cut through that order lets each map have the smallest of its shares that stands
//! below the cut, and stay whole where none does; the cut is the lowest loss that leaves few enough numbers. As in the search of ASVD (Yuan et
//! al. 2023), where its published code ends one step beside the cut that it looked for.

use super::LowRankError;

/// A map alone at a share of its numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tried {
    /// The share it was asked to keep.
    pub share: f64,
    /// Numbers of its factors.
    pub numbers: usize,
    /// The loss of the model in which it alone is factors.
    pub loss: f64,
}

/// A map and what it was tried with.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Numbers of the matrix.
    pub whole: usize,
    /// In any order.
    pub tried: Vec<Tried>,
}

/// The share of each map, nothing where it stays whole, so that the numbers of all are less by `ratio`.
///
/// Of equal losses those of earlier maps and shares stand above the cut first.
///
/// # Errors
/// [`LowRankError::Unreachable`].
pub fn told_out(candidates: &[Candidate], ratio: f64) -> Result<Vec<Option<f64>>, LowRankError> {
    let tries =
        candidates.iter().enumerate().flat_map(|(map, candidate)| candidate.tried.iter().map(move |t| (map, t)));
    let mut order: Vec<(usize, &Tried)> = tries.collect();
    order.sort_by(|(_, a), (_, b)| b.loss.total_cmp(&a.loss));
    let all: usize = candidates.iter().map(|candidate| candidate.whole).sum();
    // Decimals such as 0.2 are not exact in binary.
    let allowed = all as f64 * (1.0 - ratio) + 1e-6;
    let below = |cut: usize| {
        let mut least: Vec<Option<&Tried>> = vec![None; candidates.len()];
        for &(map, tried) in &order[cut..] {
            if least[map].is_none_or(|other| tried.share < other.share) {
                least[map] = Some(tried);
            }
        }
        least
    };
    let numbers = |cut: usize| -> usize {
        let of =
            |(least, map): (Option<&Tried>, &Candidate)| least.map_or(map.whole, |tried| tried.numbers.min(map.whole));
        below(cut).into_iter().zip(candidates).map(of).sum()
    };
    let fits = |cut: usize| numbers(cut) as f64 <= allowed;
    if !fits(0) {
        let share = |numbers: f64| numbers / all.max(1) as f64;
        return Err(LowRankError::Unreachable { ratio, allowed: share(allowed), least: share(numbers(0) as f64) });
    }
    // The fewer pairs stand below the cut, the more numbers are left.
    let (mut low, mut high) = (0, order.len() + 1);
    while low + 1 < high {
        let middle = usize::midpoint(low, high);
        if fits(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(below(low).iter().map(|tried| tried.map(|tried| tried.share)).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn candidate(whole: usize, tried: &[(f64, usize, f64)]) -> Candidate {
        let tried = tried.iter().map(|&(share, numbers, loss)| Tried { share, numbers, loss }).collect();
        Candidate { whole, tried }
    }

    #[test]
    fn the_map_that_costs_least_gives_most() {
        // By hand: whole 200, at 0.3 less 140 may stay. Losses from the largest: 9 (a, 0.5), 5 (a, 0.8), 3 (b, 0.5), 1 (b, 0.8).
        let maps =
            [candidate(100, &[(0.5, 50, 9.0), (0.8, 80, 5.0)]), candidate(100, &[(0.5, 50, 3.0), (0.8, 80, 1.0)])];
        assert_eq!(told_out(&maps, 0.3).unwrap(), [Some(0.8), Some(0.5)]);
        assert_eq!(told_out(&maps, 0.25).unwrap(), [None, Some(0.5)]);
        assert_eq!(told_out(&maps, 0.1).unwrap(), [None, Some(0.8)]);
        assert_eq!(told_out(&maps, 0.5).unwrap(), [Some(0.5), Some(0.5)]);
        let error = told_out(&maps, 0.6).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the smallest of `shares` leave 0.5000 of the numbers of all maps, and `ratio = 0.6` lets 0.4000 stay; add smaller shares"
        );
    }

    proptest! {
        #[test]
        fn enough_goes_and_no_lower_cut_is_enough(
            losses in proptest::collection::vec(proptest::collection::vec(0u32..40, 4), 1..7),
            ratio in 0.01f64..0.69,
        ) {
            let shares = [0.3, 0.5, 0.7, 0.9];
            let maps: Vec<Candidate> = losses.iter().enumerate().map(|(at, losses)| {
                let whole = 100 * (at + 1);
                let tried = losses.iter().zip(shares);
                let tried = tried.map(|(&loss, share)| Tried { share, numbers: (whole as f64 * share) as usize, loss: f64::from(loss) });
                Candidate { whole, tried: tried.collect() }
            }).collect();
            let found = told_out(&maps, ratio).unwrap();
            let all: usize = maps.iter().map(|map| map.whole).sum();
            let left = |found: &[Option<f64>]| -> usize {
                let of = |(share, map): (&Option<f64>, &Candidate)| share.map_or(map.whole, |share| (map.whole as f64 * share) as usize);
                found.iter().zip(&maps).map(of).sum()
            };
            prop_assert!(left(&found) as f64 <= all as f64 * (1.0 - ratio) + 1e-6);
            // What costs more than the costliest of what was taken was not taken; without that, too many numbers are left.
            let taken = |share: &Option<f64>, map: &Candidate| {
                let at = map.tried.iter().find(|tried| Some(tried.share) == *share);
                at.map_or(f64::NEG_INFINITY, |tried| tried.loss)
            };
            let most = found.iter().zip(&maps).map(|(share, map)| taken(share, map)).fold(f64::NEG_INFINITY, f64::max);
            let lower: Vec<Option<f64>> = maps.iter().map(|map| {
                let below = map.tried.iter().filter(|tried| tried.loss < most).map(|tried| tried.share);
                below.min_by(f64::total_cmp)
            }).collect();
            prop_assert!(left(&lower) as f64 > all as f64 * (1.0 - ratio));
        }
    }
}
