//! Decoding embedded models with and without remembered prefixes.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use harness_core::Arm;
use harness_methods::decode::{Decoded, Models, Task, first};
use harness_methods::sample::{Chain, Past};
use harness_model::load::load;

use super::*;

fn model(name: &str) -> Decoder {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/models").join(name);
    Decoder::from_checkpoint(&load(&folder).unwrap()).unwrap()
}

const PROMPT: [u32; 6] = [1, 40, 77, 12, 90, 33];

fn decode(chain: &str, tokens: usize, model: &mut PrefixCached, second: &mut PrefixCached) -> Decoded {
    let arms = Arm::parse_chain(chain).unwrap();
    let (decoder, stages) = first(&arms).unwrap().unwrap();
    let task = Task { prompt: &PROMPT, tokens, stages, seed: 5, sequence: "test", other_prompt: None };
    decoder.decode(Models { model, second: Some(second) }, &task).unwrap()
}

#[test]
fn remembered_prefixes_change_nothing() {
    for chain in [
        "beam(width=5, n_best=5, length_penalty=0.6)",
        "beam(width=4, n_best=4, finished=beam)",
        "diverse-beam(width=4, groups=2)",
        "best-first-beam(width=5, want=5)",
        "best-first-beam(width=3, want=3, score=mutual-information)",
        "contrastive-search(k=4, alpha=0.6)",
        "contrastive-decoding",
        "speculative(draft_tokens=4)",
        "speculative(draft_tokens=3) | temperature(t=1.5) | top-p(p=0.9)",
        "cfg(scale=1.5) | greedy",
    ] {
        // Keys and values go back to any place, states to where they are.
        for (large, small) in [("tiny-300k", "tiny-100k"), ("tiny-300k-states-carried", "tiny-300k-states")] {
            let (large, small) = (model(large), model(small));
            let cached = decode(chain, 24, &mut PrefixCached::new(&large), &mut PrefixCached::new(&small));
            let (mut plain, mut second) = (PrefixCached::without_reuse(&large), PrefixCached::without_reuse(&small));
            let plain = decode(chain, 24, &mut plain, &mut second);
            assert_eq!(cached.calls, plain.calls, "{chain}");
            assert_eq!(cached.hypotheses.len(), plain.hypotheses.len(), "{chain}");
            for (a, b) in cached.hypotheses.iter().zip(&plain.hypotheses) {
                assert_eq!(a.tokens, b.tokens, "{chain}");
                assert!((a.log_probability - b.log_probability).abs() < 1e-3, "{chain}: {a:?} {b:?}");
            }
        }
    }
}

#[test]
fn a_sum_is_what_the_model_says_of_the_whole_sequence() {
    let model = model("tiny-300k");
    let found = decode("beam(width=5, n_best=5)", 20, &mut PrefixCached::new(&model), &mut PrefixCached::new(&model));
    for hypothesis in &found.hypotheses {
        let sequence = [&PROMPT[..], &hypothesis.tokens].concat();
        let rows = PrefixCached::without_reuse(&model)
            .pass(&Request { sequences: &[&sequence], logits: hypothesis.tokens.len() + 1, states: 0 })
            .unwrap();
        let sum: f64 = rows
            .logits
            .iter()
            .zip(&hypothesis.tokens)
            .map(|(row, token)| {
                let total = row.iter().map(|z| f64::from(*z).exp()).sum::<f64>().ln();
                f64::from(row[*token as usize]) - total
            })
            .sum();
        assert!((sum - hypothesis.log_probability).abs() < 1e-3, "{sum} {hypothesis:?}");
    }
}

#[test]
fn greedy_text_is_the_same_whoever_drafts_it() {
    let (large, small) = (model("tiny-300k"), model("tiny-100k"));
    let mut chain = Chain::build(&[Arm::new("greedy")], 0, "test").unwrap();
    let mut cache = large.new_cache();
    let mut row = large.logits_last(&PROMPT, &mut cache).unwrap();
    let mut tokens: Vec<u32> = Vec::new();
    while tokens.len() < 60 {
        let token = chain.next(&row, Past { prompt: &PROMPT, generated: &tokens }).unwrap().token;
        tokens.push(token);
        if large.config().eos.contains(&token) {
            break;
        }
        row = large.logits_last(&[token], &mut cache).unwrap();
    }
    for chain in ["speculative(draft_tokens=4) | greedy", "beam(width=1)", "best-first-beam(width=1)"] {
        let found = decode(chain, 60, &mut PrefixCached::new(&large), &mut PrefixCached::new(&small));
        assert_eq!(found.hypotheses[0].tokens, tokens, "{chain}");
        let accepted: usize = found.statistics.rounds.iter().map(|round| round.accepted).sum();
        assert!(!chain.starts_with("spec") || accepted > tokens.len() / 2, "{accepted} of {}", tokens.len());
    }
}

#[test]
fn rows_of_unlike_sequences_come_in_the_order_they_were_asked_for() {
    let decoder = model("tiny-100k");
    let sequences: Vec<Vec<u32>> = vec![vec![1, 5, 9], vec![1, 5], vec![1, 7, 9], vec![1, 5, 9, 4], vec![1, 5]];
    let sequences: Vec<&[u32]> = sequences.iter().map(Vec::as_slice).collect();
    let mut cached = PrefixCached::new(&decoder);
    cached.pass(&Request { sequences: &sequences[3..4], logits: 1, states: 0 }).unwrap();
    let request = Request { sequences: &sequences, logits: 2, states: 1 };
    let together = cached.pass(&request).unwrap();
    let mut alone = Rows::default();
    for sequence in &sequences {
        let request = Request { sequences: &[sequence], ..request };
        let rows = PrefixCached::without_reuse(&decoder).pass(&request).unwrap();
        alone.logits.extend(rows.logits);
        alone.states.extend(rows.states);
    }
    let near = |a: &[Vec<f32>], b: &[Vec<f32>]| {
        assert_eq!(a.len(), b.len());
        let pairs = a.iter().flatten().zip(b.iter().flatten());
        assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-3));
    };
    near(&together.logits, &alone.logits);
    near(&together.states, &alone.states);
    let long = Request { sequences: &sequences[1..2], logits: 3, states: 0 };
    assert!(cached.pass(&long).unwrap_err().to_string().contains("3 rows are wanted of a sequence of 2 tokens"));
}
