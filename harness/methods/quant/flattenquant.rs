//! FlattenQuant: loud channels are split into several below a threshold, so that whole tensors can share one scale in four bits.
//!
//! Inputs are smoothed, `T = β · c` of a middle `c` of the channels' largest magnitudes is the threshold, and a channel beyond it
//! becomes `⌈max / T⌉` channels by clamping: `T, T, …, rest`. Its column of weights is repeated (and split in the same way by
//! its own threshold). Inputs and weights are then rounded with one scale each, `T / q` and the weights' largest magnitude
//! over `q`, and multiplied as integers. Four bits or eight is decided for each matrix by how its outputs on calibration
//! text change.
//!
//! Yi Zhang, Fei Yang, Shuang Peng, Fangyu Wang, Aimin Pan: FlattenQuant: Breaking Through the Inference Compute-bound for Large Language
//! Models with Per-tensor Quantization, LREC-COLING 2024.
//!
//! # Difference from the reference
//! A reconstruction: there is no public code, and the threshold, its default and the rule that decides for four bits are
//! design decisions here, each of them a parameter. Smoothing is applied to the inputs of every map as they are rounded, not
//! folded into layers before. GPTQ reads 512 to 1024 calibration tokens, after flattening.

use std::sync::Arc;

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};
use harness_kernels::{MatrixRef, matmul_nt};

use crate::quant::flatten::{Centre, FlattenedMap, FlattenedOperators, Flattening, Rule};
use crate::quant::output_change::{Criterion, OutputChange};
use crate::quant::rounded::Saturation;
use crate::quant::smoothing::{column_maxima, smoothing};
use crate::quant::feedback::{Rounding, round_with_feedback};
use crate::quant::{Bits, QuantError, Quantized, Quantizer, statistics_of};
use crate::prune::{Needs, PruneError, Site, check_weight};
use crate::registry::Method;
use crate::statistics::LinearStatistics;

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// How the bits of a matrix are decided.
        criterion: Criterion = Criterion::KlRatio;
        /// With `kl_ratio` and `mse_ratio`: how many times the change of eight bits the change of four may be.
        gamma: f64 = 250.0, Domain::closed(1.0, 1e9);
        /// With `sqnr_db`: the least ratio of outputs to their change in decibels that four bits must reach.
        decibels: f64 = 20.0, Domain::closed(-20.0, 100.0);
        /// The threshold as a multiple of the middle.
        beta: f64 = 1.3, Domain::above(0.0, 1e9);
        /// What the middle is.
        centre: Centre = Centre::Median;
        /// The most channels after flattening for each before; the threshold is raised until they are as few.
        max_expand: f64 = 1.25, Domain::closed(1.0, 64.0);
        /// Whether the range of loud inputs moves into the weights first.
        smooth: bool = true;
        /// How much of it: 0 nothing of the inputs', 1 all of it.
        alpha: f64 = 0.5, Domain::closed(0.0, 1.0);
        /// Whether loud channels of weights are split too.
        flatten_weights: bool = true;
        /// How weights are rounded.
        rounding: Rounding = Rounding::Nearest;
        /// With `rounding = gptq`: what is added to the diagonal of the Hessian, as a share of its mean.
        damp: f64 = 0.01, Domain::above(0.0, 1.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "flattenquant",
        axis: Axis::Quant,
        about: "splits loud channels below a threshold and multiplies whole tensors as integers of four or eight bits",
        source: "Zhang, Yang, Peng, Wang, Pan: FlattenQuant: Breaking Through the Inference Compute-bound for Large Language Models with Per-tensor Quantization, LREC-COLING 2024; a reconstruction",
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
    Ok(Method::Quantizer(Box::new(FlattenQuant(Settings::resolve(arm)?))))
}

struct FlattenQuant(Settings);

