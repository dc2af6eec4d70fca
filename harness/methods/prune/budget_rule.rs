//! How many weights go in each matrix: by shape (ERK) or by outliers (OWL), with exact totals.

use super::select::count;

/// The densities of matrices (rows, cols) in proportion to `(rows + cols) / (rows · cols)`, together `density` of all weights. A
/// matrix that would be fuller than full is full, and the others are solved anew.
///
/// Utku Evci, Trevor Gale, Jacob Menick, Pablo Samuel Castro, Erich Elsen: Rigging the Lottery, ICML 2020 (Erdős-Rényi).
pub fn erk(shapes: &[(usize, usize)], density: f64) -> Vec<f64> {
    let weights = |at: usize| (shapes[at].0 * shapes[at].1) as f64;
    let raw = |at: usize| (shapes[at].0 + shapes[at].1) as f64 / weights(at);
    let mut full = vec![false; shapes.len()];
    loop {
        let all = 0..shapes.len();
        let due = density * all.clone().map(weights).sum::<f64>()
            - all.clone().filter(|&at| full[at]).map(weights).sum::<f64>();
        let left: f64 = all.clone().filter(|&at| !full[at]).map(|at| raw(at) * weights(at)).sum();
        let scale = if left > 0.0 { due / left } else { 0.0 };
        let most = all.clone().filter(|&at| !full[at]).map(raw).fold(0.0, f64::max);
        if scale * most <= 1.0 {
            return all.map(|at| if full[at] { 1.0 } else { scale * raw(at) }).collect();
        }
        all.filter(|&at| raw(at) == most).for_each(|at| full[at] = true);
    }
}

/// The share of scores that are more than `multiple` times the mean of all.
pub fn outlier_share(scores: &[f64], multiple: f64) -> f64 {
    let bound = multiple * scores.iter().sum::<f64>() / scores.len().max(1) as f64;
    scores.iter().filter(|score| **score > bound).count() as f64 / scores.len().max(1) as f64
}

/// The densities of blocks with such shares of outliers and so many weights: linear in the share over a range of twice `limit`, on
/// average over all weights `density`.
///
/// Lu Yin et al.: Outlier Weighed Layerwise Sparsity (OWL), ICML 2024.
pub fn owl(shares: &[f64], weights: &[usize], density: f64, limit: f64) -> Vec<f64> {
    let (least, most) = shares.iter().fold((f64::INFINITY, 0.0f64), |(a, b), share| (a.min(*share), b.max(*share)));
    let range = if most > least { 2.0 * limit / (most - least) } else { 0.0 };
    let spread: Vec<f64> = shares.iter().map(|share| (share - least) * range).collect();
    let total = weights.iter().sum::<usize>().max(1) as f64;
    let mean = spread.iter().zip(weights).map(|(s, &n)| s * n as f64).sum::<f64>() / total;
    spread.iter().map(|s| s - mean + density).collect()
}

/// How many weights go in each matrix at these densities: together exactly `floor(sparsity · all)`. What rounding leaves goes to the
/// greatest remainders, of equal ones to the earlier matrix.
pub fn counts(sizes: &[usize], densities: &[f64], sparsity: f64) -> Vec<usize> {
    let due = count(sparsity, sizes.iter().sum());
    let wanted: Vec<f64> = sizes.iter().zip(densities).map(|(&n, d)| (1.0 - d).clamp(0.0, 1.0) * n as f64).collect();
    let mut found: Vec<usize> = wanted.iter().map(|share| share.floor() as usize).collect();
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by(|&a, &b| wanted[b].fract().total_cmp(&wanted[a].fract()));
    // The floors can be above the total only by rounding errors of whole numbers.
    for &at in order.iter().cycle().take(2 * order.len()) {
        match found.iter().sum::<usize>().cmp(&due) {
            std::cmp::Ordering::Less if found[at] < sizes[at] => found[at] += 1,
            std::cmp::Ordering::Greater if found[at] > 0 => found[at] -= 1,
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NETWORK: [(usize, usize); 3] = [(300, 784), (100, 300), (10, 100)];

    #[test]
    fn densities_of_a_network_by_shape() {
        for (density, expected) in [
            (0.1, [0.079_568, 0.230_189, 1.0]),
            (0.05, [0.038_484, 0.111_334, 0.918_507]),
            (0.02, [0.015_394, 0.044_534, 0.367_403]),
        ] {
            let found = erk(&NETWORK, density);
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}");
        }
    }

    #[test]
    fn blocks_with_more_outliers_stay_fuller() {
        // Shares .01, .02, .04: of a range of .16 they are 0, .053333 and .16, on average .071111.
        let found = owl(&[0.01, 0.02, 0.04], &[10, 10, 10], 0.3, 0.08);
        let expected = [0.228_889, 0.282_222, 0.388_889];
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}");
        assert_eq!(owl(&[0.2, 0.2], &[5, 7], 0.5, 0.08), [0.5, 0.5]);
        assert_eq!(outlier_share(&[1.0, 1.0, 1.0, 17.0], 3.0), 0.25);
        assert_eq!(outlier_share(&[1.0, 1.0, 1.0, 17.0], 5.0), 0.0);
    }

    proptest! {
        #[test]
        fn totals_are_exact(sides in prop::collection::vec((1usize..40, 1usize..40), 1..8), sparsity in 0.0..0.99f64) {
            let sizes: Vec<usize> = sides.iter().map(|(a, b)| a * b).collect();
            let densities = erk(&sides, 1.0 - sparsity);
            let kept: f64 = densities.iter().zip(&sizes).map(|(d, &n)| d * n as f64).sum();
            let all = sizes.iter().sum::<usize>();
            prop_assert!((kept - (1.0 - sparsity) * all as f64).abs() < 1e-9 * all as f64);
            let found = counts(&sizes, &densities, sparsity);
            prop_assert_eq!(found.iter().sum::<usize>(), count(sparsity, all));
            prop_assert!(found.iter().zip(&sizes).all(|(found, size)| found <= size));
        }
    }
}
