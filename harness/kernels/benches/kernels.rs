//! Throughput of the kernels on the shapes of a 135M-parameter decoder: 576 wide, 9 heads over 3, 49,152 tokens.
//!
//! `cargo bench -p harness-kernels`. Matrix products report multiply-adds (two operations each) as elements.
#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use half::{bf16, f16};
use harness_kernels::{MatrixRef, activation, attention, logits, matmul_nn, matmul_nt, matmul_tn, normalise};

const VOCABULARY: usize = 49_152;

fn sample(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919) % 1009) as f32 / 1009.0 - 0.5).collect()
}

fn products(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("matmul");
    for (m, k, n) in [(512, 576, 1536), (512, 1536, 576), (512, 576, 192), (4096, 128, 384)] {
        let (x, w) = (sample(m * k), sample(n * k));
        let mut out = vec![0.0; m * n];
        let shape = format!("{m}x{k}x{n}");
        group.throughput(Throughput::Elements((m * k * n) as u64));
        group.bench_function(BenchmarkId::new("nt-f32", &shape), |b| {
            b.iter(|| matmul_nt(&x, MatrixRef::F32(&w), &mut out, m, k, n));
        });
        let half: Vec<f16> = w.iter().map(|v| f16::from_f32(*v)).collect();
        group.bench_function(BenchmarkId::new("nt-f16", &shape), |b| {
            b.iter(|| matmul_nt(&x, MatrixRef::F16(&half), &mut out, m, k, n));
        });
        let mut input = vec![0.0; m * k];
        group.bench_function(BenchmarkId::new("nn (input gradient)", &shape), |b| {
            b.iter(|| matmul_nn(&out, &w, &mut input, m, n, k, false));
        });
        let mut weight = vec![0.0; n * k];
        group.bench_function(BenchmarkId::new("tn (weight gradient)", &shape), |b| {
            b.iter(|| matmul_tn(&out, &x, &mut weight, n, m, k, false));
        });
    }
    group.finish();
}

fn streaming(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("gemv");
    let (k, n) = (576, VOCABULARY);
    let w = sample(n * k);
    let half: Vec<f16> = w.iter().map(|v| f16::from_f32(*v)).collect();
    let brain: Vec<bf16> = w.iter().map(|v| bf16::from_f32(*v)).collect();
    for rows in [1, 4] {
        let x = sample(rows * k);
        let mut out = vec![0.0; rows * n];
        for (name, matrix, size) in
            [("f32", MatrixRef::F32(&w), 4), ("f16", MatrixRef::F16(&half), 2), ("bf16", MatrixRef::Bf16(&brain), 2)]
        {
            group.throughput(Throughput::Bytes((n * k * size) as u64));
            group.bench_function(BenchmarkId::new(name, rows), |b| {
                b.iter(|| matmul_nt(&x, matrix, &mut out, rows, k, n));
            });
        }
    }
    group.finish();
}

fn attentions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("attention");
    for (queries, keys) in [(512, 512), (512, 2048), (1, 512)] {
        let shape = attention::Shape {
            batch: 1,
            queries,
            keys,
            heads: 9,
            kv_heads: 3,
            head_dim: 64,
            scale: 0.125,
            slopes: None,
            biases: None,
            key_batch_stride: keys * 192,
        };
        let (q, k, v) = (sample(queries * 576), sample(keys * 192), sample(keys * 192));
        group.throughput(Throughput::Elements(queries as u64));
        group.bench_function(BenchmarkId::new("forward", format!("{queries} of {keys}")), |b| {
            b.iter(|| black_box(attention::attention(&q, &k, &v, &shape)));
        });
        if queries == keys {
            let (out, sums) = attention::attention(&q, &k, &v, &shape);
            group.bench_function(BenchmarkId::new("backward", queries), |b| {
                b.iter(|| black_box(attention::attention_gradient(&q, &k, &v, &out, &sums, &q, &shape)));
            });
        }
    }
    group.finish();
}

fn passes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("passes");
    let (p, q) = (sample(VOCABULARY), sample(VOCABULARY).into_iter().rev().collect::<Vec<_>>());
    group.throughput(Throughput::Elements(VOCABULARY as u64));
    group.bench_function("logits statistics", |b| b.iter(|| black_box(logits::statistics(&p))));
    let (sp, sq) = (logits::statistics(&p), logits::statistics(&q));
    group.bench_function("logits divergence", |b| b.iter(|| black_box(logits::kl_given(&p, &sp, &q, &sq))));
    let (x, weight, wide) = (sample(512 * 576), sample(576), sample(512 * 1536));
    group.throughput(Throughput::Bytes(512 * 576 * 8));
    group.bench_function("rms norm", |b| b.iter(|| black_box(normalise::rms_norm(&x, &weight, 1e-5))));
    group.throughput(Throughput::Bytes(512 * 1536 * 12));
    group.bench_function("silu times up", |b| {
        b.iter(|| black_box(activation::activate(activation::Activation::Silu, &wide, Some(&wide))));
    });
    group.finish();
}

criterion_group! {
    name = kernels;
    config = Criterion::default().sample_size(20).measurement_time(std::time::Duration::from_secs(2));
    targets = products, streaming, attentions, passes
}
criterion_main!(kernels);
