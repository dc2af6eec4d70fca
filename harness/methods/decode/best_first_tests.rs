#![allow(clippy::unwrap_used)]

use harness_core::seed::stream;

use crate::decode::tables::{Table, below, decode};
use crate::decode::{Decoded, Hypothesis};

/// The model of the card: `a` 0, `b` 1, `$` 2, behind a prompt of 3.
fn toy() -> Table {
    Table::new(4, &[2])
        .with(&[], &[0.05, 0.05, 0.9, 0.0])
        .with(&[3], &[0.7, 0.3, 0.0, 0.0])
        .with(&[3, 0], &[0.1, 0.3, 0.6, 0.0])
        .with(&[3, 1], &[0.5, 0.1, 0.4, 0.0])
}

#[test]
fn the_toy_takes_two_calls_for_the_best_and_four_for_both() {
    let best = decode("best-first-beam(width=2)", &mut toy(), &[3], 4);
    assert_eq!((best.hypotheses[0].tokens.clone(), best.calls.sequences), (vec![0, 2], 2));
    assert!((best.hypotheses[0].log_probability.exp() - 0.42).abs() < 1e-7);
    let both = decode("best-first-beam(width=2, want=2)", &mut toy(), &[3], 4);
    assert_eq!(both.calls.sequences, 4);
    assert_eq!(both.hypotheses[1].tokens, [0, 1, 2]);
    assert_eq!(both.statistics.pops, [1, 2, 2, 2, 2]);
}

/// A random model, a width and a number of tokens.
fn random(numbers: &mut rand_chacha::ChaCha8Rng) -> (Table, usize, usize) {
    let vocabulary = 3 + below(5, numbers) as usize;
    let spread = [0.3, 1.0, 2.0, 4.0][below(4, numbers) as usize];
    // Rounded logits make ties.
    let mut table = Table::random(vocabulary, &[0], spread, numbers);
    if below(3, numbers) == 0 {
        table.rows.values_mut().flatten().for_each(|logit| *logit = logit.round());
    }
    (table, 1 + below(8, numbers) as usize, 2 + below(8, numbers) as usize)
}

fn same(found: &[Hypothesis], wanted: &[Hypothesis], what: &str) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    for (a, b) in found.iter().zip(wanted) {
        assert!((a.score - b.score).abs() < 1e-12, "{what}: {a:?} {b:?}");
    }
    let sorted = |all: &[Hypothesis]| {
        let mut tokens: Vec<_> = all.iter().map(|h| h.tokens.clone()).collect();
        tokens.sort();
        tokens
    };
    assert_eq!(sorted(found), sorted(wanted), "{what}");
}

fn pops_fit(found: &Decoded, width: usize) {
    assert!(found.statistics.pops.iter().all(|pops| *pops <= width), "{:?} of {width}", found.statistics.pops);
}

#[test]
fn a_thousand_models_give_the_hypotheses_of_beam_search_for_no_more_calls() {
    let mut numbers = stream(1, &["best-first tests"]);
    let (mut calls, mut beam_calls) = (0, 0);
    for at in 0..1000 {
        let (mut table, width, tokens) = random(&mut numbers);
        let what = format!("model {at}, width {width}, {tokens} tokens");
        let beam = format!("beam(width={width}, n_best={width}, length_penalty=0, finished=beam)");
        let beam = decode(&beam, &mut table, &[1], tokens);
        let full = decode(&format!("best-first-beam(width={width}, want={width})"), &mut table, &[1], tokens);
        same(&full.hypotheses, &beam.hypotheses, &what);
        let one = decode(&format!("best-first-beam(width={width})"), &mut table, &[1], tokens);
        assert_eq!(one.hypotheses[0].score, beam.hypotheses[0].score, "{what}");
        assert!(one.calls.sequences <= full.calls.sequences && full.calls.sequences <= beam.calls.sequences, "{what}");
        pops_fit(&full, width);
        pops_fit(&one, width);
        calls += one.calls.sequences;
        beam_calls += beam.calls.sequences;
    }
    assert!(calls < beam_calls * 7 / 10, "{calls} of {beam_calls}");
}

#[test]
fn a_length_normalised_score_ranks_the_beam_and_stops_before_its_end() {
    let mut numbers = stream(2, &["best-first tests"]);
    let (mut calls, mut beam_calls) = (0, 0);
    for at in 0..500 {
        let (mut table, width, tokens) = random(&mut numbers);
        for penalty in [0.5, 1.0, -0.5] {
            let what = format!("model {at}, width {width}, {tokens} tokens, penalty {penalty}");
            let beam = format!("beam(width={width}, n_best={width}, length_penalty={penalty}, finished=beam)");
            let beam = decode(&beam, &mut table, &[1], tokens);
            let want = width.div_ceil(2);
            let arm = format!(
                "best-first-beam(width={width}, want={want}, score=length-normalised, length_penalty={penalty})"
            );
            let found = decode(&arm, &mut table, &[1], tokens);
            assert_eq!(found.hypotheses.len(), want);
            for (a, b) in found.hypotheses.iter().zip(&beam.hypotheses) {
                assert!((a.score - b.score).abs() < 1e-12, "{what}");
            }
            assert!(found.calls.sequences <= beam.calls.sequences, "{what}");
            pops_fit(&found, width);
            calls += found.calls.sequences;
            beam_calls += beam.calls.sequences;
        }
    }
    assert!(calls < beam_calls, "{calls} of {beam_calls}");
}

