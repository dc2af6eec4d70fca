//! The score probe: one pass over the windows that feeds perplexity, KL divergence and agreement of every arm, with
//! the dense model stepped beside the arms, so that no logits are kept.

use harness_kernels::logits;
use harness_model::decoder::Decoder;
use harness_model::error::ModelError;
use harness_model::tensor::{Device, Tensor, with_values};
use rayon::prelude::*;

use crate::panics::caught;

/// Floats of logits that one model may hold at a time (32 MiB).
const LOGITS_CHUNK: usize = 8 << 20;
/// Tokens in one forward pass.
const PASS_TOKENS: usize = 1024;
/// Bytes of keys and values in f32 of windows that are decoded together.
const CACHE_BYTES: usize = 256 << 20;
/// Windows that are decoded together at most.
const DECODED_TOGETHER: usize = 64;

/// What some neighbouring positions of one window gave.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct StretchScore {
    /// Their first target, counted from 0, the first token of the window.
    pub first: usize,
    /// Scored targets.
    pub tokens: usize,
    /// Negative log-likelihood, summed, in nats.
    pub nll: f64,
    /// KL divergence from the dense model, summed, in nats.
    pub kl: f64,
}

/// What one window gave for one model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WindowScore {
    /// Negative log-likelihood of the scored targets, summed, in nats.
    pub nll: f64,
    /// Scored targets.
    pub tokens: usize,
    /// KL divergence from the dense model, summed over the scored positions, in nats.
    pub kl: f64,
    /// Scored positions where the most likely token is the dense model's.
    pub agreements: usize,
    /// The same sums over stretches of positions, four to an octave: see [`stretch`].
    pub stretches: Vec<StretchScore>,
}

/// The first target of the stretch that a target belongs to: 1, 2, 3, … 8, then steps of 2 to 16, of 4 to 32, and so
/// on. Positions near the start, where much changes, stay apart; those far along share.
pub fn stretch(target: usize) -> usize {
    let octave = target.max(1).ilog2();
    let step = 1 << octave.saturating_sub(2);
    target / step * step
}

/// Why a model could not be scored.
#[derive(Debug, thiserror::Error)]
pub enum ScoreError {
    /// A forward pass failed.
    #[error("window {window}: {source}")]
    Forward {
        /// First window of the pass.
        window: usize,
        /// The decoder's reason.
        source: ModelError,
    },
    /// The model gave NaN or infinity.
    #[error(
        "window {window}: the model gave {value} as log-likelihood; its weights or activations hold NaN or infinity"
    )]
    NotFinite {
        /// The window.
        window: usize,
        /// What it gave.
        value: f64,
    },
    /// The model panicked.
    #[error("window {window}: panicked: {reason}")]
    Panic {
        /// First window of the pass.
        window: usize,
        /// Panic message.
        reason: String,
    },
    /// The dense model, which the arm is compared with, failed.
    #[error("the dense model failed: {0}")]
    Dense(String),
}

/// How windows are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reading {
    /// First position whose prediction counts: target `t` is predicted at position `t - 1`.
    pub skip_first: usize,
    /// First position that is decoded, one at a time through the cache, behind those before it, which are read at once; 0
    /// where all are read at once and there is no cache. At most `skip_first`.
    pub decode_from: usize,
}

impl Reading {
    /// Windows that go through the blocks together, whatever arms there are. Decoded ones keep their keys and values.
    fn together(self, decoder: &Decoder, length: usize) -> usize {
        if self.decode_from == 0 {
            return (PASS_TOKENS / length).max(1);
        }
        let window = decoder.cache_elements() * length * size_of::<f32>();
        (CACHE_BYTES / window.max(1)).clamp(1, DECODED_TOGETHER)
    }
}

/// Scores of one model, a window each, or the reason there are none.
pub type Scores = Result<Vec<WindowScore>, ScoreError>;

