#![allow(clippy::unwrap_used)]

use harness_core::seed::stream;
use harness_methods::decode::{Failure, LanguageModel, Request, Rows};
use proptest::prelude::*;

use super::*;

/// Gives every token the logit of its own number, so that low ones surprise.
struct Rising;

impl LanguageModel for Rising {
    fn vocabulary(&self) -> usize {
        100
    }

    fn ends(&self) -> &[u32] {
        &[]
    }

    fn context(&self) -> usize {
        4
    }

    fn pass(&mut self, request: &Request) -> Result<Rows, Failure> {
        assert!(request.sequences.iter().all(|sequence| sequence.len() <= 4), "longer than its context");
        let row: Vec<f32> = (0..100).map(|token| token as f32 / 10.0).collect();
        Ok(Rows { logits: vec![row; request.sequences.len() * request.logits], states: Vec::new() })
    }
}

const ALL: [Cut; 9] = [
    Cut::None,
    Cut::Head,
    Cut::Tail,
    Cut::HeadTail,
    Cut::Middle,
    Cut::Random,
    Cut::SelectiveContext,
    Cut::StopWords,
    Cut::Passages,
];

fn left(units: &[Vec<u32>], question: &[u32], cut: Cut, budget: usize) -> Vec<usize> {
    let word = |token: u32| if token == 1 { " the".to_owned() } else { format!(" w{token}") };
    let long = Long { units, question, word: &word };
    let kept = long.kept(cut, budget, 0, &mut Rising, &mut stream(1, &["cut"])).unwrap();
    assert_eq!(kept.len(), long.tokens());
    (0..kept.len()).filter(|at| kept[*at]).collect()
}

#[test]
fn places_are_those_that_are_named() {
    let units = vec![vec![50; 4], vec![60; 3], vec![40; 3]];
    let at = |cut, budget| left(&units, &[], cut, budget);
    assert_eq!(at(Cut::Head, 4), [0, 1, 2, 3]);
    assert_eq!(at(Cut::Tail, 4), [6, 7, 8, 9]);
    assert_eq!(at(Cut::HeadTail, 5), [0, 1, 2, 8, 9], "the head has the odd one");
    assert_eq!(at(Cut::Middle, 4), [3, 4, 5, 6]);
    assert_eq!(at(Cut::None, 4).len(), 10);
    for cut in ALL {
        assert_eq!(at(cut, 10).len(), 10, "{cut:?}: what fits stays whole");
    }
}

#[test]
fn half_of_the_head_and_half_of_the_tail_are_the_publications() {
    // 512 tokens with two special ones, of a text of 1000: [0, 255) and [745, 1000).
    let kept = left(&[vec![50; 1000]], &[], Cut::HeadTail, 510);
    assert!(kept.iter().copied().eq((0..255).chain(745..1000)));
}

#[test]
fn what_surprises_least_goes_first() {
    // The third surprises most, then the first.
    let units = vec![vec![50; 4], vec![60; 3], vec![40; 3]];
    assert_eq!(left(&units, &[], Cut::SelectiveContext, 8), [0, 1, 2, 3, 7, 8, 9]);
    assert_eq!(left(&units, &[], Cut::SelectiveContext, 6), [7, 8, 9], "what fits behind what does not stays out");
    let long = vec![vec![90; 9], vec![10; 2]];
    assert_eq!(left(&long, &[], Cut::SelectiveContext, 4), [9, 10], "read in parts, beyond the context");
}

#[test]
fn words_that_say_little_go_before_the_head_is_taken() {
    let units = vec![vec![1, 50, 1, 51], vec![1, 52, 53]];
    assert_eq!(left(&units, &[], Cut::StopWords, 3), [1, 3, 5]);
    assert_eq!(left(&units, &[], Cut::StopWords, 99), [1, 3, 5, 6], "even where all would fit");
}

#[test]
fn passages_that_share_rare_words_with_the_question_stay() {
    let mut units: Vec<Vec<u32>> = (0..6).map(|_| vec![50; 60]).collect();
    units[3][7] = 77;
    units[5][9] = 77;
    units[5][10] = 78;
    let kept = left(&units, &[77, 78, 50], Cut::Passages, 130);
    assert!(kept.iter().copied().eq((180..240).chain(300..360)));
    assert!(left(&units, &[77, 78, 50], Cut::Passages, 60).iter().copied().eq(300..360));
    // Two passages of three tokens, one of which holds the word: ln(1 + 1.5/1.5) · 2.2/(1 + 1.2) = ln 2.
    let scores = relevance(&[vec![5, 6, 7], vec![8, 8, 8]], &[5, 5]);
    assert!((scores[0] - 2.0_f64.ln()).abs() < 1e-12 && scores[1] == 0.0);
}

proptest! {
    #[test]
    fn budgets_hold_and_order_stays(lengths in prop::collection::vec(1_usize..20, 1..12), budget in 0_usize..120, which in 0_usize..ALL.len()) {
        let units: Vec<Vec<u32>> = lengths.iter().enumerate().map(|(at, length)| vec![2 + at as u32; *length]).collect();
        let total: usize = lengths.iter().sum();
        let cut = ALL[which];
        let kept = left(&units, &[3], cut, budget).len();
        match cut {
            Cut::None => prop_assert_eq!(kept, total),
            Cut::Head | Cut::Tail | Cut::HeadTail | Cut::Middle => prop_assert_eq!(kept, budget.min(total)),
            _ => prop_assert!(kept <= budget || total <= budget),
        }
    }

    #[test]
    fn sentences_that_stay_with_less_room_stay_with_more(lengths in prop::collection::vec(1_usize..9, 2..12), small in 1_usize..40, more in 0_usize..40) {
        let units: Vec<Vec<u32>> = lengths.iter().enumerate().map(|(at, length)| vec![2 + 7 * at as u32 % 90; *length]).collect();
        for cut in [Cut::SelectiveContext, Cut::Random, Cut::Passages] {
            let few = left(&units, &[9], cut, small);
            let many = left(&units, &[9], cut, small + more);
            prop_assert!(few.iter().all(|at| many.contains(at)), "{:?}", cut);
        }
    }
}
