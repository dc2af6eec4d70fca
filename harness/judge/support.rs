//! What a truncating sampler keeps of a distribution whose truth is known.
//!
//! With `S = {v: p_true(v) > 0}` the tokens that can follow, K the kept set and q the model's distribution renormalised
//! over K: precision `|K ∩ S| / |K|`, recall `|K ∩ S| / |S|`, F1, mass precision `Σ_S q`, mass recall `Σ_K p_true`,
//! `TV(q, p_true)` beside `TV(p_model, p_true)`, which says whether truncation helped.

use crate::JudgeError;
use crate::divergence::{relative, total_variation};
use crate::error::{distribution, parameter, same_length};
use crate::step::kept_set;

/// One context.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Support {
    /// The share of kept tokens that can follow.
    pub precision: f64,
    /// The share of tokens that can follow and are kept.
    pub recall: f64,
    /// The probability, after truncation, of tokens that can follow.
    pub mass_precision: f64,
    /// The true probability of the kept tokens.
    pub mass_recall: f64,
    /// Whether exactly the tokens that can follow are kept.
    pub exact: bool,
    /// TV(q, p_true).
    pub total_variation: f64,
    /// TV(p_model, p_true).
    pub total_variation_before: f64,
    /// KL(q‖p_true), nats; infinite where something is kept that cannot follow.
    pub divergence: f64,
}

impl Support {
    /// Looks at one context: the true distribution, the model's, and the ids kept of it.
    ///
    /// # Errors
    /// No distributions, lengths that differ, ids outside them or given twice, an empty kept set or one that the model
    /// gives probability 0.
    pub fn of(truth: &[f64], model: &[f64], kept: &[u32]) -> Result<Self, JudgeError> {
        distribution("the true distribution", truth)?;
        distribution("the model's distribution", model)?;
        same_length("the model's distribution", model.len(), truth.len())?;
        let flags = kept_set(kept, truth.len())?;
        let mass: f64 = flags.iter().zip(model).filter(|(kept, _)| **kept).map(|(_, p)| p).sum();
        if mass <= 0.0 {
            return Err(JudgeError::Value { what: "mass of the kept set", index: 0, value: mass, allowed: "above 0" });
        }
        let after: Vec<f64> = flags.iter().zip(model).map(|(kept, p)| if *kept { p / mass } else { 0.0 }).collect();
        let possible = truth.iter().filter(|p| **p > 0.0).count();
        let both = flags.iter().zip(truth).filter(|(kept, p)| **kept && **p > 0.0).count();
        Ok(Self {
            precision: both as f64 / kept.len() as f64,
            recall: both as f64 / possible as f64,
            mass_precision: after.iter().zip(truth).filter(|(_, p)| **p > 0.0).map(|(q, _)| q).sum(),
            mass_recall: flags.iter().zip(truth).filter(|(kept, _)| **kept).map(|(_, p)| p).sum(),
            exact: both == possible && both == kept.len(),
            total_variation: total_variation(&after, truth)?,
            total_variation_before: total_variation(model, truth)?,
            divergence: relative(after.iter().copied().zip(truth.iter().copied())),
        })
    }

    /// Harmonic mean of precision and recall; 0 when both are.
    pub fn f1(&self) -> f64 {
        let sum = self.precision + self.recall;
        if sum > 0.0 { 2.0 * self.precision * self.recall / sum } else { 0.0 }
    }

    /// The best that a threshold on the model's probabilities could do in this context if it knew the truth: of the
    /// sets {the k likeliest}, the one with the lowest `TV(q, p_true)`, the smaller of equals.
    ///
    /// # Errors
    /// No distributions or lengths that differ.
    pub fn best_threshold(truth: &[f64], model: &[f64]) -> Result<(Vec<u32>, Self), JudgeError> {
        distribution("the true distribution", truth)?;
        distribution("the model's distribution", model)?;
        same_length("the model's distribution", model.len(), truth.len())?;
        let mut order: Vec<u32> = (0..model.len() as u32).collect();
        order.sort_by(|&a, &b| model[b as usize].total_cmp(&model[a as usize]).then(a.cmp(&b)));
        // Σ over the first k of |p_model / m − p_true| changes with m; each k is looked at whole, O(V²) in all, which is
        // for the small vocabularies whose truth is known.
        let mut best = (0, f64::INFINITY);
        let mut mass = 0.0;
        for kept in 1..=order.len() {
            mass += model[order[kept - 1] as usize];
            let inside: f64 =
                order[..kept].iter().map(|&id| (model[id as usize] / mass - truth[id as usize]).abs()).sum();
            let outside: f64 = order[kept..].iter().map(|&id| truth[id as usize]).sum();
            let distance = f64::midpoint(inside, outside);
            // Rounding makes no difference between sets.
            if distance < best.1 - 1e-12 {
                best = (kept, distance);
            }
        }
        order.truncate(best.0);
        order.sort_unstable();
        let support = Self::of(truth, model, &order)?;
        Ok((order, support))
    }