/// Scores the dense model and all arms on windows of one length.
///
/// `progress` is told how many windows of how many are done. The dense model's scores come first. An arm that fails
/// is left out from there on; the others go on.
pub fn score_group(
    dense: &Decoder,
    arms: &[&Decoder],
    windows: &[Vec<u32>],
    reading: Reading,
    progress: &mut dyn FnMut(usize, usize),
) -> (Scores, Vec<Scores>) {
    let skip_first = reading.skip_first;
    let mut dense_scores: Scores = Ok(Vec::with_capacity(windows.len()));
    let mut arm_scores: Vec<Scores> = arms.iter().map(|_| Ok(Vec::with_capacity(windows.len()))).collect();
    let length = windows.first().map_or(1, Vec::len).max(1);
    let together = reading.together(dense, length);
    for (pass, batch) in windows.chunks(together).enumerate() {
        let first = pass * together;
        let hidden = |decoder: &Decoder| {
            caught(|| scored_states(decoder, batch, reading))
                .map_err(|reason| ScoreError::Panic { window: first, reason })
                .and_then(|states| states.map_err(|source| ScoreError::Forward { window: first, source }))
        };
        let dense_hidden = match hidden(dense) {
            Ok(states) => states,
            Err(error) => {
                let reason = error.to_string();
                return (Err(error), arms.iter().map(|_| Err(ScoreError::Dense(reason.clone()))).collect());
            }
        };
        let mut live = Vec::new();
        for (index, arm) in arms.iter().enumerate().filter(|(index, _)| arm_scores[*index].is_ok()).collect::<Vec<_>>()
        {
            match hidden(arm) {
                Ok(states) => live.push((index, *arm, states)),
                Err(error) => arm_scores[index] = Err(error),
            }
        }
        let targets: Vec<u32> = batch.iter().flat_map(|window| window.iter().skip(skip_first + 1).copied()).collect();
        let outcome = compare_rows(dense, &dense_hidden, &live, &targets);
        let (dense_rows, arm_rows) = match outcome {
            Ok(rows) => rows,
            Err(source) => {
                let reason = source.to_string();
                return (
                    Err(ScoreError::Forward { window: first, source }),
                    arms.iter().map(|_| Err(ScoreError::Dense(reason.clone()))).collect(),
                );
            }
        };
        let per_window = targets.len() / batch.len();
        fold(&mut dense_scores, &dense_rows, per_window, first, skip_first + 1);
        for ((index, _, _), rows) in live.iter().zip(&arm_rows) {
            fold(&mut arm_scores[*index], rows, per_window, first, skip_first + 1);
        }
        if dense_scores.is_err() {
            let reason = dense_scores.as_ref().err().map(ToString::to_string).unwrap_or_default();
            return (dense_scores, arms.iter().map(|_| Err(ScoreError::Dense(reason.clone()))).collect());
        }
        progress(first + batch.len(), windows.len());
    }
    (dense_scores, arm_scores)
}

