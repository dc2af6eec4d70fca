#![allow(clippy::unwrap_used)]

use harness_core::seed::stream;
use harness_core::{Arm, Axis};

use crate::decode::tables::{Table, decode, decoder};
use crate::decode::{DecodeError, Formula, LengthPenalty, Models, Task, first};
use crate::registry;

/// The model of the card: `a` 0, `b` 1, `$` 2, behind a prompt of 3.
fn toy() -> Table {
    Table::new(4, &[2])
        .with(&[], &[0.05, 0.05, 0.9, 0.0])
        .with(&[3], &[0.7, 0.3, 0.0, 0.0])
        .with(&[3, 0], &[0.1, 0.3, 0.6, 0.0])
        .with(&[3, 1], &[0.5, 0.1, 0.4, 0.0])
}

#[test]
fn the_two_length_penalties_disagree() {
    let score = |formula, exponent, sum, length| LengthPenalty { formula, exponent }.score(sum, length);
    for (formula, exponent, a, b) in [
        (Formula::Power, 0.0, -2.0, -2.6),
        (Formula::Power, 0.6, -0.870_551, -0.808_937),
        (Formula::Power, 1.0, -0.5, -0.371_429),
        (Formula::Gnmt, 0.6, -1.568_105, -1.715_360),
        (Formula::Gnmt, 1.0, -1.333_333, -1.3),
    ] {
        assert!((score(formula, exponent, -2.0, 4) - a).abs() < 1e-6, "{formula:?} {exponent}");
        assert!((score(formula, exponent, -2.6, 7) - b).abs() < 1e-6, "{formula:?} {exponent}");
    }
}

#[test]
fn the_toy_keeps_what_the_card_says() {
    let found = decode("beam(width=2, n_best=2, length_penalty=0, finished=beam)", &mut toy(), &[3], 4);
    let all: Vec<_> = found.hypotheses.iter().map(|h| (h.tokens.clone(), h.log_probability.exp())).collect();
    assert_eq!((&all[0].0[..], &all[1].0[..]), (&[0, 2][..], &[0, 1, 2][..]));
    assert!((all[0].1 - 0.42).abs() < 1e-7 && (all[1].1 - 0.189).abs() < 1e-7);
    assert_eq!((found.calls.sequences, found.calls.passes), (4, 3));
    // With a pool the beam stays full, so that another hypothesis is read.
    let pooled = decode("beam(width=2, n_best=2, length_penalty=0)", &mut toy(), &[3], 4);
    assert_eq!(pooled.hypotheses, found.hypotheses);
    assert_eq!(pooled.calls.sequences, 5);
}

#[test]
fn both_zeros_are_equal_logits() {
    let mut table = Table::new(3, &[]);
    table.rows.insert(Vec::new(), vec![-0.0, 0.0, -1.0]);
    let found = decode("beam(width=2, n_best=2)", &mut table, &[1], 1);
    assert_eq!((found.hypotheses[0].tokens[0], found.hypotheses[1].tokens[0]), (0, 1));
    assert_eq!(decode("beam(width=1)", &mut table, &[1], 1).hypotheses[0].tokens, [0]);
}

/// Every sequence of up to `limit` tokens with the logarithm of its probability.
fn all(table: &Table, prompt: &[u32], limit: usize) -> Vec<(Vec<u32>, f64)> {
    let (mut open, mut done) = (vec![(Vec::new(), 0.0)], Vec::new());
    while let Some((tokens, sum)) = open.pop() {
        for (token, log) in (0..).zip(table.logs(&[prompt, &tokens].concat())) {
            let next: (Vec<u32>, f64) = ([&tokens[..], &[token]].concat(), sum + log);
            let ended = table.ends.contains(&token) || next.0.len() == limit;
            if ended { done.push(next) } else { open.push(next) }
        }
    }
    done
}

#[test]
fn a_beam_as_wide_as_the_tree_finds_the_most_probable_of_all() {
    let mut numbers = stream(4, &["beam tests"]);
    for _ in 0..200 {
        let mut table = Table::random(3, &[0], 2.0, &mut numbers);
        let mut wanted = all(&table, &[1], 4);
        for arm in [
            "beam(width=81, n_best=5, length_penalty=0, stop=never)",
            "beam(width=81, n_best=5, length_penalty=0, finished=beam)",
            "best-first-beam(width=81, want=5)",
        ] {
            wanted.sort_by(|a, b| b.1.total_cmp(&a.1));
            let found = decode(arm, &mut table, &[1], 4);
            for (hypothesis, (tokens, sum)) in found.hypotheses.iter().zip(&wanted) {
                assert_eq!(&hypothesis.tokens, tokens, "{arm}");
                assert!((hypothesis.log_probability - sum).abs() < 1e-5, "{arm}");
                assert_eq!(hypothesis.finished, tokens.last() == Some(&0));
            }
            assert_eq!(found.hypotheses.len(), 5);
        }
        // Divided by the length the best is another one, and `never` still finds it.
        wanted.sort_by(|a, b| (b.1 / b.0.len() as f64).total_cmp(&(a.1 / a.0.len() as f64)));
        for arm in ["beam(width=81, stop=never)", "best-first-beam(width=81, score=length-normalised)"] {
            assert_eq!(decode(arm, &mut table, &[1], 4).hypotheses[0].tokens, wanted[0].0, "{arm}");
        }
    }
}

