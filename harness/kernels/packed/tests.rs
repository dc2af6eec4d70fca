#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::activations::{round_on, rounded_activations};
use super::block_full::expand;
use super::dot;
use super::product::run as run_on;
use super::*;
use crate::vector::{self, InstructionSet, instruction_set};

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
        Kind::Symmetric | Kind::FullScales => Meaning::Zero((top + 1.0) / 2.0),
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
    run_on(integers, set, x, m, &[part], &mut [&mut out]);
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

#[test]
fn packing_keeps_codes_scales_and_zeros_and_counts_every_byte() {
    for kind in KINDS {
        for (bits, group) in [(Bits::Four, 32), (Bits::Four, 96), (Bits::Eight, 64), (Bits::Eight, 192)] {
            if kind == Kind::Table && bits == Bits::Eight {
                continue;
            }
            let (rows, cols) = (32, 192);
            let source = source(rows, cols, group, bits, kind, 3);
            let unpacked = source.matrix.unpack();
            assert_eq!(unpacked.codes, source.codes);
            assert_eq!(unpacked.scales, source.scales);
            let has_zeros = matches!(kind, Kind::WholeZeros | Kind::FloatZeros);
            assert_eq!(unpacked.zeros, has_zeros.then_some(source.zeros));
            let scales = rows * cols / group;
            let bits_of = match kind {
                Kind::Symmetric | Kind::OddZero => scales * 16,
                Kind::FullScales => scales * 32,
                Kind::WholeZeros => scales * (16 + bits.count() as usize),
                Kind::FloatZeros => scales * (16 + 32),
                Kind::Table => scales * 16 + 16 * 32,
            };
            assert_eq!(source.matrix.bytes() * 8, rows * cols * bits.count() as usize + bits_of, "{kind:?} {bits:?}");
        }
    }
}

#[test]
fn a_packed_int4_weight_takes_the_bits_of_the_formula() {
    let source = source(64, 256, 128, Bits::Four, Kind::WholeZeros, 1);
    assert_eq!(source.matrix.bytes() as f64 * 8.0 / (64.0 * 256.0), 4.156_25);
}

#[test]
fn values_are_scale_times_code_less_zero() {
    let codes: Vec<u8> = (0..32).map(|i| i % 16).collect();
    let new = |meaning| {
        let source =
            Quantized { rows: 1, cols: 32, bits: Bits::Four, group: 32, codes: &codes, scales: &[0.5], meaning };
        PackedMatrix::new(&source).unwrap().dequantise()
    };
    let from = |level: &dyn Fn(u8) -> f32| codes.iter().map(|code| level(*code) * 0.5).collect::<Vec<f32>>();
    assert_eq!(new(Meaning::Zero(8.0)), from(&|code| f32::from(code) - 8.0));
    assert_eq!(new(Meaning::Zeros(&[2.25])), from(&|code| f32::from(code) - 2.25));
    assert_eq!(new(Meaning::Table(&NF4)), from(&|code| NF4[usize::from(code)]));
}

#[test]
fn expanded_tiles_have_the_bits_of_the_dequantised_matrix() {
    for kind in KINDS {
        for depth in [Bits::Four, Bits::Eight] {
            if kind == Kind::Table && depth == Bits::Eight {
                continue;
            }
            let (rows, cols) = (40, 64);
            let matrix = source(rows, cols, 32, depth, kind, 5).matrix;
            let exact = matrix.dequantise();
            for set in vector::available() {
                let mut out = vec![f32::NAN; 2 * 16 * cols];
                expand(set, &matrix, 1..3, &mut out);
                for row in 16..rows {
                    let column: Vec<f32> = (0..cols).map(|col| out[col * 32 + row - 16]).collect();
                    assert_eq!(bits(&column), bits(&exact[row * cols..][..cols]), "{kind:?} {depth:?} {set:?}");
                }
            }
        }
    }
}

#[test]
fn activations_round_to_the_golden_codes() {
    let mut x = vec![0.0; 64];
    // Scale 1: ties go to even.
    x[..8].copy_from_slice(&[127.0, -127.0, 0.5, 1.5, 2.5, -0.5, -1.5, 3.49]);
    for set in vector::available() {
        let (codes, scales, sums) = round_on(set, &x, 32);
        assert_eq!(&codes[..8], &[127, -127, 0, 2, 2, 0, -2, 3]);
        assert_eq!((scales, sums), (vec![1.0, 0.0], vec![5, 0]));
    }
    assert_eq!(rounded_activations(&x, 64, 32)[..8], [127.0, -127.0, 0.0, 2.0, 2.0, 0.0, -2.0, 3.0]);
}

