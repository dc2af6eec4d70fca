//! One step of decoding over keys and values in f32 and in few bits, on the shape of one block of a 135M-parameter decoder: 9 heads
//! over 3, of 64 channels.
//!
//! `cargo bench -p harness-kernels --bench cache`. Elements are positions.
#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use harness_kernels::attention as full;
use harness_kernels::cache::{CodeBits, Grid, HeadCache, Shape, Window, attention};

const WIDTH: usize = 3 * 64;

fn sample(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919) % 1009) as f32 / 1009.0 - 0.5).collect()
}

fn steps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode attention");
    for keys in [512, 4096, 32_768] {
        let (q, k, v) = (sample(9 * 64), sample(keys * WIDTH), sample(keys * WIDTH));
        group.throughput(Throughput::Elements(keys as u64));
        let shape = full::Shape {
            batch: 1,
            queries: 1,
            keys,
            heads: 9,
            kv_heads: 3,
            head_dim: 64,
            scale: 0.125,
            slopes: None,
            biases: None,
            key_batch_stride: keys * WIDTH,
        };
        group.bench_function(BenchmarkId::new("f32", keys), |b| {
            b.iter(|| black_box(full::attention(&q, &k, &v, &shape)));
        });
        let shape = Shape { heads: 9, kv_heads: 3, head_dim: 64, scale: 0.125, slopes: None };
        for bits in [CodeBits::Two, CodeBits::Four, CodeBits::Eight] {
            let coded = keys - 128;
            let heads: Vec<HeadCache> = (0..3)
                .map(|head| {
                    let mut cache = HeadCache::new(Grid { bits, group: 32 }, 64);
                    let pushed = cache
                        .push_keys(&k[head * 64..], WIDTH, coded)
                        .and_then(|()| cache.push_values(&v[head * 64..], WIDTH, coded));
                    assert!(pushed.is_ok());
                    cache
                })
                .collect();
            let window = Window {
                keys: &k[coded * WIDTH..],
                values: &v[coded * WIDTH..],
                key_count: 128,
                value_count: 128,
                batch_stride: 128 * WIDTH,
            };
            group.bench_function(BenchmarkId::new(format!("{bits:?}"), keys), |b| {
                b.iter(|| black_box(attention(&q, &heads, &window, &shape)));
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = cache;
    config = Criterion::default().sample_size(20).measurement_time(std::time::Duration::from_secs(2));
    targets = steps
}
criterion_main!(cache);