/// Greedy decoding, the lower id of equal ones.
fn greedy(table: &Table, prompt: &[u32], limit: usize) -> Vec<u32> {
    let mut tokens = Vec::new();
    while tokens.len() < limit && tokens.last().is_none_or(|last| !table.ends.contains(last)) {
        let logs = table.logs(&[prompt, &tokens].concat());
        let best = (0..logs.len()).rev().max_by(|a, b| logs[*a].total_cmp(&logs[*b])).unwrap();
        tokens.push(best as u32);
    }
    tokens
}

#[test]
fn one_hypothesis_is_greedy_decoding() {
    let mut numbers = stream(5, &["beam tests"]);
    for _ in 0..100 {
        let mut table = Table::random(6, &[0, 3], 1.0, &mut numbers);
        table.states = vec![vec![1.0, 0.5]; 6];
        let wanted = greedy(&table, &[2, 4], 8);
        for arm in [
            "beam(width=1)",
            "beam(width=1, finished=beam)",
            "beam(width=1, stop=full, formula=gnmt)",
            "diverse-beam(width=1, groups=1, n_best=1)",
            "diverse-beam(width=3, groups=3, strength=0, n_best=1)",
            "best-first-beam(width=1)",
            "contrastive-search(k=1)",
            "contrastive-search(k=3, alpha=0)",
            "cfg(scale=1) | greedy",
        ] {
            let arms = Arm::parse_chain(arm).unwrap();
            let (decoder, stages) = first(&arms).unwrap().unwrap();
            let task = Task { prompt: &[2, 4], tokens: 8, stages, ..Task::default() };
            let found = decoder.decode(Models { model: &mut table, second: None }, &task).unwrap();
            assert_eq!(found.hypotheses[0].tokens, wanted, "{arm}");
        }
    }
}

#[test]
fn no_hypothesis_comes_twice_and_sums_are_those_of_the_model() {
    let mut numbers = stream(6, &["beam tests"]);
    for _ in 0..100 {
        let mut table = Table::random(5, &[0], 1.0, &mut numbers);
        for arm in
            ["beam(width=6, n_best=6)", "beam(width=6, n_best=6, finished=beam)", "best-first-beam(width=6, want=6)"]
        {
            let found = decode(arm, &mut table, &[1], 5).hypotheses;
            let mut seen: Vec<_> = found.iter().map(|h| h.tokens.clone()).collect();
            seen.sort();
            seen.dedup();
            assert_eq!(seen.len(), found.len(), "{arm}");
            for hypothesis in &found {
                let sum: f64 = (0..hypothesis.tokens.len())
                    .map(|at| table.logs(&[&[1], &hypothesis.tokens[..at]].concat())[hypothesis.tokens[at] as usize])
                    .sum();
                assert!((sum - hypothesis.log_probability).abs() < 1e-5, "{arm}");
            }
        }
    }
}

#[test]
fn groups_avoid_each_other_only_as_strongly_as_asked() {
    let mut numbers = stream(7, &["beam tests"]);
    let mut apart = 0;
    for _ in 0..50 {
        let mut table = Table::random(6, &[0], 1.0, &mut numbers);
        let narrow = decode("beam(width=2, n_best=2)", &mut table, &[1], 6).hypotheses;
        let copies = decode("diverse-beam(width=4, strength=0)", &mut table, &[1], 6).hypotheses;
        assert_eq!((&copies[0], &copies[1]), (&narrow[0], &narrow[0]), "copies of one beam");
        assert_eq!((&copies[2], &copies[3]), (&narrow[1], &narrow[1]), "copies of one beam");
        // So strong that no token of the first step comes twice.
        let diverse = decode("diverse-beam(width=4, groups=4, strength=1e3)", &mut table, &[1], 6).hypotheses;
        let mut firsts: Vec<u32> = diverse.iter().map(|h| h.tokens[0]).filter(|token| *token != 0).collect();
        firsts.sort_unstable();
        let count = firsts.len();
        firsts.dedup();
        assert_eq!(firsts.len(), count);
        apart += usize::from(count == 4);
    }
    assert!(apart > 10, "{apart} tables without an end at the first step");
}

