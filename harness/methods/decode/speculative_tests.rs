#![allow(clippy::unwrap_used)]

use harness_core::Arm;
use harness_core::seed::stream;

use crate::decode::tables::{Table, decoder};
use crate::decode::{Decoded, Law, Models, Task, tokens_a_round};
use crate::sample::{Chain, Past};

#[test]
fn the_numbers_of_the_card() {
    let (p, q) = (Law::from_weights(&[0.5, 0.3, 0.2]), Law::from_weights(&[0.2, 0.5, 0.3]));
    let accepted: Vec<f64> = (0..3).map(|token| p.acceptance(&q, token)).collect();
    for (found, wanted) in accepted.iter().zip([1.0, 0.6, 2.0 / 3.0]) {
        assert!((found - wanted).abs() < 1e-12);
    }
    assert!((p.overlap(&q) - 0.7).abs() < 1e-12);
    assert_eq!([0, 1, 2].map(|token| p.residual(&q).probability(token)), [1.0, 0.0, 0.0]);
    assert!((tokens_a_round(0.7, 4) - 2.773_1).abs() < 1e-12);
    assert_eq!((tokens_a_round(1.0, 4), tokens_a_round(0.0, 4)), (5.0, 1.0));
    assert_eq!(p.residual(&p), p, "nothing is left of equal laws, and nothing is rejected");
    assert_eq!(p.acceptance(&Law::from_weights(&[0.0, 1.0]), 0), 0.0, "a token that was never drawn");
}

/// Decodes with a seed.
fn speculate(model: &mut Table, draft: &mut Table, stages: &[Arm], tokens: usize, seed: u64) -> Decoded {
    let task = Task { prompt: &[1], tokens, stages, seed, sequence: "test", ..Task::default() };
    decoder("speculative(draft_tokens=3)").decode(Models { model, second: Some(draft) }, &task).unwrap()
}

/// Upper point of χ² that is passed with a probability of 1e-4 (Wilson and Hilferty).
fn critical(degrees: f64) -> f64 {
    let spread = 2.0 / (9.0 * degrees);
    degrees * (1.0 - spread + 3.719 * spread.sqrt()).powi(3)
}

fn square(counts: &[usize], probabilities: &[f64]) -> f64 {
    let total: f64 = counts.iter().sum::<usize>() as f64;
    counts
        .iter()
        .zip(probabilities)
        .filter(|(_, p)| **p > 0.0)
        .map(|(n, p)| (*n as f64 - p * total).powi(2) / (p * total))
        .sum()
}

#[test]
fn the_first_token_has_the_law_of_the_model() {
    let (p, q) = ([0.5, 0.05, 0.2, 0.15, 0.1], [0.1, 0.4, 0.1, 0.3, 0.1]);
    let draws = 200_000;
    for stages in ["", "top-k(k=3)", "temperature(t=0.6) | min-p(p=0.2)"] {
        let arms = if stages.is_empty() { Vec::new() } else { Arm::parse_chain(stages).unwrap() };
        let (mut model, mut draft) = (Table::new(5, &[]).with(&[], &p), Table::new(5, &[]).with(&[], &q));
        let mut chain = Chain::build(&arms, 1, "law").unwrap();
        let left = chain.apply(&model.row(&[]), Past::default()).unwrap();
        let mut law = [0.0; 5];
        left.ids().iter().zip(left.probabilities()).for_each(|(id, p)| law[*id as usize] = p);
        let mut counts = [0; 5];
        for seed in 0..draws / 2 {
            // Two tokens each, of which the first is always drafted and the second often is.
            for token in &speculate(&mut model, &mut draft, &arms, 2, seed).hypotheses[0].tokens {
                counts[*token as usize] += 1;
            }
            model.read.clear();
            draft.read.clear();
        }
        let kept = law.iter().filter(|p| **p > 0.0).count();
        let outside: usize = counts.iter().zip(law).filter(|(_, p)| *p == 0.0).map(|(count, _)| count).sum();
        assert_eq!(outside, 0, "{stages}: {counts:?}");
        let found = square(&counts, &law);
        assert!(found < critical(kept as f64 - 1.0), "{stages}: χ² {found}, {counts:?} of {law:?}");
        // Drawn anew from p instead of what is left of it, the counts would be off by far.
        let biased: Vec<f64> = (0..5).map(|at| p[at].min(q[at]) + 0.5 * p[at]).collect();
        assert!(!stages.is_empty() || square(&counts, &biased) > 1000.0);
    }
}

