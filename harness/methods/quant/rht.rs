//! Turning by random Hadamard matrices before rounding, so that no weight and no input is loud by itself.
//!
//! `W̃ = H_N S_N W S_K H_K` with random signs `S` and orthonormal Hadamard matrices `H` is rounded; inputs are turned by `S_K H_K`
//! when they come and outputs turned back. With `sides = inputs` only columns are turned. `rounding = gptq` makes up for errors
//! with the Hessian of the turned inputs, which is what must be compared with GPTQ; with `inputs = int8` or `int4` turned inputs
//! are rounded too, one scale a token and group: the setting of QuaRot, whose turns inside the residual stream and before each
//! rounded map give the same products.
//!
//! Albert Tseng, Jerry Chee, Qingyao Sun, Volodymyr Kuleshov, Christopher De Sa: QuIP#: Even Better LLM Quantization with Hadamard Incoherence
//! and Lattice Codebooks, ICML 2024; Saleh Ashkboos et al.: QuaRot: Outlier-Free 4-Bit Inference in Rotated LLMs, NeurIPS 2024.
//!
//! # Difference from the reference
//! The grid is even, so this is the incoherence of QuIP# without its lattice codebook. Every map turns its own inputs with signs
//! of its own, where QuaRot turns the residual stream once and folds that into the weights: the same accuracy, more time. Signs
//! come from a seed and are not billed.

use std::sync::Arc;

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters, seed};
use rand_chacha::rand_core::Rng;

use crate::quant::feedback::Rounding;
use crate::quant::grid::{GridRule, Mode, ScaleType, rtn_groups, width};
use crate::quant::hadamard::Turn;
use crate::quant::turned::{InputBits, TurnedMap, TurnedOperators};
use crate::quant::{QuantError, Quantized, Quantizer, check_groups, group_of, statistics_of};
use crate::prune::{Needs, Site, check_weight};
use crate::registry::Method;
use crate::registry::gptq::Gptq;
use crate::statistics::LinearStatistics;

harness_core::choice! {
    /// What is turned.
    pub enum Sides {
        /// Columns and rows.
        Both = "both",
        /// Columns.
        Inputs = "inputs",
    }
}

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Bits of a code: 2, 3, 4, 5, 6 or 8; with `rounding = gptq` 2, 3, 4 or 8.
        bits: usize = 4, Domain::closed(2.0, 8.0);
        /// Weights of a turned row that share a scale; -1 for whole rows.
        group: i64 = 128, Domain::closed(-1.0, 65536.0);
        /// What is turned.
        sides: Sides = Sides::Both;
        /// How turned weights are rounded.
        rounding: Rounding = Rounding::Nearest;
        /// With `rounding = gptq`: what is added to the diagonal of the Hessian, as a share of its mean.
        damp: f64 = 0.01, Domain::above(0.0, 1.0);
        /// What turned inputs are rounded to.
        inputs: InputBits = InputBits::Full;
        /// Where the grids lie.
        mode: Mode = Mode::Sym;
        /// How scales are stored.
        scales: ScaleType = ScaleType::F16;
        /// What the signs come from.
        seed: usize = 0, Domain::closed(0.0, 4_294_967_295.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "rht",
        axis: Axis::Quant,
        about: "turns weights and inputs by random Hadamard matrices before rounding them",
        source: "Tseng et al.: QuIP#, ICML 2024, without its codebook; Ashkboos et al.: QuaRot, NeurIPS 2024",
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
    let Settings { bits, group, sides, rounding, damp, inputs, mode, scales, seed } = Settings::resolve(arm)?;
    let rule = GridRule { bits: width(bits)?, mode, scales, mse_clip: false };
    let group = group_of(group)?;
    let feedback = (rounding == Rounding::Feedback).then(|| Gptq::with(rule, group, damp)).transpose()?;
    Ok(Method::Quantizer(Box::new(Rht { rule, group, sides, feedback, inputs, seed: seed as u64 })))
}

struct Rht {
    rule: GridRule,
    group: Option<usize>,
    sides: Sides,
    /// `None` where weights are rounded to the nearest.
    feedback: Option<Gptq>,
    inputs: InputBits,
    seed: u64,
}

impl Rht {
    fn turn(&self, site: &Site, side: &str, order: usize) -> Result<Turn, QuantError> {
        let mut random = seed::stream(self.seed, &["rht", side, site.name]);
        let turn = Turn::new(order, || random.next_u64() & 1 == 1);
        turn.ok_or_else(|| QuantError::NoHadamard { site: site.name.to_owned(), order })
    }
}

impl Quantizer for Rht {
    fn needs(&self) -> Needs {
        if self.feedback.is_some() { Needs::SECOND_MOMENT } else { Needs::NOTHING }
    }

    fn quantize(
        &self,
        site: &Site,
        weight: &[f32],
        statistics: Option<&LinearStatistics>,
    ) -> Result<Quantized, QuantError> {
        check_weight(site, weight)?;
        let group = self.group.unwrap_or(site.cols);
        check_groups(site, weight, group)?;
        let inputs = self.turn(site, "inputs", site.cols)?;
        let outputs = (self.sides == Sides::Both).then(|| self.turn(site, "outputs", site.rows)).transpose()?;
        let mut turned = weight.to_vec();
        inputs.forward(&mut turned);
        if let Some(outputs) = &outputs {
            outputs.forward_columns(&mut turned, site.cols);
        }
        let mut found = match &self.feedback {
            Some(gptq) => {
                let seen = statistics_of(site, statistics)?.turned(&inputs);
                gptq.quantize(site, &turned, seen.as_ref())?
            }
            None => rtn_groups(site, &turned, self.rule, group)?,
        };
        let (name, rows, cols) = (site.name.to_owned(), site.rows, site.cols);
        let map = TurnedMap { name, rows, cols, group, inputs, outputs, rounded: self.inputs };
        let kept = found.clone();
        found.values = map.turned_back(&found.values);
        found.packing = None;
        found.operators = Some(Arc::new(TurnedOperators { map, turned: kept }));
        Ok(found)
    }
}
