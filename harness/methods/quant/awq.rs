//! AWQ: columns of loud inputs are scaled up before weights are rounded, and what makes the inputs is scaled down.
//!
//! For each group of maps that share inputs, `s = x̄^r` of the mean magnitudes `x̄`, over the geometric mean of its greatest and
//! least, is tried for `r = 0, 1/steps, …`, and the factors that change the outputs of what is inspected least are kept: the
//! outputs of attention for queries, keys and values, of the feed-forward part for gate and up, of the map itself for the
//! others. They are folded into normalisations, into values (where every query head has a head of values) and into up. Then
//! ranges are cut group by group, but for queries and keys.
//!
//! Ji Lin, Jiaming Tang, Haotian Tang, Shang Yang, Wei-Ming Chen, Wei-Chen Wang, Guangxuan Xiao, Xingyu Dang, Chuang Gan, Song Han: AWQ:
//! Activation-aware Weight Quantization for LLM Compression and Acceleration, MLSys 2024.
//!
//! # Difference from the reference
//! Inputs of a block are those the calibration order of the bench says; the published code takes the original model's.
//! Ranges are cut by all calibration tokens instead of 512. Scales are stored in half precision unless `scales = f32`, and codes
//! are those of the stored scale. One matrix alone has nothing to fold into, so only its ranges are cut.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};

use crate::block::{CalibratedBlock, Fold, Map, Part, Producer};
use crate::quant::activation_aware::{Rounding, clip, linear_loss, search};
use crate::quant::grid::{GridRule, Mode, ScaleType};
use crate::quant::{QuantError, Quantized, Quantizer, check_groups, group_of, rtn_groups, statistics_of};
use crate::prune::{Needs, PruneError, Site};
use crate::registry::Method;
use crate::statistics::LinearStatistics;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Bits of a code: 3 or 4.
        bits: usize = 4, Domain::closed(3.0, 4.0);
        /// Weights of a row that share a scale; -1 for whole rows.
        group: i64 = 128, Domain::closed(-1.0, 65536.0);
        /// Ratios and cuts that are tried for the whole range.
        steps: usize = 20, Domain::closed(2.0, 1000.0);
        /// The share of a range that is cut at most.
        max_shrink: f64 = 0.5, Domain::open(0.0, 1.0);
        /// Whether ranges are cut.
        clip: bool = true;
        /// How scales are stored.
        scales: ScaleType = ScaleType::F16;
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "awq",
        axis: Axis::Quant,
        about: "scales the columns of loud inputs up, cuts ranges, and rounds to the grid of each group",
        source: "Lin et al.: AWQ: Activation-aware Weight Quantization for LLM Compression and Acceleration, MLSys 2024",
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
    let Settings { bits, group, steps, max_shrink, clip, scales } = Settings::resolve(arm)?;
    let rule = GridRule { bits: bits as u32, mode: Mode::AsymFree, scales, mse_clip: false };
    let rounding = Rounding { rule, group: group_of(group)? };
    Ok(Method::Quantizer(Box::new(Awq { rounding, steps, shrink: clip.then_some(max_shrink) })))
}

struct Awq {
    rounding: Rounding,
    steps: usize,
    /// `None` where ranges are not cut.
    shrink: Option<f64>,
}

impl Awq {
    /// Factors for maps whose outputs are inspected together, behind the part they belong to.
    fn together(&self, block: &dyn CalibratedBlock, part: Part, maps: &[Map]) -> Result<Option<Vec<f32>>, QuantError> {
        let matrices: Vec<_> = maps.iter().filter_map(|&map| Some((map, block.matrix(map)?))).collect();
        let Some(mean) = matrices.first().and_then(|(map, _)| block.statistics(*map)?.mean_magnitudes()) else {
            return Ok(None);
        };
        for (_, matrix) in &matrices {
            check_groups(&matrix.site(block.layer()), &matrix.values, self.rounding.group(matrix.cols))?;
        }
        search(&mean, self.steps, |factors| {
            let mut changed = Vec::with_capacity(matrices.len());
            for (map, matrix) in &matrices {
                changed.push((*map, self.rounding.values_scaled(&matrix.site(block.layer()), &matrix.values, factors)?));
            }
            Ok(block.error(part, &changed)?)
        })
    }

    /// Factors for a map whose own outputs are inspected.
    fn alone(&self, block: &dyn CalibratedBlock, map: Map) -> Result<Option<Vec<f32>>, QuantError> {
        let (Some(matrix), Some(statistics)) = (block.matrix(map), block.statistics(map)) else { return Ok(None) };
        let Some(mean) = statistics.mean_magnitudes() else { return Ok(None) };
        let site = matrix.site(block.layer());
        check_groups(&site, &matrix.values, self.rounding.group(matrix.cols))?;
        search(&mean, self.steps, |factors| linear_loss(&site, &matrix.values, self.rounding, statistics, factors))
    }
}

impl Quantizer for Awq {
    fn needs(&self) -> Needs {
        Needs::SECOND_MOMENT.union(Needs::MAGNITUDES)
    }

    fn folds(&self, block: &dyn CalibratedBlock) -> Result<Vec<Fold>, QuantError> {
        let inputs = [Map::Q, Map::K, Map::V];
        let feed: &[Map] = if block.is_gated() { &[Map::Gate, Map::Up] } else { &[Map::Up] };
        let mut folds = Vec::new();
        let mut keep = |producer, consumers: &[Map], factors: Option<Vec<f32>>| {
            folds.extend(factors.map(|factors| Fold { producer, consumers: consumers.to_vec(), factors }));
        };
        keep(Producer::AttentionNorm, &inputs, self.together(block, Part::Attention, &inputs)?);
        let shape = |map| block.matrix(map).map(|matrix| (matrix.rows, matrix.cols));
        // With fewer heads of values than of queries an output of values has several readers.
        if shape(Map::V) == shape(Map::O) {
            keep(Producer::Outputs(Map::V), &[Map::O], self.alone(block, Map::O)?);
        }
        keep(Producer::FeedForwardNorm, feed, self.together(block, Part::FeedForward, feed)?);
        if block.is_gated() {
            keep(Producer::Outputs(Map::Up), &[Map::Down], self.alone(block, Map::Down)?);
        }
        Ok(folds)
    }

    fn quantize(
        &self,
        site: &Site,
        weight: &[f32],
        statistics: Option<&LinearStatistics>,
    ) -> Result<Quantized, QuantError> {
        let group = self.rounding.group(site.cols);
        check_groups(site, weight, group)?;
        let statistics = statistics_of(site, statistics)?;
        let mut cut = weight.to_vec();
        let scored = matches!(Map::of(site), Some(Map::Q | Map::K));
        if let Some(shrink) = self.shrink.filter(|_| !scored) {
            let missing = || PruneError::NoCalibration { site: site.name.to_owned() };
            let moment = statistics.second_moment().ok_or_else(missing)?;
            clip(site, &mut cut, self.rounding, moment, self.steps, shrink)?;
        }
        rtn_groups(site, &cut, self.rounding.rule, group)
    }
}
