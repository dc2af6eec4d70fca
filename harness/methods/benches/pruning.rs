//! Seconds to prune one matrix of a decoder of width 576, statistics given.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use harness_core::seed;
use harness_methods::prune::{Needs, Site};
use harness_methods::registry::pruner;
use harness_methods::statistics::LinearStatistics;
use rand_chacha::rand_core::Rng;

fn uniform(label: &str, length: usize) -> Vec<f32> {
    let mut random = seed::stream(1, &[label]);
    (0..length).map(|_| (random.next_u64() >> 40) as f32 / (1u64 << 23) as f32 - 1.0).collect()
}

fn prune(criterion: &mut Criterion) {
    for (rows, cols) in [(1536, 576), (576, 1536)] {
        let weight = uniform("weight", rows * cols);
        let tokens = uniform("tokens", 2048 * cols);
        let gather = || {
            let mut statistics = LinearStatistics::new(cols, Needs::COLUMN_NORMS.union(Needs::SECOND_MOMENT));
            tokens.chunks(512 * cols).for_each(|sequence| drop(statistics.add(sequence)));
            statistics
        };
        let site = Site { name: "bench", layer: 0, rows, cols };
        let mut group = criterion.benchmark_group(format!("{rows}x{cols}"));
        group.sample_size(10);
        group.bench_function("statistics of 2048 tokens", |bencher| bencher.iter(gather));
        let statistics = gather();
        group.bench_function("factor", |bencher| {
            bencher.iter_batched(
                || statistics.hessian().unwrap_or_default(),
                |hessian| harness_methods::prune::factor::hinv_upper(hessian, cols, 0.01),
                BatchSize::LargeInput,
            );
        });
        for arm in
            ["magnitude", "wanda", "wanda(pattern=2:4)", "wanda(variant=true)", "sparsegpt", "sparsegpt(pattern=2:4)"]
        {
            let Ok(Ok(pruner)) = arm.parse().map(|arm| pruner(&arm)) else { continue };
            group.bench_function(arm, |bencher| {
                bencher.iter_batched(
                    || weight.clone(),
                    |mut weight| {
                        let mut random = seed::stream(0, &[]);
                        let done = pruner.prune(&site, &mut weight, Some(&statistics), None, &mut random);
                        (done, weight)
                    },
                    BatchSize::LargeInput,
                );
            });
        }
        group.finish();
    }
}

criterion_group!(benches, prune);
criterion_main!(benches);
