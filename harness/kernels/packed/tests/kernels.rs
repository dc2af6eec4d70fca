//! Products: the same bits from every instruction set, and parity with double precision.

use proptest::prelude::*;

use super::super::activations::rounded_activations;
use super::super::dot;
use super::*;
use crate::vector::{self, instruction_set};

/// The zero-point identity by hand: activations −2, 10, −5, 2 with codes 2, 9, 12, 4 less 8 give −6.
#[test]
fn zero_points_are_taken_off_every_code() {
    let (mut codes, mut x) = (vec![8; 32], vec![0.0; 32]);
    codes[..4].copy_from_slice(&[2, 9, 12, 4]);
    // The largest activation makes the scale 1, and meets a code that stands for zero.
    x[..5].copy_from_slice(&[-2.0, 10.0, -5.0, 2.0, 127.0]);
    for meaning in [Meaning::Zero(8.0), Meaning::Zeros(&[8.0])] {
        let source =
            Quantized { rows: 1, cols: 32, bits: Bits::Four, group: 32, codes: &codes, scales: &[1.0], meaning };
        let matrix = PackedMatrix::new(&source).unwrap();
        for integers in dot::available() {
            let out = multiply(integers, instruction_set(), &matrix, Activations::Int8, &x, None);
            assert_eq!(out, [-6.0], "{integers:?}");
        }
        assert_eq!(multiply(integer_set(), instruction_set(), &matrix, Activations::Full, &x, None), [-6.0]);
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
        let x = Generator(seed.wrapping_add(77)).values(m * cols);
        let bias = with_bias.then(|| Generator(seed.wrapping_add(5)).values(rows));
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

/// Inputs rounded outside, the same way, give the same bits, in few rows and in many.
#[test]
fn rounded_inputs_give_what_rounding_inside_gives() {
    let (cols, group) = (128, 64);
    let matrix = source(37, cols, group, Bits::Eight, Kind::Symmetric, 9).matrix;
    for m in [1, 5, 40] {
        let x = Generator(3).values(m * cols);
        let inside = Bytes::new(&x, m, cols, group, false);
        let (codes, scales) = (inside.codes[..m * cols].to_vec(), inside.scales[..m * cols / group].to_vec());
        let bytes = Bytes::of_codes(codes, scales, m, cols, group);
        let part = PackedLinear::new(&matrix, None, Activations::Int8).unwrap();
        let mut out = vec![f32::NAN; m * 37];
        packed_linear_rounded(&bytes, m, &[part], &mut [&mut out]);
        let whole = multiply(integer_set(), instruction_set(), &matrix, Activations::Int8, &x, None);
        assert_eq!(bits(&out), bits(&whole), "{m}");
    }
}
