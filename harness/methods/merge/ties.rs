//! TIES: the small changes are trimmed, a sign is elected for each weight, and the experts that agree with it are averaged.
//!
//! Of each `δ_k` the `floor(K · n)` largest stay. The sign of a weight is that of `Σ_k δ_k`, so it is elected by mass and not by number; a sum of zero
//! takes the sign that most weights have. Averaged are the changes of that sign, zeros left out.
//!
//! Prateek Yadav, Derek Tam, Leshem Choshen, Colin Raffel, Mohit Bansal: TIES-Merging: Resolving Interference When Merging Models, NeurIPS 2023.
//!
//! # Difference from the reference
//! Exactly the counted number stays, of equal magnitudes the later ones; the published code keeps one more and all its ties. It trims all weights of a
//! model together, and so does this.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};
use rand_chacha::ChaCha8Rng;

use crate::merge::{Merge, MergeError, check, sign};
use crate::prune::select::{count, select_lowest};
use crate::registry::Method;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Share of each expert's changes that is kept.
        density: f64 = 0.2, Domain::above(0.0, 1.0);
        /// What the merged change is multiplied by.
        scale: f64 = 1.0, Domain::closed(0.0, 100.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "ties",
        axis: Axis::Merge,
        about: "keeps the largest changes, elects a sign for each weight and averages the experts that have it",
        source: "Yadav et al., 2023",
        version: 1,
        calibrated: false,
        random: false,
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
    Ok(Method::Merge(Box::new(Ties { settings })))
}

#[derive(Debug)]
struct Ties {
    settings: Settings,
}

impl Merge for Ties {
    fn whole(&self) -> bool {
        true
    }

    fn merge(&self, deltas: &[&[f64]], _: usize, _: &mut [ChaCha8Rng]) -> Result<Vec<f64>, MergeError> {
        let merged = ties(deltas, self.settings.density)?;
        Ok(merged.into_iter().map(|value| value * self.settings.scale).collect())
    }
}

/// The `floor(density · n)` changes of largest magnitude, zeros elsewhere.
pub fn trimmed(delta: &[f64], density: f64) -> Vec<f64> {
    let magnitudes: Vec<f64> = delta.iter().map(|value| value.abs()).collect();
    let mut gone = vec![false; delta.len()];
    select_lowest(&magnitudes, delta.len() - count(density, delta.len()), &mut gone);
    delta.iter().zip(gone).map(|(value, gone)| if gone { 0.0 } else { *value }).collect()
}

/// The elected sign of every weight.
pub fn elected(deltas: &[Vec<f64>]) -> Vec<f64> {
    let length = deltas.first().map_or(0, Vec::len);
    let mut signs: Vec<f64> = (0..length).map(|at| sign(deltas.iter().map(|delta| delta[at]).sum())).collect();
    let most = sign(signs.iter().sum());
    signs.iter_mut().filter(|sign| **sign == 0.0).for_each(|sign| *sign = most);
    signs
}

/// Trims, elects and averages.
///
/// # Errors
/// A [`MergeError`]; `density` outside (0, 1].
pub fn ties(deltas: &[&[f64]], density: f64) -> Result<Vec<f64>, MergeError> {
    check(deltas, None)?;
    if !(density > 0.0 && density <= 1.0) {
        return Err(MergeError::Share { name: "density", value: density, range: "(0, 1]" });
    }
    let trimmed: Vec<Vec<f64>> = deltas.iter().map(|delta| trimmed(delta, density)).collect();
    let mean = |(at, sign): (usize, f64)| {
        let agreeing = trimmed.iter().map(|delta| delta[at]).filter(|value| value * sign > 0.0);
        let (number, sum) = agreeing.fold((0usize, 0.0), |(number, sum), value| (number + 1, sum + value));
        if number == 0 { 0.0 } else { sum / number as f64 }
    };
    Ok(elected(&trimmed).into_iter().enumerate().map(mean).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const EXPERTS: [[f64; 4]; 3] = [[1.0, -2.0, 0.1, 0.5], [-3.0, -1.0, 0.2, 0.6], [1.5, 0.3, -2.0, 0.05]];

    #[test]
    fn three_experts_by_hand() {
        let kept: Vec<Vec<f64>> = EXPERTS.iter().map(|delta| trimmed(delta, 0.5)).collect();
        assert_eq!(kept, [[1.0, -2.0, 0.0, 0.0], [-3.0, -1.0, 0.0, 0.0], [1.5, 0.0, -2.0, 0.0]]);
        assert_eq!(elected(&kept)[..3], [-1.0; 3]);
        let all: Vec<&[f64]> = EXPERTS.iter().map(<[f64; 4]>::as_slice).collect();
        assert_eq!(ties(&all, 0.5).unwrap(), [-3.0, -1.5, -2.0, 0.0]);
    }

    #[test]
    fn mass_elects_and_not_number() {
        assert_eq!(ties(&[&[1.0], &[1.0], &[-3.0]], 1.0).unwrap(), [-3.0]);
        assert!(matches!(ties(&[&[1.0]], 0.0), Err(MergeError::Share { name: "density", .. })));
    }

    proptest! {
        #[test]
        fn one_expert_is_its_largest_changes(delta in prop::collection::vec(-2.0..2.0f64, 1..40), density in 0.05..1.0f64) {
            let merged = ties(&[&delta], density).unwrap();
            prop_assert_eq!(&merged, &trimmed(&delta, density));
            prop_assert_eq!(ties(&[&delta], 1.0).unwrap(), delta.clone());
            // Two equal experts are one.
            prop_assert_eq!(ties(&[&delta, &delta], density).unwrap(), merged);
        }
    }
}
