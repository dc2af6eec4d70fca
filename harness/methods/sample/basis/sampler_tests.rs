#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use harness_core::Arm;
use proptest::prelude::*;

use super::tests::{Numbers, head, logits_of, softmax, verify};
use super::{Basis, BasisError, Support, Verdict};
use crate::sample::{Chain, ChainError, Past, SampleError};

fn bare(text: &str) -> Result<Chain, ChainError> {
    Chain::build(&Arm::parse_chain(text).unwrap(), 7, "test")
}

fn chain(text: &str, basis: &Arc<Basis>) -> Chain {
    bare(text).unwrap().with_basis(basis).unwrap()
}

fn logarithms(probabilities: &[f64]) -> Vec<f32> {
    probabilities.iter().map(|p| p.ln() as f32).collect()
}

fn by_hand() -> (Arc<Basis>, Vec<f32>) {
    let basis = Basis::of(&[0.0, 1.0, 2.0, -3.0], 4, 1, 1).unwrap();
    (Arc::new(basis), logarithms(&[0.5, 0.25, 0.15, 0.1]))
}

#[test]
fn a_less_probable_token_is_kept_where_a_more_probable_one_is_not() {
    let (basis, row) = by_hand();
    let kept = |text: &str| {
        let mut chain = chain(text, &basis);
        let candidates = chain.apply(&row, Past::default()).unwrap();
        (candidates.ids(), candidates.threshold())
    };
    assert_eq!(kept("bat(tau=0.25, directions=1, mode=exact)"), (vec![0, 1, 3], Some(0.25)));
    assert_eq!(kept("bat(tau=0.32, directions=1, mode=exact)").0, [0, 3]);
    assert_eq!(kept("bat(tau=0.2, directions=1, mode=exact)").0, [0, 1, 2, 3]);
    assert_eq!(kept("ba-epsilon(epsilon=0.25, directions=1, mode=exact)").0, [0, 1, 3]);
    // H = 1.2080, so that √ε e^{−H} = 0.25 at ε = 0.7000; the threshold is the lesser of the two.
    assert_eq!(kept("ba-eta(epsilon=0.7, directions=1, mode=exact)").0, [0, 1, 3]);
    assert!((kept("ba-eta(epsilon=0.7, directions=1, mode=exact)").1.unwrap() - 0.25).abs() < 1e-4);
    // The nucleus of 0.6 is {0, 1}, its last token has 0.25.
    assert_eq!(kept("ba-nucleus(p=0.6, directions=1, mode=exact)").0, [0, 1, 3]);
    assert_eq!(kept("ba-nucleus(p=1, directions=1, mode=exact)").0, [0, 1, 2, 3]);
    // No token reaches a half of more than all: the most probable is left.
    assert_eq!(kept("bat(tau=0.9, directions=1, mode=exact)").0, [0]);
}

#[test]
fn without_directions_it_is_a_threshold_and_needs_no_head() {
    let row = logarithms(&[0.05, 0.3, 0.02, 0.25, 0.28, 0.1]);
    for (basis_aware, plain) in [
        ("bat(tau=0.1, directions=0, mode=exact)", "epsilon(epsilon=0.1)"),
        ("ba-epsilon(epsilon=0.26, directions=0, mode=exact)", "epsilon(epsilon=0.26)"),
        ("ba-eta(epsilon=0.05, directions=0, mode=exact)", "eta(epsilon=0.05)"),
        ("ba-nucleus(p=0.7, directions=0, mode=exact)", "top-p(p=0.7)"),
    ] {
        let kept = |text: &str| bare(text).unwrap().apply(&row, Past::default()).unwrap().ids();
        assert_eq!(kept(basis_aware), kept(plain), "{basis_aware}");
    }
}

#[test]
fn what_was_removed_before_has_no_probability() {
    // Without token 0 the rest is [.5, .3, .2] at 1, 2, −3: one direction, δ by the other way of computing it.
    let (basis, row) = by_hand();
    let p = [0.0, 0.5, 0.3, 0.2];
    let mut support = Support::new(&basis, 1, p.to_vec());
    let deltas: Vec<f64> = (0..4).map(|token| support.delta(token)).collect();
    assert_eq!(deltas[0], 0.0);
    // Only token 3 lies below the mean of 0.5, so that the others cannot do without it; token 2 can be moved to 1 and 3.
    assert_eq!(deltas[3], 1.0);
    let mut banned = row.clone();
    banned[0] = f32::NEG_INFINITY;
    let mut chain = chain("bat(tau=0.99, directions=1, mode=exact)", &basis);
    let kept = chain.apply(&banned, Past::default()).unwrap().ids();
    let wanted: Vec<u32> = (0..4).filter(|token| deltas[*token as usize] > 0.99).collect();
    assert_eq!(kept, wanted);
    assert!(kept.contains(&3));
}

