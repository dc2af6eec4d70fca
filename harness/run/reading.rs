//! Reading many passages of different lengths with one model: those of like lengths go together, filled up behind their
//! end, which causal attention does not see.

use harness_kernels::logits;
use harness_model::decoder::Decoder;
use harness_model::error::ModelError;
use harness_model::tensor::{Device, Tensor, TensorError, with_values};
use rayon::prelude::*;

/// Tokens that go through the blocks together.
const PASS_TOKENS: usize = 1024;

/// Tokens and which of them count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    /// All tokens, at least one before the first that counts.
    pub tokens: Vec<u32>,
    /// The first that counts, from 1.
    pub first: usize,
}

impl Passage {
    /// A passage whose tokens count from where it differs from its beginning, given as tokens of its own; at least the
    /// first token does not.
    pub fn behind(beginning: &[u32], tokens: Vec<u32>) -> Self {
        let first = beginning.iter().zip(&tokens).take_while(|(a, b)| a == b).count().max(1);
        Self { tokens, first }
    }

    /// How many tokens count.
    pub fn counted(&self) -> usize {
        self.tokens.len().saturating_sub(self.first)
    }
}

/// What a text looks like to a model: its final hidden states.
#[derive(Debug, Clone, PartialEq)]
pub struct States {
    /// Their mean over the tokens.
    pub mean: Vec<f32>,
    /// That of the last token.
    pub last: Vec<f32>,
}

/// Σ ln p of the tokens that count, for each passage.
///
/// # Errors
/// A passage that is not finite, or the decoder's reason. `progress` is told how many of how many are read.
pub fn log_likelihoods(
    decoder: &Decoder,
    passages: &[&Passage],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<f64>, String> {
    let lengths: Vec<usize> = passages.iter().map(|passage| passage.tokens.len()).collect();
    let mut found = vec![0.0; passages.len()];
    let mut done = 0;
    for places in passes(&lengths) {
        let batch: Vec<&Passage> = places.iter().map(|place| passages[*place]).collect();
        let sums = sums(decoder, &batch).map_err(|error| error.to_string())?;
        for (place, sum) in places.iter().zip(sums) {
            if !sum.is_finite() {
                return Err(format!(
                    "passage {place}: the model gave {sum} as log-likelihood; its weights or activations hold NaN or infinity"
                ));
            }
            found[*place] = sum;
        }
        done += places.len();
        progress(done, passages.len());
    }
    Ok(found)
}

/// The states of each text.
///
/// # Errors
/// The decoder's reason.
pub fn states(decoder: &Decoder, texts: &[Vec<u32>]) -> Result<Vec<States>, String> {
    let lengths: Vec<usize> = texts.iter().map(Vec::len).collect();
    let mut found: Vec<Option<States>> = vec![None; texts.len()];
    for places in passes(&lengths) {
        let batch: Vec<&[u32]> = places.iter().map(|place| texts[*place].as_slice()).collect();
        let read = text_states(decoder, &batch).map_err(|error| error.to_string())?;
        places.into_iter().zip(read).for_each(|(place, states)| found[place] = Some(states));
    }
    Ok(found.into_iter().flatten().collect())
}

/// Places of passages that go together.
fn passes(lengths: &[usize]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|place| lengths[*place]);
    let mut passes: Vec<Vec<usize>> = Vec::new();
    for place in order {
        match passes.last_mut() {
            Some(pass) if (pass.len() + 1) * lengths[place] <= PASS_TOKENS => pass.push(place),
            _ => passes.push(vec![place]),
        }
    }
    passes
}

/// Equally long windows, filled up with token 0.
fn filled(texts: &[&[u32]]) -> Vec<Vec<u32>> {
    let length = texts.iter().map(|text| text.len()).max().unwrap_or(0);
    let fill = |text: &&[u32]| text.iter().copied().chain(std::iter::repeat(0)).take(length).collect();
    texts.iter().map(fill).collect()
}

fn compute(source: TensorError) -> ModelError {
    ModelError::Compute { what: "rows of hidden states".to_owned(), source }
}

