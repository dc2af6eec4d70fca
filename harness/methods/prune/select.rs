//! Which weights of a comparison group score lowest: exact counts, ties to the lower flat index, linear time.

use harness_core::Pattern;
use rayon::prelude::*;

use super::{Amount, Site};

harness_core::choice! {
    /// How many weights are pruned in a group of `n` at sparsity `s`.
    pub enum CountRule {
        /// Exactly `floor(s · n)`.
        Exact = "exact",
        /// All that score no more than the element at index `floor(s · n)` of the sorted scores: one more than asked
        /// for, and all its ties, as the published implementations do.
        Reference = "reference",
    }
}

/// Which weights are compared with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// All of a matrix.
    Matrix,
    /// Those of one output row.
    Row,
}

/// `floor(share · size)`, taking a product within rounding error of a whole number for that number, so that 0.29 of
/// 100 is 29 although `0.29 * 100.0 < 29.0`.
pub fn count(share: f64, size: usize) -> usize {
    let product = share * size as f64;
    let whole = product.round();
    let near = (product - whole).abs() <= size as f64 * f64::EPSILON;
    (if near { whole } else { product.floor() }) as usize
}

/// Marks the `count` lowest scores of one group in `pruned`; of equal scores the one with the lower index goes first.
///
/// Scores are ordered by [`f64::total_cmp`]; linear time.
pub fn select_lowest(scores: &[f64], count: usize, pruned: &mut [bool]) {
    if count == 0 || count >= scores.len() {
        pruned.fill(count > 0);
        return;
    }
    let mut order = scores.to_vec();
    let threshold = *order.select_nth_unstable_by(count - 1, f64::total_cmp).1;
    let below = scores.iter().filter(|score| score.total_cmp(&threshold).is_lt()).count();
    let mut ties = count - below;
    for (flag, score) in pruned.iter_mut().zip(scores) {
        let order = score.total_cmp(&threshold);
        *flag = order.is_lt() || (order.is_eq() && ties > 0);
        ties -= usize::from(order.is_eq() && *flag);
    }
}

/// Marks every score no higher than the element at index `count` of the sorted scores.
fn select_up_to(scores: &[f64], count: usize, pruned: &mut [bool]) {
    let mut order = scores.to_vec();
    let index = count.min(scores.len().saturating_sub(1));
    let threshold = *order.select_nth_unstable_by(index, f64::total_cmp).1;
    pruned.iter_mut().zip(scores).for_each(|(flag, score)| *flag = *score <= threshold);
}

/// Marks a share of one group by a count rule. A share of 0 marks nothing under either rule.
pub fn select_share(scores: &[f64], share: f64, rule: CountRule, pruned: &mut [bool]) {
    match rule {
        _ if share == 0.0 || scores.is_empty() => pruned.fill(false),
        CountRule::Exact => select_lowest(scores, count(share, scores.len()), pruned),
        CountRule::Reference => select_up_to(scores, count(share, scores.len()), pruned),
    }
}

/// Marks all but the `keep` highest of every `group` consecutive scores of a row; the groups start at column 0.
///
/// The row's length must be a multiple of the group.
pub fn nm_mask(scores: &[f64], pattern: Pattern, pruned: &mut [bool]) {
    let mut order: Vec<usize> = Vec::with_capacity(pattern.group);
    for (scores, pruned) in scores.chunks_exact(pattern.group).zip(pruned.chunks_exact_mut(pattern.group)) {
        order.clear();
        order.extend(0..pattern.group);
        order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
        let (lowest, kept) = order.split_at(pattern.group - pattern.keep);
        for &at in lowest {
            pruned[at] = true;
        }
        for &at in kept {
            pruned[at] = false;
        }
    }
}

/// How many of a matrix' `number` weights go in row `at` of `rows`: as many in each, one more in the first ones.
pub fn row_count(number: usize, rows: usize, at: usize) -> usize {
    number / rows + usize::from(at < number % rows)
}

