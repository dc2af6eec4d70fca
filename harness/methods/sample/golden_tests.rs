#![allow(clippy::unwrap_used, clippy::unreadable_literal)]

use harness_core::Arm;
use serde_json::Value;

use crate::sample::{Chain, Past, SampleError};

const Z6: [f32; 6] = [2.0, 1.0, 0.5, 0.0, -1.0, -3.0];

fn chain(text: &str) -> Chain {
    let arms = if text.is_empty() { Vec::new() } else { Arm::parse_chain(text).unwrap() };
    Chain::build(&arms, 7, "test").unwrap()
}

/// What is kept of logits, and its probabilities.
fn kept_after(text: &str, logits: &[f32], past: &[u32]) -> Result<(Vec<u32>, Vec<f64>), SampleError> {
    let mut chain = chain(text);
    let candidates = chain.apply(logits, Past { prompt: past, generated: &[] })?;
    Ok((candidates.ids(), candidates.probabilities()))
}

fn kept(text: &str) -> Vec<u32> {
    kept_after(text, &Z6, &[]).unwrap().0
}

fn logarithms(probabilities: &[f64]) -> Vec<f32> {
    probabilities.iter().map(|p| p.ln() as f32).collect()
}

fn check(text: &str, logits: &[f32], past: &[u32], wanted: &[f64]) {
    let (ids, probabilities) = kept_after(text, logits, past).unwrap();
    let mut all = vec![0.0; logits.len()];
    for (id, probability) in ids.iter().zip(&probabilities) {
        all[*id as usize] = *probability;
    }
    assert_eq!(all.len(), wanted.len(), "{text}");
    for (found, wanted) in all.iter().zip(wanted) {
        assert!((found - wanted).abs() < 2e-6, "{text}: {all:?} for {wanted:?}");
    }
}

#[test]
fn every_stage_sees_what_earlier_ones_left() {
    assert_eq!(kept("top-k(k=3) | top-p(p=0.8)"), [0, 1]);
    assert_eq!(kept("top-p(p=0.8) | top-k(k=3)"), [0, 1, 2]);
    assert_eq!(kept("temperature(t=2) | min-p(p=0.1)"), [0, 1, 2, 3, 4]);
    assert_eq!(kept("min-p(p=0.1) | temperature(t=2)"), [0, 1, 2, 3]);
    check("temperature(t=2) | min-p(p=0.1)", &Z6, &[], &[0.374545, 0.227173, 0.176922, 0.137787, 0.083572, 0.0]);
    check("min-p(p=0.1) | temperature(t=2)", &Z6, &[], &[0.408701, 0.247890, 0.193057, 0.150353, 0.0, 0.0]);
}

