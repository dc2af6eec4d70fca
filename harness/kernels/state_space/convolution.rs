//! Causal convolution of each channel with a few of its own last inputs.

use rayon::prelude::*;

/// The sizes of a convolution: `y_t = bias + Σ_k weight_k x_{t − taps + 1 + k}`, channel by channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Convolution {
    /// Sequences.
    pub batch: usize,
    /// Tokens of each.
    pub length: usize,
    /// Channels.
    pub channels: usize,
    /// Inputs that an output sees, the newest last; at least one.
    pub taps: usize,
}

/// Gradients of a convolution.
#[derive(Debug, Clone, PartialEq)]
pub struct ConvolutionGradient {
    /// Of the inputs `(batch, length, channels)`.
    pub x: Vec<f32>,
    /// Of the weights `(channels, taps)`.
    pub weight: Vec<f32>,
    /// Of the biases `(channels)`.
    pub bias: Vec<f32>,
}

impl Convolution {
    /// Numbers that a batch of sequences leaves behind: `batch · (taps − 1) · channels`.
    pub fn carried(&self) -> usize {
        self.batch * (self.taps - 1) * self.channels
    }

    /// Outputs `(batch, length, channels)` of inputs in the same shape, by `weight (channels, taps)` and `bias (channels)`. `carried
    /// (batch, taps − 1, channels)` goes from the inputs before the first token to the last ones.
    pub fn forward(&self, x: &[f32], weight: &[f32], bias: &[f32], carried: &mut [f32]) -> Vec<f32> {
        self.check(x, weight, bias, carried);
        let (channels, taps) = (self.channels, self.taps);
        let wide = self.length * channels;
        let mut out = vec![0.0; self.batch * wide];
        if wide == 0 {
            return out;
        }
        let lines: Vec<Vec<f32>> = (0..self.batch).map(|index| self.line(x, carried, index)).collect();
        out.par_chunks_mut(wide).zip(&lines).for_each(|(out, line)| {
            for (token, out) in out.chunks_exact_mut(channels).enumerate() {
                for (channel, out) in out.iter_mut().enumerate() {
                    let seen =
                        (0..taps).map(|tap| weight[channel * taps + tap] * line[(token + tap) * channels + channel]);
                    *out = bias[channel] + seen.sum::<f32>();
                }
            }
        });
        let kept = (taps - 1) * channels;
        for (index, line) in lines.iter().enumerate() {
            carried[index * kept..(index + 1) * kept].copy_from_slice(&line[wide..]);
        }
        out
    }

    /// Gradients of [`Self::forward`] behind the inputs `before`, to which nothing flows.
    pub fn gradient(&self, x: &[f32], weight: &[f32], before: &[f32], gradient: &[f32]) -> ConvolutionGradient {
        let (channels, taps) = (self.channels, self.taps);
        self.check(x, weight, &weight[..channels], before);
        assert_eq!(gradient.len(), x.len(), "gradient of another length");
        let wide = self.length * channels;
        let mut out = ConvolutionGradient {
            x: vec![0.0; x.len()],
            weight: vec![0.0; channels * taps],
            bias: vec![0.0; channels],
        };
        for index in 0..self.batch {
            let line = self.line(x, before, index);
            let mut flow = vec![0.0; line.len()];
            for (token, above) in gradient[index * wide..(index + 1) * wide].chunks_exact(channels).enumerate() {
                for (channel, above) in above.iter().enumerate() {
                    out.bias[channel] += above;
                    for tap in 0..taps {
                        let at = (token + tap) * channels + channel;
                        out.weight[channel * taps + tap] += above * line[at];
                        flow[at] += above * weight[channel * taps + tap];
                    }
                }
            }
            out.x[index * wide..(index + 1) * wide].copy_from_slice(&flow[(taps - 1) * channels..]);
        }
        out
    }

    /// The inputs of a sequence behind those before it.
    fn line(&self, x: &[f32], before: &[f32], index: usize) -> Vec<f32> {
        let (kept, wide) = ((self.taps - 1) * self.channels, self.length * self.channels);
        [&before[index * kept..(index + 1) * kept], &x[index * wide..(index + 1) * wide]].concat()
    }

    fn check(&self, x: &[f32], weight: &[f32], bias: &[f32], carried: &[f32]) {
        assert!(self.taps > 0, "a convolution sees at least the newest input");
        assert_eq!(x.len(), self.batch * self.length * self.channels, "inputs");
        assert!(weight.len() == self.channels * self.taps && bias.len() == self.channels, "weights and biases");
        assert_eq!(carried.len(), self.carried(), "inputs before the first token");
    }
}
