//! Median microseconds to choose one token on rows of normal logits of deviation 3 (peaked) and of uniform ones within one nat of
//! zero (flat), one thread. Prints lines of shape, vocabulary, chain, median with the draw and median without it.
//! `tests/peers/samplers.sh` puts them beside llama.cpp's.
//!
//! With the argument `alternate` all chains take turns step by step, so that each finds its buffers where the others left them;
//! otherwise each takes its steps in a row.

#![allow(clippy::print_stdout)]

#[path = "../benches/rows/mod.rs"]
mod rows;

use std::time::Instant;

use harness_core::Arm;
use harness_kernels::logits;
use harness_methods::sample::{Chain, Past};

use rows::rows;

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

/// Steps that a median is of.
const STEPS: usize = 64;

/// What is timed: a name, and a step over a row; its flag says whether the draw is included.
type Subject = (String, Box<dyn FnMut(&[f32], bool)>);

fn main() {
    let alternate = std::env::args().any(|argument| argument == "alternate");
    for (shape, vocabulary) in [
        ("peaked", 32_000usize),
        ("peaked", 128_256),
        ("peaked", 262_144),
        ("flat", 32_000),
        ("flat", 128_256),
        ("flat", 262_144),
    ] {
        let rows = rows(vocabulary, shape == "flat");
        let mut subjects = subjects();
        for (name, [with, without]) in times(&mut subjects, &rows, alternate) {
            println!("{shape}\t{vocabulary}\t{name}\t{with:.1}\t{without:.1}");
        }
    }
}

fn subjects() -> Vec<Subject> {
    let mut all: Vec<Subject> = vec![(
        "log-sum-exp alone".to_owned(),
        Box::new(|row, _| {
            std::hint::black_box(logits::statistics(row));
        }),
    )];
    for name in CHAINS {
        let arms = if name == "draw" { Ok(Vec::new()) } else { Arm::parse_chain(name) };
        let Some(mut chain) = arms.ok().and_then(|arms| Chain::build(&arms, 1, "speed").ok()) else { continue };
        let step = move |row: &[f32], draw: bool| {
            if draw {
                std::hint::black_box(chain.next(row, Past::default()).ok());
            } else {
                std::hint::black_box(chain.apply(row, Past::default()).is_ok());
            }
        };
        all.push((name.to_owned(), Box::new(step)));
    }
    all
}

/// Median microseconds of a step of each, with the draw and without it.
fn times(subjects: &mut [Subject], rows: &[Vec<f32>], alternate: bool) -> Vec<(String, [f64; 2])> {
    let mut lists = vec![[Vec::new(), Vec::new()]; subjects.len()];
    for (list, draw) in [true, false].into_iter().enumerate() {
        let turns: Vec<(usize, usize)> = if alternate {
            (0..STEPS).flat_map(|at| (0..subjects.len()).map(move |subject| (subject, at))).collect()
        } else {
            (0..subjects.len()).flat_map(|subject| (0..STEPS).map(move |at| (subject, at))).collect()
        };
        for (subject, at) in turns {
            let started = Instant::now();
            (subjects[subject].1)(&rows[at % rows.len()], draw);
            lists[subject][list].push(started.elapsed().as_secs_f64() * 1e6);
        }
    }
    let median = |mut times: Vec<f64>| {
        times.sort_unstable_by(f64::total_cmp);
        times[times.len() / 2]
    };
    subjects.iter().zip(lists).map(|((name, _), lists)| (name.clone(), lists.map(median))).collect()
}
