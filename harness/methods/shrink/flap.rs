//! FLAP: heads and channels whose outputs hardly fluctuate go, and their mean stays as a bias.
//!
//! Columns of the output map and of the contraction are worth what `metric` says, standardised over each matrix; one threshold over all heads and
//! channels of the model keeps the best for their cost in weights (`al-am`), one over all heads and one over all channels as many of each (`al-mm`), or
//! each block loses as many (`ul-um`). What goes leaves `W_:,j · mean(X_j)` in the bias of its map. `width/flap.rs` has the formulas.
//!
//! Source: An et al., Fluctuation-based Adaptive Structured Pruning for Large Language Models, 2023, and its code.
//!
//! # Difference from the reference
//! Variances are exact, and a head costs the weights that go with it (`width/flap.rs`). Where several query heads read one key-value head they are one unit with
//! it. Of each block the best head and the best channel stay; the code lets a block lose everything. `ratio` is of the weights of heads and channels, of which at least as
//! much goes. `ul-um` removes as many units of each block; the code compares columns of all heads with a threshold. `bias = false` leaves the compensation out.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};
use rand_chacha::ChaCha8Rng;

use crate::block::Map;
use crate::registry::Method;
use crate::shrink::{Shorter, Shrink, ShrinkError, Stack};
use crate::width::flap::{Fluctuation, Worth, compensation, fluctuations, kept, of_heads, standardised, worths};
use crate::width::units::{BlockScores, Fit, Going, Narrow, best, matrix, stay, stay_of_all};

harness_core::choice! {
    /// What columns are worth.
    pub enum Metric {
        /// Variance of the input times the square of the column.
        Wifv = "wifv",
        /// Variance of the input.
        Ifv = "ifv",
        /// Size of the column times that of the input.
        Wifn = "wifn",
    }
}

harness_core::choice! {
    /// What is compared with what.
    pub enum Manner {
        /// Heads and channels of all blocks, by their cost.
        AlAm = "al-am",
        /// Heads of all blocks, and channels of all blocks.
        AlMm = "al-mm",
        /// Heads of each block, and channels of each block.
        UlUm = "ul-um",
    }
}

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Share of the weights of heads and channels that goes, at least; of the heads and of the channels, rounded down, where those
        /// are not compared with each other.
        ratio: f64 = 0.2, Domain::half_open(0.0, 1.0);
        /// What columns are worth.
        metric: Metric = Metric::Wifv;
        /// What is compared with what.
        manner: Manner = Manner::AlAm;
        /// Whether the mean of what goes stays as a bias.
        bias: bool = true;
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "flap",
        axis: Axis::Shrink,
        about: "removes the heads and channels whose outputs fluctuate least, adapted to blocks, with their mean as a bias",
        source: "An et al.: Fluctuation-based Adaptive Structured Pruning for Large Language Models, 2023, and its code",
        version: 1,
        calibrated: true,
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
    Ok(Method::Shrink(Box::new(Flap(Settings::resolve(arm)?))))
}

#[derive(Debug)]
struct Flap(Settings);

impl Flap {
    fn scores(
        &self,
        model: &mut dyn Stack,
        block: usize,
        [outputs, contractions]: &[Fluctuation; 2],
    ) -> Result<BlockScores, ShrinkError> {
        let worth = match self.0.metric {
            Metric::Wifv => Worth::Wifv,
            Metric::Ifv => Worth::Ifv,
            Metric::Wifn => Worth::Wifn,
        };
        let columns = worths(&matrix(model, block, Map::O)?, outputs, worth);
        let channels = worths(&matrix(model, block, Map::Down)?, contractions, worth);
        Ok((of_heads(&columns, model.inner(block).group_width()), standardised(&channels)))
    }

