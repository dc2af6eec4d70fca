#![allow(clippy::unwrap_used)]

use harness_core::Arm;
use proptest::prelude::*;

use crate::sample::{Chain, Past};

fn chain(text: &str, seed: u64) -> Chain {
    let arms = if text.is_empty() { Vec::new() } else { Arm::parse_chain(text).unwrap() };
    Chain::build(&arms, seed, "test").unwrap()
}

/// Rows as models give them: a few likely tokens above a broad rest.
fn row(count: usize, spread: f64) -> Vec<f32> {
    (0..count).map(|at| (((at as f64 * 12.9898).sin() * 43758.547).fract() * spread) as f32).collect()
}

/// Upper point of the χ² distribution with `degrees` degrees of freedom that is passed with a probability of 1e-4
/// (Wilson and Hilferty).
fn critical(degrees: f64) -> f64 {
    let spread = 2.0 / (9.0 * degrees);
    degrees * (1.0 - spread + 3.719 * spread.sqrt()).powi(3)
}

#[test]
fn draws_follow_the_distribution_that_is_left() {
    let row = row(40, 6.0);
    for text in [
        "",
        "temperature(t=0.7)",
        "dynamic-temperature(t=1, range=0.5)",
        "top-k(k=12)",
        "top-p(p=0.8)",
        "min-p(p=0.05)",
        "epsilon(epsilon=0.02)",
        "eta(epsilon=0.05)",
        "typical(tau=0.6)",
        "top-a(a=0.5)",
        "tail-free(z=0.9)",
        "top-n-sigma(n=1.2)",
        "p-less",
        "top-h(h=0.6)",
        "xtc(probability=1, threshold=0.05)",
        "temperature(t=1.5) | top-k(k=20) | min-p(p=0.1)",
    ] {
        let mut chain = chain(text, 3);
        let candidates = chain.apply(&row, Past::default()).unwrap();
        let (ids, probabilities) = (candidates.ids(), candidates.probabilities());
        let draws = 100_000;
        let mut counts = vec![0usize; row.len()];
        for _ in 0..draws {
            counts[chain.next(&row, Past::default()).unwrap().token as usize] += 1;
        }
        let inside: usize = ids.iter().map(|id| counts[*id as usize]).sum();
        assert_eq!(inside, draws, "{text}: a token was drawn that is not kept");
        let square: f64 = ids
            .iter()
            .zip(&probabilities)
            .map(|(id, p)| {
                (counts[*id as usize] as f64 - p * f64::from(draws as u32)).powi(2) / (p * f64::from(draws as u32))
            })
            .sum();
        let degrees = ids.len() as f64 - 1.0;
        assert!(ids.len() == 1 || square < critical(degrees), "{text}: χ² {square} of {} kept", ids.len());
    }
}

#[test]
fn a_biased_draw_would_be_noticed() {
    // Against the distribution before truncation the same counts fail by far.
    let row = row(40, 6.0);
    let mut truncated = chain("top-k(k=12)", 3);
    let all = chain("", 3).apply(&row, Past::default()).unwrap().probabilities();
    let mut square = 0.0;
    let mut counts = vec![0.0; row.len()];
    for _ in 0..20_000 {
        counts[truncated.next(&row, Past::default()).unwrap().token as usize] += 1.0;
    }
    for (count, p) in counts.iter().zip(&all) {
        square += (count - p * 20_000.0f64).powi(2) / (p * 20_000.0);
    }
    assert!(square > 5.0 * critical(39.0));
}