    /// What is reached by keeping exactly the tokens that can follow. No threshold need be able to.
    ///
    /// # Errors
    /// No distributions, lengths that differ, or a model that gives all of them probability 0.
    pub fn of_true_support(truth: &[f64], model: &[f64]) -> Result<Self, JudgeError> {
        let ids: Vec<u32> = (0..truth.len() as u32).filter(|&id| truth[id as usize] > 0.0).collect();
        Self::of(truth, model, &ids)
    }
}

/// The share of whole sequences in which every token could follow, from one flag a token.
///
/// # Errors
/// No sequences.
pub fn sequence_validity<T: AsRef<[bool]>>(sequences: &[T]) -> Result<f64, JudgeError> {
    if sequences.is_empty() {
        return Err(parameter("sequences", "none", "at least one sequence"));
    }
    let valid = sequences.iter().filter(|tokens| tokens.as_ref().iter().all(|possible| *possible)).count();
    Ok(valid as f64 / sequences.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::{Support, sequence_validity};

    const TRUTH: [f64; 5] = [0.5, 0.3, 0.2, 0.0, 0.0];
    const MODEL: [f64; 5] = [0.45, 0.25, 0.18, 0.08, 0.04];

    #[test]
    fn the_worked_example() {
        let three = Support::of(&TRUTH, &MODEL, &[0, 1, 2]).unwrap();
        assert_eq!((three.precision, three.recall, three.exact, three.f1()), (1.0, 1.0, true, 1.0));
        assert!((three.total_variation - 0.015_909).abs() < 5e-7, "{three:?}");
        assert!((three.total_variation_before - 0.12).abs() < 1e-12, "{three:?}");
        let four = Support::of(&TRUTH, &MODEL, &[0, 1, 2, 3]).unwrap();
        assert_eq!((four.precision, four.recall, four.exact), (0.75, 1.0, false));
        assert!((four.mass_precision - 0.916_667).abs() < 5e-7, "{four:?}");
        assert!((four.total_variation - 0.083_333).abs() < 5e-7, "{four:?}");
        assert_eq!(four.divergence, f64::INFINITY);
        assert!((four.mass_recall - 1.0).abs() < 1e-12);
    }

    #[test]
    fn the_ceiling_knows_the_truth() {
        let (kept, best) = Support::best_threshold(&TRUTH, &MODEL).unwrap();
        assert_eq!(kept, [0, 1, 2]);
        assert!((best.total_variation - 0.015_909).abs() < 5e-7);
        // A model that prefers an impossible token: no threshold finds the support, the oracle does.
        let model = [0.1, 0.3, 0.2, 0.4, 0.0];
        let threshold = Support::best_threshold(&TRUTH, &model).unwrap().1;
        let oracle = Support::of_true_support(&TRUTH, &model).unwrap();
        assert!(oracle.exact && !threshold.exact && threshold.mass_precision < 1.0);
    }

    #[test]
    fn sequences_are_valid_as_a_whole() {
        assert_eq!(sequence_validity(&[vec![true, true], vec![true, false], vec![], vec![false]]).unwrap(), 0.5);
        assert!(sequence_validity::<Vec<bool>>(&[]).is_err());
        assert!(Support::of(&TRUTH, &MODEL[1..], &[0]).is_err());
        assert!(Support::of(&TRUTH, &[1.0, 0.0, 0.0, 0.0, 0.0], &[1]).is_err());
    }
}
