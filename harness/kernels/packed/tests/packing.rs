//! Codes, scales and activations keep what they hold, and bad ones are refused.

use super::super::activations::{round_on, rounded_activations};
use super::super::block_full::expand;
use super::*;
use crate::vector;

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

#[test]
fn columns_are_those_of_the_whole_matrix() {
    for bits in [Bits::Four, Bits::Eight] {
        for kind in KINDS.into_iter().filter(|kind| bits == Bits::Four || *kind != Kind::Table) {
            let matrix = source(35, 96, 32, bits, kind, 4).matrix;
            let whole = matrix.dequantise();
            let some = [95, 0, 33, 7];
            let expected: Vec<f32> = whole.chunks(96).flat_map(|row| some.map(|column| row[column])).collect();
            assert_eq!(matrix.columns(&some), expected, "{bits:?} {kind:?}");
            assert!(matrix.columns(&[]).is_empty());
        }
    }
}