fn sums(decoder: &Decoder, batch: &[&Passage]) -> Result<Vec<f64>, ModelError> {
    let texts: Vec<&[u32]> = batch.iter().map(|passage| passage.tokens.as_slice()).collect();
    let windows = filled(&texts);
    let windows: Vec<&[u32]> = windows.iter().map(Vec::as_slice).collect();
    let first = batch.iter().map(|passage| passage.first).min().unwrap_or(1);
    // The position before a token predicts it.
    let positions = first - 1..windows.first().map_or(1, |window| window.len()) - 1;
    if positions.is_empty() {
        return Ok(vec![0.0; batch.len()]);
    }
    let hidden = decoder.hidden_positions(&windows, positions.clone())?;
    let width = decoder.config().hidden_size;
    let (mut rows, mut targets) = (Vec::new(), Vec::new());
    with_values(&hidden, |values| {
        for (passage, states) in batch.iter().zip(values.chunks(positions.len() * width)) {
            rows.extend_from_slice(&states[(passage.first - first) * width..][..passage.counted() * width]);
            targets.extend(passage.tokens.iter().skip(passage.first));
        }
    })
    .map_err(compute)?;
    let hidden = Tensor::from_vec(rows, (targets.len(), width), &Device::Cpu).map_err(compute)?;
    let mut logits = Vec::new();
    decoder.logits_into(&hidden, 0..targets.len(), &mut logits)?;
    let surprises: Vec<f64> = logits
        .par_chunks(decoder.config().vocab_size)
        .zip(&targets)
        .map(|(row, target)| logits::statistics(row).nll(row, *target))
        .collect();
    let mut rest = surprises.as_slice();
    let sums = batch.iter().map(|passage| {
        let (own, behind) = rest.split_at(passage.counted());
        rest = behind;
        -own.iter().sum::<f64>()
    });
    Ok(sums.collect())
}

fn text_states(decoder: &Decoder, texts: &[&[u32]]) -> Result<Vec<States>, ModelError> {
    let windows = filled(texts);
    let windows: Vec<&[u32]> = windows.iter().map(Vec::as_slice).collect();
    let length = windows.first().map_or(0, |window| window.len());
    let hidden = decoder.hidden_positions(&windows, 0..length)?;
    let width = decoder.config().hidden_size;
    let read = |values: &[f32]| -> Vec<States> {
        let of = |(text, states): (&&[u32], &[f32])| {
            let states = &states[..text.len() * width];
            let mut mean = vec![0.0_f64; width];
            for state in states.chunks(width) {
                mean.iter_mut().zip(state).for_each(|(sum, value)| *sum += f64::from(*value));
            }
            let mean = mean.into_iter().map(|sum| (sum / text.len().max(1) as f64) as f32).collect();
            // A text without tokens is a row of zeros, which metrics refuse by name.
            States { mean, last: states.rchunks(width).next().map_or_else(|| vec![0.0; width], <[f32]>::to_vec) }
        };
        texts.iter().zip(values.chunks(length * width)).map(of).collect()
    };
    with_values(&hidden, read).map_err(compute)
}

#[cfg(test)]
mod tests {
    use super::{Passage, passes};

    #[test]
    fn like_lengths_go_together_and_none_is_lost() {
        let lengths = [5, 600, 5, 400, 2000, 1, 512];
        let passes = passes(&lengths);
        let mut all = passes.concat();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(passes, [vec![5, 0, 2], vec![3, 6], vec![1], vec![4]]);
    }

    #[test]
    fn what_counts_begins_where_the_beginning_ends() {
        assert_eq!(Passage::behind(&[1, 2], vec![1, 2, 3]), Passage { tokens: vec![1, 2, 3], first: 2 });
        // The last token of the beginning and the first behind it became one.
        assert_eq!(Passage::behind(&[1, 2], vec![1, 9, 3]).first, 1);
        assert_eq!(Passage::behind(&[], vec![7, 8]).counted(), 1);
    }
}
