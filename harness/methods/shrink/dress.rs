//! DReSS: what is to go is made small by a short training first, then it goes, then what stays is trained a little.
//!
//! The heads and channels that go are fixed at the beginning. For `steps` steps all weights learn on the calibration text under the loss
//! `L + strength · Σ ‖W_g‖_norm` over the units g that go and no others, so that what they do moves to those that stay; then they are cut off; then factors of
//! `rank` beside every map learn for `recover` steps. `strength = 0` is training, cutting and training; `steps = 0` is cutting and training.
//!
//! Source: DReSS: Data-driven Regularized Structured Streamlining for Large Language Models, 2025; of the factors Hu et al., LoRA, 2021.
//!
//! # Difference from the reference
//! No code is published. Which units go is said nowhere; here it is by weights times inputs, by weights, or at random, as many of every block. Where
//! several query heads read one key-value head they are one unit with it. Steps, rates and the strength are ours.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use crate::registry::Method;
use crate::shrink::{Shorter, Shrink, ShrinkError, Stack, Training};
use crate::width::choice::{at_random, by_inputs, by_magnitude};
use crate::width::penalty::{Gone, Norm};
use crate::width::units::Going;

harness_core::choice! {
    /// Which units go.
    pub enum Select {
        /// Those of the least weights times inputs.
        Wanda = "wanda",
        /// Those of the least weights.
        Magnitude = "magnitude",
        /// Any.
        Random = "random",
    }
}

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Share of the key-value heads, each with its query heads, and of the channels of every block that goes, rounded down; 0.25
        /// when neither it nor a number is set.
        ratio: Option<f64> = None, Domain::half_open(0.0, 1.0);
        /// Query heads of every block that go, whole groups of those that share keys and values.
        heads: Option<usize> = None, Domain::closed(0.0, 65536.0);
        /// Channels of every block's feed-forward part that go.
        channels: Option<usize> = None, Domain::closed(0.0, 16_777_216.0);
        /// Which go.
        select: Select = Select::Wanda;
        /// What multiplies the norms of what goes in the loss.
        strength: f64 = 0.001, Domain::closed(0.0, 1000.0);
        /// 1 for the sum of the sizes of a unit's weights, 2 for the root of the sum of their squares.
        norm: usize = 1, Domain::closed(1.0, 2.0);
        /// Steps of training before the cut.
        steps: usize = 50, Domain::closed(0.0, 1_000_000.0);
        /// Learning rate before the cut.
        rate: f64 = 0.0005, Domain::open(0.0, 1.0);
        /// Steps of training behind the cut.
        recover: usize = 50, Domain::closed(0.0, 1_000_000.0);
        /// Learning rate behind the cut.
        recover_rate: f64 = 0.001, Domain::open(0.0, 1.0);
        /// Rank of the factors that are trained behind the cut; 0 for all weights.
        rank: usize = 8, Domain::closed(0.0, 4096.0);
        /// Calibration windows of a step.
        batch: usize = 4, Domain::closed(1.0, 4096.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "dress",
        axis: Axis::Shrink,
        about: "makes the heads and channels that are to go small by a short training, removes them, and trains the rest a little",
        source: "DReSS: Data-driven Regularized Structured Streamlining for Large Language Models, 2025",
        version: 1,
        calibrated: true,
        random: true,
        parameters: Settings::specs(),
        check: |arm| build(arm).map(drop),
    }
}

/// Makes it.
///
/// # Errors
/// A parameter that does not fit.
pub fn build(arm: &Arm) -> Result<Method, ParameterError> {
    let settings = Settings::resolve(arm)?;
    let going = Going::of(settings.ratio, settings.heads, settings.channels)?;
    let norm = if settings.norm == 1 { Norm::One } else { Norm::Two };
    Ok(Method::Shrink(Box::new(Dress { settings, going, norm })))
}

#[derive(Debug)]
struct Dress {
    settings: Settings,
    going: Going,
    norm: Norm,
}

impl Shrink for Dress {
    fn needs_text(&self) -> bool {
        true
    }

    fn reads(&self, window: usize) -> usize {
        3 * (self.settings.steps + self.settings.recover) * self.settings.batch * window
    }

    fn shrink(&self, model: &mut dyn Stack, random: &mut ChaCha8Rng) -> Result<Shorter, ShrinkError> {
        let Settings { steps, rate, recover, recover_rate, rank, batch, strength, .. } = self.settings;
        let chosen = match self.settings.select {
            Select::Wanda => by_inputs(model, self.going),
            Select::Magnitude => by_magnitude(model, self.going, 1),
            Select::Random => at_random(model, self.going, random),
        }?;
        let gone = chosen.widths.iter().enumerate().map(|(block, left)| Gone::of(model.inner(block), left));
        let gone: Vec<Gone> = gone.collect();
        // From 0 to 1, by all bits that a double can hold.
        let mut draw = || (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let total = steps + recover;
        let mut norms: Vec<f64> = Vec::with_capacity(steps);
        let first = Training { steps, batch, rate, rank: None, told: (0, total) };
        let losses = model.train(&first, &mut draw, &mut |block, maps| {
            if block == 0 {
                norms.push(0.0);
            }
            let of_block = gone[block].penalise(self.norm, strength, maps);
            if let Some(sum) = norms.last_mut() {
                *sum += of_block;
            }
        })?;
        let whole = model.trained_loss()?;
        model.cut(&chosen.widths)?;
        let cut = model.trained_loss()?;
        let rank = (rank > 0).then_some(rank);
        let second = Training { steps: recover, batch, rate: recover_rate, rank, told: (steps, total) };
        model.train(&second, &mut draw, &mut |_, _| {})?;
        let recovered = model.trained_loss()?;
        let mut told = Vec::new();
        if let (Some(first), Some(last), Some(loss)) = (norms.first(), norms.last(), losses.first()) {
            told.push(format!("norms of what goes {first:.4} before the first step and {last:.4} before the last"));
            told.push(format!("loss of the first step {loss:.4}"));
        }
        told.push(format!("loss {whole:.4} before the cut, {cut:.4} behind it and {recovered:.4} at the end"));
        Ok(Shorter { trained: true, steps: told, ..chosen })
    }
}