#[test]
fn heads_and_chains_that_make_no_sense_are_refused() {
    let (basis, row) = by_hand();
    let refused = |text: &str| bare(text).err().unwrap().to_string();
    assert!(refused("temperature(t=0.7) | bat").contains("`temperature(t=0.7)` before it changes that"));
    assert!(refused("presence-penalty(penalty=1) | top-k(k=5) | ba-eta").contains("presence-penalty"));
    assert!(refused("bat | temperature(t=0.7)").contains("put `bat` last"));
    assert!(bare("bat(mode=exact) | temperature(t=0.7)").is_ok());
    assert!(bare("top-k(k=5) | bat").is_ok());
    assert!(bare("temperature(t=0.7) | bat(directions=0)").is_ok());
    let error = bare("bat").unwrap().next(&row, Past::default()).unwrap_err();
    assert_eq!(error, SampleError::NoHead { directions: 20 });
    let error = bare("bat").unwrap().with_basis(&basis).err().unwrap();
    assert_eq!(error, ChainError::Directions { needed: 20, found: 1 });
    let error = chain("bat(directions=1)", &basis).next(&row[..3], Past::default()).unwrap_err();
    assert_eq!(error, SampleError::OtherHead { head: 4, vocabulary: 3 });
    let of = |weight: &[f32], vocabulary, directions| Basis::of(weight, vocabulary, 2, directions).err().unwrap();
    assert_eq!(of(&[0.0; 5], 3, 1), BasisError::Shape { vocabulary: 3, width: 2, values: 5 });
    assert_eq!(of(&[0.0; 6], 3, 3), BasisError::Directions { directions: 3, width: 2 });
    assert_eq!(of(&[0.0, 0.0, 0.0, f32::NAN], 2, 1), BasisError::NotFinite { token: 1 });
}

/// The law of drawing up to `retries` tokens without replacement until one is in the support.
fn retry_law(p: &[f64], kept: &[bool], retries: usize) -> Vec<f64> {
    fn walk(p: &[f64], kept: &[bool], gone: &mut Vec<usize>, chance: f64, retries: usize, law: &mut [f64]) {
        let left: f64 = (0..p.len()).filter(|at| !gone.contains(at)).map(|at| p[at]).sum();
        if gone.len() == retries || gone.len() == p.len() {
            let best = (0..p.len()).fold(0, |best, at| if p[at] > p[best] { at } else { best });
            law[best] += chance;
            return;
        }
        for at in 0..p.len() {
            if gone.contains(&at) {
                continue;
            }
            let chance = chance * p[at] / left;
            if kept[at] {
                law[at] += chance;
            } else {
                gone.push(at);
                walk(p, kept, gone, chance, retries, law);
                gone.pop();
            }
        }
    }
    let mut law = vec![0.0; p.len()];
    walk(p, kept, &mut Vec::new(), 1.0, retries, &mut law);
    law
}

