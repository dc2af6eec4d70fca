//! What the tests of packed weights share: made-up codes of every kind, and the oracle.
#![allow(clippy::unwrap_used)]

mod kernels;
mod packing;

use super::product::run;
use super::*;
use crate::vector::InstructionSet;

const NF4: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

struct Generator(u32);

impl Generator {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.0 >> 8
    }

    fn values(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next() as f32 / (1 << 23) as f32 - 1.0).collect()
    }

    fn codes(&mut self, count: usize, bits: Bits) -> Vec<u8> {
        (0..count).map(|_| (self.next() >> 5) as u8 & bits.largest()).collect()
    }
}

/// Kinds of zero points and scales a matrix can have.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Symmetric,
    OddZero,
    WholeZeros,
    FloatZeros,
    FullScales,
    Table,
}

const KINDS: [Kind; 6] =
    [Kind::Symmetric, Kind::OddZero, Kind::WholeZeros, Kind::FloatZeros, Kind::FullScales, Kind::Table];

struct Source {
    codes: Vec<u8>,
    scales: Vec<f32>,
    zeros: Vec<f32>,
    matrix: PackedMatrix,
}

fn half(value: f32) -> f32 {
    half::f16::from_f32(value).to_f32()
}

fn source(rows: usize, cols: usize, group: usize, bits: Bits, kind: Kind, seed: u32) -> Source {
    let mut generator = Generator(seed);
    let codes = generator.codes(rows * cols, bits);
    let count = rows * cols / group;
    let scales: Vec<f32> = generator.values(count).iter().map(|v| v * 0.05 + 0.06).collect();
    let scales = if kind == Kind::FullScales { scales } else { scales.into_iter().map(half).collect() };
    let top = f32::from(bits.largest());
    let zeros: Vec<f32> = generator.values(count).iter().map(|v| (v * 0.5 + 0.5) * top).collect();
    let zeros = if kind == Kind::WholeZeros { zeros.iter().map(|v| v.round()).collect() } else { zeros };
    let meaning = match kind {
        Kind::Symmetric | Kind::FullScales => Meaning::Zero(top.midpoint(1.0)),
        Kind::OddZero => Meaning::Zero(6.3),
        Kind::WholeZeros | Kind::FloatZeros => Meaning::Zeros(&zeros),
        Kind::Table => Meaning::Table(&NF4),
    };
    let matrix = PackedMatrix::new(&Quantized { rows, cols, bits, group, codes: &codes, scales: &scales, meaning });
    Source { matrix: matrix.unwrap(), codes, scales, zeros }
}

fn multiply(
    integers: IntegerSet,
    set: InstructionSet,
    matrix: &PackedMatrix,
    activations: Activations,
    x: &[f32],
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let m = x.len() / matrix.cols();
    let mut out = vec![f32::NAN; m * matrix.rows()];
    let part = PackedLinear::new(matrix, bias, activations).unwrap();
    run(integers, set, x, m, &[part], &mut [&mut out]);
    out
}

fn oracle(x: &[f32], weight: &[f32], cols: usize, bias: Option<&[f32]>) -> Vec<f64> {
    let rows = weight.len() / cols;
    let mut out = Vec::new();
    for x in x.chunks(cols) {
        for (row, weight) in weight.chunks(cols).enumerate() {
            let sum: f64 = x.iter().zip(weight).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            out.push(sum + bias.map_or(0.0, |bias| f64::from(bias[row % rows])));
        }
    }
    out
}

/// Within 1e-5 of the largest output, the parity that packed and dense paths owe each other.
fn assert_parity(found: &[f32], exact: &[f64], what: &str) {
    let largest = exact.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
    for (i, (a, b)) in found.iter().zip(exact).enumerate() {
        assert!((f64::from(*a) - b).abs() <= 1e-5 * largest, "{what}[{i}]: {a} for {b}, largest {largest}");
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}