/// Scores one model alone.
///
/// # Errors
/// [`ScoreError`].
pub fn score(
    decoder: &Decoder,
    windows: &[Vec<u32>],
    skip_first: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Scores {
    score_group(decoder, &[], windows, Reading { skip_first, decode_from: 0 }, progress).0
}

/// Negative log-likelihood in nats of every scored target of one model alone, a list a window; the first is target `skip_first + 1`.
/// Their sums are those of [`score`].
///
/// # Errors
/// [`ScoreError`].
pub fn score_targets(
    decoder: &Decoder,
    windows: &[Vec<u32>],
    skip_first: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Vec<f64>>, ScoreError> {
    let reading = Reading { skip_first, decode_from: 0 };
    let together = reading.together(decoder, windows.first().map_or(1, Vec::len).max(1));
    let mut found = Vec::with_capacity(windows.len());
    for (pass, batch) in windows.chunks(together).enumerate() {
        let first = pass * together;
        let targets: Vec<u32> = batch.iter().flat_map(|window| window.iter().skip(skip_first + 1).copied()).collect();
        let rows = caught(|| {
            let states = scored_states(decoder, batch, reading)?;
            compare_rows(decoder, &states, &[], &targets)
        });
        let (rows, _) = rows
            .map_err(|reason| ScoreError::Panic { window: first, reason })?
            .map_err(|source| ScoreError::Forward { window: first, source })?;
        for (offset, rows) in rows.chunks((targets.len() / batch.len()).max(1)).enumerate() {
            if let Some(row) = rows.iter().find(|row| !row.nll.is_finite()) {
                return Err(ScoreError::NotFinite { window: first + offset, value: row.nll });
            }
            found.push(rows.iter().map(|row| row.nll).collect());
        }
        progress(first + batch.len(), windows.len());
    }
    Ok(found)
}

/// What one position gave.
#[derive(Debug, Clone, Copy)]
struct Row {
    nll: f64,
    kl: f64,
    agrees: bool,
}

/// Adds the rows of each window, whose first target is `target`; a window that is not finite ends the model's scores.
fn fold(scores: &mut Scores, rows: &[Row], per_window: usize, first: usize, target: usize) {
    let Ok(done) = scores else { return };
    for (offset, window) in rows.chunks(per_window.max(1)).enumerate() {
        let mut sum = WindowScore::default();
        for (row, target) in window.iter().zip(target..) {
            let place = stretch(target);
            if sum.stretches.last().is_none_or(|last| last.first != place) {
                sum.stretches.push(StretchScore { first: place, ..StretchScore::default() });
            }
            if let Some(part) = sum.stretches.last_mut() {
                part.tokens += 1;
                part.nll += row.nll;
                part.kl += row.kl;
            }
            sum.nll += row.nll;
            sum.kl += row.kl;
            sum.tokens += 1;
            sum.agreements += usize::from(row.agrees);
        }
        if !(sum.nll.is_finite() && sum.kl.is_finite()) {
            *scores = Err(ScoreError::NotFinite { window: first + offset, value: sum.nll });
            return;
        }
        done.push(sum);
    }
}

/// Final hidden states of the positions whose predictions count, `(rows, hidden)`.
fn scored_states(
    decoder: &Decoder,
    batch: &[Vec<u32>],
    Reading { skip_first, decode_from }: Reading,
) -> Result<Tensor, ModelError> {
    let windows: Vec<&[u32]> = batch.iter().map(Vec::as_slice).collect();
    let length = windows.first().map_or(0, |window| window.len());
    if decode_from == 0 {
        return decoder.hidden_positions(&windows, skip_first..length - 1);
    }
    let width = decoder.config().hidden_size;
    let counted = length - 1 - skip_first;
    let mut states = vec![0.0; batch.len() * counted * width];
    let mut cache = decoder.new_cache();
    let beginnings: Vec<&[u32]> = windows.iter().map(|window| &window[..decode_from]).collect();
    decoder.step(&beginnings, &mut cache, 1)?;
    let failed = |source| ModelError::Compute { what: "collecting decoded states".to_owned(), source };
    for at in decode_from..length - 1 {
        let tokens: Vec<&[u32]> = windows.iter().map(|window| &window[at..=at]).collect();
        let hidden = decoder.step(&tokens, &mut cache, 1)?;
        let Some(place) = at.checked_sub(skip_first) else { continue };
        with_values(&hidden, |rows| {
            for (states, row) in states.chunks_exact_mut(counted * width).zip(rows.chunks_exact(width)) {
                states[place * width..][..width].copy_from_slice(row);
            }
        })
        .map_err(failed)?;
    }
    Tensor::from_vec(states, (batch.len() * counted, width), &Device::Cpu).map_err(failed)
}

/// Logits of all models, a chunk of rows at a time, reduced to one [`Row`] a position.
fn compare_rows(
    dense: &Decoder,
    dense_hidden: &Tensor,
    live: &[(usize, &Decoder, Tensor)],
    targets: &[u32],
) -> Result<(Vec<Row>, Vec<Vec<Row>>), ModelError> {
    let vocabulary = dense.config().vocab_size;
    let chunk = (LOGITS_CHUNK / vocabulary).clamp(1, targets.len().max(1));
    let mut dense_rows = Vec::with_capacity(targets.len());
    let mut arm_rows: Vec<Vec<Row>> = live.iter().map(|_| Vec::with_capacity(targets.len())).collect();
    let mut dense_logits = Vec::new();
    let mut arm_logits = Vec::new();
    for start in (0..targets.len()).step_by(chunk) {
        let rows = chunk.min(targets.len() - start);
        let targets = &targets[start..start + rows];
        dense.logits_into(dense_hidden, start..start + rows, &mut dense_logits)?;
        let references = logits::row_statistics(&dense_logits, vocabulary);
        dense_rows.extend(
            references
                .iter()
                .zip(targets)
                .zip(dense_logits.chunks(vocabulary))
                .map(|((reference, &target), row)| Row { nll: reference.nll(row, target), kl: 0.0, agrees: true }),
        );
        for ((_, decoder, hidden), rows_of_arm) in live.iter().zip(&mut arm_rows) {
            decoder.logits_into(hidden, start..start + rows, &mut arm_logits)?;
            let rows: Vec<Row> = arm_logits
                .par_chunks(vocabulary)
                .zip(dense_logits.par_chunks(vocabulary))
                .zip(references.par_iter().zip(targets))
                .map(|((row, dense_row), (reference, &target))| {
                    let statistics = logits::statistics(row);
                    Row {
                        nll: statistics.nll(row, target),
                        kl: logits::kl_given(dense_row, reference, row, &statistics),
                        agrees: statistics.argmax == reference.argmax,
                    }
                })
                .collect();
            rows_of_arm.extend(rows);
        }
    }
    Ok((dense_rows, arm_rows))
}

#[cfg(test)]
mod tests {
    use super::stretch;

    #[test]
    fn stretches_are_four_to_an_octave() {
        let firsts: Vec<usize> = (1..33).map(stretch).collect();
        let mut different = firsts.clone();
        different.dedup();
        assert_eq!(different, [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32]);
        assert_eq!((stretch(1000), stretch(1023), stretch(1024)), (896, 896, 1024));
    }
}
