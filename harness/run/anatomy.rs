//! Where an error arises: layer by layer, what an arm's blocks make of the dense model's inputs, and what its weights are like.

use harness_core::{Direction, MetricSpec, Observation, Profile, Reduction};
use harness_model::decoder::Decoder;
use harness_model::tensor::{Tensor, with_values};

use crate::calibrate::{embed, forward};
use crate::footprint::{Footprint, LayerFootprint};
use crate::metrics::{BASE, LAYER, MOVED, Metric, SCORED, Seen, absent, by_layer, counted, moved, scored};

/// What one block adds to its inputs, and how far from that an arm's block is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct BlockError {
    /// `Σ ‖B'(h) − B(h)‖²` over the calibration tokens.
    pub error: f64,
    /// `Σ ‖B(h) − h‖²`.
    pub size: f64,
}

/// The metrics of this file, in the order reports show them.
pub(crate) fn registry() -> Vec<Metric> {
    use Direction::{Higher, Lower};
    vec![
        Metric {
            spec: MetricSpec {
                id: "flips",
                about: "share of scored positions where the most likely token is another than the dense model's",
                direction: Lower,
                needs_dense: true,
                ..SCORED
            },
            observe: |spec, seen| scored(spec, seen, |window| (window.tokens - window.agreements) as f64),
        },
        Metric {
            spec: MetricSpec {
                id: "output_error",
                about: "squared error of the blocks on the dense model's inputs over the square of what they add, ‖B'(h) − B(h)‖² / ‖B(h) − h‖² on calibration text",
                direction: Lower,
                needs_dense: true,
                needs: Some("calib"),
                along: LAYER,
                ..BASE
            },
            observe: output_error,
        },
        Metric {
            spec: MetricSpec {
                id: "sqnr",
                about: "squared norm of the prunable weights over that of their change, in decibels, 10 log10(‖W‖² / ‖W − W'‖²)",
                unit: "dB",
                direction: Higher,
                needs_dense: true,
                along: LAYER,
                ..BASE
            },
            observe: sqnr,
        },
        Metric {
            spec: MetricSpec {
                id: "kurtosis",
                about: "fourth central moment of a matrix' weights over the square of the second, averaged over the prunable weights; 3 for a normal distribution",
                along: LAYER,
                ..BASE
            },
            observe: |spec, seen| {
                let pair = |layer: &LayerFootprint| (layer.kurtosis, layer.weights as f64);
                by_layer(seen, counted(spec, seen, Footprint::kurtosis), pair)
            },
        },
        Metric {
            spec: MetricSpec {
                id: "outlier_share",
                about: "share of the prunable weights further than three standard deviations from the mean of their matrix; 0.0027 for a normal distribution",
                along: LAYER,
                ..BASE
            },
            observe: |spec, seen| {
                let pair = |layer: &LayerFootprint| (layer.outliers as f64, layer.weights as f64);
                by_layer(seen, counted(spec, seen, Footprint::outlier_share), pair)
            },
        },
        Metric {
            spec: MetricSpec {
                id: "checkpoint_bpw",
                about: "bits a weight of the checkpoint's linear maps in its file; where they are codes the dense model is what those stand for",
                unit: "bits",
                ..BASE
            },
            observe: |spec, seen| match seen.checkpoint_bits {
                Some(bits) => Observation::single(spec.id, bits),
                None => absent(spec, "not counted"),
            },
        },
    ]
}

fn output_error(spec: &MetricSpec, seen: &Seen) -> Observation {
    let blocks = match &seen.block_errors {
        Some(Ok(blocks)) => blocks,
        Some(Err(reason)) => return absent(spec, reason),
        None => return absent(spec, "there is no calibration text"),
    };
    let sum = blocks.iter().fold(BlockError::default(), |sum, block| BlockError {
        error: sum.error + block.error,
        size: sum.size + block.size,
    });
    let value = if sum.size > 0.0 { sum.error / sum.size } else { 0.0 };
    let profile = Profile {
        reduction: Reduction::Ratio,
        places: (0..blocks.len()).map(|layer| layer as f64).collect(),
        samples: blocks.iter().map(|block| block.error).collect(),
        weights: blocks.iter().map(|block| block.size).collect(),
        clusters: Vec::new(),
    };
    Observation { profile: Some(profile), ..Observation::single(spec.id, value) }
}

