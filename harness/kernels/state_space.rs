//! Selective state spaces: a scan whose decay, input and output depend on the token, and the short causal convolution before it.
//!
//! Channel `d` of a sequence has `N` states: `h_t = exp(Δ_t a) h_{t−1} + Δ_t B_t x_t`, read as `y_t = C_t · h_t + skip x_t` (Gu and Dao,
//! 2023). Memory does not grow with the length: what a sequence leaves behind is its states and the last inputs of the convolution.
//!
//! # Difference from the reference
//! The scan goes token by token where the reference scans in parallel on a device; sequences are what is worked on at once.
//! Gradients end where a pass begins: nothing flows into the states it was given, and none comes from those it leaves, which is what
//! training on chunks with carried states asks for.

mod convolution;

use rayon::prelude::*;

use crate::instruction_set;
use crate::vector::{WIDTH, exp, vectorised};

pub use convolution::{Convolution, ConvolutionGradient};

/// The sizes of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scan {
    /// Sequences.
    pub batch: usize,
    /// Tokens of each.
    pub length: usize,
    /// Channels.
    pub channels: usize,
    /// States of a channel.
    pub states: usize,
}

/// What a scan reads.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// Inputs `(batch, length, channels)`.
    pub x: &'a [f32],
    /// Steps `Δ`, positive, `(batch, length, channels)`.
    pub delta: &'a [f32],
    /// Rates `a`, negative, `(channels, states)`.
    pub rate: &'a [f32],
    /// How inputs enter the states, `(batch, length, states)`.
    pub enter: &'a [f32],
    /// How states are read, `(batch, length, states)`.
    pub read: &'a [f32],
    /// What passes by the states, `(channels)`.
    pub skip: &'a [f32],
}

/// Gradients with respect to [`Inputs`], in the same shapes.
#[derive(Debug, Clone, PartialEq)]
pub struct ScanGradient {
    /// Of the inputs.
    pub x: Vec<f32>,
    /// Of the steps.
    pub delta: Vec<f32>,
    /// Of the rates.
    pub rate: Vec<f32>,
    /// Of what enters.
    pub enter: Vec<f32>,
    /// Of what is read.
    pub read: Vec<f32>,
    /// Of what passes by.
    pub skip: Vec<f32>,
}

/// One sequence of [`Inputs`].
#[derive(Clone, Copy)]
struct Sequence<'a> {
    x: &'a [f32],
    delta: &'a [f32],
    rate: &'a [f32],
    enter: &'a [f32],
    read: &'a [f32],
    skip: &'a [f32],
    states: usize,
}

impl Scan {
    /// Numbers that a batch of sequences leaves behind: `batch · channels · states`.
    pub fn carried(&self) -> usize {
        self.batch * self.channels * self.states
    }

    /// Outputs `(batch, length, channels)`; `carried (batch, channels, states)` goes from the states before the first token to those
    /// after the last.
    pub fn forward(&self, inputs: &Inputs, carried: &mut [f32]) -> Vec<f32> {
        self.check(inputs, carried);
        let wide = self.length * self.channels;
        let mut out = vec![0.0; self.batch * wide];
        if self.carried() == 0 || wide == 0 {
            return out;
        }
        out.par_chunks_mut(wide)
            .zip(carried.par_chunks_mut(self.channels * self.states))
            .enumerate()
            .for_each(|(index, (out, carried))| self.sequence(inputs, index).forward(carried, out));
        out
    }

    /// Gradients of [`Self::forward`] from the states `before`, given the gradient of its outputs. States are computed again, so that
    /// a pass keeps none of them.
    pub fn gradient(&self, inputs: &Inputs, before: &[f32], gradient: &[f32]) -> ScanGradient {
        self.check(inputs, before);
        assert_eq!(gradient.len(), inputs.x.len(), "gradient of another length");
        let each = self.channels * self.states;
        let wide = self.length * self.channels;
        let parts: Vec<ScanGradient> = (0..self.batch)
            .into_par_iter()
            .map(|index| {
                let before = &before[index * each..(index + 1) * each];
                self.sequence(inputs, index).gradient(before, &gradient[index * wide..(index + 1) * wide])
            })
            .collect();
        let mut sum = ScanGradient {
            x: Vec::with_capacity(self.batch * wide),
            delta: Vec::with_capacity(self.batch * wide),
            rate: vec![0.0; each],
            enter: Vec::with_capacity(inputs.enter.len()),
            read: Vec::with_capacity(inputs.read.len()),
            skip: vec![0.0; self.channels],
        };
        // In the order of the sequences, so that the number of threads changes no bit.
        for part in parts {
            sum.x.extend(part.x);
            sum.delta.extend(part.delta);
            sum.enter.extend(part.enter);
            sum.read.extend(part.read);
            sum.rate.iter_mut().zip(part.rate).for_each(|(sum, part)| *sum += part);
            sum.skip.iter_mut().zip(part.skip).for_each(|(sum, part)| *sum += part);
        }
        sum
    }

    fn check(&self, inputs: &Inputs, carried: &[f32]) {
        let Self { batch, length, channels, states } = *self;
        assert!(
            inputs.x.len() == batch * length * channels && inputs.delta.len() == inputs.x.len(),
            "inputs and steps"
        );
        assert!(inputs.rate.len() == channels * states && inputs.skip.len() == channels, "rates and skips");
        assert!(inputs.enter.len() == batch * length * states && inputs.read.len() == inputs.enter.len(), "maps");
        assert_eq!(carried.len(), self.carried(), "states");
    }