#[test]
fn mirostat_holds_its_target() {
    // Zipf's law, whose exponent decides which surprises can be reached.
    let zipf = |exponent: f64| (1..=4000).map(|rank| (-exponent * f64::from(rank).ln()) as f32).collect::<Vec<_>>();
    for surprise in ["original", "renormalised"] {
        for (version, tau, exponent) in [(2, 2.0, 1.5), (2, 3.0, 1.5), (2, 5.0, 1.0), (1, 3.0, 1.5)] {
            let row = zipf(exponent);
            let mut chain = chain(&format!("mirostat(version={version}, tau={tau}, surprise={surprise})"), 5);
            let total = f64::from(row.iter().copied().fold(f32::MIN, f32::max));
            let sum: f64 = row.iter().map(|z| (f64::from(*z) - total).exp()).sum();
            let mut bits = 0.0;
            for _ in 0..2000 {
                let drawn = chain.next(&row, Past::default()).unwrap();
                bits += match surprise {
                    "original" => -((f64::from(drawn.logit) - total).exp() / sum).log2(),
                    _ => -drawn.probability.log2(),
                };
            }
            let mean = bits / 2000.0;
            assert!((mean - tau).abs() < 0.15, "version {version}, {surprise}: {mean} for {tau}");
        }
    }
}

#[test]
fn a_stage_without_random_numbers_shifts_no_draw() {
    let row = row(200, 5.0);
    let draw = |text: &str| {
        let mut chain = chain(text, 9);
        (0..50).map(|_| chain.next(&row, Past::default()).unwrap().token).collect::<Vec<_>>()
    };
    assert_eq!(draw(""), draw("top-k(k=200) | top-p(p=1)"));
    assert_eq!(draw(""), draw("xtc(probability=0)"));
    assert_ne!(draw(""), draw("top-k(k=2)"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_the_row(
        values in prop::collection::vec(prop_oneof![5 => -12f32..12.0, 1 => Just(3.0f32), 1 => Just(f32::NEG_INFINITY)], 1..2500),
        shift in -40f32..40.0,
    ) {
        prop_assume!(values.iter().any(|v| v.is_finite()));
        for text in [
            "top-k(k=7)", "top-p(p=0.7)", "min-p(p=0.02)", "epsilon(epsilon=0.001)", "eta(epsilon=0.002)", "typical(tau=0.5)",
            "top-a(a=0.2)", "tail-free(z=0.9)", "top-n-sigma(n=1)", "p-less", "top-h(h=0.5)",
        ] {
            let mut chain = chain(text, 1);
            let candidates = chain.apply(&values, Past::default()).unwrap();
            let ids = candidates.ids();
            // At least one is left, none of the banned ones, with its own logit, in the order of ids.
            prop_assert!(!ids.is_empty() && ids.windows(2).all(|pair| pair[0] < pair[1]), "{}", text);
            for (id, logit) in ids.iter().zip(candidates.logits()) {
                prop_assert!(logit.is_finite() && *logit == values[*id as usize], "{}", text);
            }
            let sum: f64 = candidates.probabilities().iter().sum();
            prop_assert!((sum - 1.0).abs() < 1e-9);
            // Everything above the lowest kept logit is kept, but for typical sampling.
            if !text.starts_with("typical") {
                let lowest = candidates.logits().iter().copied().fold(f32::INFINITY, f32::min);
                let above = values.iter().filter(|v| **v > lowest).count();
                prop_assert!(above < ids.len() + 1 && above + values.iter().filter(|v| **v == lowest).count() >= ids.len(), "{}", text);
            }
            // Adding a constant moves no set but at a knife's edge.
            let moved: Vec<f32> = values.iter().map(|v| v + shift).collect();
            let other = chain.apply(&moved, Past::default()).unwrap().len();
            prop_assert!(other.abs_diff(ids.len()) <= 1 + ids.len() / 50, "{}: {} and {}", text, ids.len(), other);
        }
    }

    #[test]
    fn min_p_is_a_gap_of_logits(values in prop::collection::vec(-8f32..8.0, 1..300), p in 0.001f64..1.0) {
        let mut chain = chain(&format!("min-p(p={p})"), 1);
        let ids = chain.apply(&values, Past::default()).unwrap().ids();
        let max = values.iter().copied().fold(f32::MIN, f32::max);
        let exact: Vec<f64> = values.iter().map(|v| f64::from(*v - max).exp()).collect();
        for (id, share) in exact.iter().enumerate() {
            if (share - p).abs() > 1e-5 * p {
                prop_assert_eq!(ids.binary_search(&(id as u32)).is_ok(), *share >= p);
            }
        }
    }
}
