//! Microseconds to choose one token from a row of logits, draw included, on one thread.

mod rows;

use criterion::{Criterion, criterion_group, criterion_main};
use harness_core::Arm;
use harness_kernels::logits;
use harness_methods::sample::{Chain, Past};

use rows::rows;

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
