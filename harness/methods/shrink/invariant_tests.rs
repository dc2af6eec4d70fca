//! What holds of every method on random numbers.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::Layer;
use super::golden_tests::{applied, stay};
use super::tables::Table;
use crate::registry::l3prune;
use crate::registry::laco::{self, Merge, collapse, merged};
use harness_core::Parameters;

fn table() -> impl Strategy<Value = Table> {
    let number = || (-50i32..50).prop_map(|n| n as f32 / 7.0 + 0.01);
    (7usize..12).prop_flat_map(move |blocks| {
        let rows = |count: usize, width: usize| prop::collection::vec(prop::collection::vec(number(), width), count);
        (rows(blocks, 5), rows(blocks, 5), prop::collection::vec(rows(blocks + 1, 8), 2)).prop_map(
            move |(weights, gradients, states)| {
                let losses = weights.iter().map(|w| f64::from(w[0].abs())).collect();
                let gradients = vec![gradients.iter().map(|g| g.iter().map(|v| f64::from(*v)).collect()).collect()];
                Table { width: 4, weights, gradients, states, losses, ..Table::default() }
            },
        )
    })
}

const ARMS: [&str; 7] = [
    "drop-last",
    "random-blocks",
    "random-blocks(ends=false)",
    "block-influence",
    "shortened-llama(plus=false)",
    "shortened-llama(criterion=magnitude, plus=false)",
    "shortened-llama(criterion=ppl, plus=false)",
];

fn with_blocks(arm: &str, blocks: usize) -> String {
    match arm.strip_suffix(')') {
        Some(open) => format!("{open}, blocks={blocks})"),
        None => format!("{arm}(blocks={blocks})"),
    }
}

proptest! {
    #[test]
    fn exactly_as_many_go_in_order_and_fewer_are_among_more(table in table(), count in 0usize..5) {
        for arm in ARMS {
            let few = stay(&applied(&with_blocks(arm, count), &table).unwrap());
            let many = stay(&applied(&with_blocks(arm, count + 1), &table).unwrap());
            prop_assert_eq!(few.len(), table.weights.len() - count);
            prop_assert!(few.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(many.iter().all(|block| few.contains(block)), "{}", arm);
            prop_assert_eq!(&stay(&applied(&with_blocks(arm, count), &table).unwrap()), &few);
        }
    }

    #[test]
    fn the_size_of_states_changes_no_choice(table in table(), factor in 0.1f32..9.0) {
        let mut scaled = table.clone();
        scaled.states.iter_mut().flatten().flatten().for_each(|value| *value *= factor);
        let of = |table: &Table| applied("block-influence(blocks=2)", table).unwrap().scores.unwrap().0;
        for (a, b) in of(&table).into_iter().zip(of(&scaled)) {
            prop_assert!((a - b).abs() < 1e-5 && (-1e-9..=2.0 + 1e-9).contains(&a));
        }
    }

    #[test]
    fn a_span_is_one_span(table in table(), count in 1usize..6) {
        let left = stay(&applied(&format!("block-influence(span=contiguous, blocks={count})"), &table).unwrap());
        let gone: Vec<usize> = (0..table.weights.len()).filter(|block| !left.contains(block)).collect();
        prop_assert_eq!(gone.len(), count);
        prop_assert_eq!(gone[count - 1] - gone[0], count - 1);
    }

    #[test]
    fn folding_keeps_the_sum_of_factors_at_one(at in 0usize..4, followers in 1usize..4, again in 1usize..3) {
        let layers: Vec<Layer> = (0..9).map(Layer::kept).collect();
        for merge in [Merge::Rdsc, Merge::Notebook] {
            let once = merged(&layers, at, followers, merge);
            prop_assert_eq!(once.len(), 9 - followers);
            let twice = merged(&once, at, again, merge);
            for layer in once.iter().chain(&twice) {
                prop_assert!((layer.mix.iter().map(|(_, factor)| factor).sum::<f64>() - 1.0).abs() < 1e-9);
            }
            prop_assert_eq!(twice[at].base, at);
        }
    }

    #[test]
    fn every_walk_ends_with_what_its_merges_leave(
        blocks in 3usize..30, per in 2usize..5, interval in 1usize..5, low in 0usize..3, pattern in any::<u64>(),
    ) {
        let arm = format!("laco(layers_per_merge={}, interval={interval}, low={low})", per.min(blocks));
        let settings = laco::Settings::resolve(&arm.parse().unwrap()).unwrap();
        let (mut calls, mut left) = (0, blocks);
        let found = collapse(&settings, blocks, 0.5, &mut |_, candidate| {
            calls += 1;
            let take = pattern >> (calls % 64) & 1 == 1;
            if take { left = candidate.len(); }
            Ok(if take { 0.75 } else { 0.25 })
        }).unwrap();
        prop_assert!(calls <= blocks);
        prop_assert_eq!(found.layers.len(), left);
        prop_assert_eq!(found.steps.len(), calls);
    }

    #[test]
    fn losses_tell_pairs_apart_only_where_they_differ(rows in 2usize..6, scale in 0.5f64..60.0) {
        let equal = vec![vec![0.6, 0.8]; rows];
        prop_assert!((l3prune::contrast(&equal, &equal, 64, scale) - (rows as f64).ln()).abs() < 1e-9);
        let apart: Vec<Vec<f64>> = (0..rows).map(|at| (0..rows).map(|i| f64::from(u8::from(i == at))).collect()).collect();
        let expected = (1.0 + (rows as f64 - 1.0) * (-scale).exp()).ln();
        prop_assert!((l3prune::contrast(&apart, &apart, 64, scale) - expected).abs() < 1e-9);
    }
}
