#![allow(clippy::unwrap_used)]

use serde_json::Value;

use super::{Basis, Support, TOLERANCE, Verdict};

/// A row of the head as the certificates know it, the constant first.
fn column(basis: &Basis, token: usize, directions: usize) -> Vec<f64> {
    std::iter::once(1.0).chain(basis.row(token as u32).into_iter().take(directions)).collect()
}

/// Checks what proves a verdict, from nothing but the rows, the probabilities and `σ`.
pub fn verify(basis: &Basis, directions: usize, p: &[f64], token: usize, tau: f64, support: &mut Support) -> bool {
    let sigma = 1.0 / (1.0 - tau).max(1e-10);
    match support.test(token as u32, tau) {
        Verdict::In { certificate, bound } => {
            let value =
                |at: usize| column(basis, at, directions).iter().zip(&certificate).map(|(a, b)| a * b).sum::<f64>();
            let own = value(token) * p[token];
            let others = (0..p.len()).filter(|at| *at != token).map(|at| {
                let v = value(at);
                p[at] * if v > 0.0 { (sigma - 1.0) * v } else { -v }
            });
            let sum: f64 = others.sum();
            assert!(own > 0.0 && sum < (1.0 - 0.9 * TOLERANCE) * own, "token {token}: {sum} against {own}");
            assert!((sum / own - bound).abs() < 0.1 * TOLERANCE, "token {token}: {} for {bound}", sum / own);
            true
        }
        Verdict::Out { reached } => {
            let point = support.point();
            assert!(reached >= 1.0 - TOLERANCE && point[token] == 0.0);
            let mut sums = vec![0.0; directions + 1];
            for (at, share) in point.iter().enumerate() {
                assert!(
                    *share >= 0.0 && *share <= sigma * p[at] + TOLERANCE * p[token],
                    "token {token}: {share} of {at}"
                );
                let moved = share - p[at];
                sums.iter_mut().zip(column(basis, at, directions)).for_each(|(sum, value)| *sum += moved * value);
            }
            // Centred and scaled as the tolerance is stated, and against the probability that was moved.
            for direction in 0..=directions {
                let values: Vec<f64> = (0..p.len()).map(|at| column(basis, at, directions)[direction]).collect();
                let mean = values.iter().zip(p).map(|(v, p)| v * p).sum::<f64>();
                let plain = values.iter().sum::<f64>() / p.len() as f64;
                let scale = (values.iter().map(|v| (v - plain).powi(2)).sum::<f64>() / p.len() as f64).sqrt();
                let rest = if direction == 0 { sums[0] } else { (sums[direction] - mean * sums[0]) / scale.max(1e-30) };
                assert!(rest.abs() < 3.0 * TOLERANCE * p[token], "token {token}, direction {direction}: {rest}");
            }
            false
        }
        Verdict::Undecided { reached, bound } => panic!("token {token} at {tau}: {reached} to {bound}"),
    }
}

/// The generator of `tests/reference/basis_aware.py`.
pub struct Numbers(pub u32);

impl Numbers {
    pub fn next(&mut self) -> f64 {
        let mut total = 0.0;
        for _ in 0..4 {
            self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            total += f64::from(self.0 >> 8) / f64::from(1 << 24) - 0.5;
        }
        total * 3f64.sqrt()
    }
}

pub fn head(numbers: &mut Numbers, vocabulary: usize, width: usize) -> Vec<f32> {
    let offset: Vec<f64> = (0..width).map(|_| numbers.next()).collect();
    let mut value = |at: usize| ((numbers.next() + offset[at % width]) / (1.0 + (at % width) as f64 / 4.0)) as f32;
    (0..vocabulary * width).map(&mut value).collect()
}

pub fn logits_of(numbers: &mut Numbers, head: &[f32], width: usize, scale: f64) -> Vec<f32> {
    let hidden: Vec<f64> = (0..width).map(|_| numbers.next()).collect();
    let product = |row: &[f32]| row.iter().zip(&hidden).map(|(a, b)| f64::from(*a) * b).sum::<f64>();
    let logits: Vec<f64> = head.chunks(width).map(product).collect();
    let mean = logits.iter().sum::<f64>() / logits.len() as f64;
    let deviation = (logits.iter().map(|z| (z - mean).powi(2)).sum::<f64>() / logits.len() as f64).sqrt();
    logits.iter().map(|z| (z * (scale / deviation)) as f32).collect()
}

pub fn softmax(logits: &[f32]) -> Vec<f64> {
    let most = logits.iter().copied().fold(f32::MIN, f32::max);
    let weights: Vec<f64> = logits.iter().map(|z| (f64::from(*z) - f64::from(most)).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / sum).collect()
}

fn deltas(weight: &[f32], width: usize, directions: usize, p: &[f64]) -> Vec<f64> {
    let basis = Basis::of(weight, p.len(), width, directions).unwrap();
    let mut support = Support::new(&basis, directions, p.to_vec());
    (0..p.len() as u32).map(|token| support.delta(token)).collect()
}