/// The mask of a matrix of scores (rows × cols, row-major), `true` where a weight is pruned.
///
/// The amount must have passed [`Amount::check`]; a count and a pattern bring their own groups.
pub fn mask(site: &Site, scores: &[f64], amount: Amount, group: Group, rule: CountRule) -> Vec<bool> {
    let mut pruned = vec![false; scores.len()];
    let rows = || scores.par_chunks(site.cols.max(1));
    match (amount, group) {
        (Amount::Count(count), Group::Matrix) => select_lowest(scores, count, &mut pruned),
        (Amount::Count(count), Group::Row) => {
            let rows = rows().zip(pruned.par_chunks_mut(site.cols.max(1))).enumerate();
            rows.for_each(|(at, (scores, pruned))| select_lowest(scores, row_count(count, site.rows, at), pruned));
        }
        (Amount::Share(share), Group::Matrix) => select_share(scores, share, rule, &mut pruned),
        (Amount::Share(share), Group::Row) => {
            let rows = rows().zip(pruned.par_chunks_mut(site.cols.max(1)));
            rows.for_each(|(scores, pruned)| select_share(scores, share, rule, pruned));
        }
        (Amount::Pattern(pattern), _) => {
            let rows = rows().zip(pruned.par_chunks_mut(site.cols.max(1)));
            rows.for_each(|(scores, pruned)| nm_mask(scores, pattern, pruned));
        }
    }
    pruned
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn lowest(scores: &[f64], count: usize) -> Vec<bool> {
        let mut pruned = vec![true; scores.len()];
        select_lowest(scores, count, &mut pruned);
        pruned
    }

    #[test]
    fn counts_are_floors_that_forgive_rounding() {
        assert_eq!([count(0.5, 12), count(0.29, 100), count(0.7, 10), count(0.3, 7), count(0.0, 9)], [6, 29, 7, 2, 0]);
        assert_eq!(count(0.999_999, 1_000_000), 999_999);
    }

    #[test]
    fn of_equal_scores_the_lower_index_goes_first() {
        assert_eq!(lowest(&[2.0, 1.0, 1.0, 1.0, 0.0], 3), [false, true, true, false, true]);
        assert_eq!(lowest(&[1.0; 3], 3), [true; 3]);
        assert_eq!(lowest(&[1.0; 3], 0), [false; 3]);
    }

    #[test]
    fn the_reference_rule_prunes_one_more_and_its_ties() {
        let mut pruned = [false; 5];
        select_share(&[5.0, 1.0, 2.0, 2.0, 4.0], 0.2, CountRule::Reference, &mut pruned);
        assert_eq!(pruned, [false, true, true, true, false]);
        select_share(&[5.0, 1.0, 2.0, 2.0, 4.0], 0.0, CountRule::Reference, &mut pruned);
        assert_eq!(pruned, [false; 5]);
    }

    #[test]
    fn a_pattern_keeps_the_first_number_not_prunes_it() {
        let scores = [4.0, 1.0, 0.5, 2.0, 1.0, 3.0, 0.2, 0.8];
        let kept = |text: &str| {
            let mut pruned = [false; 8];
            nm_mask(&scores, text.parse().unwrap(), &mut pruned);
            pruned.map(|flag| u8::from(!flag))
        };
        assert_eq!(kept("1:4"), [1, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(kept("3:4"), [1, 1, 0, 1, 1, 1, 0, 1]);
        assert_eq!(kept("2:4"), [1, 0, 0, 1, 1, 1, 0, 0]);
        assert_eq!(kept("4:8"), [1, 0, 0, 1, 1, 1, 0, 0], "of the two scores of 1 the first is pruned");
    }

    proptest! {
        #[test]
        fn selection_is_a_stable_sort(scores in prop::collection::vec(0u8..6, 1..60), share in 0.0..1.0f64) {
            let scores: Vec<f64> = scores.into_iter().map(f64::from).collect();
            let count = count(share, scores.len());
            let mut order: Vec<usize> = (0..scores.len()).collect();
            order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
            let mut expected = vec![false; scores.len()];
            order[..count].iter().for_each(|&at| expected[at] = true);
            prop_assert_eq!(lowest(&scores, count), expected);
        }

        #[test]
        fn masks_grow_with_the_count(scores in prop::collection::vec(0.0..4.0f64, 2..60), a in 0usize..60, b in 0usize..60) {
            let (small, large) = (a.min(b).min(scores.len()), a.max(b).min(scores.len()));
            let (small, large) = (lowest(&scores, small), lowest(&scores, large));
            prop_assert!(small.iter().zip(&large).all(|(small, large)| !small || *large));
        }

        #[test]
        fn every_group_keeps_exactly_its_number(scores in prop::collection::vec(0.0..4.0f64, 24), keep in 1usize..=4) {
            for group in [4usize, 8, 12] {
                let mut pruned = vec![false; 24];
                nm_mask(&scores, Pattern { keep, group }, &mut pruned);
                prop_assert!(pruned.chunks(group).all(|g| g.iter().filter(|flag| !**flag).count() == keep));
            }
        }
    }
}