#[test]
fn activations_round_to_the_same_bits_on_every_instruction_set() {
    let mut x = Generator(9).values(96 * 7);
    x[96..192].iter_mut().for_each(|v| *v *= 1e-43);
    x[192..288].iter_mut().for_each(|v| *v *= 1e37);
    let first = round_on(InstructionSet::Scalar, &x, 96);
    for set in vector::available() {
        assert_eq!(round_on(set, &x, 96), first, "{set:?}");
    }
    assert_eq!(first.1[1], 0.0, "a scale that is no normal number counts as zero");
    for (codes, sum) in first.0.chunks(96).zip(&first.2) {
        assert_eq!(codes.iter().map(|code| i32::from(*code)).sum::<i32>(), *sum);
        assert!(codes.iter().all(|code| (-127..=127).contains(code)));
    }
}

#[test]
fn infinities_and_nans_reach_the_outputs() {
    let matrix = source(20, 64, 32, Bits::Four, Kind::Symmetric, 2).matrix;
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for m in [1, 9] {
            let mut x = Generator(4).values(64 * m);
            x[40] = bad;
            for integers in dot::available() {
                let out = multiply(integers, instruction_set(), &matrix, Activations::Int8, &x, None);
                assert!(out[..20].iter().all(|value| value.is_nan()), "{bad} {integers:?}");
                assert!(out[20..].iter().all(|value| value.is_finite()));
            }
        }
    }
}

/// Every product at its extreme: sums of pairs that would saturate in 16 bits, and the largest sums of a group.
#[test]
fn extreme_codes_and_activations_never_saturate() {
    for (depth, group) in [(Bits::Four, 1024), (Bits::Eight, 1024), (Bits::Eight, 32)] {
        for sign in [1.0, -1.0] {
            let (rows, cols) = (16, 1024);
            let codes = vec![depth.largest(); rows * cols];
            let scales = vec![1.0; rows * cols / group];
            let source = Quantized {
                rows,
                cols,
                bits: depth,
                group,
                codes: &codes,
                scales: &scales,
                meaning: Meaning::Zero(0.0),
            };
            let matrix = PackedMatrix::new(&source).unwrap();
            let exact = f32::from(depth.largest()) * 127.0 * sign * cols as f32;
            for m in [1, 4, 8, 33] {
                let x = vec![127.0 * sign; m * cols];
                for integers in dot::available() {
                    let out = multiply(integers, instruction_set(), &matrix, Activations::Int8, &x, None);
                    assert!(out.iter().all(|value| *value == exact), "{integers:?} {depth:?} m={m}: {}", out[0]);
                }
            }
        }
    }
}

#[test]
fn integer_kernels_give_the_same_bits_whatever_the_rows_and_threads() {
    let (rows, cols, group) = (88, 192, 96);
    for depth in [Bits::Four, Bits::Eight] {
        for kind in [Kind::Symmetric, Kind::WholeZeros] {
            let matrix = source(rows, cols, group, depth, kind, 6).matrix;
            let x = Generator(8).values(70 * cols);
            let run = |threads: usize, m: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let part = PackedLinear::new(&matrix, None, Activations::Int8).unwrap();
                let mut out = vec![f32::NAN; m * rows];
                pool.install(|| packed_linear(&x[..m * cols], m, &[part], &mut [&mut out]));
                bits(&out)
            };
            let all = run(1, 70);
            for (threads, m) in [(2, 70), (5, 70), (1, 1), (3, 7), (2, 8), (2, 33)] {
                assert_eq!(run(threads, m), all[..m * rows], "{threads} threads, {m} rows");
            }
        }
    }
}

#[test]
fn full_kernels_do_not_depend_on_threads() {
    let matrix = source(600, 96, 32, Bits::Four, Kind::Table, 6).matrix;
    let x = Generator(8).values(600 * 96);
    let run = |threads: usize, m: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            bits(&multiply(integer_set(), instruction_set(), &matrix, Activations::Full, &x[..m * 96], None))
        })
    };
    for m in [1, 5, 600] {
        assert_eq!(run(1, m), run(2, m));
        assert_eq!(run(1, m), run(5, m));
    }
}

#[test]
fn maps_together_equal_maps_alone() {
    let a = source(40, 96, 32, Bits::Four, Kind::FloatZeros, 1).matrix;
    let b = source(24, 96, 48 * 2, Bits::Eight, Kind::Symmetric, 2).matrix;
    let c = source(72, 96, 96, Bits::Four, Kind::Table, 3).matrix;
    let bias = Generator(3).values(24);
    for m in [1, 3, 20] {
        let x = Generator(4).values(m * 96);
        let parts = [
            PackedLinear::new(&a, None, Activations::Int8).unwrap(),
            PackedLinear::new(&b, Some(&bias), Activations::Int8).unwrap(),
            PackedLinear::new(&c, None, Activations::Full).unwrap(),
        ];
        let mut outs: Vec<Vec<f32>> = parts.iter().map(|part| vec![f32::NAN; m * part.rows()]).collect();
        let mut slices: Vec<&mut [f32]> = outs.iter_mut().map(Vec::as_mut_slice).collect();
        packed_linear(&x, m, &parts, &mut slices);
        for (part, out) in parts.iter().zip(&outs) {
            let mut alone = vec![f32::NAN; m * part.rows()];
            packed_linear(&x, m, &[*part], &mut [&mut alone]);
            assert_eq!(bits(out), bits(&alone));
        }
    }
}

