//! Coherence (Su et al. 2022, arXiv 2202.06417): the cosine between the embeddings of a prompt and of its continuation.
//!
//! Embeddings of language models point all into one cone, so a plain cosine is high for any pair. The control is the mean
//! cosine with every *other* prompt, exact and without shuffling: `(c · Σ_j p_j − c · p_i) / (N − 1)` for unit vectors. What
//! remains after it is taken off is coherence.

use crate::error::same_length;
use crate::rows::dot;
use crate::{JudgeError, Rows};

/// Coherence of one continuation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coherence {
    /// Cosine with its own prompt, in [−1, 1].
    pub own: f64,
    /// Mean cosine with all other prompts.
    pub other: f64,
}

impl Coherence {
    /// Own less other.
    pub fn excess(&self) -> f64 {
        self.own - self.other
    }
}

/// The cosine of each row with the row of the same number, in [−1, 1].
///
/// # Errors
/// Shapes that differ, a row of zeros.
pub fn cosines(prompts: &Rows, continuations: &Rows) -> Result<Vec<f64>, JudgeError> {
    same_length("rows of the continuations", continuations.len(), prompts.len())?;
    same_length("dimension of the continuations", continuations.dimension(), prompts.dimension())?;
    let (prompts_unit, continuations_unit) = (prompts.unit("prompts")?, continuations.unit("continuations")?);
    let pairs =
        prompts_unit.chunks_exact(prompts.dimension()).zip(continuations_unit.chunks_exact(prompts.dimension()));
    Ok(pairs.map(|(prompt, continuation)| dot(prompt, continuation).clamp(-1.0, 1.0)).collect())
}

/// Coherence of each continuation with its control.
///
/// # Errors
/// Fewer than two prompts, shapes that differ, a row of zeros.
pub fn coherence(prompts: &Rows, continuations: &Rows) -> Result<Vec<Coherence>, JudgeError> {
    if prompts.len() < 2 {
        let advice = "the control needs another prompt";
        return Err(JudgeError::TooFew { what: "prompts", found: prompts.len(), least: 2, advice });
    }
    let own = cosines(prompts, continuations)?;
    let dimension = prompts.dimension();
    let mut sum = vec![0.0; dimension];
    for prompt in prompts.unit("prompts")?.chunks_exact(dimension) {
        sum.iter_mut().zip(prompt).for_each(|(sum, value)| *sum += value);
    }
    let others = (prompts.len() - 1) as f64;
    let continuations = continuations.unit("continuations")?;
    let rows = own.into_iter().zip(continuations.chunks_exact(dimension));
    Ok(rows.map(|(own, row)| Coherence { own, other: (dot(row, &sum) - own) / others }).collect())
}

#[cfg(test)]
mod tests {
    use super::{coherence, cosines};
    use crate::{JudgeError, Rows};

    #[test]
    fn the_control_takes_off_what_all_share() {
        let prompts = Rows::new(&[2.0, 0.0, 0.0, 3.0, 1.0, 1.0], 2).unwrap();
        let own = coherence(&prompts, &prompts).unwrap();
        let half = std::f64::consts::FRAC_1_SQRT_2;
        assert!((own[0].own - 1.0).abs() < 1e-12 && (own[0].other - half / 2.0).abs() < 1e-12, "{own:?}");
        assert!((own[2].other - half).abs() < 1e-12 && (own[2].excess() - (1.0 - half)).abs() < 1e-12);
        // Prompts that are all the same leave nothing.
        let same = Rows::new(&[1.0, 2.0, 1.0, 2.0], 2).unwrap();
        assert!(coherence(&same, &same).unwrap().iter().all(|row| row.excess().abs() < 1e-12));
    }

    #[test]
    fn zeros_and_shapes_are_refused() {
        let prompts = Rows::new(&[1.0, 0.0, 0.0, 0.0], 2).unwrap();
        assert_eq!(cosines(&prompts, &prompts), Err(JudgeError::ZeroNorm { what: "prompts", row: 1 }));
        let one = Rows::new(&[1.0, 0.0], 2).unwrap();
        assert!(cosines(&prompts, &one).is_err());
        assert!(coherence(&one, &one).is_err());
    }
}
