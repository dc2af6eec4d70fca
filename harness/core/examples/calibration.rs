//! How often the tests see a difference where there is none: the table of `harness/METHODOLOGY.md`.
//!
//!     cargo run --release -p harness-core --example calibration [TRIALS]
//!
//! Prints the share of trials with a p-value of at most 0.05, 0.01 and 0.001, in units of that level: 1.00 is right, less
//! is cautious, more is wrong that much more often than it says. 100,000 trials by default.
#![allow(clippy::print_stdout)]

use harness_core::seed::stream;
use harness_core::statistics::{Studentised, sign_flip, trimmed_difference, trimmed_mean};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

const LEVELS: [f64; 3] = [0.05, 0.01, 0.001];

/// Random numbers of the laws below.
struct Numbers {
    random: ChaCha8Rng,
    spare: Option<f64>,
}

impl Numbers {
    fn of(label: &str) -> Self {
        Self { random: stream(2026, &["calibration", label]), spare: None }
    }

    fn uniform(&mut self) -> f64 {
        (self.random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let (radius, angle) = ((-2.0 * (1.0 - self.uniform()).ln()).sqrt(), std::f64::consts::TAU * self.uniform());
        self.spare = Some(radius * angle.sin());
        radius * angle.cos()
    }

    /// Student's law with three degrees of freedom: a variance, but no third moment.
    fn heavy(&mut self) -> f64 {
        let square: f64 = (0..3).map(|_| self.normal().powi(2)).sum();
        self.normal() / (square / 3.0).sqrt()
    }

    /// Pareto's law with exponent 1.2 from 1: no variance.
    fn size(&mut self) -> f64 {
        (1.0 - self.uniform()).powf(-1.0 / 1.2).ceil().min(1e6)
    }
}

type Law = fn(&mut Numbers) -> (f64, f64);

/// One cluster's difference, of mean zero, and its weight.
const LAWS: [(&str, Law); 7] = [
    ("normal", |n| (n.normal(), 1.0)),
    ("heavy tails (Student, 3 degrees)", |n| (n.heavy(), 1.0)),
    ("two log-normal arms", |n| (n.normal().exp() - n.normal().exp(), 1.0)),
    ("sizes 1 to 8, normal", |n| {
        let size = (1.0 + 8.0 * n.uniform()).floor();
        (size.sqrt() * n.normal(), size)
    }),
    ("Pareto sizes, variance by size", |n| {
        let size = n.size();
        (size.sqrt() * n.normal(), size)
    }),
    ("Pareto sizes, whole documents shift", |n| {
        let size = n.size();
        (size * n.normal(), size)
    }),
    ("one-sided: log-normal less its mean", |n| (n.normal().exp() - 0.5_f64.exp(), 1.0)),
];

fn row(name: &str, count: &str, trials: u32, mut probability: impl FnMut() -> Option<f64>) {
    let mut alarms = [0_u32; 3];
    for _ in 0..trials {
        // What cannot be tested raises no alarm.
        let p = probability().unwrap_or(1.0);
        for (alarms, level) in alarms.iter_mut().zip(LEVELS) {
            *alarms += u32::from(p <= level);
        }
    }
    let shares = alarms.iter().zip(LEVELS).map(|(alarms, level)| f64::from(*alarms) / f64::from(trials) / level);
    let shares: Vec<String> = shares.map(|share| format!("{share:.2}")).collect();
    println!("| {name} | {count} | {} |", shares.join(" | "));
}

fn main() {
    let trials: u32 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(100_000);
    println!("| law of the differences | units | 0.05 | 0.01 | 0.001 |");
    println!("|---|---:|---:|---:|---:|");
    for (name, law) in LAWS {
        for count in [20, 50, 200, 1000] {
            let mut numbers = Numbers::of(&format!("{name} {count}"));
            row(&format!("t of clusters: {name}"), &count.to_string(), trials, || {
                let clusters: Vec<(f64, f64)> = (0..count).map(|_| law(&mut numbers)).collect();
                Studentised::of_clusters(&clusters).map(|found| found.probability(0.0))
            });
        }
    }
    for count in [20, 50, 200] {
        let mut numbers = Numbers::of(&format!("answers {count}"));
        row("signs: answers in documents of 8", &count.to_string(), trials, || {
            let differences: Vec<f64> = (0..count)
                .map(|_| {
                    // A document shifts all of its items to one side; the sides are drawn alike.
                    let lean = 0.5 + 0.2 * numbers.normal().clamp(-2.0, 2.0);
                    let answers = (0..8).map(|_| if numbers.uniform() < 0.3 { numbers.uniform() } else { 2.0 });
                    answers.map(|at| if at > 1.0 { 0.0 } else { f64::from(u8::from(at < lean)) * 2.0 - 1.0 }).sum()
                })
                .collect();
            Some(sign_flip(&differences).0)
        });
    }
    for rounds in [5, 10, 30] {
        let mut numbers = Numbers::of(&format!("rounds {rounds}"));
        row("t of rounds taken together, heavy tails", &rounds.to_string(), trials, || {
            let ratios: Vec<f64> = (0..rounds).map(|_| 0.03 * numbers.heavy()).collect();
            trimmed_mean(&ratios).map(|found| found.probability(0.0))
        });
        let mut numbers = Numbers::of(&format!("two sets of rounds {rounds}"));
        row("t of two sets of rounds, slow outliers", &rounds.to_string(), trials, || {
            // One round in ten is disturbed and takes up to twice as long.
            let mut side = || -> Vec<f64> {
                (0..rounds)
                    .map(|_| {
                        let late = if numbers.uniform() < 0.1 { 0.7 * numbers.uniform() } else { 0.0 };
                        0.02 * numbers.normal() + late
                    })
                    .collect()
            };
            let (a, b) = (side(), side());
            trimmed_difference(&a, &b).map(|found| found.probability(0.0))
        });
    }
}