#[test]
fn temperatures() {
    check("temperature(t=0.5)", &Z6, &[], &[0.829213, 0.112222, 0.041284, 0.015188, 0.002055, 0.000038]);
    check("temperature(t=2)", &Z6, &[], &[0.363373, 0.220397, 0.171645, 0.133678, 0.081080, 0.029827]);
    check("temperature(t=0.000001)", &Z6, &[], &[1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    let huge = [3.0e38f32, -3.0e38, 2.9e38];
    check("temperature(t=0.000001)", &huge, &[], &[1.0, 0.0, 0.0]);
    let (one, range) = ("exponent=1", "t=1, range=0.5");
    check(
        &format!("dynamic-temperature({range}, {one})"),
        &Z6,
        &[],
        &[0.502294, 0.215957, 0.141602, 0.092848, 0.039919, 0.007379],
    );
    check(
        &format!("dynamic-temperature({range}, exponent=2)"),
        &Z6,
        &[],
        &[0.572526, 0.203943, 0.121721, 0.072648, 0.025878, 0.003284],
    );
    assert_eq!(kept_after("dynamic-temperature(t=0.5, range=0.5)", &[9.0, -60.0, -60.0], &[]).unwrap().1[0], 1.0);
    assert_eq!(kept_after("dynamic-temperature(range=0.5)", &[3.0], &[]).unwrap().0, [0]);
}

#[test]
fn greedy_and_counts_take_the_lowest_of_equal_ids() {
    assert_eq!(kept("greedy"), [0]);
    assert_eq!(kept_after("greedy", &[1.0; 4], &[]).unwrap().0, [0]);
    let banned = [f32::NEG_INFINITY, f32::NEG_INFINITY, -5.0, f32::NEG_INFINITY];
    for chain in ["greedy", "top-k(k=3)", "top-p(p=0.3)", "typical(tau=0.2)", "eta", "top-n-sigma", "top-h", "p-less"] {
        assert_eq!(kept_after(chain, &banned, &[]).unwrap(), (vec![2], vec![1.0]), "{chain}");
    }
    check("top-k(k=3)", &Z6, &[], &[0.628532, 0.231224, 0.140244, 0.0, 0.0, 0.0]);
    assert_eq!(kept_after("top-k(k=2)", &[1.0, 2.0, 2.0, 2.0], &[]).unwrap().0, [1, 2]);
    assert_eq!(kept("top-k(k=99)").len(), 6);
    let long: Vec<f32> = (0..5000).map(|at| if at % 7 == 3 { 1.0 } else { 0.0 }).collect();
    assert_eq!(kept_after("top-k(k=3)", &long, &[]).unwrap().0, [3, 10, 17]);
    assert_eq!(kept_after("top-k(k=800)", &long, &[]).unwrap().0.last(), Some(&4994));
}

#[test]
fn top_p_stops_at_the_share() {
    assert_eq!(kept("top-p(p=0.5)"), [0]);
    assert_eq!(kept("top-p(p=0.8)"), [0, 1, 2]);
    assert_eq!(kept("top-p(p=0.9)"), [0, 1, 2, 3]);
    assert_eq!(kept("top-p(p=1)").len(), 6);
    assert_eq!(kept_after("top-p(p=0.75)", &logarithms(&[0.5, 0.25, 0.125, 0.125]), &[]).unwrap().0, [0, 1]);
    // An f32 sum over this many tokens is off by more than the margin of one of them.
    let uniform = vec![0.25f32; 150_000];
    assert_eq!(kept_after("top-p(p=0.5)", &uniform, &[]).unwrap().0, (0..75_000).collect::<Vec<u32>>());
    assert_eq!(kept_after("top-p(p=1)", &uniform, &[]).unwrap().0.len(), 150_000);
}

#[test]
fn thresholds() {
    assert_eq!(kept("min-p(p=0.1)"), [0, 1, 2, 3]);
    assert_eq!(kept("min-p(p=0.3)"), [0, 1]);
    let tenths = logarithms(&[0.1, 0.2, 0.3, 0.4]);
    for (p, count) in [(0.24, 4), (0.26, 3), (0.49, 3), (0.51, 2), (0.74, 2), (0.76, 1)] {
        assert_eq!(kept_after(&format!("min-p(p={p})"), &tenths, &[]).unwrap().0.len(), count, "{p}");
    }
    assert_eq!(kept_after("min-p(p=1)", &[2.0, 1.0, 2.0], &[]).unwrap().0, [0, 2]);
    assert_eq!(kept("epsilon(epsilon=0.05)"), [0, 1, 2, 3]);
    assert_eq!(kept("epsilon(epsilon=0.6)"), [0]);
    // √ε e^{-H} and not √(ε e^{-H}), nats and not bits.
    assert_eq!(kept("eta(epsilon=0.3)"), [0, 1]);
    assert_eq!(kept("eta(epsilon=0.1)"), [0, 1, 2]);
    let uniform = vec![0.0f32; 1000];
    assert_eq!(kept_after("epsilon(epsilon=0.002)", &uniform, &[]).unwrap().0, [0]);
    assert_eq!(kept_after("eta(epsilon=0.002)", &uniform, &[]).unwrap().0.len(), 1000);
    assert_eq!(kept("top-a(a=0.3)"), [0, 1, 2]);
    assert_eq!(kept("p-less"), [0]);
    assert_eq!(kept_after("p-less", &logarithms(&[0.1, 0.15, 0.2, 0.25, 0.3]), &[]).unwrap().0, [3, 4]);
    for count in [3, 50, 1000, 5000] {
        let uniform = vec![1.5f32; count];
        for chain in ["p-less", "min-p(p=1)", "min-p(p=0.5)", "top-a(a=1)", "top-n-sigma(n=0.1)", "eta"] {
            assert_eq!(kept_after(chain, &uniform, &[]).unwrap().0.len(), count, "{chain} of {count}");
        }
    }
}

#[test]
fn typical_may_leave_the_most_probable_token_out() {
    assert_eq!(kept("typical(tau=0.2)"), [1]);
    assert_eq!(kept("typical(tau=0.3)"), [0, 1]);
    assert_eq!(kept("typical(tau=0.7)"), [0, 1]);
    assert_eq!(kept_after("typical(tau=0.5)", &logarithms(&[0.97, 0.01, 0.01, 0.01]), &[]).unwrap().0, [0]);
    assert_eq!(kept_after("typical(tau=0.5)", &logarithms(&[0.4, 0.2, 0.2, 0.2]), &[]).unwrap().0, [1, 2, 3]);
    let zeros = kept_after("typical(tau=0.9)", &[0.0, -200.0, 0.0, -150.0], &[]).unwrap();
    assert_eq!(zeros, (vec![0, 2], vec![0.5, 0.5]));
}

#[test]
fn shapes_of_the_distribution() {
    assert_eq!(kept("top-n-sigma(n=1)"), [0, 1, 2]);
    assert_eq!(kept("top-n-sigma(n=0.9)"), [0, 1]);
    assert_eq!(kept_after("top-n-sigma(n=1)", &logarithms(&[0.1, 0.2, 0.3, 0.4]), &[]).unwrap().0, [2, 3]);
    for t in ["0.1", "1", "10"] {
        assert_eq!(kept(&format!("temperature(t={t}) | top-n-sigma(n=0.9)")), [0, 1], "{t}");
    }
    assert_eq!(kept("tail-free(z=0.95)"), [0, 1, 2, 3]);
    assert_eq!(kept("tail-free(z=0.8)"), [0]);
    assert_eq!(kept_after("tail-free(z=0.5)", &[1.0, 2.0], &[]).unwrap().0, [0, 1]);
    let uniform = vec![0.0f32; 12];
    assert_eq!(kept_after("tail-free(z=0.5)", &uniform, &[]).unwrap().0, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn top_choices_are_excluded_but_the_last() {
    check("xtc(probability=1, threshold=0.1)", &Z6, &[], &[0.0, 0.0, 0.537675, 0.326117, 0.119972, 0.016236]);
    let tenths = logarithms(&[0.4, 0.3, 0.2, 0.1]);
    for (threshold, wanted) in [(0.09, vec![3]), (0.19, vec![2, 3]), (0.29, vec![1, 2, 3]), (0.39, vec![0, 1, 2, 3])] {
        let text = format!("xtc(probability=1, threshold={threshold})");
        assert_eq!(kept_after(&text, &tenths, &[]).unwrap().0, wanted, "{threshold}");
    }
    assert_eq!(kept("xtc(probability=1, exempt=\"0\")").len(), 6);
    assert_eq!(kept("xtc(probability=0)").len(), 6);
}

#[test]
fn repetitions_are_penalised() {
    let uniform = |count: usize| vec![0.0f32; count];
    let dry = |rest: &str| format!("dry({rest})");
    check(&dry("multiplier=1, base=1.1"), &uniform(4), &[0, 1, 2, 0, 1], &[0.296923, 0.296923, 0.109232, 0.296923]);
    check(
        &dry("multiplier=2, base=1.1"),
        &uniform(5),
        &[0, 1, 2, 0, 1],
        &[0.241818, 0.241818, 0.032727, 0.241818, 0.241818],
    );
    check(&dry("multiplier=1, base=1.1"), &uniform(4), &[0, 1], &[0.25; 4]);
    check(&dry("multiplier=1, base=1.1, breakers=\"3\""), &uniform(5), &[0, 1, 3, 4, 0, 1], &[0.2; 5]);
    check(&dry("multiplier=1, base=1.1, allowed=4"), &uniform(5), &[0, 1, 2, 3, 4, 0, 1], &[0.2; 5]);
    let mut long = chain("dry(multiplier=0.8)");
    let past = [5, 1, 2, 3, 9, 1, 2, 3, 8, 1, 2, 3];
    let logits =
        long.apply(&uniform(10), Past { prompt: &past[..4], generated: &past[4..] }).unwrap().logits().to_vec();
    for (token, logit) in logits.iter().enumerate() {
        let wanted = if token == 8 || token == 9 { -1.4 } else { 0.0 };
        assert!((logit - wanted).abs() < 1e-6, "{token}: {logit}");
    }
}

#[test]
fn penalties_of_the_past() {
    let past = [0, 4, 0, 2];
    let repetition = "repetition-penalty(penalty=1.2)";
    let constants = "frequency-penalty(penalty=0.5) | presence-penalty(penalty=0.4)";
    check(repetition, &Z6, &past, &[0.486597, 0.249827, 0.139412, 0.091906, 0.027682, 0.004576]);
    check(constants, &Z6, &past, &[0.284259, 0.424064, 0.104573, 0.156004, 0.023333, 0.007767]);
    let both = format!("{repetition} | {constants}");
    check(&both, &Z6, &past, &[0.224607, 0.467633, 0.106097, 0.172033, 0.021066, 0.008565]);
    let normalised = "repetition-penalty(penalty=1.2, normalise=true)";
    check(normalised, &Z6, &past, &[0.566542, 0.233971, 0.093649, 0.086073, 0.015480, 0.004285]);
    let fifths = vec![(0.2f64.ln()) as f32; 5];
    let strong = "frequency-penalty(penalty=2) | presence-penalty(penalty=2)";
    let rest = 1.0 / (4.0 + (-4.0f64).exp());
    check(strong, &fifths, &[0], &[1.0 - 4.0 * rest, rest, rest, rest, rest]);
    check("repetition-penalty(penalty=50)", &fifths, &[0], &[0.0, 0.25, 0.25, 0.25, 0.25]);
    check("repetition-penalty(penalty=50, last_n=0)", &fifths, &[0], &[0.2; 5]);
    check("repetition-penalty(penalty=50, include_prompt=false)", &fifths, &[0], &[0.2; 5]);
}

#[test]
fn n_grams_are_not_repeated() {
    let kept = |text: &str, past: &[u32]| kept_after(text, &[0.0; 8], past).map(|(ids, _)| ids);
    assert_eq!(kept("no-repeat-ngram(n=2)", &[5, 7, 5]).unwrap(), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(kept("no-repeat-ngram(n=3)", &[1, 2, 3, 1, 2]).unwrap(), [0, 1, 2, 4, 5, 6, 7]);
    assert_eq!(kept("no-repeat-ngram(n=1)", &[1, 2, 3, 1]).unwrap(), [0, 4, 5, 6, 7]);
    assert_eq!(kept("no-repeat-ngram(n=3)", &[1]).unwrap().len(), 8);
    assert_eq!(kept("no-repeat-ngram(n=1)", &[0, 1, 2, 3, 4, 5, 6, 7]), Err(SampleError::NoFiniteLogit));
}

#[test]
fn biases() {
    check("logit-bias(tokens=\"0:-1 3:-inf\")", &[1.0, 0.0, 0.0, 9.0], &[], &[1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0, 0.0]);
    let error = kept_after("logit-bias(tokens=\"9:1\")", &Z6, &[]).unwrap_err();
    assert_eq!(error.to_string(), "logit-bias names token 9, but the model has 6 tokens");
    let refused = |text: &str| Chain::build(&Arm::parse_chain(text).unwrap(), 7, "x").err().unwrap().to_string();
    assert!(refused("logit-bias(tokens=\"1:inf\")").contains("is not a finite bias or -inf"));
    assert!(refused("dry(breakers=\"a\")").contains("not a list of ids"));
}

#[test]
fn rows_that_make_no_distribution_are_refused() {
    let refused = |row: &[f32]| kept_after("min-p(p=0.1)", row, &[]).unwrap_err();
    assert_eq!(refused(&[]), SampleError::EmptyLogits);
    assert_eq!(refused(&[0.0, f32::NAN, f32::INFINITY]), SampleError::NanLogit { index: 1 });
    assert_eq!(refused(&[0.0, 1.0, f32::INFINITY]), SampleError::PositiveInfinity { index: 2 });
    assert_eq!(refused(&[f32::NEG_INFINITY; 3]), SampleError::NoFiniteLogit);
    assert_eq!(kept_after("", &[0.0, f32::NEG_INFINITY], &[]).unwrap().0, [0]);
}

#[test]
fn parameters_and_chains_that_make_no_sense_are_refused() {
    let refused = |text: &str| Chain::build(&Arm::parse_chain(text).unwrap(), 7, "x").err().unwrap().to_string();
    for (text, range) in [
        ("temperature(t=0)", "(0, inf)"),
        ("top-k(k=0)", "[1, "),
        ("top-p(p=0)", "(0, 1]"),
        ("top-p(p=1.01)", "(0, 1]"),
        ("min-p(p=1.05)", "[0, 1]"),
        ("epsilon(epsilon=0)", "(0, 1)"),
        ("eta(epsilon=1)", "(0, 1)"),
        ("typical(tau=1.5)", "(0, 1]"),
        ("top-a(a=-1)", "[0, 1]"),
        ("tail-free(z=0)", "(0, 1]"),
        ("top-n-sigma(n=0)", "(0, inf)"),
        ("mirostat(tau=0)", "(0, inf)"),
        ("mirostat(m=1)", "[2, "),
        ("xtc(threshold=0.6)", "(0, 0.5]"),
        ("dry(base=0.9)", "[1, inf)"),
        ("repetition-penalty(penalty=0)", "(0, inf)"),
        ("frequency-penalty(penalty=3)", "[-2, 2]"),
        ("no-repeat-ngram(n=0)", "[1, "),
        ("dynamic-temperature(exponent=0)", "(0, inf)"),
        ("bat(tau=1)", "(0, 1)"),
        ("ba-eta(epsilon=0)", "(0, 1)"),
        ("ba-epsilon(retries=0)", "[1, "),
        ("ba-nucleus(p=0)", "(0, 1]"),
        ("bat(directions=-1)", "[0, "),
    ] {
        let message = refused(text);
        assert!(message.contains("outside its range") && message.contains(range), "{message}");
    }
    assert!(refused("mirostat | top-k(k=3)").contains("put `mirostat` last"));
    assert!(refused("greedy | temperature(t=2)").contains("put `greedy` last"));
    assert!(refused("temperature(t=2) | top-k(k=3) | dynamic-temperature").contains("a chain has one temperature"));
}

#[test]
fn mirostat_follows_the_cards() {
    // Version 2: the bound begins at 2 τ bits.
    assert_eq!(kept("mirostat(tau=1)"), [0]);
    assert_eq!(kept("mirostat(tau=1.5)"), [0, 1, 2]);
    // Version 1: k = 1.55, 2.19, 3.09 for bounds of 1, 2, 3 bits.
    for (tau, count) in [(0.5, 1), (1.0, 2), (1.5, 3)] {
        assert_eq!(kept(&format!("mirostat(version=1, tau={tau})")).len(), count, "{tau}");
    }
    // One step with the only kept token 0: its surprise is 0.834201 bits before and 0 after renormalising.
    for (surprise, bound) in [("original", 2.016580f64), ("renormalised", 2.1)] {
        let mut chain = chain(&format!("mirostat(tau=1, surprise={surprise})"));
        assert_eq!(chain.next(&Z6, Past::default()).unwrap().token, 0);
        // Probabilities on either side of the new bound.
        let edge = |bits: f64| logarithms(&[0.5, (-bits).exp2(), 0.5 - (-bits).exp2()]);
        assert_eq!(chain.apply(&edge(bound - 1e-4), Past::default()).unwrap().place(1), Some(1));
        assert_eq!(chain.apply(&edge(bound + 1e-4), Past::default()).unwrap().place(1), None);
        chain.reset();
        assert_eq!(chain.apply(&Z6, Past::default()).unwrap().len(), 1);
    }
}

#[test]
fn rows_of_other_programs_are_cut_alike() {
    let golden: Value = serde_json::from_str(include_str!("../../../tests/reference/samplers.json")).unwrap();
    let numbers = |value: &Value| value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect::<Vec<_>>();
    let rows: Vec<Vec<f32>> = golden["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| numbers(row).into_iter().map(|v| v as f32).collect())
        .collect();
    let mut cases = 0;
    for case in golden["cases"].as_array().unwrap() {
        let text = case["chain"].as_str().unwrap();
        for (row, wanted) in rows.iter().zip(case["kept"].as_array().unwrap()) {
            let wanted: Vec<u32> = numbers(wanted).into_iter().map(|id| id as u32).collect();
            assert_eq!(kept_after(text, row, &[]).unwrap().0, wanted, "{text}");
            cases += 1;
        }
    }
    assert!(cases >= 3000, "{cases}");
}
