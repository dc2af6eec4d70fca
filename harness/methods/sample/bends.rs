//! Second differences of probabilities in falling order, as far as they are needed to say where their sum passes a share.

use harness_kernels::bends;

use crate::sample::Candidates;

/// Sum of second differences up to which a distribution counts as straight.
pub const FLAT: f64 = 1e-6;

/// What is not yet known of the sum of bends, against the typical bend about the cut, before another look at the order.
const UNKNOWN: f64 = 0.15;

/// Sums of up to a million bends in f64, whatever their order, are nearer than this to one another.
const ROUNDING: f64 = 1e-10;

/// The order of the most probable candidates, and the bends between them.
#[derive(Debug, Clone, Default)]
pub struct Bends {
    /// Logits.
    falling: Vec<f32>,
    /// Sums up to the end of every block of bends; weights count from the largest as 1.
    totals: Vec<f64>,
}

impl Bends {
    /// Forgets all.
    pub fn clear(&mut self) {
        self.falling.clear();
        self.totals.clear();
    }

    /// The logits that were taken in.
    pub fn falling(&self) -> &[f32] {
        &self.falling
    }

    /// Takes in the candidates from `low` up to `high`, below which everything is here already.
    pub fn take(&mut self, candidates: &mut Candidates, low: f32, high: f32) {
        self.totals.truncate(self.falling.len().saturating_sub(2) / bends::BLOCK);
        candidates.falling((low, high), &mut self.falling);
        if self.falling.len() > 2 {
            bends::totals(&self.falling, &mut self.totals);
        }
    }

    /// Their sum, as far as they are known.
    pub fn sum(&self) -> f64 {
        self.totals.last().copied().unwrap_or(0.0)
    }

    /// Bends before the sum passes a target.
    pub fn within(&self, target: f64) -> usize {
        let block = self.totals.partition_point(|total| *total <= target);
        let mut passed = if block == 0 { 0.0 } else { self.totals[block - 1] };
        let rest = bends::block(&self.falling, block).into_iter().take_while(|bend| {
            passed += bend;
            passed <= target
        });
        (block * bends::BLOCK + rest.count()).min(self.falling.len() - 2)
    }

    /// The mean bend of the block that holds one.
    fn typical(&self, bend: usize) -> f64 {
        let block = (bend / bends::BLOCK).min(self.totals.len() - 1);
        let before = if block == 0 { 0.0 } else { self.totals[block - 1] };
        (self.totals[block] - before) / bends::BLOCK as f64
    }

    /// Bends before the sum passes its share `z`, if what is missing below the known order cannot change their number, and
    /// otherwise how far below the largest logit the order should be known.
    ///
    /// Bends are differences of neighbouring falls, so those that are missing sum to no more than the falls they are
    /// differences of, each taken twice: twice what there is to fall.
    pub fn decided(&self, z: f64, candidates: usize) -> Result<usize, f32> {
        let known = self.sum();
        // The weights sum to no more than one each, which bounds the probability of the largest from below.
        if self.falling.len() < 3 || known <= FLAT * candidates as f64 {
            return Err(f32::INFINITY);
        }
        let weight = |from_end: usize| bends::weight(self.falling[self.falling.len() - from_end], self.falling[0]);
        let missing = weight(1) + weight(2);
        let least = self.within(z * known * (1.0 - ROUNDING));
        let most = self.within(z * (known + missing) * (1.0 + ROUNDING));
        if least == most && most < self.falling.len() - 2 {
            return Ok(least);
        }
        Err((2.0 / (UNKNOWN * self.typical(least))).ln() as f32)
    }
}
