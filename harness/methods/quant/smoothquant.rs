//! SmoothQuant: the range of loud inputs moves into the weights, then both are rounded to eight bits.
//!
//! `s_j = a_j^α / w_j^(1−α)` of the largest magnitudes `a` of the inputs in calibration and `w` of the weights of all maps that read
//! them; the normalisation before is divided by `s` and the columns are multiplied. Queries, keys and values share one `s`, gate
//! and up another; output and down maps are rounded as they are. Weights have one scale a row (or matrix), inputs one
//! a token, one for all that are multiplied together, or one from calibration.
//!
//! Guangxuan Xiao, Ji Lin, Mickael Seznec, Hao Wu, Julien Demouth, Song Han: SmoothQuant: Accurate and Efficient Post-Training Quantization
//! for Large Language Models, ICML 2023.
//!
//! # Difference from the reference
//! None known beyond single precision throughout.

use std::sync::Arc;

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::block::{CalibratedBlock, Fold, Map, Producer};
use crate::quant::grid::{GridRule, Mode, ScaleType, rtn_groups};
use crate::quant::rounded::{InputRule, InputScale, RoundedMap, RoundedOperators, largest_code, round_whole};
use crate::quant::smoothing::{column_maxima, smoothing};
use crate::quant::{Bits, QuantError, Quantized, Quantizer, statistics_of};
use crate::prune::{Needs, PruneError, Site, check_weight};
use crate::registry::Method;
use crate::statistics::LinearStatistics;

/// Bits of weights and inputs.
const BITS: u32 = 8;

harness_core::choice! {
    /// What weights share a scale.
    pub enum WeightScale {
        /// Those of a row.
        Channel = "channel",
        /// All of the matrix.
        Tensor = "tensor",
    }
}

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// How much of the range moves: 0 nothing of the inputs', 1 all of it.
        alpha: f64 = 0.5, Domain::closed(0.0, 1.0);
        /// What inputs share a scale.
        inputs: InputScale = InputScale::Token;
        /// What weights share a scale.
        weights: WeightScale = WeightScale::Channel;
        /// Whether ranges move at all; without it weights and inputs are rounded as they are.
        smooth: bool = true;
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "smoothquant",
        axis: Axis::Quant,
        about: "moves the range of loud inputs into the weights and rounds both to eight bits",
        source: "Xiao, Lin, Seznec, Wu, Demouth, Han: SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models, ICML 2023",
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
    Ok(Method::Quantizer(Box::new(SmoothQuant(Settings::resolve(arm)?))))
}

struct SmoothQuant(Settings);

impl Quantizer for SmoothQuant {
    fn needs(&self) -> Needs {
        Needs::MAGNITUDES
    }

    fn folds(&self, block: &dyn CalibratedBlock) -> Result<Vec<Fold>, QuantError> {
        if !self.0.smooth {
            return Ok(Vec::new());
        }
        let feed: &[Map] = if block.is_gated() { &[Map::Gate, Map::Up] } else { &[Map::Up] };
        let pairs = [(Producer::AttentionNorm, &[Map::Q, Map::K, Map::V][..]), (Producer::FeedForwardNorm, feed)];
        let mut folds = Vec::new();
        for (producer, maps) in pairs {
            let mut columns: Vec<f32> = Vec::new();
            for matrix in maps.iter().filter_map(|&map| block.matrix(map)) {
                check_weight(&matrix.site(block.layer()), &matrix.values)?;
                columns.resize(matrix.cols, 0.0);
                let found = column_maxima(&matrix.values, matrix.cols);
                columns.iter_mut().zip(found).for_each(|(most, found)| *most = most.max(found));
            }
            if let Some(inputs) = block.statistics(maps[0]).and_then(LinearStatistics::largest_magnitudes) {
                let factors = smoothing(inputs, &columns, self.0.alpha);
                folds.push(Fold { producer, consumers: maps.to_vec(), factors });
            }
        }
        Ok(folds)
    }

    fn quantize(
        &self,
        site: &Site,
        weight: &[f32],
        statistics: Option<&LinearStatistics>,
    ) -> Result<Quantized, QuantError> {
        check_weight(site, weight)?;
        let mut found = match self.0.weights {
            WeightScale::Channel => {
                let rule = GridRule { bits: BITS, mode: Mode::Sym, scales: ScaleType::F32, mse_clip: false };
                rtn_groups(site, weight, rule, site.cols)?
            }
            WeightScale::Tensor => {
                let (codes, scale) = round_whole(weight, BITS);
                let values = codes.iter().map(|&code| f32::from(code) * scale).collect();
                let bits = Bits { codes: u64::from(BITS) * weight.len() as u64, scales: 32, ..Bits::default() };
                Quantized { values, codes, scales: vec![scale], bits, ..Quantized::default() }
            }
        };
        let inputs = match self.0.inputs {
            InputScale::Token => InputRule::Token,
            InputScale::Tensor => InputRule::Tensor,
            InputScale::Static => {
                let missing = || PruneError::NoCalibration { site: site.name.to_owned() };
                let largest = statistics_of(site, statistics)?.largest_magnitudes().ok_or_else(missing)?;
                let most = largest.iter().fold(0.0_f32, |most, value| most.max(*value));
                found.bits.scales += 32;
                InputRule::Fixed(ScaleType::F32.stored(most / largest_code(BITS)))
            }
        };
        let map = RoundedMap::of(site, &found.codes, &found.scales, BITS, inputs);
        found.packing = None;
        found.operators = Some(Arc::new(RoundedOperators { site: site.name.to_owned(), map }));
        Ok(found)
    }
}
