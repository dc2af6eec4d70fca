//! Tail-free sampling: the tokens before the distribution bends into its tail.
//!
//! Of the probabilities by falling order, the absolute second differences are divided by their sum and summed up; the tokens after the
//! one at which the sum passes `z` go. Where all second differences vanish they count as equal. Up to two candidates all stay.
//!
//! # Difference from the reference
//! The centre of a second difference is its middle token, as in text-generation-webui; llama.cpp, which has dropped the method, took
//! the first and so kept one token less, sometimes none.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};
use harness_kernels::select;

use crate::registry::Method;
use crate::sample::{Candidates, Role, SampleError, Sampler, Step};

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Share of the bends that is kept; 1 keeps everything.
        z: f64 = 1.0, Domain::above(0.0, 1.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "tail-free",
        axis: Axis::Sampler,
        about: "keeps the tokens before the distribution bends into its tail",
        source: "Phénix, Egan: Tail Free Sampling, 2019; text-generation-webui",
        version: 1,
        calibrated: false,
        random: false,
        parameters: Settings::specs(),
        check: |arm| build(arm).map(drop),
    }
}

/// Makes it.
///
/// # Errors
/// A parameter that does not fit.
pub fn build(arm: &Arm) -> Result<Method, ParameterError> {
    Ok(Method::Sampler(Box::new(TailFree(Settings::resolve(arm)?))))
}

/// Sum of second differences up to which a distribution counts as straight.
const FLAT: f64 = 1e-6;

/// Second differences between two totals.
const BLOCK: usize = 64;

/// The sum up to the end of every [`BLOCK`], eight partial sums at a time.
fn totals(bends: &[f64]) -> Vec<f64> {
    let mut total = 0.0;
    let sums = bends.chunks(BLOCK).map(|block| {
        let mut lanes = [0.0; 8];
        for eight in block.chunks(8) {
            lanes.iter_mut().zip(eight).for_each(|(lane, bend)| *lane += bend);
        }
        total += lanes.iter().sum::<f64>();
        total
    });
    sums.collect()
}

struct TailFree(Settings);

impl Sampler for TailFree {
    fn role(&self) -> Role {
        Role::Truncation
    }

    fn apply(&mut self, candidates: &mut Candidates, _: &mut Step) -> Result<(), SampleError> {
        if self.0.z >= 1.0 || candidates.len() <= 2 {
            return Ok(());
        }
        let falling = candidates.falling();
        let total = candidates.log_sum_exp();
        let mut p = Vec::new();
        select::wide_exponentials(&falling, falling[0], &mut p);
        // The sum of bends is told from zero by probabilities, not by weights.
        let scale = (f64::from(falling[0]) - total).exp();
        let bends: Vec<f64> = p.windows(3).map(|p| ((p[0] - p[1]) - (p[1] - p[2])).abs()).collect();
        let totals = totals(&bends);
        let sum = totals[totals.len() - 1];
        let within = if sum * scale > FLAT {
            let target = self.0.z * sum;
            let block = totals.partition_point(|total| *total <= target);
            let mut passed = if block == 0 { 0.0 } else { totals[block - 1] };
            let rest = bends.iter().skip(block * BLOCK).take(BLOCK).take_while(|bend| {
                passed += **bend;
                passed <= target
            });
            (block * BLOCK).min(bends.len()) + rest.count()
        } else {
            (self.0.z * bends.len() as f64 + 1e-9) as usize
        };
        // The first token always stays, and the last has no second difference.
        let count = 1 + within;
        candidates.keep_falling(&falling, count);
        Ok(())
    }
}
