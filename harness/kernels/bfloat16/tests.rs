use half::bf16;

use super::*;
use crate::matrix::MatrixRef;

fn values(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(747_796_405).wrapping_add(1);
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

fn available() -> impl Iterator<Item = Bf16Set> {
    Bf16Set::ALL.into_iter().filter(|set| set.is_available())
}

fn near(value: f32) -> f64 {
    f64::from(bf16::from_f32(value).to_f32())
}

fn multiply(set: Bf16Set, x: &[f32], m: usize, matrix: &Bf16Matrix, bias: Option<&[f32]>) -> Vec<f32> {
    let mut out = vec![f32::NAN; m * matrix.rows()];
    bf16_linear_on(set, x, m, &[Bf16Linear { matrix, bias }], &mut [&mut out]);
    out
}

/// Whether `found` is a sum in f32 of the products of rounded factors, in whatever order.
///
/// Products of two bf16 have 16 bits and are exact in f32. A sum of `k` products and a bias takes `k + 1` additions at most
/// on the way of any term (filled-up columns add zeros, which round nothing), each off by half a unit in the last place,
/// 2^-24 of what has been summed so far, and that is at most the sum `s` of all magnitudes times `(1 + 2^-24)^k`: in all
/// `(k + 2) · 2^-24 · s` while `k` is far below 2^24. Subnormal numbers taken for zero add less than `k · 2^-126 · max`.
fn assert_sums(
    set: Bf16Set,
    (m, rows, cols): (usize, usize, usize),
    x: &[f32],
    w: &[f32],
    bias: &[f32],
    found: &[f32],
) {
    for i in 0..m {
        for j in 0..rows {
            let terms = (0..cols).map(|c| near(x[i * cols + c]) * near(w[j * cols + c]));
            let (mut sum, mut magnitude) = (f64::from(bias[j]), f64::from(bias[j].abs()));
            for term in terms {
                sum += term;
                magnitude += term.abs();
            }
            let allowed = (cols + 2) as f64 * magnitude / f64::from(1 << 24) + 1e-30;
            let got = f64::from(found[i * rows + j]);
            assert!((got - sum).abs() <= allowed, "{set:?} {m}x{cols}x{rows} [{i}, {j}]: {got} for {sum} ± {allowed}");
        }
    }
}

#[test]
fn every_instruction_set_sums_the_products_of_rounded_factors() {
    // Rows and blocks that fill tiles and that do not, columns that are odd and that fill a tile.
    for (m, rows, cols) in [
        (1, 16, 32),
        (1, 5, 1),
        (3, 33, 35),
        (7, 50, 64),
        (8, 16, 96),
        (33, 49, 70),
        (64, 64, 64),
        (97, 130, 31),
        (32, 32, 576),
    ] {
        let (x, w, bias) = (values(m * cols, 1), values(rows * cols, 2), values(rows, 3));
        let matrix = Bf16Matrix::new(rows, cols, MatrixRef::F32(&w));
        let oracle = multiply(Bf16Set::Scalar, &x, m, &matrix, Some(&bias));
        for set in available() {
            let found = multiply(set, &x, m, &matrix, Some(&bias));
            assert_sums(set, (m, rows, cols), &x, &w, &bias, &found);
            assert_sums(set, (m, rows, cols), &x, &w, &vec![0.0; rows], &multiply(set, &x, m, &matrix, None));
            if !matches!(set, Bf16Set::Avx512Bf16 | Bf16Set::Amx) {
                let same = found.iter().zip(&oracle).all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same, "{set:?} differs from the scalar oracle at {m}x{cols}x{rows}");
            }
        }
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let (rows, cols) = (300, 192);
    let w = values(rows * cols, 5);
    let matrix = Bf16Matrix::new(rows, cols, MatrixRef::F32(&w));
    for set in available() {
        for m in [1, 6, 130] {
            let x = values(m * cols, 4);
            let mut all: Option<Vec<u32>> = None;
            for threads in [1, 2, 5] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                let found = pool.map(|pool| pool.install(|| multiply(set, &x, m, &matrix, None)));
                let bits: Vec<u32> = found.into_iter().flatten().map(f32::to_bits).collect();
                assert_eq!(bits.len(), m * rows);
                assert_eq!(all.get_or_insert_with(|| bits.clone()), &bits, "{set:?}, {m} rows, {threads} threads");
            }
        }
    }
}