impl FlattenQuant {
    /// The flattened map in so many bits.
    fn map(
        &self,
        site: &Site,
        flattening: &Arc<Flattening>,
        weight: &[f32],
        samples: &[f32],
        bits: u32,
    ) -> Result<FlattenedMap, QuantError> {
        let width = flattening.width();
        let (codes, weight_scale) = match self.0.rounding {
            Rounding::Nearest => flattening.weight_codes(weight, bits),
            Rounding::Feedback => {
                let repeated = flattening.repeat(weight);
                let mut seen = LinearStatistics::new(width, Needs::SECOND_MOMENT);
                let split = flattening.split(samples);
                seen.add(&split).map_err(|error| PruneError::Refused(format!("{}: {error}", site.name)))?;
                let flat = Site { cols: width, ..*site };
                round_with_feedback(&flat, &repeated, &seen, self.0.damp, bits)?
            }
        };
        let (flattening, codes) = (Arc::clone(flattening), codes.into());
        Ok(FlattenedMap { flattening, rows: site.rows, bits, codes, weight_scale })
    }
}

impl Quantizer for FlattenQuant {
    fn needs(&self) -> Needs {
        Needs::MAGNITUDES.union(Needs::SAMPLES)
    }

    fn quantize(
        &self,
        site: &Site,
        weight: &[f32],
        statistics: Option<&LinearStatistics>,
    ) -> Result<Quantized, QuantError> {
        check_weight(site, weight)?;
        let statistics = statistics_of(site, statistics)?;
        let missing = || PruneError::NoCalibration { site: site.name.to_owned() };
        let inputs = statistics.largest_magnitudes().ok_or_else(missing)?;
        let columns = column_maxima(weight, site.cols);
        let factors =
            if self.0.smooth { smoothing(inputs, &columns, self.0.alpha) } else { vec![1.0; site.cols] };
        let smoothed: Vec<f32> = inputs.iter().zip(&factors).map(|(most, s)| most / s).collect();
        let grown: Vec<f32> = columns.iter().zip(&factors).map(|(most, s)| most * s).collect();
        let Settings { beta, centre, max_expand, flatten_weights, .. } = self.0;
        let rule = Rule { beta, centre, max_expand, flatten_weights };
        let flattening = Arc::new(Flattening::new(&smoothed, &grown, factors, rule));
        let samples = statistics.samples();
        let change = |map: &FlattenedMap| -> OutputChange {
            let m = samples.len() / site.cols;
            let (mut outputs, mut rounded) = (vec![0.0; m * site.rows], vec![0.0; m * site.rows]);
            matmul_nt(samples, MatrixRef::F32(weight), &mut outputs, m, site.cols, site.rows);
            let codes = map.round(samples, &Saturation::default());
            let scale = map.input_scale() * map.weight_scale;
            let inputs: Vec<f32> = codes.iter().map(|&code| f32::from(code)).collect();
            let weights: Vec<f32> = map.codes.iter().map(|&code| f32::from(code) * scale).collect();
            matmul_nt(&inputs, MatrixRef::F32(&weights), &mut rounded, m, flattening.width(), site.rows);
            OutputChange::of(&outputs, &rounded)
        };
        let in_bits = |bits| self.map(site, &flattening, weight, samples, bits);
        let map = match self.0.criterion {
            Criterion::AllFour => in_bits(4)?,
            Criterion::AllEight => in_bits(8)?,
            criterion => {
                let (four, eight) = (in_bits(4)?, in_bits(8)?);
                let enough = criterion.allows(&change(&four), &change(&eight), self.0.gamma, self.0.decibels);
                if enough { four } else { eight }
            }
        };
        let width = flattening.width() as u64;
        let bits = Bits {
            codes: u64::from(map.bits) * site.rows as u64 * width,
            // One scale of inputs, one of weights, and the smoothing.
            scales: 32 * (2 + if self.0.smooth { site.cols as u64 } else { 0 }),
            // What an added channel is a piece of.
            indices: 32 * (flattening.pairs.len() - site.cols) as u64,
            ..Bits::default()
        };
        let (values, codes, scales) = (map.values(), map.codes.iter().map(|&code| i16::from(code)).collect(), vec![map.weight_scale]);
        let operators = Some(Arc::new(FlattenedOperators { site: site.name.to_owned(), map }) as _);
        Ok(Quantized { values, codes, scales, bits, operators, ..Quantized::default() })
    }
}
