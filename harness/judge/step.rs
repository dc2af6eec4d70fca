//! What a truncating sampler does to one next-token distribution: exact numbers without sampling noise, best taken on
//! fixed contexts of real text.
//!
//! With p the distribution before and q the one after, renormalised over the kept set K: kept mass `m = Σ_K p`,
//! `TV(p, q) = 1 − m`, `KL(q‖p) = −ln m`; `KL(p‖q)` is infinite unless K is everything, so m is reported in its place.
//! Compare samplers at equal mean TV, or at an equal share of human tokens rejected, by the entropy they keep.

use harness_core::statistics::quantile;

use crate::JudgeError;
use crate::error::{distribution, not_empty, parameter};

/// One step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Tokens kept.
    pub kept: usize,
    /// Their probability before, in (0, 1].
    pub mass: f64,
    /// Entropy before, nats.
    pub entropy_before: f64,
    /// Entropy of what is left, nats.
    pub entropy_after: f64,
    /// Whether the most likely token is kept (the lowest id of equals).
    pub argmax_kept: bool,
    /// Whether the token that the human text has here is kept, where it is known.
    pub human_kept: Option<bool>,
    /// How many tokens are likelier than the human one, 0 for the likeliest; equals of lower id count.
    pub human_rank: Option<usize>,
}

impl Step {
    /// Looks at one step: probabilities before truncation, the ids kept (ascending or not, no id twice), and the token
    /// of the human text.
    ///
    /// # Errors
    /// No distribution, ids outside it or given twice, an empty kept set or one of probability 0.
    pub fn of(probabilities: &[f64], kept: &[u32], human: Option<u32>) -> Result<Self, JudgeError> {
        distribution("the distribution before truncation", probabilities)?;
        let is_kept = kept_set(kept, probabilities.len())?;
        let mass = is_kept.iter().zip(probabilities).filter(|(kept, _)| **kept).map(|(_, p)| p).sum::<f64>().min(1.0);
        if mass <= 0.0 {
            return Err(JudgeError::Value { what: "mass of the kept set", index: 0, value: mass, allowed: "above 0" });
        }
        let plogp = |p: f64| if p > 0.0 { -p * p.ln() } else { 0.0 };
        let entropy_before = probabilities.iter().map(|&p| plogp(p)).sum();
        let entropy_after =
            is_kept.iter().zip(probabilities).filter(|(kept, _)| **kept).map(|(_, p)| plogp(p / mass)).sum();
        let mut argmax = 0;
        for (id, p) in probabilities.iter().enumerate() {
            if *p > probabilities[argmax] {
                argmax = id;
            }
        }
        let (mut human_kept, mut human_rank) = (None, None);
        if let Some(human) = human.map(|id| id as usize) {
            let Some(&own) = probabilities.get(human) else {
                return Err(parameter("human", human, format!("below the vocabulary of {}", probabilities.len())));
            };
            human_kept = Some(is_kept[human]);
            let before = |(id, &p): (usize, &f64)| p > own || p == own && id < human;
            human_rank = Some(probabilities.iter().enumerate().filter(|&entry| before(entry)).count());
        }
        let argmax_kept = is_kept[argmax];
        Ok(Self { kept: kept.len(), mass, entropy_before, entropy_after, argmax_kept, human_kept, human_rank })
    }

    /// TV(p, q) = 1 − m.
    pub fn total_variation(&self) -> f64 {
        1.0 - self.mass
    }

    /// KL(q‖p) = −ln m, nats.
    pub fn divergence(&self) -> f64 {
        -self.mass.ln()
    }

    /// Entropy after over before; 1 where there was none.
    pub fn entropy_ratio(&self) -> f64 {
        if self.entropy_before > 0.0 { self.entropy_after / self.entropy_before } else { 1.0 }
    }
}

/// Which ids are kept, as one flag a token.
pub(crate) fn kept_set(kept: &[u32], vocabulary: usize) -> Result<Vec<bool>, JudgeError> {
    not_empty("kept tokens", kept)?;
    let mut flags = vec![false; vocabulary];
    for &id in kept {
        match flags.get_mut(id as usize) {
            Some(flag) if !*flag => *flag = true,
            Some(_) => return Err(parameter("kept", id, "given once")),
            None => return Err(parameter("kept", id, format!("below the vocabulary of {vocabulary}"))),
        }
    }
    Ok(flags)
}

/// A quantity over many steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Median.
    pub median: f64,
    /// 5 % quantile.
    pub low: f64,
    /// 95 % quantile.
    pub high: f64,
}

impl Spread {
    /// Over values, all finite.
    ///
    /// # Errors
    /// No values or one that is not finite.
    pub fn of(values: impl Iterator<Item = f64>) -> Result<Self, JudgeError> {
        let mut sorted: Vec<f64> = values.collect();
        if let Some((index, &value)) = sorted.iter().enumerate().find(|(_, value)| !value.is_finite()) {
            return Err(JudgeError::Value { what: "value of a step", index, value, allowed: "finite" });
        }
        sorted.sort_by(f64::total_cmp);
        let at = |q| quantile(&sorted, q).ok_or(JudgeError::Empty { what: "steps" });
        let mean = sorted.iter().sum::<f64>() / sorted.len() as f64;
        Ok(Self { median: at(0.5)?, low: at(0.05)?, high: at(0.95)?, mean })
    }
}

