//! Products of rounded weights with rounded inputs: symmetric codes on both sides, integer sums.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use harness_kernels::packed::{
    Activations, Bits, Bytes, Meaning, PackedLinear, PackedMatrix, Quantized, packed_linear, packed_linear_rounded,
};
use harness_kernels::{MatrixRef, matmul_nt};
use rayon::prelude::*;

use super::grid::nearest_whole;
use super::operator::{Operator, Operators};
use super::{QuantError, grid};
use crate::prune::Site;

/// The largest code of so many bits: the grid is symmetric, without the code below its negative.
pub(crate) fn largest_code(bits: u32) -> f32 {
    ((1_i32 << (bits - 1)) - 1) as f32
}

harness_core::choice! {
    /// What inputs share a scale.
    pub enum InputScale {
        /// Those of a token, by its largest magnitude.
        Token = "token",
        /// All that are multiplied together, by their largest magnitude.
        Tensor = "tensor",
        /// All there are, by the largest magnitude of the calibration text; what is larger saturates.
        Static = "static",
    }
}

/// How inputs are rounded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum InputRule {
    Token,
    Tensor,
    /// With this scale.
    Fixed(f32),
}

/// A matrix of codes with a scale for each row, and how its inputs are rounded.
#[derive(Debug, Clone)]
pub(crate) struct RoundedMap {
    pub rows: usize,
    pub cols: usize,
    /// Bits of the weights' codes and of the inputs'.
    pub bits: u32,
    /// `(rows, cols)`.
    pub codes: Arc<[i8]>,
    /// One a row.
    pub scales: Arc<[f32]>,
    pub inputs: InputRule,
}

/// Inputs that were beyond a fixed range, and all.
#[derive(Debug, Default)]
pub(crate) struct Saturation {
    beyond: AtomicU64,
    all: AtomicU64,
}

impl Saturation {
    pub fn count(&self, beyond: u64, all: u64) {
        self.beyond.fetch_add(beyond, Ordering::Relaxed);
        self.all.fetch_add(all, Ordering::Relaxed);
    }

    pub fn read(&self) -> (u64, u64) {
        (self.beyond.load(Ordering::Relaxed), self.all.load(Ordering::Relaxed))
    }
}

impl RoundedMap {
    /// From a matrix that was rounded symmetrically, row by row or as a whole.
    pub fn of(site: &Site, codes: &[i16], scales: &[f32], bits: u32, inputs: InputRule) -> Self {
        let (rows, cols) = (site.rows, site.cols);
        let codes = codes.iter().map(|&code| code as i8).collect();
        let scales = (0..rows).map(|row| scales[row.min(scales.len() - 1)]).collect();
        Self { rows, cols, bits, codes, scales, inputs }
    }

    /// Codes `(m, cols)` of inputs and the scale of each row.
    pub fn round(&self, x: &[f32], saturation: &Saturation) -> (Vec<i8>, Vec<f32>) {
        let largest = largest_code(self.bits);
        let m = x.len() / self.cols;
        let scales = match self.inputs {
            InputRule::Token => x.par_chunks(self.cols).map(|row| scale_of(row, largest)).collect(),
            InputRule::Tensor => vec![scale_of(x, largest); m],
            InputRule::Fixed(scale) => vec![scale; m],
        };
        let mut codes = vec![0; x.len()];
        let beyond: u64 = (codes.par_chunks_mut(self.cols))
            .zip(x.par_chunks(self.cols))
            .zip(&scales)
            .map(|((codes, x), &scale)| round_row(x, scale, largest, codes))
            .sum();
        saturation.count(beyond, x.len() as u64);
        (codes, scales)
    }

    /// What the codes stand for.
    pub fn values(&self) -> Vec<f32> {
        written_out(&self.codes, self.cols, &self.scales)
    }

    /// The codes as the kernels multiply them, the whole row a group.
    pub fn pack(&self, site: &str) -> Result<PackedMatrix, QuantError> {
        pack_rows(site, (self.rows, self.cols), self.bits, &self.codes, &self.scales)
    }
}

/// Symmetric codes with a scale for each row, as the kernels multiply them.
pub(crate) fn pack_rows(
    site: &str,
    (rows, cols): (usize, usize),
    bits: u32,
    codes: &[i8],
    scales: &[f32],
) -> Result<PackedMatrix, QuantError> {
    let (container, middle) = if bits <= 4 { (Bits::Four, 8_i16) } else { (Bits::Eight, 128) };
    let codes: Vec<u8> = codes.iter().map(|&code| (i16::from(code) + middle) as u8).collect();
    let meaning = Meaning::Zero(f32::from(middle));
    let source = Quantized { rows, cols, bits: container, group: cols, codes: &codes, scales, meaning };
    PackedMatrix::new(&source).map_err(|error| QuantError::NoKernel { site: site.to_owned(), why: error.to_string() })
}

/// The scale whose largest code is the largest magnitude; 0 for zeros, not a number where an input is none.
fn scale_of(x: &[f32], largest: f32) -> f32 {
    let most = x.iter().fold(0.0_f32, |most, x| if x.is_nan() { f32::NAN } else { most.max(x.abs()) });
    if most < f32::MIN_POSITIVE * 128.0 { 0.0 } else { most / largest }
}