    /// Units of each block that stay.
    fn stay(&self, model: &dyn Stack, scores: &[BlockScores]) -> Result<Vec<[Vec<usize>; 2]>, ShrinkError> {
        const WHAT: &str = "the fluctuation";
        let of = |count: usize| (self.0.ratio * count as f64).floor() as usize;
        match self.0.manner {
            Manner::AlAm => adapted(model, scores, 1.0 - self.0.ratio),
            Manner::AlMm => {
                let (groups, channels): (Vec<_>, Vec<_>) = scores.iter().cloned().unzip();
                let of = |scores: &[Vec<f64>]| stay_of_all(scores, of(scores.iter().map(Vec::len).sum()), WHAT);
                Ok(of(&groups)?.into_iter().zip(of(&channels)?).map(|(groups, channels)| [groups, channels]).collect())
            }
            Manner::UlUm => (scores.iter().enumerate())
                .map(|(block, (groups, channels))| {
                    let (first, second) = Going::Share(self.0.ratio).of_block(model.inner(block), block)?;
                    Ok([stay(groups, first, WHAT, block)?, stay(channels, second, WHAT, block)?])
                })
                .collect(),
        }
    }
}

/// What one threshold over all heads and channels leaves of each block.
fn adapted(model: &dyn Stack, scores: &[BlockScores], keep: f64) -> Result<Vec<[Vec<usize>; 2]>, ShrinkError> {
    let mut units = Vec::new();
    for (block, (groups, channels)) in scores.iter().enumerate() {
        let (group, channel) = model.inner(block).costs(model.width());
        for (scores, cost) in [(groups, group), (channels, channel)] {
            if scores.iter().any(|score| score.is_nan()) {
                return Err(ShrinkError::NotFinite { what: "the fluctuation", block });
            }
            let best = best(scores);
            // The best of each is taken first, whatever it is worth elsewhere.
            let first = |at, score: f64| if Some(at) == best { f64::INFINITY } else { score };
            units.extend(scores.iter().enumerate().map(|(at, score)| (first(at, *score), cost)));
        }
    }
    let mut chosen = kept(&units, keep).into_iter().zip(&units).map(|(stays, (score, _))| stays || score.is_infinite());
    let mut of = |count: usize| (0..count).filter(|_| chosen.next().unwrap_or(false)).collect::<Vec<usize>>();
    Ok(scores.iter().map(|(groups, channels)| [of(groups.len()), of(channels.len())]).collect())
}

/// The bias that the mean of what goes leaves, where something goes.
fn left(weight: &[f32], seen: &Fluctuation, stay: &[usize], width: usize) -> Fit {
    let columns = seen.means().len();
    let stays: Vec<bool> = (0..columns).map(|column| stay.binary_search(&(column / width)).is_ok()).collect();
    if stays.iter().all(|stays| *stays) {
        return Fit::default();
    }
    let bias = compensation(weight, seen, &stays).into_iter().map(|bias| bias as f32).collect();
    Fit { weight: None, bias: Some(bias) }
}

impl Shrink for Flap {
    fn needs_text(&self) -> bool {
        true
    }

    fn shrink(&self, model: &mut dyn Stack, _: &mut ChaCha8Rng) -> Result<Shorter, ShrinkError> {
        let seen = fluctuations(model)?;
        let scores = seen.iter().enumerate().map(|(block, seen)| self.scores(model, block, seen));
        let scores = scores.collect::<Result<Vec<_>, _>>()?;
        let mut widths = Vec::with_capacity(seen.len());
        for (block, ([groups, channels], seen)) in self.stay(model, &scores)?.into_iter().zip(&seen).enumerate() {
            let mut narrow = Narrow::of(groups, channels);
            if self.0.bias {
                let width = model.inner(block).group_width();
                narrow.output = left(&matrix(model, block, Map::O)?, &seen[0], &narrow.groups, width);
                narrow.down = left(&matrix(model, block, Map::Down)?, &seen[1], &narrow.channels, 1);
            }
            widths.push(narrow);
        }
        Ok(Shorter::of_widths(widths))
    }
}
