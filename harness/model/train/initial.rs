//! Weights before the first step.

use std::collections::BTreeMap;

use harness_core::seed::stream;
use rand_chacha::rand_core::Rng;

use crate::biases::fire;
use crate::config::{Config, DistanceBias, PositionScheme};
use crate::load::{TensorSpec, expected_tensors};

/// Maps that write into the residual stream begin this much smaller, divided further by the root of their number, so
/// that blocks begin close to the identity and do not drown the embeddings, which copying heads must read.
const RESIDUAL: f64 = 0.25;

/// Normal values from streams keyed by seed and tensor name, of standard deviation `cols^-1/2` (smaller for attention
/// output and feed-forward down maps); norms are one, biases zero.
pub(crate) fn initial(config: &Config, seed: u64) -> BTreeMap<String, Vec<f32>> {
    expected_tensors(config)
        .map(|spec| {
            let count = spec.rows * spec.cols;
            let values = if let PositionScheme::Biases(kind) = config.position
                && spec.name.ends_with("position.bias")
            {
                biases(kind, seed, &spec.name, (spec.rows, spec.cols), config.heads)
            } else if config.state_space().is_some()
                && let Some(values) = of_scan(seed, &spec)
            {
                values
            } else if spec.name.ends_with(".bias") || spec.name == "model.rotary.down.weight" {
                // A net of frequencies begins without effect.
                vec![0.0; count]
            } else if is_norm(&spec.name) {
                vec![1.0; count]
            } else {
                let ends = |end| spec.name.ends_with(end);
                let residual = ends("o_proj.weight") || ends("down_proj.weight") || ends("mixer.out_proj.weight");
                // Blocks of state spaces write once, the others twice.
                let writes = if config.state_space().is_some() { 1.0 } else { 2.0 };
                let factor = if residual { RESIDUAL / (writes * config.layers as f64).sqrt() } else { 1.0 };
                normal(seed, &spec.name, count, factor / (spec.cols as f64).sqrt())
            };
            (spec.name, values)
        })
        .collect()
}

/// What a scan begins with in the Mamba models: rates of 1, 2, 3 …, all of the input passing by the states, and steps that lie evenly in
/// their logarithm between 0.001 and 0.1 where nothing is read yet.
fn of_scan(seed: u64, spec: &TensorSpec) -> Option<Vec<f32>> {
    let count = spec.rows * spec.cols;
    let mut rng = stream(seed, &["initial", &spec.name]);
    let mut unit = || (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
    match spec.name.rsplit_once("mixer.")?.1 {
        "A_log" => Some((0..count).map(|at| ((at % spec.cols + 1) as f64).ln() as f32).collect()),
        "D" => Some(vec![1.0; count]),
        "dt_proj.weight" => {
            let most = 1.0 / (spec.cols as f64).sqrt();
            Some((0..count).map(|_| (most * (2.0 * unit() - 1.0)) as f32).collect())
        }
        "dt_proj.bias" => {
            let (low, high) = (0.001f64.ln(), 0.1f64.ln());
            // The inverse of softplus.
            let bias = |step: f64| (step + (-(-step).exp_m1()).ln()) as f32;
            Some((0..count).map(|_| bias((low + (high - low) * unit()).exp())).collect())
        }
        _ => None,
    }
}

/// Biases by distance: normal ones of T5; `p` uniform up to 2 and `a` up to 1 of KERPLE; of FIRE the net's numbers as uniform as maps
/// of one and of 32 inputs usually begin.
fn biases(kind: DistanceBias, seed: u64, name: &str, (rows, cols): (usize, usize), heads: usize) -> Vec<f32> {
    if kind == DistanceBias::T5 {
        return normal(seed, name, rows * cols, 1.0 / (rows as f64).sqrt());
    }
    let mut rng = stream(seed, &["initial", name]);
    let mut unit = || (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
    if kind == DistanceBias::Fire {
        return fire::initial(heads, unit);
    }
    (0..rows * cols).map(|at| (if at < cols { 2.0 } else { 1.0 } * unit()) as f32).collect()
}

pub(crate) fn is_norm(name: &str) -> bool {
    name.ends_with("norm.weight") || name == "backbone.norm_f.weight"
}

pub(crate) fn is_embedding(name: &str) -> bool {
    name.contains(".embed_") || name == "backbone.embeddings.weight" || name == "lm_head.weight"
}

/// Rates and what passes by of a scan, which are no maps.
pub(crate) fn is_of_scan(name: &str) -> bool {
    name.ends_with("mixer.A_log") || name.ends_with("mixer.D")
}

/// Box and Muller's transform, two values of two draws.
fn normal(seed: u64, name: &str, count: usize, deviation: f64) -> Vec<f32> {
    let mut rng = stream(seed, &["initial", name]);
    let mut unit = || (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        let radius = deviation * (-2.0 * (1.0 - unit()).ln()).sqrt();
        let (sine, cosine) = (std::f64::consts::TAU * unit()).sin_cos();
        values.push((radius * cosine) as f32);
        values.push((radius * sine) as f32);
    }
    values.truncate(count);
    values
}