#[test]
fn replacing_from_the_model_itself_would_be_seen() {
    // Of the card's example token 0 comes half of the time, not 0.2 + 0.3 · 0.5 = 0.35 of it.
    let (mut model, mut draft) =
        (Table::new(3, &[]).with(&[], &[0.5, 0.3, 0.2]), Table::new(3, &[]).with(&[], &[0.2, 0.5, 0.3]));
    let draws = 20_000;
    let first = (0..draws).filter(|seed| speculate(&mut model, &mut draft, &[], 2, *seed).hypotheses[0].tokens[0] == 0);
    let share = first.count() as f64 / draws as f64;
    assert!((share - 0.5).abs() < 0.015, "{share}");
}

#[test]
fn sequences_have_the_law_of_direct_sampling() {
    let mut numbers = stream(3, &["speculative tests"]);
    let (mut model, mut draft) = (Table::random(4, &[0], 1.0, &mut numbers), Table::random(4, &[0], 1.0, &mut numbers));
    let stages = Arm::parse_chain("temperature(t=1.3) | top-p(p=0.95)").unwrap();
    let place = |tokens: &[u32]| tokens.iter().fold(1usize, |place, token| place * 4 + *token as usize);
    let draws = 100_000u64;
    let (mut ours, mut theirs) = (vec![0usize; 1 << 11], vec![0usize; 1 << 11]);
    let (mut accepted, mut overlap, mut checked) = (0, 0.0, 0);
    for seed in 0..draws {
        let found = speculate(&mut model, &mut draft, &stages, 4, seed);
        ours[place(&found.hypotheses[0].tokens)] += 1;
        for round in &found.statistics.rounds {
            accepted += round.accepted;
            overlap += round.overlap;
            checked += round.checked;
        }
        let mut chain = Chain::build(&stages, seed, "direct").unwrap();
        let mut tokens = Vec::new();
        while tokens.len() < 4 && tokens.last() != Some(&0) {
            let row = model.row(&[&[1], &tokens[..]].concat());
            tokens.push(chain.next(&row, Past { prompt: &[1], generated: &tokens }).unwrap().token);
        }
        theirs[place(&tokens)] += 1;
        model.read.clear();
        draft.read.clear();
    }
    let (mut found, mut cells) = (0.0, 0);
    for (a, b) in ours.iter().zip(&theirs).filter(|(a, b)| *a + *b >= 10) {
        found += (*a as f64 - *b as f64).powi(2) / (a + b) as f64;
        cells += 1;
    }
    assert!(cells > 40, "{cells}");
    assert!(found < critical(f64::from(cells)), "χ² {found} of {cells}");
    // As many are accepted as the overlap of both laws foretells.
    assert!((accepted as f64 - overlap).abs() < 5.0 * (checked as f64).sqrt(), "{accepted} {overlap}");
}

#[test]
fn greedy_text_stays_greedy_text() {
    let mut numbers = stream(4, &["speculative tests"]);
    let stages = [Arm::new("greedy")];
    for _ in 0..100 {
        let (mut model, mut draft) =
            (Table::random(6, &[0], 1.0, &mut numbers), Table::random(6, &[0], 1.0, &mut numbers));
        let found = speculate(&mut model, &mut draft, &stages, 9, 0);
        let mut tokens: Vec<u32> = Vec::new();
        while tokens.len() < 9 && tokens.last() != Some(&0) {
            let logs = model.logs(&[&[1], &tokens[..]].concat());
            tokens.push((0..6).max_by(|a, b| logs[*a as usize].total_cmp(&logs[*b as usize])).unwrap());
        }
        assert_eq!(found.hypotheses[0].tokens, tokens);
        assert_eq!(found.hypotheses[0].finished, tokens.last() == Some(&0));
    }
}

#[test]
fn a_perfect_draft_gives_whole_rounds() {
    let mut numbers = stream(5, &["speculative tests"]);
    let mut model = Table::random(6, &[], 1.0, &mut numbers);
    let mut draft = Table { rows: model.rows.clone(), ..Table::new(6, &[]) };
    let found = speculate(&mut model, &mut draft, &[], 10, 7);
    // Rounds of 3 and one more, and a last one with room for one drafted token less.
    let rounds: Vec<_> = found.statistics.rounds.iter().map(|round| (round.drafted, round.accepted)).collect();
    assert_eq!(rounds, [(3, 3), (3, 3), (1, 1)]);
    assert_eq!((found.calls.passes, found.second_calls.passes), (3, 7));
    assert_eq!(found.hypotheses[0].tokens.len(), 10);
    // An end token among the drafted ends the sequence without another one.
    let mut model = Table::new(3, &[2]).with(&[], &[0.0, 1.0, 0.0]).with(&[1, 1], &[0.0, 0.0, 1.0]);
    let mut draft = Table { rows: model.rows.clone(), ..Table::new(3, &[2]) };
    let found = speculate(&mut model, &mut draft, &[], 10, 7);
    assert_eq!((found.hypotheses[0].tokens.clone(), found.hypotheses[0].finished), (vec![1, 2], true));
}
