//! The most probable continuations of a hypothesis.

use crate::decode::DecodeError;
use crate::sample::{Candidates, SampleError};

/// The `count` most probable tokens of a row, by falling probability and the lower id of equal ones, with the logarithms
/// of their probabilities. Tokens at -inf are never among them.
pub(crate) fn most_probable(
    candidates: &mut Candidates,
    row: &[f32],
    count: usize,
    generated: usize,
) -> Result<Vec<(u32, f64)>, DecodeError> {
    candidates.load(row).map_err(|source| DecodeError::Sample { generated, source })?;
    let total = candidates.log_sum_exp();
    let places = if count == 0 { Vec::new() } else { candidates.largest(count) };
    Ok(places
        .into_iter()
        .map(|at| {
            let logit = f64::from(candidates.logits()[at as usize]);
            // Rounding may not make a sequence more probable by a token.
            (candidates.id(at as usize), (logit - total).min(0.0))
        })
        .collect())
}

/// The logarithm of the probability of one token of a row.
pub(crate) fn log_probability_of(
    candidates: &mut Candidates,
    row: &[f32],
    token: u32,
    generated: usize,
) -> Result<f64, DecodeError> {
    candidates.load(row).map_err(|source| DecodeError::Sample { generated, source })?;
    Ok((f64::from(row[token as usize]) - candidates.log_sum_exp()).min(0.0))
}

/// The logarithms of the probabilities of a whole row; -inf where the logit is.
pub(crate) fn log_row(row: &[f32]) -> Result<Vec<f64>, SampleError> {
    let mut candidates = Candidates::default();
    candidates.load(row)?;
    let total = candidates.log_sum_exp();
    Ok(row.iter().map(|logit| (f64::from(*logit) - total).min(0.0)).collect())
}