#[test]
fn mutual_information_ranks_the_beam() {
    let mut numbers = stream(3, &["best-first tests"]);
    let mut reordered = 0;
    for at in 0..300 {
        let (mut table, width, tokens) = random(&mut numbers);
        let prompt = [2, 1];
        let beam = format!("beam(width={width}, n_best={width}, length_penalty=0, finished=beam)");
        let beam = decode(&beam, &mut table, &prompt, tokens);
        // ln p(y|x) − 0.7 · ln p(y), p(y) behind the last token of the prompt alone.
        let mut wanted: Vec<f64> = beam
            .hypotheses
            .iter()
            .map(|h| {
                let alone = (0..h.tokens.len())
                    .map(|at| table.logs(&[&prompt[1..], &h.tokens[..at]].concat())[h.tokens[at] as usize].max(-3.0));
                h.log_probability - 0.7 * alone.sum::<f64>()
            })
            .collect();
        reordered += usize::from(wanted.windows(2).any(|pair| pair[0] < pair[1]));
        wanted.sort_by(|a, b| b.total_cmp(a));
        let arm =
            format!("best-first-beam(width={width}, want={width}, score=mutual-information, weight=0.7, floor=-3)");
        let found = decode(&arm, &mut table, &prompt, tokens);
        let one = decode(&arm.replace(&format!("want={width}"), "want=1"), &mut table, &prompt, tokens);
        for (hypothesis, score) in found.hypotheses.iter().zip(&wanted) {
            assert!((hypothesis.score - score).abs() < 1e-5, "model {at}: {} {score}", hypothesis.score);
        }
        assert!((one.hypotheses[0].score - wanted[0]).abs() < 1e-5, "model {at}");
        // Both branches are read for every hypothesis.
        assert!(one.calls.sequences <= found.calls.sequences && found.calls.sequences <= 2 * beam.calls.sequences);
        pops_fit(&found, width);
    }
    assert!(reordered > 50, "{reordered} beams change their order");
}

/// Breadth first, by the sum and all the reward that can still be earned.
fn rewarded(table: &Table, width: usize, tokens: usize, reward: f64, length: usize) -> (Vec<(Vec<u32>, f64)>, usize) {
    let key = |sum: f64, len: usize, ended: bool| sum + reward * (if ended { len.min(length) } else { length }) as f64;
    let mut kept: Vec<(Vec<u32>, f64, bool)> = vec![(Vec::new(), 0.0, false)];
    let mut calls = 0;
    for _ in 0..tokens {
        let mut next = Vec::new();
        for (sequence, sum, ended) in kept {
            if ended {
                next.push((sequence, sum, true));
                continue;
            }
            calls += 1;
            for (token, log) in (0..).zip(table.logs(&[&[1], &sequence[..]].concat())) {
                next.push(([&sequence[..], &[token]].concat(), sum + log, table.ends.contains(&token)));
            }
        }
        next.sort_by(|a, b| key(b.1, b.0.len(), b.2).total_cmp(&key(a.1, a.0.len(), a.2)));
        next.truncate(width);
        kept = next;
    }
    let mut all: Vec<_> = kept
        .into_iter()
        .map(|(seq, sum, _)| {
            let score = key(sum, seq.len(), true);
            (seq, score)
        })
        .collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    (all, calls)
}

#[test]
fn a_reward_is_monotone_with_all_that_can_still_be_earned() {
    let mut numbers = stream(4, &["best-first tests"]);
    for at in 0..500 {
        let vocabulary = 3 + below(5, &mut numbers) as usize;
        let mut table = Table::random(vocabulary, &[0], 1.0, &mut numbers);
        let (width, tokens) = (1 + below(6, &mut numbers) as usize, 2 + below(6, &mut numbers) as usize);
        let length = 1 + below(tokens as u64, &mut numbers) as usize;
        let (wanted, calls) = rewarded(&table, width, tokens, 0.7, length);
        let arm =
            format!("best-first-beam(width={width}, want={width}, score=reward, reward=0.7, reward_length={length})");
        let found = decode(&arm, &mut table, &[1], tokens);
        assert_eq!(found.hypotheses.len(), wanted.len());
        for (hypothesis, (tokens, score)) in found.hypotheses.iter().zip(&wanted) {
            // Sequences of the same transitions are equally probable but for rounding.
            assert!((hypothesis.score - score).abs() < 1e-5, "model {at}: {hypothesis:?} {tokens:?}");
        }
        assert!(found.calls.sequences <= calls);
        let one = decode(&arm.replace(&format!("want={width}"), "want=1"), &mut table, &[1], tokens);
        assert!((one.hypotheses[0].score - wanted[0].1).abs() < 1e-5, "model {at}");
    }
}

#[test]
fn less_memory_loses_hypotheses_and_says_so() {
    let mut numbers = stream(5, &["best-first tests"]);
    let (mut errors, mut kept) = ([0; 3], [0; 3]);
    for _ in 0..300 {
        let mut table = Table::random(12, &[0], 1.5, &mut numbers);
        let full = decode("best-first-beam(width=8, want=8)", &mut table, &[1], 8);
        assert_eq!(full.statistics.deleted, 0);
        for (at, factor) in [1, 2, 5].into_iter().enumerate() {
            let arm = format!("best-first-beam(width=8, want=8, memory_factor={factor})");
            let found = decode(&arm, &mut table, &[1], 8);
            assert!(!found.hypotheses.is_empty());
            let lost = found.hypotheses != full.hypotheses;
            errors[at] += usize::from(lost);
            kept[at] += usize::from(found.statistics.deleted == 0);
            assert!(!(lost && found.statistics.deleted == 0), "without a deletion nothing is lost");
            pops_fit(&found, 8);
        }
    }
    assert!(errors[0] > errors[1] && errors[1] > errors[2], "{errors:?} of 300 by memory");
    assert!(kept[2] > kept[1], "{kept:?} of 300 without a deletion");
}
