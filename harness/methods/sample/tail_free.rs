//! Tail-free sampling: the tokens before the distribution bends into its tail.
//!
//! Of the probabilities by falling order, the absolute second differences are divided by their sum and summed up; the tokens after the
//! one at which the sum passes `z` go. Where all second differences vanish they count as equal. Up to two candidates all stay.
//!
//! # Difference from the reference
//! The centre of a second difference is its middle token, as in text-generation-webui; llama.cpp, which has dropped the method, took
//! the first and so kept one token less, sometimes none.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::registry::Method;
use crate::sample::bends::{Bends, FLAT};
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
    Ok(Method::Sampler(Box::new(TailFree { z: Settings::resolve(arm)?.z, bends: Bends::default() })))
}

/// How far below the largest logit the order is looked at first.
const NEAR: f32 = 8.0;

/// How often more of the order is looked at before the rest is.
const STEPS: usize = 4;

struct TailFree {
    z: f64,
    bends: Bends,
}

impl Sampler for TailFree {
    fn role(&self) -> Role {
        Role::Truncation
    }

    fn apply(&mut self, candidates: &mut Candidates, _: &mut Step) -> Result<(), SampleError> {
        let (z, count) = (self.z, candidates.len());
        if z >= 1.0 || count <= 2 {
            return Ok(());
        }
        let max = candidates.max();
        let bends = &mut self.bends;
        bends.clear();
        let (mut reach, mut high) = (NEAR, f32::INFINITY);
        for step in 0.. {
            let low = if step < STEPS { max - reach } else { f32::NEG_INFINITY };
            bends.take(candidates, low, high);
            if bends.falling().len() == count {
                break;
            }
            match bends.decided(z, count) {
                Ok(within) => {
                    candidates.keep_falling(bends.falling(), 1 + within);
                    return Ok(());
                }
                Err(wanted) => (reach, high) = (wanted.max(reach + 2.0), low),
            }
        }
        let sum = bends.sum();
        // The sum of bends is told from zero by probabilities, not by weights, of which there are no more than one each.
        let bent = sum > FLAT * count as f64 || sum * (f64::from(max) - candidates.log_sum_exp()).exp() > FLAT;
        let within = if bent {
            bends.within(z * sum)
        } else {
            (z * (count - 2) as f64 + 1e-9) as usize
        };
        // The first token always stays, and the last has no second difference.
        candidates.keep_falling(bends.falling(), 1 + within);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::sample::Past;

    /// How many stay, by the definition.
    fn plain(row: &[f32], z: f64) -> usize {
        let mut falling: Vec<f64> = row.iter().map(|z| f64::from(*z)).collect();
        falling.sort_by(|a, b| b.total_cmp(a));
        let total: f64 = falling.iter().map(|z| (z - falling[0]).exp()).sum();
        let p: Vec<f64> = falling.iter().map(|z| (z - falling[0]).exp() / total).collect();
        let bends: Vec<f64> = p.windows(3).map(|p| ((p[0] - p[1]) - (p[1] - p[2])).abs()).collect();
        let sum: f64 = bends.iter().sum();
        let mut passed = 0.0;
        let within = bends.iter().take_while(|bend| {
            passed += if sum > FLAT { **bend / sum } else { 1.0 / bends.len() as f64 };
            passed <= z + if sum > FLAT { 0.0 } else { 1e-12 }
        });
        1 + within.count()
    }

    fn kept(row: &[f32], z: f64) -> usize {
        let mut candidates = Candidates::default();
        candidates.load(row).unwrap();
        let mut step = Step { past: Past::default(), uniform: &mut || 0.0, basis: None };
        let mut sampler = TailFree { z, bends: Bends::default() };
        sampler.apply(&mut candidates, &mut step).unwrap();
        candidates.len()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn part_of_the_order_tells_what_all_of_it_does(
            count in prop_oneof![3usize..300, 1000usize..30_000],
            seed in 0u64..1000,
            spread in prop_oneof![Just(0.0f64), Just(0.3), Just(3.0), Just(12.0)],
            power in prop_oneof![Just(1.0f64), Just(3.0)],
            z in 0.02f64..0.999,
        ) {
            let uniform = |at: usize| ((at as f64 * 0.754_877_666 + seed as f64 * 0.569_840_29).fract() - 0.5) * 2.0;
            let row: Vec<f32> = (0..count).map(|at| (spread * uniform(at).abs().powf(power).copysign(uniform(at))) as f32).collect();
            prop_assert_eq!(kept(&row, z), plain(&row, z));
        }
    }

    #[test]
    fn rows_of_normal_logits_are_cut_where_the_whole_order_says() {
        let mut random = harness_core::seed::stream(3, &["tail-free"]);
        let mut uniform = || crate::sample::uniform(&mut random);
        for count in [2000, 60_000] {
            for _ in 0..10 {
                let mut normal = || (-2.0 * (1.0 - uniform()).ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
                let row: Vec<f32> = (0..count).map(|_| (3.0 * normal()) as f32).collect();
                for z in [0.3, 0.9, 0.95, 0.99] {
                    assert_eq!(kept(&row, z), plain(&row, z));
                }
            }
        }
    }
}
