#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::product::{Linear, linear_few};
use crate::vector::available;

fn numbers(seed: u64, length: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..length).map(|_| next()).collect()
}

/// Weights of which `kept` in a thousand are left, or two of every four.
fn pruned(seed: u64, rows: usize, cols: usize, kept: Option<u32>) -> Vec<f32> {
    let mut weight = numbers(seed, rows * cols);
    let chance = numbers(seed + 1, rows * cols);
    for (at, value) in weight.iter_mut().enumerate() {
        let gone = match kept {
            Some(kept) => (chance[at] + 1.0) * 500.0 >= kept as f32,
            None => chance[at / 4 * 4..at / 4 * 4 + 4].iter().filter(|other| **other > chance[at]).count() >= 2,
        };
        if gone {
            *value = 0.0;
        }
    }
    weight
}

fn dense(weight: &[f32], (rows, cols): (usize, usize), x: &[f32], m: usize, bias: Option<&[f32]>) -> Vec<f32> {
    let mut out = vec![0.0; m * rows];
    let map = Linear { weight: crate::MatrixRef::F32(weight), bias, rows, cols };
    linear_few(x, m, &[map], &mut [&mut out]);
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn products_are_those_of_the_dense_matrix_to_the_bit(
        seed in 0u64..1000, rows in 1usize..40, cols in 1usize..50, kept in 0u32..1000, m in 1usize..7, biased: bool,
    ) {
        let cols = cols * 4;
        let bias = numbers(seed + 9, rows);
        let bias = biased.then_some(bias.as_slice());
        let x = numbers(seed + 5, m * cols);
        for (format, kept) in [(Format::Bitmap, Some(kept)), (Format::Csr, Some(kept)), (Format::TwoOfFour, None)] {
            let weight = pruned(seed, rows, cols, kept);
            let sparse = SparseMatrix::of(&weight, rows, cols, format).unwrap();
            for set in available() {
                prop_assert_eq!(&sparse.dense_with(set), &weight);
            }
            let expected = dense(&weight, (rows, cols), &x, m, bias);
            for set in available() {
                let mut out = vec![f32::NAN; m * rows];
                sparse.linear_with(set, &x, m, bias, &mut out);
                let same = out.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits());
                prop_assert!(same, "{:?} {:?}", format, set);
            }
        }
    }

    #[test]
    fn rows_of_any_length(seed in 0u64..1000, rows in 1usize..9, cols in 1usize..140) {
        let (weight, x) = (pruned(seed, rows, cols, Some(300)), numbers(seed + 2, cols));
        for format in [Format::Bitmap, Format::Csr] {
            let sparse = SparseMatrix::of(&weight, rows, cols, format).unwrap();
            for set in available() {
                prop_assert_eq!(&sparse.dense_with(set), &weight);
            }
            let mut out = vec![0.0; rows];
            sparse.linear(&x, 1, None, &mut out);
            prop_assert_eq!(out, dense(&weight, (rows, cols), &x, 1, None));
        }
    }
}

#[test]
fn bytes_are_those_of_what_is_held() {
    let weight = pruned(3, 64, 128, Some(200));
    let left = weight.iter().filter(|value| **value != 0.0).count();
    let bytes = |format| SparseMatrix::of(&weight, 64, 128, format).unwrap().bytes();
    assert_eq!(bytes(Format::Bitmap), 64 * 128 / 8 + left * 4 + 64 * 4);
    assert_eq!(bytes(Format::Csr), left * 6 + 65 * 4);
    let half = SparseMatrix::of(&pruned(3, 64, 128, None), 64, 128, Format::TwoOfFour).unwrap();
    assert_eq!(half.bytes(), 64 * 128 * 4 / 2 + 64 * 128 / 8, "half of the weights and two bits for each");
}

#[test]
fn what_cannot_be_held_is_refused() {
    let refused =
        |weight: &[f32], cols, format| SparseMatrix::of(weight, weight.len() / cols, cols, format).unwrap_err();
    let mut weight = vec![0.0; 16];
    weight[9..12].fill(1.0);
    assert_eq!(refused(&weight, 8, Format::TwoOfFour), SparseError::Group { row: 1, column: 0 });
    assert!(refused(&weight, 8, Format::TwoOfFour).to_string().contains("columns 0 to 3; prune with `pattern = 2:4`"));
    assert_eq!(refused(&[1.0; 6], 6, Format::TwoOfFour), SparseError::Columns(6));
    assert_eq!(refused(&vec![0.0; 70_000], 70_000, Format::Csr), SparseError::Wide(70_000));
}

#[test]
fn threads_change_no_bit() {
    let (rows, cols) = (300, 1024);
    let x = numbers(8, 3 * cols);
    for (format, kept) in [(Format::Bitmap, Some(200)), (Format::TwoOfFour, None), (Format::Csr, Some(50))] {
        let sparse = SparseMatrix::of(&pruned(4, rows, cols, kept), rows, cols, format).unwrap();
        let with = |threads| {
            let mut out = vec![0.0; 3 * rows];
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| sparse.linear(&x, 3, None, &mut out));
            (out, pool.install(|| sparse.dense()))
        };
        assert_eq!(with(1), with(4), "{format:?}");
    }
}