#[test]
fn what_cannot_be_packed_says_why() {
    let codes = vec![3u8; 64 * 2];
    let scales = vec![1.0; 4];
    let good = Quantized {
        rows: 2,
        cols: 64,
        bits: Bits::Four,
        group: 32,
        codes: &codes,
        scales: &scales,
        meaning: Meaning::Zero(8.0),
    };
    assert!(PackedMatrix::new(&good).is_ok());
    let error = |source: &Quantized<'_>| PackedMatrix::new(source).unwrap_err();
    assert_eq!(error(&Quantized { rows: 0, ..good }), PackError::Empty { rows: 0, cols: 64 });
    for group in [0, 16, 48, 128] {
        assert_eq!(error(&Quantized { group, ..good }), PackError::Group { cols: 64, group });
    }
    let length = |what, found, expected| PackError::Length { what, found, expected };
    assert_eq!(error(&Quantized { codes: &codes[1..], ..good }), length("codes", 127, 128));
    assert_eq!(error(&Quantized { scales: &scales[1..], ..good }), length("scales", 3, 4));
    assert_eq!(error(&Quantized { meaning: Meaning::Zeros(&[0.0]), ..good }), length("zeros", 1, 4));
    let mut wrong = codes.clone();
    wrong[70] = 16;
    assert_eq!(error(&Quantized { codes: &wrong, ..good }), PackError::Code { row: 1, col: 6, code: 16, bits: 4 });
    let not_finite = [1.0, f32::NAN, 1.0, 1.0];
    assert_eq!(error(&Quantized { scales: &not_finite, ..good }), PackError::NonFinite { what: "scales", index: 1 });
    let meaning = Meaning::Zeros(&not_finite);
    assert_eq!(error(&Quantized { meaning, ..good }), PackError::NonFinite { what: "zeros", index: 1 });
    let meaning = Meaning::Zero(f32::INFINITY);
    assert_eq!(error(&Quantized { meaning, ..good }), PackError::NonFinite { what: "zeros", index: 0 });
    let meaning = Meaning::Table(&NF4);
    assert_eq!(error(&Quantized { bits: Bits::Eight, meaning, ..good }), PackError::TableBits { bits: 8 });
    let cols = 66_336;
    let long = Quantized { rows: 1, cols, group: cols, bits: Bits::Eight, codes: &[], scales: &[], ..good };
    assert_eq!(error(&long), PackError::Accumulator { group: cols, bound: 66_304 });
    assert_eq!(error(&Quantized { bits: Bits::Four, ..long }), length("codes", 0, cols));

    let table = PackedMatrix::new(&Quantized { meaning, ..good }).unwrap();
    assert_eq!(PackedLinear::new(&table, None, Activations::Int8).unwrap_err(), PackError::TableWithIntegers);
    let error = PackedLinear::new(&table, Some(&[0.0]), Activations::Full).unwrap_err();
    assert_eq!(error.to_string(), "1 biases given where the shape needs 2");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// All shapes, groups and kinds: the same bits from every instruction set, and parity with f64.
    #[test]
    fn kernels_agree_with_each_other_and_with_double_precision(
        rows in 1usize..120,
        units in 1usize..7,
        per_group in 1usize..4,
        m in prop_oneof![1usize..9, 9usize..75],
        eight in any::<bool>(),
        kind in prop::sample::select(&KINDS[..]),
        with_bias in any::<bool>(),
        seed in any::<u32>(),
    ) {
        let (group, cols) = (32 * per_group, 32 * per_group * units);
        let depth = if eight && kind != Kind::Table { Bits::Eight } else { Bits::Four };
        let matrix = source(rows, cols, group, depth, kind, seed).matrix;
        let x = Generator(seed ^ 77).values(m * cols);
        let bias = with_bias.then(|| Generator(seed ^ 5).values(rows));
        let bias = bias.as_deref();
        let weight = matrix.dequantise();

        let exact = oracle(&x, &weight, cols, bias);
        let mut first = None;
        for set in vector::available() {
            let out = multiply(integer_set(), set, &matrix, Activations::Full, &x, bias);
            assert_parity(&out, &exact, "full");
            if m < 8 {
                prop_assert_eq!(first.get_or_insert_with(|| bits(&out)), &bits(&out), "{:?}", set);
            }
        }
        if kind == Kind::Table {
            return Ok(());
        }
        let exact = oracle(&rounded_activations(&x, cols, group), &weight, cols, bias);
        let mut first = None;
        for integers in dot::available() {
            let set = if integers == IntegerSet::Scalar { InstructionSet::Scalar } else { instruction_set() };
            let out = multiply(integers, set, &matrix, Activations::Int8, &x, bias);
            assert_parity(&out, &exact, "int8");
            prop_assert_eq!(first.get_or_insert_with(|| bits(&out)), &bits(&out), "{:?}", integers);
        }
    }
}
