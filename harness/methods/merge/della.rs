//! DELLA: changes are dropped at random, small ones more often than large ones, and each survivor is scaled by its own probability; then signs are elected.
//!
//! In each row of `c` entries, ranked by magnitude from 0, entry `i` stays with probability `q_i = density − ε + 2ε · rank_i / (c − 1)`, `ε` half the window, and
//! becomes `δ_i / q_i`. A weight's sign is that of `Σ_k w_k δ_k`, plus at zero; of the experts that have it `Σ w_k δ_k / Σ w_k` is taken, times `λ`.
//!
//! Pala Tej Deep, Rishabh Bhardwaj, Soujanya Poria: DELLA-Merging: Reducing Interference in Model Merging through Magnitude-Based Sampling, 2024.
//!
//! # Difference from the reference
//! Probabilities outside (0, 1) are an error and not a warning; the single entry of a row of one stays with probability `density`, where the published code divides by zero.
//! The variant that leaves out the election leaves it out.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};
use rand_chacha::ChaCha8Rng;

use crate::merge::{Merge, MergeError, check, factors, positive, sign, uniform};
use crate::registry::Method;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Mean probability that a change is dropped.
        drop: f64 = 0.3, Domain::half_open(0.0, 1.0);
        /// Difference between the greatest and the least probability of a row.
        window: f64 = 0.14, Domain::half_open(0.0, 1.0);
        /// A factor for each expert, in the order they are named; 1 each when left unset.
        weights: Option<Vec<f64>> = None, Domain::closed(0.0, 100.0);
        /// What the merged change is multiplied by.
        scale: f64 = 1.1, Domain::closed(0.0, 100.0);
        /// Whether signs are elected; all experts are averaged when they are not.
        elect: bool = true;
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "della",
        axis: Axis::Merge,
        about: "drops small changes more often than large ones, elects a sign for each weight and averages the experts that have it",
        source: "Deep et al., 2024",
        version: 1,
        calibrated: false,
        random: true,
        parameters: Settings::specs(),
        check: |arm| build(arm).map(drop),
    }
}

/// Makes it.
///
/// # Errors
/// A parameter that does not fit.
pub fn build(arm: &Arm) -> Result<Method, ParameterError> {
    let settings = Settings::resolve(arm)?;
    positive(settings.weights.as_deref())?;
    let Settings { drop, window, .. } = settings;
    if drop > 0.0 && (drop - window / 2.0 <= 0.0 || drop + window / 2.0 >= 1.0) {
        let error = MergeError::Window { density: 1.0 - drop, window };
        return Err(ParameterError::Together(error.to_string()));
    }
    Ok(Method::Merge(Box::new(Della { settings })))
}

#[derive(Debug)]
struct Della {
    settings: Settings,
}

impl Merge for Della {
    fn merge(&self, deltas: &[&[f64]], columns: usize, random: &mut [ChaCha8Rng]) -> Result<Vec<f64>, MergeError> {
        let Settings { drop, window, weights, scale, elect } = &self.settings;
        let weights = factors(weights.as_deref(), deltas.len())?;
        let left = deltas.iter().zip(random).map(|(delta, random)| magprune(delta, columns, (1.0 - drop, *window), random));
        let left = left.collect::<Result<Vec<_>, _>>()?;
        agreed(&left.iter().map(Vec::as_slice).collect::<Vec<_>>(), &weights, *scale, *elect)
    }
}

/// With which probability each entry of one row stays.
pub fn probabilities(row: &[f64], density: f64, window: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..row.len()).collect();
    order.sort_by(|&a, &b| row[a].abs().total_cmp(&row[b].abs()));
    let mut found = vec![density; row.len()];
    if row.len() > 1 {
        for (rank, at) in order.into_iter().enumerate() {
            found[at] = density - window / 2.0 + window * rank as f64 / (row.len() - 1) as f64;
        }
    }
    found
}

