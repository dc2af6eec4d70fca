//! Median microseconds to choose one token, draw included, on rows of normal logits of deviation 3, one thread. Prints
//! lines of vocabulary, chain and median, as `tests/peers/llama_samplers.cpp` does for llama.cpp.

#![allow(clippy::print_stdout)]

use std::time::Instant;

use harness_core::{Arm, seed};
use harness_kernels::logits;
use harness_methods::sample::{Chain, Past};
use rand_chacha::rand_core::Rng;

const CHAINS: [&str; 17] = [
    "draw",
    "greedy",
    "temperature(t=0.8)",
    "top-k(k=40)",
    "top-p(p=0.95)",
    "min-p(p=0.05)",
    "typical(tau=0.95)",
    "top-n-sigma(n=1)",
    "xtc(probability=0.5)",
    "mirostat(version=2)",
    "mirostat(version=1)",
    "epsilon(epsilon=0.0003)",
    "eta(epsilon=0.0003)",
    "top-a(a=0.2)",
    "p-less",
    "top-h(h=0.4)",
    "tail-free(z=0.95)",
];

fn main() {
    for vocabulary in [32_000usize, 128_256, 262_144] {
        let mut random = seed::stream(1, &["rows"]);
        let mut uniform = || (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        // Box and Muller.
        let mut normal = || {
            let (radius, angle) = ((-2.0 * (1.0 - uniform()).ln()).sqrt(), std::f64::consts::TAU * uniform());
            (3.0 * radius * angle.cos()) as f32
        };
        let rows: Vec<Vec<f32>> = (0..16).map(|_| (0..vocabulary).map(|_| normal()).collect()).collect();
        let measure = |name: &str, step: &mut dyn FnMut(&[f32])| {
            let mut times: Vec<f64> = (0..64)
                .map(|at| {
                    let started = Instant::now();
                    step(&rows[at % rows.len()]);
                    started.elapsed().as_secs_f64() * 1e6
                })
                .collect();
            times.sort_unstable_by(f64::total_cmp);
            println!("{vocabulary}\t{name}\t{:.1}", times[times.len() / 2]);
        };
        measure("log-sum-exp alone", &mut |row| {
            std::hint::black_box(logits::statistics(row));
        });
        for name in CHAINS {
            let arms = if name == "draw" { Ok(Vec::new()) } else { Arm::parse_chain(name) };
            let Some(mut chain) = arms.ok().and_then(|arms| Chain::build(&arms, 1, "speed").ok()) else { continue };
            measure(name, &mut |row| {
                std::hint::black_box(chain.next(row, Past::default()).ok());
            });
        }
    }
}