#[test]
fn what_makes_no_beam_is_refused() {
    let refused = |arm: &str| registry::build(Axis::Sampler, &arm.parse().unwrap()).err().unwrap().to_string();
    for (arm, why) in [
        ("beam(width=0)", "`width = 0` is outside its range [1, 65536]"),
        ("beam(width=2, n_best=3)", "`n_best = 3` hypotheses cannot come of `width = 2`; widen the beam"),
        ("beam(length_penalty=nan)", "`length_penalty` must be a number, not nan"),
        ("beam(finished=beam, stop=full)", "leave it out"),
        ("diverse-beam(width=5, groups=2)", "`width = 5` cannot be divided into `groups = 2`"),
        ("diverse-beam(strength=-1)", "`strength = -1` is outside its range [0, inf)"),
        ("best-first-beam(width=2, want=3)", "`want = 3` hypotheses"),
        ("best-first-beam(memory_factor=0.5)", "`memory_factor = 0.5` is outside its range [1, inf)"),
        ("best-first-beam(reward=1)", "`reward` has no part in this `score`"),
        ("contrastive-search(alpha=1.1)", "`alpha = 1.1` is outside its range [0, 1]"),
        ("contrastive-decoding(alpha=0)", "`alpha = 0` is outside its range (0, 1]"),
        ("speculative(draft_tokens=0)", "`draft_tokens = 0` is outside its range"),
        ("cfg(scale=-0.5)", "`scale = -0.5` is outside its range [0, inf)"),
    ] {
        assert!(refused(arm).contains(why), "{}", refused(arm));
    }
    let sampler = registry::sampler(&Arm::new("beam")).err().unwrap().to_string();
    assert_eq!(
        sampler,
        "`beam` is a decoder, which calls the model itself; it can only stand first in a chain that has a model"
    );
    let chain = Arm::parse_chain("temperature(t=2) | beam").unwrap();
    assert!(first(&chain).unwrap().is_none() && first(&[]).unwrap().is_none());
}

#[test]
fn what_cannot_be_decoded_is_said() {
    let error = |arm: &str, table: &mut Table, second: Option<&mut Table>, task: &Task| {
        let second = second.map(|second| second as &mut dyn crate::decode::LanguageModel);
        decoder(arm).decode(Models { model: table, second }, task).err().unwrap()
    };
    let task = Task { prompt: &[3], tokens: 4, ..Task::default() };
    let message = |arm: &str, task: &Task| error(arm, &mut toy(), None, task).to_string();
    assert_eq!(message("speculative", &task), "`speculative` needs a draft model: a smaller one with the same tokens");
    assert!(message("contrastive-decoding", &task).contains("needs an amateur model"));
    assert!(message("contrastive-search", &task).contains("compares hidden states"));
    assert!(message("beam", &Task { prompt: &[], ..task }).contains("a prompt is empty"));
    assert!(message("cfg", &Task { other_prompt: Some(&[]), ..task }).contains("a prompt is empty"));
    assert!(message("beam", &Task { tokens: 0, ..task }).contains("no tokens"));
    let stages = [Arm::new("top-k")];
    assert!(message("beam", &Task { stages: &stages, ..task }).contains("`top-k` behind it would have no effect"));
    let mut other = Table::new(5, &[2]);
    let unlike = error("speculative", &mut toy(), Some(&mut other), &task).to_string();
    assert_eq!(unlike, "the draft model has 5 tokens and the model 4; both need the same vocabulary");
    let mut short = toy();
    short.context = 1;
    assert!(matches!(error("beam", &mut short, None, &task), DecodeError::PromptTooLong { prompt: 1, context: 1 }));
    // The context ends the text.
    short.context = 2;
    assert_eq!(decode("beam", &mut short, &[3], 4).hypotheses[0].tokens.len(), 1);
    let mut broken = toy();
    broken.rows.get_mut(&vec![3, 0]).unwrap()[1] = f32::NAN;
    let broken = error("beam", &mut broken, None, &task).to_string();
    assert!(broken.starts_with("after 1 generated tokens: the logit of token 1 is not a number"), "{broken}");
    let mirostat = [Arm::new("mirostat")];
    let learns = Task { stages: &mirostat, ..task };
    assert!(matches!(error("speculative", &mut toy(), Some(&mut toy()), &learns), DecodeError::Learns { .. }));
}
