//! How far narrower models are from the whole one, when many that differ in few blocks are judged one after the other.
//!
//! What was computed for one candidate is not computed again for the next: a block that is left the same is the same block, hidden states behind equal
//! blocks are the same states, and a window that a candidate has read is not read again. The results are those of judging each by itself, to the bit.

use std::collections::VecDeque;
use std::sync::Arc;

use harness_kernels::awake::with_pool_awake;
use harness_kernels::logits;
use harness_methods::shrink::ShrinkError;
use harness_methods::width::units::{Fit, Narrow};
use harness_model::decoder::Decoder;
use harness_model::tensor::Tensor;
use rayon::prelude::*;

use super::{failed, inner, pass};

/// Bytes of hidden states that are held; those that were used longest ago go first.
const TRAILS: usize = 1 << 30;
/// Bytes of the whole model's logits that are held; those of further windows are computed again for every candidate.
const LOGITS: usize = 1 << 30;
/// Decoders that blocks are taken of, the latest.
const DECODERS: usize = 10;

/// What is known from candidates that were judged before.
#[derive(Default)]
pub(super) struct Candidates {
    /// The first token of each window that is read.
    start: usize,
    read: Vec<Read>,
    /// The latest first.
    trails: VecDeque<Trail>,
    made: VecDeque<(Arc<[Narrow]>, Decoder)>,
    /// Kept between windows, since pages that were never touched are slow to touch.
    logits: Vec<f32>,
}

/// A window as the whole model reads it.
struct Read {
    window: Vec<u32>,
    /// Final hidden states `(tokens, hidden)`.
    hidden: Tensor,
    /// `(tokens, vocabulary)`, where they are held.
    logits: Option<Vec<f32>>,
}

/// What one candidate made of one window.
struct Trail {
    window: usize,
    widths: Arc<[Narrow]>,
    /// What enters each block.
    states: Vec<Tensor>,
    /// Bytes of the states, those that other candidates share included.
    bytes: usize,
    /// Σ over tokens of the divergence from the whole model, in nats.
    sum: f64,
}

impl Candidates {
    /// The mean over the tokens of these windows, whose first token is token `start` of what they were cut from, of `KL(whole ‖ candidate)` in nats.
    ///
    /// # Errors
    /// [`ShrinkError::Pass`].
    pub(super) fn divergence(
        &mut self,
        whole: &Decoder,
        widths: &[Narrow],
        (start, windows): (usize, &[Vec<u32>]),
    ) -> Result<f64, ShrinkError> {
        self.read(whole, start, windows)?;
        let widths: Arc<[Narrow]> = widths.into();
        let mut candidate = None;
        let (mut sum, mut tokens) = (0.0, 0);
        for (at, window) in windows.iter().enumerate() {
            sum += match self.known(at, &widths) {
                Some((trail, same)) if same == widths.len() => trail.sum,
                _ => {
                    let made = candidate.take().map_or_else(|| self.made(whole, &widths), Ok)?;
                    let sum = self.judge(whole, candidate.insert(made), at, &widths)?;
                    self.forget();
                    sum
                }
            };
            tokens += window.len();
        }
        Ok(sum / tokens.max(1) as f64)
    }

    /// Reads windows by the whole model, as far as that was not done before.
    fn read(&mut self, whole: &Decoder, start: usize, windows: &[Vec<u32>]) -> Result<(), ShrinkError> {
        let same = self.read.iter().zip(windows).all(|(read, window)| read.window == *window);
        if start != self.start || !same {
            *self = Self { start, made: std::mem::take(&mut self.made), ..Self::default() };
        }
        let vocabulary = whole.config().vocab_size;
        for window in windows.iter().skip(self.read.len()) {
            let hidden = whole.hidden(&[window]).map_err(pass)?.flatten_to(1).map_err(failed)?;
            let held: usize = self.read.iter().filter_map(|read| read.logits.as_ref()).map(Vec::len).sum();
            let mut logits = None;
            if (held + window.len() * vocabulary) * size_of::<f32>() <= LOGITS {
                whole.logits_into(&hidden, 0..window.len(), logits.insert(Vec::new())).map_err(pass)?;
            }
            self.read.push(Read { window: window.clone(), hidden, logits });
        }
        Ok(())
    }

