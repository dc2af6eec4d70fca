//! Flattening: an input beyond a threshold becomes several inputs below it, and its column of weights is repeated.

use std::sync::Arc;

use harness_kernels::packed::PackedMatrix;
use harness_kernels::{MatrixRef, matmul_nt};
use rayon::prelude::*;

use super::QuantError;
use super::grid::{ScaleType, nearest_whole};
use super::operator::{Operator, Operators};
use super::rounded::{Saturation, largest_code, multiply_packed, pack_rows};

/// Flattened inputs are filled up with zeros to a multiple of this many.
const TILE: usize = 32;

/// A piece of an input that meets a piece of its column of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pair {
    /// The input.
    pub column: u32,
    /// Which piece of the input, from 0.
    pub input: u32,
    /// Which piece of the weights, from 0.
    pub weight: u32,
}

/// How inputs and weights are flattened: the first pieces of all inputs in their order, then the others.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Flattening {
    /// Inputs are divided by these.
    pub smoothing: Vec<f32>,
    /// Largest magnitude of a piece of an input.
    pub threshold: f32,
    /// Largest magnitude of a piece of a weight.
    pub weight_threshold: f32,
    /// What stands where; the padding is not listed.
    pub pairs: Vec<Pair>,
    /// Pieces of each input.
    pieces: Vec<u32>,
}

/// Thresholds: `β` times a middle of the maxima, and the most that flattening may add.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rule {
    /// What the middle is multiplied by.
    pub beta: f64,
    pub centre: Centre,
    pub max_expand: f64,
    pub flatten_weights: bool,
}

harness_core::choice! {
    /// The middle of the largest magnitudes of channels that the threshold is a multiple of.
    pub enum Centre {
        /// The median.
        Median = "median",
        /// The mean.
        Mean = "mean",
        /// The upper fence of a box plot: the third quartile and one and a half interquartile ranges.
        Fence = "fence",
    }
}

impl Centre {
    fn of(self, values: &[f32]) -> f64 {
        let mut sorted: Vec<f64> = values.iter().map(|&value| f64::from(value)).collect();
        sorted.sort_by(f64::total_cmp);
        let quantile = |share: f64| {
            let place = share * (sorted.len() - 1) as f64;
            let (low, part) = (place.floor() as usize, place.fract());
            let high = (low + 1).min(sorted.len() - 1);
            sorted[low] + part * (sorted[high] - sorted[low])
        };
        match self {
            Self::Median => quantile(0.5),
            Self::Mean => sorted.iter().sum::<f64>() / sorted.len() as f64,
            Self::Fence => quantile(0.75) + 1.5 * (quantile(0.75) - quantile(0.25)),
        }
    }
}

/// Pieces of a channel: as many as keep each at the threshold or below.
fn pieces(largest: &[f32], threshold: f32) -> Vec<u32> {
    let count = |most: &f32| if *most <= threshold { 1 } else { (most / threshold).ceil() as u32 };
    largest.iter().map(count).collect()
}

impl Flattening {
    /// For inputs and columns of weights of these largest magnitudes, both after smoothing.
    pub fn new(inputs: &[f32], weights: &[f32], smoothing: Vec<f32>, rule: Rule) -> Self {
        let most = |values: &[f32]| values.iter().fold(0.0_f32, |most, value| most.max(*value));
        let start = |values: &[f32]| {
            let threshold = (rule.beta * rule.centre.of(values)) as f32;
            // A middle of zero would ask for endless pieces.
            if threshold > 0.0 { threshold.min(most(values)) } else { most(values) }
        };
        let (mut threshold, mut weight_threshold) = (start(inputs), start(weights));
        if !rule.flatten_weights {
            weight_threshold = most(weights);
        }
        let limit = (rule.max_expand * inputs.len() as f64) as u64;
        loop {
            let (of_input, of_weight) = (pieces(inputs, threshold), pieces(weights, weight_threshold));
            let total: u64 = of_input.iter().zip(&of_weight).map(|(a, b)| u64::from(*a) * u64::from(*b)).sum();
            if total <= limit.max(inputs.len() as u64) {
                let pairs = pairs(&of_input, &of_weight);
                return Self { smoothing, threshold, weight_threshold, pairs, pieces: of_input };
            }
            threshold = (threshold * 1.1).min(most(inputs));
            weight_threshold = (weight_threshold * 1.1).min(most(weights));
        }
    }

    /// Inputs of the flattened map, padding included.
    pub fn width(&self) -> usize {
        self.pairs.len().next_multiple_of(TILE)
    }