/// Drops entries of a matrix with rows of `columns`; a density of 1 or more leaves it as it is.
///
/// # Errors
/// A [`MergeError`].
pub fn magprune(
    delta: &[f64],
    columns: usize,
    (density, window): (f64, f64),
    random: &mut ChaCha8Rng,
) -> Result<Vec<f64>, MergeError> {
    check(&[delta], None)?;
    if density >= 1.0 {
        return Ok(delta.to_vec());
    }
    if !(window >= 0.0 && density - window / 2.0 > 0.0 && density + window / 2.0 < 1.0) {
        return Err(MergeError::Window { density, window });
    }
    let mut kept = Vec::with_capacity(delta.len());
    for row in delta.chunks(columns.max(1)) {
        let each = row.iter().zip(probabilities(row, density, window));
        kept.extend(each.map(|(value, q)| if uniform(random) < q { value / q } else { 0.0 }));
    }
    Ok(kept)
}

/// Elects signs by weighted mass and averages what agrees; with `elect` unset, averages all.
///
/// # Errors
/// A [`MergeError`].
pub fn agreed(deltas: &[&[f64]], weights: &[f64], lambda: f64, elect: bool) -> Result<Vec<f64>, MergeError> {
    check(deltas, Some(weights))?;
    let merged = |at: usize| {
        let each = || deltas.iter().zip(weights).map(|(delta, weight)| (delta[at] * weight, *weight));
        let mass: f64 = each().map(|(value, _)| value).sum();
        let side = if mass >= 0.0 { 1.0 } else { -1.0 };
        let agreeing = each().filter(|(value, _)| !elect || sign(*value) == side);
        let (sum, weight) = agreeing.fold((0.0, 0.0), |(sum, all), (value, weight)| (sum + value, all + weight));
        if weight == 0.0 { 0.0 } else { lambda * sum / weight }
    };
    Ok((0..deltas[0].len()).map(merged).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use harness_core::seed;

    use crate::registry::dare::dare;
    use super::*;

    const ROW: [f64; 4] = [0.1, -0.4, 0.2, 0.3];

    #[test]
    fn probabilities_rise_with_the_magnitude() {
        let found = probabilities(&ROW, 0.5, 0.2);
        assert!(found.iter().zip([0.4, 0.6, 0.466_667, 0.533_333]).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}");
        assert!((found.iter().sum::<f64>() / 4.0 - 0.5).abs() < 1e-12);
        let scaled: Vec<f64> = ROW.iter().zip(&found).map(|(value, q)| value / q).collect();
        assert!(scaled.iter().zip([0.25, -0.666_667, 0.428_571, 0.5625]).all(|(a, b)| (a - b).abs() < 1e-6));
        assert_eq!(probabilities(&[2.0], 0.7, 0.2), [0.7]);
    }

    #[test]
    fn the_mean_over_draws_is_the_change() {
        let mut random = seed::stream(1, &["della"]);
        let draws = 200_000;
        let mut mean = [0.0; 4];
        for _ in 0..draws {
            let kept = magprune(&ROW, 4, (0.5, 0.2), &mut random).unwrap();
            mean.iter_mut().zip(kept).for_each(|(sum, value)| *sum += value / f64::from(draws));
        }
        assert!(mean.iter().zip(ROW).all(|(mean, value)| (mean - value).abs() < 0.004), "{mean:?}");
    }

    #[test]
    fn without_a_window_it_is_dare() {
        let delta: Vec<f64> = (1..400).map(|at| f64::from(at) - 200.5).collect();
        let della = magprune(&delta, 40, (0.25, 0.0), &mut seed::stream(2, &["same"])).unwrap();
        let dare = dare(&delta, 0.75, &mut seed::stream(2, &["same"])).unwrap();
        assert_eq!(della, dare);
    }

    #[test]
    fn agreeing_experts_are_averaged_by_their_weights() {
        let deltas: [&[f64]; 3] = [&[1.0, -2.0, 0.0], &[3.0, 1.0, 0.0], &[-1.0, 0.5, 0.0]];
        assert_eq!(agreed(&deltas, &[1.0, 1.0, 2.0], 1.1, true).unwrap(), [1.1 * 2.0, 1.1 * 2.0 / 3.0, 0.0]);
        assert_eq!(agreed(&deltas, &[1.0, 1.0, 2.0], 1.0, false).unwrap(), [0.5, 0.0, 0.0]);
        assert_eq!(magprune(&ROW, 4, (1.0, 0.2), &mut seed::stream(0, &[])).unwrap(), ROW);
        let refused = magprune(&ROW, 4, (0.95, 0.14), &mut seed::stream(0, &[])).unwrap_err();
        assert_eq!(refused, MergeError::Window { density: 0.95, window: 0.14 });
    }
}