/// Writes the codes of a row; how many lay beyond the largest.
fn round_row(x: &[f32], scale: f32, largest: f32, codes: &mut [i8]) -> u64 {
    let factor = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    let mut beyond = 0;
    for (code, x) in codes.iter_mut().zip(x) {
        let whole = nearest_whole(x * factor);
        beyond += u64::from(whole.abs() > largest);
        *code = whole.clamp(-largest, largest) as i8;
    }
    beyond
}

/// Multiplies codes of inputs with packed codes of weights.
pub(crate) fn multiply_packed(matrix: &PackedMatrix, codes: Vec<i8>, scales: Vec<f32>, m: usize, out: &mut [f32]) {
    let bytes = Bytes::of_codes(codes, scales, m, matrix.cols(), matrix.group());
    packed_linear_rounded(&bytes, m, &[part(matrix, Activations::Int8)], &mut [out]);
}

/// A matrix of an even grid that meets inputs.
pub(crate) fn part(matrix: &PackedMatrix, activations: Activations) -> PackedLinear<'_> {
    match PackedLinear::new(matrix, None, activations) {
        Ok(part) => part,
        // Only a table or a bias of another length is refused, and here is neither.
        Err(error) => unreachable!("{error}"),
    }
}

/// What codes stand for, so many of them to a scale.
pub(crate) fn written_out(codes: &[i8], group: usize, scales: &[f32]) -> Vec<f32> {
    let groups = codes.chunks_exact(group).zip(scales);
    groups.flat_map(|(group, scale)| group.iter().map(move |&code| f32::from(code) * scale)).collect()
}

#[derive(Debug)]
struct Fake {
    map: RoundedMap,
    values: Vec<f32>,
    saturation: Saturation,
}

impl Operator for Fake {
    fn multiply(&self, x: &[f32], m: usize, out: &mut [f32]) {
        let (codes, scales) = self.map.round(x, &self.saturation);
        let rounded = written_out(&codes, self.map.cols, &scales);
        matmul_nt(&rounded, MatrixRef::F32(&self.values), out, m, self.map.cols, self.map.rows);
    }

    fn values(&self) -> Vec<f32> {
        self.values.clone()
    }

    fn bytes(&self) -> usize {
        size_of_val(&*self.values)
    }

    fn saturated(&self) -> Option<(u64, u64)> {
        matches!(self.map.inputs, InputRule::Fixed(_)).then(|| self.saturation.read())
    }
}

#[derive(Debug)]
struct Packed {
    /// Without its codes, which are packed.
    map: RoundedMap,
    matrix: PackedMatrix,
    saturation: Saturation,
}

impl Operator for Packed {
    fn multiply(&self, x: &[f32], m: usize, out: &mut [f32]) {
        if self.map.inputs == InputRule::Token && self.map.bits == 8 {
            // What the kernels do by themselves, faster.
            packed_linear(x, m, &[part(&self.matrix, Activations::Int8)], &mut [out]);
            return;
        }
        let (codes, scales) = self.map.round(x, &self.saturation);
        multiply_packed(&self.matrix, codes, scales, m, out);
    }

    fn values(&self) -> Vec<f32> {
        self.matrix.dequantise()
    }

    fn bytes(&self) -> usize {
        self.matrix.bytes()
    }

    fn saturated(&self) -> Option<(u64, u64)> {
        matches!(self.map.inputs, InputRule::Fixed(_)).then(|| self.saturation.read())
    }
}

/// Both ways of multiplying a map of rounded weights and inputs.
#[derive(Debug)]
pub(crate) struct RoundedOperators {
    pub site: String,
    pub map: RoundedMap,
}

impl Operators for RoundedOperators {
    fn fake(&self) -> Arc<dyn Operator> {
        Arc::new(Fake { map: self.map.clone(), values: self.map.values(), saturation: Saturation::default() })
    }

    fn packed(&self) -> Result<Arc<dyn Operator>, QuantError> {
        let matrix = self.map.pack(&self.site)?;
        let map = RoundedMap { codes: Arc::new([]), ..self.map.clone() };
        Ok(Arc::new(Packed { map, matrix, saturation: Saturation::default() }))
    }

    fn integer_bits(&self) -> Option<u32> {
        Some(self.map.bits)
    }

    fn products(&self) -> u64 {
        self.map.codes.len() as u64
    }
}

/// Symmetric codes of a matrix with one scale for all of it.
pub(crate) fn round_whole(weight: &[f32], bits: u32) -> (Vec<i16>, f32) {
    let largest = largest_code(bits);
    let most = weight.iter().fold(0.0_f32, |most, weight| most.max(weight.abs()));
    let scale = if most > 0.0 { grid::ScaleType::F32.stored(most / largest) } else { 1.0 };
    let code = |weight: &f32| nearest_whole(weight / scale).clamp(-largest, largest) as i16;
    (weight.iter().map(code).collect(), scale)
}