    /// The clamp split of inputs in floating point, `(m, width)`: what is rounded, before it is.
    pub fn split(&self, x: &[f32]) -> Vec<f32> {
        let cols = self.smoothing.len();
        let mut out = vec![0.0; x.len() / cols * self.width()];
        for (row, out) in x.chunks_exact(cols).zip(out.chunks_exact_mut(self.width())) {
            for (out, pair) in out.iter_mut().zip(&self.pairs) {
                let column = pair.column as usize;
                let last = pair.input + 1 == self.pieces[column];
                *out = piece(row[column] / self.smoothing[column], pair.input, self.threshold, last);
            }
        }
        out
    }

    /// Codes of the weights that meet the split inputs, `(rows, width)`, and their scale: each weight is rounded once, and its
    /// code is what is split.
    pub fn weight_codes(&self, weight: &[f32], bits: u32) -> (Vec<i8>, f32) {
        let (cols, largest) = (self.smoothing.len(), largest_code(bits));
        let scale = ScaleType::F32.stored(self.weight_threshold / largest);
        let mut out = vec![0; weight.len() / cols * self.width()];
        for (row, out) in weight.chunks_exact(cols).zip(out.chunks_exact_mut(self.width())) {
            let whole: Vec<f32> = row.iter().zip(&self.smoothing).map(|(w, s)| nearest_whole(w * s / scale)).collect();
            for (code, pair) in out.iter_mut().zip(&self.pairs) {
                *code = piece(whole[pair.column as usize], pair.weight, largest, false) as i8;
            }
        }
        (out, scale)
    }

    /// The columns of weights that meet the split inputs, `(rows, width)`: multiplied by the smoothing, split where the
    /// weights are flattened too, repeated.
    pub fn repeat(&self, weight: &[f32]) -> Vec<f32> {
        let cols = self.smoothing.len();
        let mut out = vec![0.0; weight.len() / cols * self.width()];
        for (row, out) in weight.chunks_exact(cols).zip(out.chunks_exact_mut(self.width())) {
            for (out, pair) in out.iter_mut().zip(&self.pairs) {
                let column = pair.column as usize;
                *out = piece(row[column] * self.smoothing[column], pair.weight, self.weight_threshold, false);
            }
        }
        out
    }
}

/// Piece `k` of a number: what of its magnitude lies between `k` and `k + 1` thresholds, or all above `k` in the last one.
fn piece(x: f32, k: u32, threshold: f32, last: bool) -> f32 {
    let rest = x.abs() - k as f32 * threshold;
    let part = if last { rest.max(0.0) } else { rest.clamp(0.0, threshold) };
    part.copysign(x)
}

/// First pieces of all channels in order, then all other pairs of pieces.
fn pairs(inputs: &[u32], weights: &[u32]) -> Vec<Pair> {
    let first = (0..inputs.len() as u32).map(|column| Pair { column, input: 0, weight: 0 });
    let counts = inputs.iter().zip(weights).zip(0..);
    let others = counts.flat_map(|((&inputs, &weights), column)| {
        let all = (0..inputs).flat_map(move |input| (0..weights).map(move |weight| Pair { column, input, weight }));
        all.skip(1)
    });
    first.chain(others).collect()
}

/// A flattened map in integers.
#[derive(Debug, Clone)]
pub(crate) struct FlattenedMap {
    pub flattening: Arc<Flattening>,
    pub rows: usize,
    pub bits: u32,
    /// `(rows, width)`.
    pub codes: Arc<[i8]>,
    pub weight_scale: f32,
}

impl FlattenedMap {
    fn largest(&self) -> f32 {
        largest_code(self.bits)
    }

    /// The scale of inputs: the threshold is the largest code.
    pub fn input_scale(&self) -> f32 {
        self.flattening.threshold / self.largest()
    }

    /// Codes of split inputs, `(m, width)`: a number is rounded once, and its code is what is split, so that the codes of its
    /// pieces add up to it.
    pub fn round(&self, x: &[f32], saturation: &Saturation) -> Vec<i8> {
        let (cols, width) = (self.flattening.smoothing.len(), self.flattening.width());
        let (largest, scale) = (self.largest(), self.input_scale());
        let factors: Vec<f32> = self.flattening.smoothing.iter().map(|s| 1.0 / (s * scale)).collect();
        let mut codes = vec![0_i8; x.len() / cols * width];
        let rows = codes.par_chunks_mut(width).zip(x.par_chunks(cols));
        let beyond: u64 = rows
            .map_init(
                || vec![0.0_f32; cols],
                |whole, (codes, x)| {
                    for ((whole, x), factor) in whole.iter_mut().zip(x).zip(&factors) {
                        *whole = nearest_whole(x * factor);
                    }
                    for (code, whole) in codes.iter_mut().zip(whole.iter()) {
                        *code = whole.clamp(-largest, largest) as i8;
                    }
                    for (code, pair) in codes[cols..].iter_mut().zip(&self.flattening.pairs[cols..]) {
                        *code = piece(whole[pair.column as usize], pair.input, largest, false) as i8;
                    }
                    let pieces = self.flattening.pieces.iter();
                    whole.iter().zip(pieces).filter(|(x, pieces)| x.abs() > **pieces as f32 * largest).count() as u64
                },
            )
            .sum();
        saturation.count(beyond, x.len() as u64);
        codes
    }