    /// The candidate, of blocks that others have where they are left the same.
    fn made(&mut self, whole: &Decoder, widths: &Arc<[Narrow]>) -> Result<Decoder, ShrinkError> {
        let known = |block: usize| {
            let found = self.made.iter().find(|(other, _)| same(&other[block], &widths[block]));
            found.map(|(_, decoder)| decoder)
        };
        let decoder = whole.narrowed_sharing(&inner::narrow(widths), &known).map_err(pass)?;
        self.made.push_front((Arc::clone(widths), decoder.clone()));
        self.made.truncate(DECODERS);
        Ok(decoder)
    }

    /// What was made of a window by the candidate whose first blocks, and how many of them, are the same as these; it is the latest then.
    fn known(&mut self, window: usize, widths: &[Narrow]) -> Option<(&Trail, usize)> {
        let alike = |trail: &Trail| trail.widths.iter().zip(widths).take_while(|(a, b)| same(a, b)).count();
        let of_window = self.trails.iter().enumerate().filter(|(_, trail)| trail.window == window);
        let (at, alike) = of_window.map(|(at, trail)| (at, alike(trail))).max_by_key(|(_, alike)| *alike)?;
        let latest = self.trails.remove(at)?;
        self.trails.push_front(latest);
        self.trails.front().map(|trail| (trail, alike))
    }

    /// Lets a candidate read a window, from the first block on that no candidate before had the same.
    fn judge(
        &mut self,
        whole: &Decoder,
        candidate: &Decoder,
        at: usize,
        widths: &Arc<[Narrow]>,
    ) -> Result<f64, ShrinkError> {
        let mut states = match self.known(at, widths) {
            Some((trail, same)) => trail.states[..=same].to_vec(),
            None => vec![candidate.embed(&[&self.read[at].window]).map_err(pass)?],
        };
        let (shared, window, blocks) = (states.len(), &self.read[at], widths.len());
        let last = with_pool_awake(|| {
            let mut hidden = states[shared - 1].clone();
            for block in shared - 1..blocks {
                hidden = candidate.block(block, &hidden, None)?;
                if block + 1 < blocks {
                    states.push(hidden.clone());
                }
            }
            candidate.final_norm(&hidden)
        });
        let last = last.map_err(pass)?.flatten_to(1).map_err(failed)?;
        let rows = window.window.len();
        candidate.logits_into(&last, 0..rows, &mut self.logits).map_err(pass)?;
        let mut again = Vec::new();
        if window.logits.is_none() {
            whole.logits_into(&window.hidden, 0..rows, &mut again).map_err(pass)?;
        }
        let p = window.logits.as_ref().unwrap_or(&again);
        let vocabulary = whole.config().vocab_size;
        let each = p.par_chunks_exact(vocabulary).zip(self.logits.par_chunks_exact(vocabulary));
        // Added up in the order of the tokens, however many threads there are.
        let sum = each.map(|(p, q)| logits::kl(p, q)).collect::<Vec<f64>>().iter().sum();
        let bytes = states.len() * last.elem_count() * size_of::<f32>();
        self.trails.push_front(Trail { window: at, widths: Arc::clone(widths), states, bytes, sum });
        Ok(sum)
    }

    /// Lets what was used longest ago go, as far as there is too much.
    fn forget(&mut self) {
        let mut held: usize = self.trails.iter().map(|trail| trail.bytes).sum();
        while held > TRAILS && self.trails.len() > 1 {
            held -= self.trails.pop_back().map_or(0, |trail| trail.bytes);
        }
    }
}

/// Whether as much is left of a block, the same to the bit; matrices are the same only where they are one.
fn same(a: &Narrow, b: &Narrow) -> bool {
    let fit = |a: &Fit, b: &Fit| {
        let one = match (&a.weight, &b.weight) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        one && a.bias == b.bias
    };
    fit(&a.output, &b.output) && fit(&a.down, &b.down) && a.groups == b.groups && a.channels == b.channels
}
