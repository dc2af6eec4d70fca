//! Texts written together against texts written one by one.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use harness_core::Arm;
use harness_model::load::load;

use super::*;

fn model(name: &str) -> Decoder {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/models").join(name);
    Decoder::from_checkpoint(&load(&folder).unwrap()).unwrap()
}

fn chain(text: &str, name: &str) -> Chain {
    Chain::build(&Arm::parse_chain(text).unwrap(), 3, name).unwrap()
}

/// Token by token, nothing shared.
fn alone(decoder: &Decoder, prompt: &[u32], mut chain: Chain, length: usize) -> Vec<u32> {
    let mut cache = decoder.new_cache();
    let mut row = decoder.logits_last(prompt, &mut cache).unwrap();
    let mut text = Vec::new();
    loop {
        let token = chain.next(&row, Past { prompt, generated: &text }).unwrap().token;
        text.push(token);
        if text.len() == length || decoder.config().eos.contains(&token) {
            return text;
        }
        row = decoder.logits_last(&[token], &mut cache).unwrap();
    }
}

#[test]
fn together_is_as_alone() {
    are_as_alone(&model("tiny-100k"));
}

#[test]
fn texts_in_states_are_as_alone() {
    are_as_alone(&model("tiny-300k-states"));
}

fn are_as_alone(decoder: &Decoder) {
    // More texts than step together, prompts of several lengths with and without a shared beginning.
    let prompts: Vec<Vec<u32>> =
        (0..40).map(|at| [1, 40, 77].into_iter().chain((0..at % 5).map(|token| 20 + token * at)).collect()).collect();
    // What one chain read serves the others.
    let mut read = Read::default();
    for stages in ["greedy", "temperature(t=0.8)", "min-p(p=0.05)"] {
        let length = |at: usize| 3 + at % 7;
        let jobs = prompts.iter().enumerate().map(|(at, prompt)| Job {
            prompt,
            chain: chain(stages, &at.to_string()),
            length: length(at),
        });
        let mut done = Vec::new();
        let texts = write(decoder, jobs.collect(), &mut read, &|_, _| false, &mut |count| done.push(count)).unwrap();
        assert_eq!(done, (1..=40).collect::<Vec<_>>());
        for (at, (text, prompt)) in texts.iter().zip(&prompts).enumerate() {
            assert_eq!(
                text.tokens,
                alone(decoder, prompt, chain(stages, &at.to_string()), length(at)),
                "{stages} {at}"
            );
            let ended = text.tokens.last().is_some_and(|token| decoder.config().eos.contains(token));
            assert_eq!(text.cut_off, !ended, "{stages} {at}");
            assert!(text.surprise > 0.0);
        }
    }
}

#[test]
fn a_stop_ends_a_text_that_is_not_cut_off() {
    let decoder = model("tiny-100k");
    let jobs = vec![Job { prompt: &[1, 40], chain: chain("greedy", "a"), length: 9 }];
    let texts =
        write(&decoder, jobs, &mut Read::default(), &|number, tokens| number == 0 && tokens.len() == 4, &mut |_| {})
            .unwrap();
    assert_eq!((texts[0].tokens.len(), texts[0].cut_off), (4, false));
    assert!(write(&decoder, Vec::new(), &mut Read::default(), &|_, _| false, &mut |_| {}).unwrap().is_empty());
}
