//! The shape of a state-space decoder and the tensors it is made of.

use serde::{Deserialize, Serialize};

use crate::error::ModelError;

/// The shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateSpaceConfig {
    /// Number of tokens in the vocabulary.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Channels of a scan; usually twice the width.
    pub channels: usize,
    /// States of a channel.
    pub states: usize,
    /// Inputs that the convolution sees.
    pub taps: usize,
    /// Numbers that the steps of a token are made of.
    pub step_rank: usize,
    /// Added to the mean square before the square root.
    pub norm_epsilon: f64,
}

/// A tensor that a configuration asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spec {
    pub name: String,
    pub rows: usize,
    pub cols: usize,
    pub vector: bool,
}

impl StateSpaceConfig {
    /// Checks every number.
    ///
    /// # Errors
    /// [`ModelError::Config`] with the key and the range.
    pub fn check(&self) -> Result<(), ModelError> {
        let counts = [
            ("vocab_size", self.vocab_size, 1 << 24),
            ("hidden_size", self.hidden_size, 1 << 16),
            ("layers", self.layers, 1024),
            ("channels", self.channels, 1 << 17),
            ("states", self.states, 1 << 10),
            ("taps", self.taps, 64),
            ("step_rank", self.step_rank, 1 << 16),
        ];
        for (key, value, most) in counts {
            if value == 0 || value > most {
                return Err(ModelError::Config(format!(
                    "`{key}` of a state-space decoder is {value}; it must be 1 to {most}"
                )));
            }
        }
        if !(self.norm_epsilon > 0.0 && self.norm_epsilon < 1.0) {
            return Err(ModelError::Config(format!(
                "`norm_epsilon` of a state-space decoder is {}; it must lie between 0 and 1",
                self.norm_epsilon
            )));
        }
        Ok(())
    }

    /// Parameters; the head, which is the embedding, counts once.
    pub fn parameters(&self) -> usize {
        self.tensors().iter().map(|spec| spec.rows * spec.cols).sum()
    }

    pub(super) fn tensors(&self) -> Vec<Spec> {
        let matrix = |name: String, rows, cols| Spec { name, rows, cols, vector: false };
        let vector = |name: String, cols| Spec { name, rows: 1, cols, vector: true };
        let mut all = vec![
            matrix("backbone.embeddings.weight".to_owned(), self.vocab_size, self.hidden_size),
            vector("backbone.norm_f.weight".to_owned(), self.hidden_size),
        ];
        for layer in 0..self.layers {
            let own = |part: &str| format!("backbone.layers.{layer}.{part}");
            all.extend([
                vector(own("norm.weight"), self.hidden_size),
                matrix(own("mixer.in_proj.weight"), 2 * self.channels, self.hidden_size),
                matrix(own("mixer.conv1d.weight"), self.channels, self.taps),
                vector(own("mixer.conv1d.bias"), self.channels),
                matrix(own("mixer.x_proj.weight"), self.step_rank + 2 * self.states, self.channels),
                matrix(own("mixer.dt_proj.weight"), self.channels, self.step_rank),
                vector(own("mixer.dt_proj.bias"), self.channels),
                matrix(own("mixer.A_log"), self.channels, self.states),
                vector(own("mixer.D"), self.channels),
                matrix(own("mixer.out_proj.weight"), self.hidden_size, self.channels),
            ]);
        }
        all
    }
}