    fn sequence<'a>(&self, inputs: &Inputs<'a>, index: usize) -> Sequence<'a> {
        let (wide, narrow) = (self.length * self.channels, self.length * self.states);
        let (wide, narrow) = (index * wide..(index + 1) * wide, index * narrow..(index + 1) * narrow);
        Sequence {
            x: &inputs.x[wide.clone()],
            delta: &inputs.delta[wide],
            rate: inputs.rate,
            enter: &inputs.enter[narrow.clone()],
            read: &inputs.read[narrow],
            skip: inputs.skip,
            states: self.states,
        }
    }
}

impl Sequence<'_> {
    fn channels(&self) -> usize {
        self.skip.len()
    }

    fn length(&self) -> usize {
        self.x.len() / self.channels()
    }

    /// `exp(Δ a)` of every state of a token.
    fn decays(&self, token: usize, out: &mut [f32]) {
        let from = token * self.channels();
        let rows = out.chunks_exact_mut(self.states).zip(self.rate.chunks_exact(self.states));
        for (channel, (out, rate)) in rows.enumerate() {
            let delta = self.delta[from + channel];
            out.iter_mut().zip(rate).for_each(|(out, rate)| *out = delta * rate);
        }
        exponentials(instruction_set(), out);
    }

    /// Moves the states of all channels over one token.
    fn advance(&self, token: usize, decays: &[f32], states: &mut [f32]) {
        let (width, from) = (self.states, token * self.channels());
        let enter = &self.enter[token * width..(token + 1) * width];
        let rows = states.chunks_exact_mut(width).zip(decays.chunks_exact(width));
        for (channel, (states, decays)) in rows.enumerate() {
            let entering = self.delta[from + channel] * self.x[from + channel];
            for ((state, decay), enter) in states.iter_mut().zip(decays).zip(enter) {
                *state = decay * *state + entering * enter;
            }
        }
    }

    fn forward(&self, states: &mut [f32], out: &mut [f32]) {
        let (width, channels) = (self.states, self.channels());
        let mut decays = vec![0.0; states.len()];
        for (token, out) in out.chunks_exact_mut(channels).enumerate() {
            self.decays(token, &mut decays);
            self.advance(token, &decays, states);
            let read = &self.read[token * width..(token + 1) * width];
            for (channel, out) in out.iter_mut().enumerate() {
                let states = &states[channel * width..(channel + 1) * width];
                let seen: f32 = states.iter().zip(read).map(|(state, read)| state * read).sum();
                *out = seen + self.skip[channel] * self.x[token * channels + channel];
            }
        }
    }

    fn gradient(&self, before: &[f32], gradient: &[f32]) -> ScanGradient {
        let (width, channels, length) = (self.states, self.channels(), self.length());
        let each = before.len();
        // The states before every token, and those after the last; what each token lets them fall by.
        let mut history = vec![0.0; (length + 1) * each];
        let mut decays = vec![0.0; length * each];
        history[..each].copy_from_slice(before);
        for token in 0..length {
            let (past, next) = history.split_at_mut((token + 1) * each);
            let decays = &mut decays[token * each..(token + 1) * each];
            next[..each].copy_from_slice(&past[token * each..]);
            self.decays(token, decays);
            self.advance(token, decays, &mut next[..each]);
        }
        let mut out = ScanGradient {
            x: vec![0.0; self.x.len()],
            delta: vec![0.0; self.x.len()],
            rate: vec![0.0; each],
            enter: vec![0.0; self.enter.len()],
            read: vec![0.0; self.read.len()],
            skip: vec![0.0; channels],
        };
        let mut states = vec![0.0; each];
        for token in (0..length).rev() {
            let narrow = token * width;
            for channel in 0..channels {
                let (at, from) = (token * channels + channel, channel * width);
                let (x, delta, above) = (self.x[at], self.delta[at], gradient[at]);
                out.skip[channel] += above * x;
                let (mut of_x, mut of_delta) = (above * self.skip[channel], 0.0);
                let (rate, enter) = (&self.rate[from..from + width], &self.enter[narrow..narrow + width]);
                let (read, decays) = (&self.read[narrow..narrow + width], &decays[token * each + from..][..width]);
                let (old, new) =
                    (&history[token * each + from..][..width], &history[(token + 1) * each + from..][..width]);
                let states = &mut states[from..from + width];
                let of_rate = &mut out.rate[from..from + width];
                let (of_enter, of_read) =
                    (&mut out.enter[narrow..narrow + width], &mut out.read[narrow..narrow + width]);
                for state in 0..width {
                    of_read[state] += above * new[state];
                    let flow = states[state] + above * read[state];
                    let fallen = decays[state] * old[state];
                    of_delta += flow * (rate[state] * fallen + enter[state] * x);
                    of_x += flow * delta * enter[state];
                    of_rate[state] += flow * delta * fallen;
                    of_enter[state] += flow * delta * x;
                    states[state] = flow * decays[state];
                }
                out.x[at] = of_x;
                out.delta[at] = of_delta;
            }
        }
        out
    }
}

vectorised! {
    fn exponentials<V>(values: &mut [f32]) {
        for chunk in values.chunks_mut(WIDTH) {
            let x = V::load_partial(chunk.as_ptr(), chunk.len(), 0.0);
            exp(x).store_partial(chunk.as_mut_ptr(), chunk.len());
        }
    }
}

#[cfg(test)]
#[path = "state_space/scan_tests.rs"]
mod tests;
