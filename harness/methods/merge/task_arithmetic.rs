//! Task arithmetic: the weighted sum of what training changed, `Σ w_k δ_k`.
//!
//! Gabriel Ilharco et al.: Editing Models with Task Arithmetic, ICLR 2023.

use super::{MergeError, check};

/// `Σ w_k δ_k`.
///
/// # Errors
/// A [`MergeError`].
pub fn task_arithmetic(deltas: &[&[f64]], weights: &[f64]) -> Result<Vec<f64>, MergeError> {
    check(deltas, Some(weights))?;
    let mut merged = vec![0.0; deltas[0].len()];
    for (delta, weight) in deltas.iter().zip(weights) {
        merged.iter_mut().zip(*delta).for_each(|(sum, d)| *sum += weight * d);
    }
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_weighted_and_experts_must_fit() {
        assert_eq!(task_arithmetic(&[&[1.0, -2.0], &[0.5, 4.0]], &[1.0, 0.5]), Ok(vec![1.25, 0.0]));
        let refused =
            |deltas: &[&[f64]], weights: &[f64]| task_arithmetic(deltas, weights).err().map(|e| e.to_string());
        assert_eq!(refused(&[], &[]), Some("there is no expert to merge; name one at least".to_owned()));
        let error = Some("expert 1 has 1 weights where the first has 2; merge models trained from one base".to_owned());
        assert_eq!(refused(&[&[1.0, 2.0], &[1.0]], &[1.0, 1.0]), error);
        assert_eq!(refused(&[&[1.0]], &[]), Some("0 factors for 1 experts; give one for each".to_owned()));
        assert!(refused(&[&[f64::NAN]], &[1.0]).is_some_and(|error| error.starts_with("weight 0 of expert 0 is NaN")));
    }
}