#[test]
fn retries_draw_by_their_own_law() {
    let mut numbers = Numbers(21);
    let weight = head(&mut numbers, 8, 4);
    let basis = Arc::new(Basis::of(&weight, 8, 4, 2).unwrap());
    let row = logits_of(&mut numbers, &weight, 4, 0.8);
    let p = softmax(&row);
    let tau = 0.2;
    let mut support = Support::new(&basis, 2, p.clone());
    let kept: Vec<bool> =
        (0..8).map(|at| p[at] >= tau || matches!(support.test(at as u32, tau), Verdict::In { .. })).collect();
    let count = kept.iter().filter(|kept| **kept).count();
    assert!((1..7).contains(&count), "{kept:?} of {p:?}");
    let renormalised = of_support(&p, &kept);
    for retries in [1, 2, 8, 0] {
        // Without end they are the support renormalised, as leaving out what was refused changes no ratio of the others.
        let (law, how) = match retries {
            0 => (renormalised.clone(), "mode=exact".to_owned()),
            _ => (retry_law(&p, &kept, retries), format!("retries={retries}")),
        };
        assert!((law.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        let apart: f64 = law.iter().zip(&renormalised).map(|(a, b)| (a - b).abs()).sum();
        assert!(if retries < 8 && retries > 0 { apart > 5e-3 } else { apart < 1e-9 }, "{how}: {apart}");
        let mut chain = chain(&format!("bat(tau={tau}, directions=2, {how})"), &basis);
        let draws = 100_000;
        let mut counts = [0u32; 8];
        for _ in 0..draws {
            counts[chain.next(&row, Past::default()).unwrap().token as usize] += 1;
        }
        let mut square = 0.0;
        for (at, share) in law.iter().enumerate() {
            let wanted = share * f64::from(draws);
            assert!(wanted > 0.0 || counts[at] == 0, "token {at} was drawn");
            square += if wanted > 0.0 { (f64::from(counts[at]) - wanted).powi(2) / wanted } else { 0.0 };
        }
        // The upper point of 1e-4 of χ² with seven degrees of freedom.
        assert!(square < 29.88, "{how}: χ² {square}, {counts:?} for {law:?}");
    }
}

/// `p` renormalised over the support.
fn of_support(p: &[f64], kept: &[bool]) -> Vec<f64> {
    let total: f64 = p.iter().zip(kept).filter(|(_, kept)| **kept).map(|(p, _)| p).sum();
    p.iter().zip(kept).map(|(p, kept)| if *kept { p / total } else { 0.0 }).collect()
}

#[test]
fn long_rows_are_judged_with_proof() {
    let (vocabulary, width, directions) = (6000, 24, 20);
    let mut numbers = Numbers(5);
    let weight = head(&mut numbers, vocabulary, width);
    let basis = Basis::of(&weight, vocabulary, width, directions).unwrap();
    let mut answers = [0, 0];
    for (scale, of_head) in [(1.0, true), (2.0, true), (4.0, true), (2.0, false), (4.0, false)] {
        let row: Vec<f32> = if of_head {
            logits_of(&mut numbers, &weight, width, scale)
        } else {
            (0..vocabulary).map(|_| (scale * numbers.next()) as f32).collect()
        };
        let p = softmax(&row);
        let entropy: f64 = p.iter().map(|p| -p * p.ln()).sum();
        let tau = 0.015f64.min(0.015f64.sqrt() * (-entropy).exp());
        let mut order: Vec<usize> = (0..vocabulary).collect();
        order.sort_by(|a, b| p[*b].total_cmp(&p[*a]));
        let first = order.iter().position(|at| p[*at] < tau).unwrap_or(vocabulary);
        let mut support = Support::new(&basis, directions, p.clone());
        for at in (0..8).map(|step| first + 5 * step * step * step).filter(|at| *at < vocabulary) {
            let answer = verify(&basis, directions, &p, order[at], tau, &mut support);
            answers[usize::from(answer)] += 1;
        }
    }
    assert!(answers.iter().all(|count| *count >= 5), "{answers:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn whatever_the_head(
        seed in any::<u32>(),
        vocabulary in 2usize..60,
        width in 1usize..12,
        scale in prop_oneof![Just(0.3), Just(1.0), Just(3.0)],
        of_head in any::<bool>(),
        rank in 1usize..12,
    ) {
        let mut numbers = Numbers(seed);
        let mut weight = head(&mut numbers, vocabulary, width);
        // Heads of less than full rank: the last columns are sums of the first ones.
        for row in weight.chunks_mut(width) {
            for at in rank.min(width)..width {
                row[at] = row[at % rank.min(width)] * 0.5;
            }
        }
        let row = if of_head && vocabulary > 2 {
            logits_of(&mut numbers, &weight, width, scale)
        } else {
            (0..vocabulary).map(|_| (scale * numbers.next()) as f32).collect()
        };
        let p = softmax(&row);
        let basis = Basis::of(&weight, vocabulary, width, width).unwrap();
        for token in 0..vocabulary {
            let mut last = 0.0;
            for directions in [0, 1, (width / 2).max(1), width] {
                let mut support = Support::new(&basis, directions, p.clone());
                let delta = support.delta(token as u32);
                if directions == 0 {
                    prop_assert!((delta - p[token]).abs() < 1e-9 * p[token].max(1e-6));
                }
                prop_assert!(delta >= p[token] * (1.0 - 1e-9), "{} of {}", delta, p[token]);
                prop_assert!(delta >= last - 1e-7, "{} after {}", delta, last);
                last = delta;
                for tau in [p[token] * 0.5, p[token] * 1.3, delta * 0.999, delta * 1.001] {
                    if tau > 0.0 && tau < 0.999 {
                        let answer = verify(&basis, directions, &p, token, tau, &mut support);
                        prop_assert_eq!(answer, tau < delta, "token {} at {}: δ {}", token, tau, delta);
                    }
                }
            }
        }
    }
}
