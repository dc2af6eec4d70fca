//! Inputs of some tokens, evenly spread over all that pass.

/// Tokens that are kept at most; where more pass, every second one is let go.
const MOST: usize = 1024;

/// Inputs of every `stride`-th token.
#[derive(Debug, Clone)]
pub(super) struct Samples {
    stride: usize,
    seen: usize,
    rows: Vec<f32>,
}

impl Default for Samples {
    fn default() -> Self {
        Self { stride: 1, seen: 0, rows: Vec::new() }
    }
}

impl Samples {
    /// Lets tokens × columns pass.
    pub fn add(&mut self, x: &[f32], columns: usize) {
        for row in x.chunks_exact(columns) {
            if self.seen.is_multiple_of(self.stride) {
                if self.rows.len() == MOST * columns {
                    let kept = self.rows.chunks_exact(columns).step_by(2).flatten().copied().collect();
                    self.rows = kept;
                    self.stride *= 2;
                }
                if self.seen.is_multiple_of(self.stride) {
                    self.rows.extend_from_slice(row);
                }
            }
            self.seen += 1;
        }
    }

    /// Tokens × columns.
    pub fn rows(&self) -> &[f32] {
        &self.rows
    }

    /// The same tokens with each column divided.
    pub fn divided(&self, factors: &[f32]) -> Self {
        let rows = self.rows.chunks_exact(factors.len().max(1));
        let rows = rows.flat_map(|row| row.iter().zip(factors).map(|(x, s)| x / s)).collect();
        Self { rows, ..*self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_evenly_spread_however_many_pass() {
        let mut samples = Samples::default();
        for token in 0..5000 {
            samples.add(&[token as f32, 0.0], 2);
        }
        let kept: Vec<f32> = samples.rows().iter().step_by(2).copied().collect();
        assert_eq!(kept.len(), 625);
        assert!(kept.iter().enumerate().all(|(at, token)| *token == 8.0 * at as f32));
    }
}