/// Many steps of one sampler.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Steps {
    /// How many steps.
    pub steps: usize,
    /// Tokens kept.
    pub kept: Spread,
    /// TV(p, q).
    pub total_variation: Spread,
    /// KL(q‖p), nats.
    pub divergence: Spread,
    /// Entropy after, nats.
    pub entropy_after: Spread,
    /// Entropy after over before.
    pub entropy_ratio: Spread,
    /// The share of steps that cut the most likely token.
    pub argmax_rejected: f64,
    /// The share of human tokens that are cut; `None` where none is known.
    pub human_rejected: Option<f64>,
}

impl Steps {
    /// Sums up steps.
    ///
    /// # Errors
    /// No steps.
    pub fn of(steps: &[Step]) -> Result<Self, JudgeError> {
        not_empty("steps", steps)?;
        let spread = |value: fn(&Step) -> f64| Spread::of(steps.iter().map(value));
        let human: Vec<bool> = steps.iter().filter_map(|step| step.human_kept).collect();
        let share = |rejected: usize, of: usize| rejected as f64 / of as f64;
        Ok(Self {
            steps: steps.len(),
            kept: spread(|step| step.kept as f64)?,
            total_variation: spread(Step::total_variation)?,
            divergence: spread(Step::divergence)?,
            entropy_after: spread(|step| step.entropy_after)?,
            entropy_ratio: spread(Step::entropy_ratio)?,
            argmax_rejected: share(steps.iter().filter(|step| !step.argmax_kept).count(), steps.len()),
            human_rejected: (!human.is_empty())
                .then(|| share(human.iter().filter(|kept| !**kept).count(), human.len())),
        })
    }

    /// The same by entropy before truncation: bin i holds steps with `edges[i] ≤ H < edges[i + 1]`, the first also all
    /// below, the last also all above. `None` for a bin without steps.
    ///
    /// # Errors
    /// Fewer than two edges or edges that do not ascend.
    pub fn by_entropy(steps: &[Step], edges: &[f64]) -> Result<Vec<Option<Self>>, JudgeError> {
        if edges.len() < 2 || !edges.windows(2).all(|pair| pair[0] < pair[1]) {
            return Err(parameter("edges", format!("{edges:?}"), "two or more ascending numbers"));
        }
        let inner = &edges[1..edges.len() - 1];
        let bin = |step: &Step| inner.partition_point(|edge| *edge <= step.entropy_before);
        let of = |index: usize| {
            let chosen: Vec<Step> = steps.iter().filter(|step| bin(step) == index).copied().collect();
            if chosen.is_empty() { Ok(None) } else { Self::of(&chosen).map(Some) }
        };
        (0..=inner.len()).map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Step, Steps};

    /// softmax of [2, 1, 0.5, 0, −1, −3].
    fn six() -> Vec<f64> {
        let exps: Vec<f64> = [2.0, 1.0, 0.5, 0.0, -1.0, -3.0f64].iter().map(|z| z.exp()).collect();
        let sum: f64 = exps.iter().sum();
        exps.iter().map(|e| e / sum).collect()
    }

    #[test]
    fn the_worked_example() {
        let step = Step::of(&six(), &[0, 1, 2, 3], Some(4)).unwrap();
        for (found, expected) in [
            (step.mass, 0.968_295),
            (step.total_variation(), 0.031_705),
            (step.divergence(), 0.032_218),
            (step.entropy_before, 1.226_783),
            (step.entropy_after, 1.109_767),
        ] {
            assert!((found - expected).abs() < 5e-7, "{found} {expected}");
        }
        assert!(step.argmax_kept && step.human_kept == Some(false) && step.human_rank == Some(4), "{step:?}");
    }

    #[test]
    fn everything_kept_changes_nothing_and_bins_hold_their_steps() {
        let whole = Step::of(&six(), &[5, 0, 1, 2, 3, 4], Some(0)).unwrap();
        assert!(whole.divergence() < 1e-12 && (whole.entropy_ratio() - 1.0).abs() < 1e-12, "{whole:?}");
        let sure = Step::of(&[1.0, 0.0], &[0], Some(1)).unwrap();
        assert_eq!((sure.entropy_ratio(), sure.human_kept), (1.0, Some(false)));
        let without = Step::of(&six(), &[1, 2], None).unwrap();
        let steps = Steps::of(&[whole, sure, without]).unwrap();
        assert_eq!((steps.steps, steps.human_rejected), (3, Some(0.5)));
        assert!((steps.argmax_rejected - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!(steps.kept.median, 2.0);
        let bins = Steps::by_entropy(&[whole, sure, without], &[0.0, 0.5, 1.0, 2.0]).unwrap();
        assert_eq!(bins.iter().map(|bin| bin.map_or(0, |bin| bin.steps)).collect::<Vec<_>>(), [1, 0, 2]);
        assert!(Steps::by_entropy(&[whole], &[1.0]).is_err());
    }

    #[test]
    fn bad_kept_sets_are_refused() {
        for kept in [&[][..], &[6], &[1, 1]] {
            assert!(Step::of(&six(), kept, None).is_err(), "{kept:?}");
        }
        assert!(Step::of(&[1.0, 0.0], &[1], None).is_err(), "mass 0");
        assert!(Step::of(&six(), &[0], Some(6)).is_err());
        assert!(Steps::of(&[]).is_err());
    }
}