#[test]
fn a_row_is_the_same_alone_and_among_a_few() {
    let (rows, cols, m) = (40, 100, 7);
    let (x, w) = (values(m * cols, 6), values(rows * cols, 7));
    let matrix = Bf16Matrix::new(rows, cols, MatrixRef::F32(&w));
    for set in available() {
        let together = multiply(set, &x, m, &matrix, None);
        for (i, x) in x.chunks(cols).enumerate() {
            assert_eq!(multiply(set, x, 1, &matrix, None), together[i * rows..(i + 1) * rows], "{set:?}, row {i}");
        }
    }
}

#[test]
fn several_maps_in_one_region_equal_each_alone() {
    let (m, cols) = (70, 48);
    let (x, w) = (values(m * cols, 8), values(90 * cols, 9));
    let (a, b) =
        (Bf16Matrix::new(90, cols, MatrixRef::F32(&w)), Bf16Matrix::new(20, cols, MatrixRef::F32(&w[..20 * cols])));
    let (mut first, mut second) = (vec![0.0; m * 90], vec![0.0; m * 20]);
    let parts = [Bf16Linear { matrix: &a, bias: None }, Bf16Linear { matrix: &b, bias: None }];
    bf16_linear(&x, m, &parts, &mut [&mut first, &mut second]);
    assert_eq!(first, multiply(bf16_set(), &x, m, &a, None));
    assert_eq!(second, multiply(bf16_set(), &x, m, &b, None));
}

#[test]
fn weights_come_back_rounded() {
    let (rows, cols) = (19, 7);
    let w = values(rows * cols, 10);
    let matrix = Bf16Matrix::new(rows, cols, MatrixRef::F32(&w));
    let expected: Vec<bf16> = w.iter().map(|value| bf16::from_f32(*value)).collect();
    assert_eq!(matrix.values(), expected);
    assert_eq!(Bf16Matrix::new(rows, cols, MatrixRef::Bf16(&expected)).values(), expected);
    // Two blocks of sixteen rows, sixteen lines each.
    assert_eq!(matrix.bytes(), 2 * 16 * 64);
}

#[test]
fn infinities_and_nan_reach_the_outputs_of_their_row_alone() {
    let (rows, cols, m) = (32, 64, 32);
    let w = vec![1.0; rows * cols];
    let matrix = Bf16Matrix::new(rows, cols, MatrixRef::F32(&w));
    let mut x = vec![1.0; m * cols];
    x[3 * cols + 5] = f32::INFINITY;
    x[9 * cols + 40] = f32::NAN;
    for set in available() {
        let found = multiply(set, &x, m, &matrix, None);
        for (i, row) in found.chunks(rows).enumerate() {
            let right = row.iter().all(|value| match i {
                3 => *value == f32::INFINITY,
                9 => value.is_nan(),
                _ => *value == 64.0,
            });
            assert!(right, "{set:?}, row {i}: {row:?}");
        }
    }
}

#[test]
fn kernels_are_named_by_what_runs() {
    let matrix = Bf16Matrix::new(1, 1, MatrixRef::F32(&[1.0]));
    let map = Bf16Linear { matrix: &matrix, bias: None };
    assert_eq!(map.kernel(512), format!("bf16_gemm_{}", bf16_set().name()));
    assert!(map.kernel(1).starts_with("bf16_gemv_") && !map.kernel(1).ends_with("amx"));
    assert!(Bf16Set::Scalar.is_available() && bf16_set().is_available());
}
