//! Milliseconds a token of basis-aware eta sampling in retry mode, the draw included, one thread: 49,152 tokens, 20 directions, on
//! rows that a head of falling spectrum gives and on rows that have nothing to do with it, from peaked to flat. Prints for each
//! kind of row the median, the 95th percentile and the slowest step and the tests left open, and at the end the same of all steps,
//! with the share of steps whose every test has its certificate.

#![allow(clippy::print_stdout)]

use std::sync::Arc;
use std::time::Instant;

use harness_core::{Arm, seed};
use harness_methods::sample::basis::{Basis, Support, Verdict};
use harness_methods::sample::{Chain, Past};
use rand_chacha::rand_core::Rng;

const VOCABULARY: usize = 49_152;
const WIDTH: usize = 576;
const DIRECTIONS: usize = 20;

fn main() {
    let mut random = seed::stream(1, &["basis"]);
    let mut uniform = || (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
    // Box and Muller.
    let mut normal = || {
        let (radius, angle) = ((-2.0 * (1.0 - uniform()).ln()).sqrt(), std::f64::consts::TAU * uniform());
        radius * angle.cos()
    };
    // Singular values that fall as those of heads do, about a common offset.
    let offset: Vec<f64> = (0..WIDTH).map(|_| normal()).collect();
    let fall = |at: usize| 1.0 / (1.0 + at as f64 / 8.0).sqrt();
    let head: Vec<f32> =
        (0..VOCABULARY * WIDTH).map(|at| ((normal() + offset[at % WIDTH]) * fall(at % WIDTH)) as f32).collect();
    let started = Instant::now();
    let Ok(basis) = Basis::of(&head, VOCABULARY, WIDTH, DIRECTIONS) else { return };
    println!("basis\t{:.2} s", started.elapsed().as_secs_f64());
    let basis = Arc::new(basis);
    let of_head = |scale: f64, hidden: &[f64]| -> Vec<f32> {
        let row = |row: &[f32]| row.iter().zip(hidden).map(|(a, b)| f64::from(*a) * b).sum::<f64>();
        let all: Vec<f64> = head.chunks_exact(WIDTH).map(row).collect();
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        let deviation = (all.iter().map(|z| (z - mean).powi(2)).sum::<f64>() / all.len() as f64).sqrt();
        all.iter().map(|z| ((z - mean) * scale / deviation) as f32).collect()
    };
    let mut everything = Vec::new();
    let (mut certified, mut steps) = (0_u32, 0_u32);
    for (kind, scale) in [("head", 1.0), ("head", 2.0), ("head", 3.0), ("head", 5.0), ("other", 2.0), ("other", 4.0)] {
        let rows: Vec<Vec<f32>> = (0..12)
            .map(|_| {
                if kind == "head" {
                    let hidden: Vec<f64> = (0..WIDTH).map(|_| normal()).collect();
                    of_head(scale, &hidden)
                } else {
                    (0..VOCABULARY).map(|_| (scale * normal()) as f32).collect()
                }
            })
            .collect();
        for epsilon in [0.015, 0.0009] {
            let arms = Arm::parse_chain(&format!("ba-eta(epsilon={epsilon})"));
            let chain = arms.ok().and_then(|arms| Chain::build(&arms, 1, "speed").ok());
            let Some(mut chain) = chain.and_then(|chain| chain.with_basis(&basis).ok()) else { continue };
            let mut times: Vec<f64> = (0..60)
                .map(|at| {
                    let (started, open) = (Instant::now(), chain.undecided());
                    std::hint::black_box(chain.next(&rows[at % rows.len()], Past::default()).ok());
                    let time = started.elapsed().as_secs_f64() * 1e3;
                    (certified, steps) = (certified + u32::from(chain.undecided() == open), steps + 1);
                    time
                })
                .collect();
            times.sort_unstable_by(f64::total_cmp);
            everything.extend_from_slice(&times);
            let entropy = chain_entropy(&rows[0]);
            println!(
                "{kind} {scale}\tepsilon {epsilon}\tentropy {entropy:.1}\tmedian {:.2} ms\t95 % {:.2} ms\tmost {:.2} ms\topen {}",
                times[times.len() / 2],
                times[times.len() * 95 / 100],
                times[times.len() - 1],
                chain.undecided()
            );
        }
        programs(&basis, &rows[0]);
    }
    everything.sort_unstable_by(f64::total_cmp);
    let Some(most) = everything.last() else { return };
    println!(
        "all\t{steps} steps\tmedian {:.2} ms\t95 % {:.2} ms\tmost {most:.2} ms\tcertified {:.2} %",
        everything[everything.len() / 2],
        everything[everything.len() * 95 / 100],
        100.0 * f64::from(certified) / f64::from(steps)
    );
}

fn chain_entropy(row: &[f32]) -> f64 {
    softmax(row).iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum()
}

fn softmax(row: &[f32]) -> Vec<f64> {
    let most = row.iter().copied().fold(f32::MIN, f32::max);
    let weights: Vec<f64> = row.iter().map(|z| f64::from(*z - most).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / sum).collect()
}

/// Single tests of tokens below the threshold, by rank.
fn programs(basis: &Basis, row: &[f32]) {
    let p = softmax(row);
    let entropy = chain_entropy(row);
    let tau = 0.015f64.min(0.015f64.sqrt() * (-entropy).exp());
    let mut order: Vec<u32> = (0..p.len() as u32).collect();
    order.sort_unstable_by(|a, b| p[*b as usize].total_cmp(&p[*a as usize]));
    let first = order.iter().position(|at| p[*at as usize] < tau).unwrap_or(0);
    let started = Instant::now();
    let mut support = Support::new(basis, DIRECTIONS, p);
    let prepared = started.elapsed().as_secs_f64() * 1e3;
    let mut line = format!("\trank {first} below {tau:.2e}, prepared in {prepared:.1} ms:");
    for at in [first, first + 1, first + 3, first + 10, first + 30, first + 100, 3 * first, 10 * first + 300, 20_000] {
        let Some(token) = order.get(at) else { continue };
        let started = Instant::now();
        let verdict = support.test(*token, tau);
        let time = started.elapsed().as_secs_f64() * 1e3;
        line += &match verdict {
            Verdict::In { bound, .. } => format!(" in<{bound:.3}"),
            Verdict::Out { reached } => format!(" out>{reached:.3}"),
            Verdict::Undecided { reached, bound } => format!(" open[{reached:.6},{bound:.6}]"),
        };
        line += &format!(" {time:.2}ms");
    }
    println!("{line}");
}
