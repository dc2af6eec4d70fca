//! Microseconds to choose one token from a row of logits, draw included, on one thread. Rows as in
//! `tests/peers/llama_samplers.cpp`: normal with a deviation of 3, and within ±1 for a flat distribution.

use criterion::{Criterion, criterion_group, criterion_main};
use harness_core::{Arm, seed};
use harness_kernels::logits;
use harness_methods::sample::{Chain, Past};
use rand_chacha::rand_core::Rng;

/// Sixteen rows, so that none stays in a branch predictor.
fn rows(vocabulary: usize, flat: bool) -> Vec<Vec<f32>> {
    let mut random = seed::stream(1, &["rows"]);
    let mut uniform = || (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
    let mut number = || {
        if flat {
            return (2.0 * uniform() - 1.0) as f32;
        }
        // Box and Muller.
        let (radius, angle) = ((-2.0 * (1.0 - uniform()).ln()).sqrt(), std::f64::consts::TAU * uniform());
        (3.0 * radius * angle.cos()) as f32
    };
    (0..16).map(|_| (0..vocabulary).map(|_| number()).collect()).collect()
}

fn choose(criterion: &mut Criterion) {
    for vocabulary in [32_000, 128_256, 262_144] {
        for (shape, flat) in [("peaked", false), ("flat", true)] {
            let rows = rows(vocabulary, flat);
            let mut group = criterion.benchmark_group(format!("{vocabulary} {shape}"));
            group.sample_size(20);
            let mut at = 0;
            group.bench_function("log-sum-exp alone", |bencher| {
                bencher.iter(|| {
                    at = (at + 1) % rows.len();
                    logits::statistics(&rows[at])
                });
            });
            for text in [
                "draw",
                "greedy",
                "temperature(t=0.8)",
                "top-k(k=40)",
                "top-p(p=0.95)",
                "min-p(p=0.05)",
                "epsilon(epsilon=0.0003)",
                "eta(epsilon=0.0003)",
                "typical(tau=0.95)",
                "top-a(a=0.2)",
                "tail-free(z=0.95)",
                "top-n-sigma(n=1)",
                "p-less",
                "top-h(h=0.4)",
                "mirostat(version=1)",
                "mirostat(version=2)",
                "xtc(probability=0.5)",
                "temperature(t=0.8) | top-k(k=40) | top-p(p=0.95) | min-p(p=0.05)",
            ] {
                let arms = if text == "draw" { Ok(Vec::new()) } else { Arm::parse_chain(text) };
                let Some(mut chain) = arms.ok().and_then(|arms| Chain::build(&arms, 1, "bench").ok()) else { continue };
                let mut at = 0;
                group.bench_function(text, |bencher| {
                    bencher.iter(|| {
                        at = (at + 1) % rows.len();
                        chain.next(&rows[at], Past::default())
                    });
                });
            }
        }
    }
}

criterion_group!(benches, choose);
criterion_main!(benches);