fn near(found: &[f64], wanted: &[f64], within: f64) {
    assert_eq!(found.len(), wanted.len());
    for (at, (a, b)) in found.iter().zip(wanted).enumerate() {
        assert!((a - b).abs() <= within, "{at}: {a} for {b} in {found:?}");
    }
}

const HAND: [f32; 4] = [0.0, 1.0, 2.0, -3.0];
const SHARES: [f64; 4] = [0.5, 0.25, 0.15, 0.1];

#[test]
fn the_example_by_hand() {
    let wanted = [4.0 / 7.0, 4.0 / 13.0, 3.0 / 13.0, 1.0 / 3.0];
    near(&deltas(&HAND, 1, 1, &SHARES), &wanted, 1e-9);
    // Adding the same row to all tokens, and turning the head, change nothing.
    near(&deltas(&HAND.map(|w| 1.0 - w), 1, 1, &SHARES), &wanted, 1e-9);
    let turned: Vec<f32> = HAND.iter().flat_map(|w| [0.6 * w, 0.8 * w]).collect();
    near(&deltas(&turned, 2, 2, &SHARES), &wanted, 1e-6);
    // Without directions it is the probability.
    near(&deltas(&HAND, 1, 0, &SHARES), &SHARES, 1e-9);
    let basis = Basis::of(&HAND, 4, 1, 1).unwrap();
    for (tau, kept) in [(0.25, [true, true, false, true]), (0.32, [true, false, false, true]), (0.2, [true; 4])] {
        let mut support = Support::new(&basis, 1, SHARES.to_vec());
        for (token, kept) in kept.into_iter().enumerate() {
            assert_eq!(verify(&basis, 1, &SHARES, token, tau, &mut support), kept, "{token} at {tau}");
        }
    }
}

#[test]
fn deltas_are_those_of_another_solver() {
    let golden: Value = serde_json::from_str(include_str!("../../../../tests/reference/basis_aware.json")).unwrap();
    let mut tokens = 0;
    for case in golden.as_array().unwrap() {
        let number = |key: &str| case[key].as_u64().unwrap() as usize;
        let (vocabulary, width, directions) = (number("vocabulary"), number("width"), number("directions"));
        let mut numbers = Numbers(number("seed") as u32);
        let weight = head(&mut numbers, vocabulary, width);
        let scale = case["scale"].as_f64().unwrap();
        let logits = if case["of_head"].as_bool().unwrap() {
            logits_of(&mut numbers, &weight, width, scale)
        } else {
            (0..vocabulary).map(|_| (scale * numbers.next()) as f32).collect()
        };
        for (found, wanted) in logits.iter().zip(case["first_logits"].as_array().unwrap()) {
            assert!((f64::from(*found) - wanted.as_f64().unwrap()).abs() < 1e-6);
        }
        let p = softmax(&logits);
        let basis = Basis::of(&weight, vocabulary, width, directions).unwrap();
        let mut support = Support::new(&basis, directions, p.clone());
        for (token, wanted) in case["tokens"].as_array().unwrap().iter().zip(case["delta"].as_array().unwrap()) {
            let (token, wanted) = (token.as_u64().unwrap() as usize, wanted.as_f64().unwrap());
            let found = support.delta(token as u32);
            assert!(
                (found - wanted).abs() < 1e-6 * wanted.max(1e-2),
                "seed {}, token {token}: {found} for {wanted}",
                case["seed"]
            );
            // On either side of it the test says so, with proof.
            for (tau, kept) in [(wanted * (1.0 - 1e-4), true), (wanted * (1.0 + 1e-4), false)] {
                if tau < 1.0 {
                    let answer = verify(&basis, directions, &p, token, tau, &mut support);
                    assert_eq!(answer, kept, "seed {}, token {token} at {tau}", case["seed"]);
                }
            }
            tokens += 1;
        }
    }
    assert!(tokens > 350, "{tokens}");
}

#[test]
fn with_a_column_a_token_both_bounds_meet() {
    let (vocabulary, width) = (2600, 12);
    let mut numbers = Numbers(17);
    let weight = head(&mut numbers, vocabulary, width);
    let basis = Basis::of(&weight, vocabulary, width, 8).unwrap();
    let p = softmax(&logits_of(&mut numbers, &weight, width, 2.0));
    let mut order: Vec<usize> = (0..vocabulary).collect();
    order.sort_by(|a, b| p[*b].total_cmp(&p[*a]));
    let mut support = Support::new(&basis, 8, p);
    for (rank, spread) in [(40, 0.01), (300, 1e-3), (1200, 1e-4)] {
        let token = order[rank] as u32;
        support.first(token, spread);
        let narrow = support.reach(0.0).unwrap();
        let wide = support.weigh(token).0.bound(spread);
        support.refine(token, spread, true);
        let reached = support.reach(0.0).unwrap();
        let bound = support.weigh(token).0.bound(spread);
        assert!((bound - reached).abs() < 1e-9 * reached, "rank {rank}: {reached} to {bound}");
        assert!(narrow <= reached * (1.0 + 1e-9) && wide >= reached * (1.0 - 1e-9), "{narrow}, {reached}, {wide}");
    }
}