    /// What the codes stand for, for inputs of one piece and as they come.
    pub fn values(&self) -> Vec<f32> {
        let (cols, width) = (self.flattening.smoothing.len(), self.flattening.width());
        let mut out = vec![0.0; self.rows * cols];
        for (codes, out) in self.codes.chunks_exact(width).zip(out.chunks_exact_mut(cols)) {
            for (code, pair) in codes.iter().zip(&self.flattening.pairs).filter(|(_, pair)| pair.input == 0) {
                let column = pair.column as usize;
                out[column] += f32::from(*code) * self.weight_scale / self.flattening.smoothing[column];
            }
        }
        out
    }
}

#[derive(Debug)]
enum Weights {
    /// `(rows, width)`.
    Fake(Vec<f32>),
    Packed(PackedMatrix),
}

#[derive(Debug)]
struct Multiplied {
    map: FlattenedMap,
    values: Option<Vec<f32>>,
    weights: Weights,
    saturation: Saturation,
}

impl Operator for Multiplied {
    fn multiply(&self, x: &[f32], m: usize, out: &mut [f32]) {
        let codes = self.map.round(x, &self.saturation);
        let scale = self.map.input_scale();
        match &self.weights {
            Weights::Fake(weights) => {
                let inputs: Vec<f32> = codes.iter().map(|&code| f32::from(code) * scale).collect();
                matmul_nt(&inputs, MatrixRef::F32(weights), out, m, self.map.flattening.width(), self.map.rows);
            }
            Weights::Packed(matrix) => multiply_packed(matrix, codes, vec![scale; m], m, out),
        }
    }

    fn values(&self) -> Vec<f32> {
        match (&self.values, &self.weights) {
            (Some(values), _) => values.clone(),
            (None, Weights::Packed(matrix)) => {
                let held = matrix.dequantise();
                let codes = held.iter().map(|value| (value / self.map.weight_scale).round() as i8).collect();
                FlattenedMap { codes, ..self.map.clone() }.values()
            }
            (None, Weights::Fake(_)) => self.map.values(),
        }
    }

    fn bytes(&self) -> usize {
        let flattening = &self.map.flattening;
        let tables =
            size_of_val(&*flattening.pairs) + size_of_val(&*flattening.smoothing) + size_of_val(&*flattening.pieces);
        tables
            + match &self.weights {
                Weights::Fake(weights) => size_of_val(&**weights),
                Weights::Packed(matrix) => matrix.bytes(),
            }
    }

    fn saturated(&self) -> Option<(u64, u64)> {
        Some(self.saturation.read())
    }
}

/// Both ways of multiplying a flattened map.
#[derive(Debug)]
pub(crate) struct FlattenedOperators {
    pub site: String,
    pub map: FlattenedMap,
}

impl Operators for FlattenedOperators {
    fn fake(&self) -> Arc<dyn Operator> {
        let weights = self.map.codes.iter().map(|&code| f32::from(code) * self.map.weight_scale).collect();
        let (map, values) = (self.map.clone(), Some(self.map.values()));
        Arc::new(Multiplied { map, values, weights: Weights::Fake(weights), saturation: Saturation::default() })
    }

    fn packed(&self) -> Result<Arc<dyn Operator>, QuantError> {
        let (shape, scales) =
            ((self.map.rows, self.map.flattening.width()), vec![self.map.weight_scale; self.map.rows]);
        let matrix = pack_rows(&self.site, shape, self.map.bits, &self.map.codes, &scales)?;
        let map = FlattenedMap { codes: Arc::new([]), ..self.map.clone() };
        Ok(Arc::new(Multiplied {
            map,
            values: None,
            weights: Weights::Packed(matrix),
            saturation: Saturation::default(),
        }))
    }

    fn integer_bits(&self) -> Option<u32> {
        Some(self.map.bits)
    }

    fn products(&self) -> u64 {
        self.map.codes.len() as u64
    }
}

#[cfg(test)]
#[path = "flatten_tests.rs"]
mod tests;
