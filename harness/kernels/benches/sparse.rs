//! Products of one and of eight rows with a matrix with zeros: dense, as bitmap, as two of four, and as lists of places.
//!
//! `cargo bench -p harness-kernels --bench sparse`, on a machine that does nothing else. The matrix is larger than most caches.

#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use harness_kernels::sparse::{Format, SparseMatrix};
use harness_kernels::stored::Stored;
use harness_kernels::{Linear, MatrixRef, linear_few};

const ROWS: usize = 4096;
const COLS: usize = 4096;

/// A fixed sequence of numbers in [-1, 1).
fn numbers(length: usize) -> Vec<f32> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..length).map(|_| next()).collect()
}

/// The matrix with this share of its weights zero, or with two of every four.
fn pruned(sparsity: Option<f32>) -> Vec<f32> {
    let mut weight = numbers(ROWS * COLS);
    for four in weight.chunks_exact_mut(4) {
        if let Some(share) = sparsity {
            four.iter_mut().filter(|value| value.abs() < share).for_each(|value| *value = 0.0);
        } else {
            let mut order = [0usize, 1, 2, 3];
            order.sort_by(|&a, &b| four[a].abs().total_cmp(&four[b].abs()));
            order[..2].iter().for_each(|&at| four[at] = 0.0);
        }
    }
    weight
}

fn products(criterion: &mut Criterion) {
    for m in [1usize, 8] {
        let mut group = criterion.benchmark_group(format!("sparse/{m}"));
        group.throughput(Throughput::Elements((ROWS * COLS * m) as u64));
        let (x, mut out) = (numbers(m * COLS), vec![0.0; m * ROWS]);
        let dense = Stored::copied(&pruned(None));
        let map = Linear { weight: MatrixRef::F32(&dense), bias: None, rows: ROWS, cols: COLS };
        group.bench_function("dense", |bencher| {
            bencher.iter(|| linear_few(black_box(&x), m, &[map], &mut [&mut out]));
        });
        let half = [(Format::TwoOfFour, None, "2:4".to_owned())];
        let shares = [0.5f32, 0.6, 0.7, 0.8, 0.9, 0.95];
        let bitmaps = shares.map(|share| (Format::Bitmap, Some(share), format!("bitmap-{share}")));
        let lists = shares.map(|share| (Format::Csr, Some(share), format!("csr-{share}")));
        for (format, share, name) in half.into_iter().chain(bitmaps).chain(lists) {
            let Ok(matrix) = SparseMatrix::of(&pruned(share), ROWS, COLS, format) else { continue };
            group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
                bencher.iter(|| matrix.linear(black_box(&x), m, None, &mut out));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, products);
criterion_main!(benches);