fn sqnr(spec: &MetricSpec, seen: &Seen) -> Observation {
    let Some(footprint) = &seen.footprint else { return absent(spec, "not counted") };
    if moved(seen) {
        return absent(spec, MOVED);
    }
    let decibels = |change: f64, norm: f64| 10.0 * (norm / change).log10();
    let error = footprint.weight_error();
    if error <= 0.0 {
        return absent(spec, "no weight is changed, so that there is no noise");
    }
    // A layer without a change has no noise and no place.
    let changed = footprint.layers.iter().enumerate().filter(|(_, layer)| layer.change > 0.0 && layer.norm > 0.0);
    let (places, samples): (Vec<f64>, Vec<f64>) =
        changed.map(|(index, layer)| (index as f64, decibels(layer.change, layer.norm))).unzip();
    let weights = vec![1.0; samples.len()];
    let profile = Profile { reduction: Reduction::Ratio, places, samples, weights, clusters: Vec::new() };
    Observation { profile: Some(profile), ..Observation::single(spec.id, decibels(error, 1.0)) }
}

/// What the blocks of every arm make of the inputs that the dense model's blocks have, sequence by sequence.
///
/// Blocks are compared rather than maps, because methods may move factors between the maps of a block or round their inputs.
pub(crate) fn block_errors(
    dense: &Decoder,
    arms: &[&Decoder],
    windows: &[Vec<u32>],
) -> Vec<Result<Vec<BlockError>, String>> {
    let as_deep = |arm: &&Decoder| {
        let (own, whole) = (arm.config(), dense.config());
        if own.layers != whole.layers {
            Err("the model has other blocks than the dense one".to_owned())
        } else if own.shortcuts != whole.shortcuts || own.reads != whole.reads {
            Err("the residual stream of the model is turned or ordered otherwise than the dense one's".to_owned())
        } else {
            Ok(Vec::new())
        }
    };
    let mut found: Vec<Result<Vec<BlockError>, String>> = arms.iter().map(as_deep).collect();
    let mut pass = || -> Result<(), String> {
        let mut hidden = embed(dense, windows).map_err(|error| error.to_string())?;
        for layer in 0..dense.config().layers {
            let outputs = forward(dense, layer, &hidden).map_err(|error| error.to_string())?;
            let size = distance(&outputs, &hidden)?;
            for (arm, blocks) in arms.iter().zip(&mut found) {
                let Ok(known) = blocks else { continue };
                let own = forward(arm, layer, &hidden).map_err(|error| error.to_string());
                match own.and_then(|own| distance(&own, &outputs)) {
                    Ok(error) => known.push(BlockError { error, size }),
                    Err(reason) => *blocks = Err(reason),
                }
            }
            hidden = outputs;
        }
        Ok(())
    };
    match pass() {
        Ok(()) => found,
        Err(reason) => arms.iter().map(|_| Err(reason.clone())).collect(),
    }
}

/// Σ of the squared differences of sequences, summed in f64.
fn distance(a: &[Tensor], b: &[Tensor]) -> Result<f64, String> {
    let mut sum = 0.0;
    for (a, b) in a.iter().zip(b) {
        let squares = |a: &[f32], b: &[f32]| -> f64 {
            a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
        };
        let inner = with_values(a, |a| with_values(b, |b| squares(a, b))).and_then(|inner| inner);
        sum += inner.map_err(|error| error.to_string())?;
    }
    if sum.is_finite() { Ok(sum) } else { Err("the outputs of a block are not finite".to_owned()) }
}

#[cfg(test)]
#[path = "anatomy_tests.rs"]
mod tests;
